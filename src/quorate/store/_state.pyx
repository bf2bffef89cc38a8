# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/tree.c csrc/forest.c
"""The store's memory: its birth and death, the limits, rows of the tables, the history of events.

Knows nothing of what the operations mean; `_keys`, `_sessions` and `_permits` do.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from libcpp.unordered_map cimport unordered_map
from libcpp.vector cimport vector

from quorate.store._csrc cimport *
from quorate.store._state cimport *

cdef extern from *:
    """
    #define prefetch(address) __builtin_prefetch(address)
    """
    void prefetch(const void *address) noexcept nogil

# Each limit: what holds until one is logged, and the least and most that may be logged. The most of a size is the bound
# of its format. They are constants of format version 1: a node that had others would come to other results.
cdef uint64_t[20][3] LIMITS
LIMITS[0] = [0, 0, 0]
LIMITS[<int> LIMIT_KEY_BYTES] = [4096, 1, 4096]
LIMITS[<int> LIMIT_VALUE_BYTES] = [1 << 20, 1, 8 << 20]
LIMITS[<int> LIMIT_KEYS] = [10_000_000, 1, 1 << 32]
LIMITS[<int> LIMIT_STORE_BYTES] = [4 << 30, 1 << 10, 1 << 44]
LIMITS[<int> LIMIT_TRANSACTION_OPERATIONS] = [128, 1, 256]
LIMITS[<int> LIMIT_RESULT_BYTES] = [1 << 20, 1 << 10, 8 << 20]
LIMITS[<int> LIMIT_DELETE_RANGE_KEYS] = [10_000, 1, 100_000]
LIMITS[<int> LIMIT_SESSIONS] = [20_000, 1, 1_000_000]
LIMITS[<int> LIMIT_SESSION_KEYS] = [10_000, 1, 100_000]
LIMITS[<int> LIMIT_SESSION_RESULTS] = [4096, 1, 65_536]
LIMITS[<int> LIMIT_SESSION_RESULT_BYTES] = [1 << 16, 0, 1 << 24]
LIMITS[<int> LIMIT_SESSION_PERMITS] = [10_000, 1, 100_000]
LIMITS[<int> LIMIT_SESSION_TTL_MIN_MS] = [500, 1, 3_600_000]
LIMITS[<int> LIMIT_SESSION_TTL_MAX_MS] = [3_600_000, 1000, 86_400_000]
LIMITS[<int> LIMIT_PERMITS] = [1_000_000, 1, 100_000_000]
LIMITS[<int> LIMIT_PERMIT_WAITERS] = [10_000, 1, 100_000]
LIMITS[<int> LIMIT_IDLE_PERMITS] = [10_000, 0, 1_000_000]
LIMITS[<int> LIMIT_HISTORY_EVENTS] = [100_000, 0, 10_000_000]
LIMITS[<int> LIMIT_HISTORY_BYTES] = [16 << 20, 0, 1 << 34]


cdef uint64_t limit_default(uint32_t limit) noexcept nogil:
    return LIMITS[limit][0]


cdef uint64_t limit_least(uint32_t limit) noexcept nogil:
    return LIMITS[limit][1]


cdef uint64_t limit_most(uint32_t limit) noexcept nogil:
    return LIMITS[limit][2]


cdef int no_memory() except -1 nogil:
    with gil:
        raise MemoryError("the store has no memory left")


cdef StoreState *store_new(uint8_t known_version) except NULL nogil:
    cdef StoreState *it = <StoreState *> calloc(1, sizeof(StoreState))
    cdef uint32_t i
    if it == NULL:
        no_memory()
    it.trees = forest_new()
    if it.trees == NULL:
        free(it)
        no_memory()
    it.sessions = new unordered_map[uint64_t, Session*]()
    it.nonces = new unordered_map[uint64_t, uint64_t]()
    it.dirty = new vector[uint64_t]()
    it.changes = new vector[SessionChange]()
    it.cluster_version = 1
    it.known_version = known_version
    for i in range(<uint32_t> LIMITS_END):
        it.limits[i] = LIMITS[i][0]
    return it


cdef void store_free(StoreState *it) noexcept nogil:
    """Frees all of it; no reader may be pinned, no snapshot held."""
    if it == NULL:
        return
    history_clear(it, 0)
    free(it.history.all)
    forest_free(it.trees)
    for pair in it.sessions[0]:
        free(pair.second)
    del it.sessions
    del it.nonces
    del it.dirty
    del it.changes
    sink_free(&it.membership)
    sink_free(&it.body)
    sink_free(&it.reason)
    free(it)


cdef int row_put(
    StoreState *it, uint32_t table, const uint8_t *key, uint32_t length, const void *value, uint32_t value_length
) except -1 nogil:
    cdef tree_place at
    cdef item *row = forest_item(it.trees, key, <uint16_t> length, value_length)
    if row == NULL:
        no_memory()
    if value_length:
        memcpy(item_value_to_fill(row), value, value_length)
    row.mod_revision = it.writing
    forest_seek(it.trees, table, key, length, &at)
    if forest_set(it.trees, &at, row) < 0:
        no_memory()
    return 0


cdef int row_remove(StoreState *it, uint32_t table, const uint8_t *key, uint32_t length) except -1 nogil:
    """1 if it was there."""
    cdef tree_place at
    forest_seek(it.trees, table, key, length, &at)
    if at.found == NULL:
        return 0
    if forest_remove(it.trees, &at) < 0:
        no_memory()
    return 1


cdef int history_grow(History *it) except -1 nogil:
    cdef uint64_t size = it.size * 2 if it.size else 256
    cdef uint64_t i
    cdef Event *all = <Event *> malloc(size * sizeof(Event))
    if all == NULL:
        no_memory()
    for i in range(it.first, it.end):
        all[i & (size - 1)] = it.all[i & (it.size - 1)]
    free(it.all)
    it.all = all
    it.size = size
    return 0


cdef int event_add(
    StoreState *it, uint32_t kind, const item *row, uint64_t session, uint64_t acquisition, uint64_t token
) except -1 nogil:
    cdef History *history = &it.history
    cdef Event *event
    cdef Event *before
    cdef uint64_t revision = it.writing
    if history.end - history.first == history.size:
        history_grow(history)
    if history.end > history.first:
        before = &history.all[(history.end - 1) & (history.size - 1)]
        before.last_of_revision = before.revision != revision
    event = &history.all[history.end & (history.size - 1)]
    event.revision = revision
    event.row = item_retain(row)
    event.session = session
    event.acquisition = acquisition
    event.token = token
    event.kind = kind
    event.last_of_revision = 1
    history.end += 1
    history.bytes += item_cost(row)
    return 0


cdef inline void drop_oldest(History *history) noexcept nogil:
    cdef Event *event = &history.all[history.first & (history.size - 1)]
    history.bytes -= item_cost(event.row)
    history.since = event.revision
    item_release(event.row)
    history.first += 1
    # The rows that go next have not been touched for long.
    prefetch(history.all[(history.first + 8) & (history.size - 1)].row)


cdef void history_trim(StoreState *it) noexcept nogil:
    """Forgets the oldest events, whole revisions of them, until the rest is within the logged limits."""
    cdef History *history = &it.history
    while history.end > history.first and (
        history.end - history.first > it.limits[<int> LIMIT_HISTORY_EVENTS]
        or history.bytes > it.limits[<int> LIMIT_HISTORY_BYTES]
        or history.all[history.first & (history.size - 1)].revision <= history.since
    ):
        drop_oldest(history)


cdef void history_clear(StoreState *it, uint64_t since) noexcept nogil:
    cdef History *history = &it.history
    while history.end > history.first:
        drop_oldest(history)
    history.since = since
