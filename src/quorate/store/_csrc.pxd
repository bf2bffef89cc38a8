# What the store uses of csrc: declarations alone, documented in the headers.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "base.h" nogil:
    enum:
        KEY_BYTES_MAX
        VALUE_BYTES_MAX
        ENTRY_BYTES_MAX
        PERMIT_NAME_MAX
        LABEL_BYTES_MAX
        HOLDER_VALUE_MAX
        TRANSACTION_OPERATIONS_MAX
    uint16_t load_le16(const void *at)
    uint32_t load_le32(const void *at)
    uint64_t load_le64(const void *at)
    void store_le16(void *at, uint16_t x)
    void store_le32(void *at, uint32_t x)
    void store_le64(void *at, uint64_t x)

cdef extern from "entry.h" nogil:
    enum:
        ENTRY_COMMAND
        ENTRY_NOOP
        ENTRY_CONFIGURATION
    ctypedef struct buffer:
        uint32_t length
        uint8_t *bytes
    ctypedef struct entry:
        uint64_t term
        buffer *data
        uint32_t offset
        uint32_t length
        uint32_t kind
    const uint8_t *entry_bytes(const entry *it)

cdef extern from "sink.h" nogil:
    ctypedef struct sink:
        uint8_t *bytes
        size_t length
        size_t capacity
    void sink_free(sink *it)
    uint8_t *sink_grow(sink *it, size_t more)
    int sink_put(sink *it, const void *bytes, size_t length)
    int sink_u8(sink *it, uint8_t x)
    int sink_u16(sink *it, uint16_t x)
    int sink_u32(sink *it, uint32_t x)
    int sink_u64(sink *it, uint64_t x)

cdef extern from "item.h" nogil:
    ctypedef struct item:
        uint32_t length
        uint64_t create_revision
        uint64_t mod_revision
        uint64_t version
        uint64_t session
        uint32_t value_length
        uint16_t key_length
    const uint8_t *item_key(const item *it)
    const uint8_t *item_value(const item *it)
    uint8_t *item_value_to_fill(item *it)
    item *item_new(const void *key, uint16_t key_length, uint32_t value_length)
    item *item_retain(const item *it)
    void item_release(const item *it)
    uint64_t item_cost(const item *it)
    void store_be64(void *at, uint64_t x)
    uint64_t load_be64(const void *at)

cdef extern from "tree.h" nogil:
    enum:
        TREE_TABLES
    ctypedef struct tree_node:
        pass
    ctypedef struct tree_version:
        uint64_t revision
        uint64_t bytes
        uint64_t *counts
        tree_node **roots
    ctypedef struct forest:
        pass
    ctypedef struct forest_hold:
        pass
    ctypedef struct tree_place:
        item *found
    ctypedef struct tree_cursor:
        int32_t height
    ctypedef struct forest_figures:
        uint64_t nodes
        uint64_t retired
        uint64_t node_bytes
    forest *forest_new()
    void forest_free(forest *it)
    void forest_seek(const forest *it, uint32_t table, const void *key, uint32_t length, tree_place *out)
    const tree_node *forest_near_leaf(const forest *it, uint32_t table, const void *key, uint32_t length)
    void forest_near_item(const tree_node *leaf, const void *key, uint32_t length)
    item *forest_get(const forest *it, uint32_t table, const void *key, uint32_t length)
    item *forest_item(forest *it, const void *key, uint16_t key_length, uint32_t value_length)
    int forest_set(forest *it, tree_place *at, item *row)
    int forest_remove(forest *it, tree_place *at)
    int forest_publish(forest *it, uint64_t index)
    int forest_adopt(forest *it, forest *from_, uint64_t index)
    uint64_t forest_reclaim(forest *it, uint32_t budget)
    void forest_write_at(forest *it, uint64_t index)
    const tree_node *forest_root(const forest *it, uint32_t table)
    uint64_t forest_count(const forest *it, uint32_t table)
    uint64_t forest_bytes(const forest *it)
    forest_figures forest_measure(const forest *it)
    forest_hold *forest_keep(forest *it)
    const tree_version *forest_held(const forest_hold *it)
    void forest_drop(forest_hold *it)
    const tree_version *forest_pin(forest *it, uint32_t *ticket)
    void forest_unpin(forest *it, uint32_t ticket)
    const item *tree_get(const tree_node *root, const void *key, uint32_t length)
    void tree_seek(tree_cursor *it, const tree_node *root, const void *key, uint32_t length)
    void tree_next(tree_cursor *it)
    const item *tree_at(const tree_cursor *it)
    uint64_t tree_count(
        const tree_node *root, const void *start, uint32_t start_length, const void *end, uint32_t end_length
    )
    int tree_compare(const void *a, uint32_t a_length, const void *b, uint32_t b_length)

cdef extern from "command.h" nogil:
    enum:
        COMMAND_VERSION
        COMMAND_HEAD
        NONCE_BYTES
        OPERATION_PUT
        OPERATION_DELETE
        OPERATION_DELETE_RANGE
        OPERATION_COMPARE_AND_SET
        OPERATION_INCREMENT
        OPERATION_TRANSACTION
        OPERATION_SESSION_OPEN
        OPERATION_SESSION_END
        OPERATION_ACQUIRE
        OPERATION_RELEASE
        OPERATION_CANCEL
        OPERATION_HOLDER_VALUE
        OPERATION_FORCE_RELEASE
        OPERATION_SET_LIMITS
        OPERATION_SET_VERSION
        OPERATION_COMPACT_HISTORY
        OPERATION_GET
        OPERATION_RANGE
        COMMAND_NUMBERED
        COMMAND_FENCED
        COMMAND_OWNED
        COMMAND_TRY
        COMPARE_VALUE
        COMPARE_MOD_REVISION
        COMPARE_CREATE_REVISION
        COMPARE_VERSION
        COMPARE_SESSION
        RELATION_EQUAL
        RELATION_NOT_EQUAL
        RELATION_LESS
        RELATION_GREATER
        PERMIT_MUTEX
        PERMIT_SEMAPHORE
        PERMIT_RWLOCK
        PERMIT_ELECTION
        RWLOCK_CAPACITY
        END_GOODBYE
        END_EXPIRED
        END_PROCESS_EXIT
        END_FORCED
    ctypedef struct view:
        const uint8_t *bytes
        uint32_t length
    ctypedef struct command:
        uint8_t version
        uint8_t operation
        uint8_t kind
        uint8_t reason
        uint8_t new_version
        uint16_t flags
        uint16_t compares
        uint16_t thens
        uint16_t elses
        uint16_t limits
        uint32_t window
        uint32_t limit
        uint32_t ttl_ms
        uint32_t capacity
        uint32_t units
        uint64_t session
        uint64_t number
        uint64_t fence_token
        uint64_t token
        uint64_t revision
        uint64_t acquisition
        uint64_t target
        uint64_t now_ms
        int64_t by
        view fence_name
        view key
        view end
        view value
        view name
        view label
        view nonce
        view body
    ctypedef struct command_part:
        uint8_t operation
        uint8_t owned
        uint8_t target
        uint8_t relation
        uint32_t limit
        uint64_t operand
        int64_t by
        view key
        view end
        view value
    const char *command_decode(const void *bytes, size_t length, uint8_t known, command *out, int *newer)
    int command_compare_next(const command *it, uint32_t *at, command_part *out)
    int command_part_next(const command *it, uint32_t *at, command_part *out)
    int command_frees(const uint8_t *bytes, size_t length)
    void command_number(uint8_t *bytes, uint64_t session, uint64_t number, uint32_t window)
