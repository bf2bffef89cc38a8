# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/tree.c csrc/forest.c csrc/command.c
"""From entries to results: decoding, the version gate, sessions, fences, and the operation itself, in this order.

Whatever the bytes of a committed entry are, every node that knows their version comes to the same result. No clock, no
randomness, nothing of this node's own settings takes part.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen
from libcpp.vector cimport vector

from quorate.store._apply cimport *
from quorate.store._csrc cimport *
from quorate.store._keys cimport keys_apply
from quorate.store._permits cimport permit_fence, permits_apply
from quorate.store._sessions cimport *
from quorate.store._state cimport *

from quorate.errors import InvalidArgument, InvariantBroken, NodeFailed

cdef enum:
    GROUP = 32           # entries whose memory accesses overlap
    PUBLISH_EVERY = 128  # entries; more would copy more nodes than the nearest caches hold before it reuses them


cdef int out_of_order(uint64_t index, uint64_t applied) except -1 nogil:
    with gil:
        raise InvariantBroken(f"the store was given entry {index} after entry {applied}; entries are applied in order")


cdef int newer_version(uint64_t index, unsigned int version, unsigned int known) except -1 nogil:
    with gil:
        raise NodeFailed(
            f"entry {index} needs store version {version}, and this program knows versions up to {known}; "
            "install the version that the other members run, and start again: nothing is lost"
        )


cdef int set_limits(StoreState *it, const command *what, Outcome *out) except -1 nogil:
    """All or none. An unknown limit, or one outside of what its format allows, is refused."""
    cdef const uint8_t *at = what.body.bytes
    cdef uint32_t limit
    cdef uint32_t i
    cdef uint64_t value
    cdef uint64_t ttl_least = it.limits[<int> LIMIT_SESSION_TTL_MIN_MS]
    cdef uint64_t ttl_most = it.limits[<int> LIMIT_SESSION_TTL_MAX_MS]
    for i in range(what.limits):
        limit = load_le16(at + 10 * i)
        value = load_le64(at + 10 * i + 2)
        if limit >= LIMITS_END or value < limit_least(limit) or value > limit_most(limit):
            out.status = INVALID
            out.number = limit
            return 0
        if limit == LIMIT_SESSION_TTL_MIN_MS:
            ttl_least = value
        if limit == LIMIT_SESSION_TTL_MAX_MS:
            ttl_most = value
    if ttl_least > ttl_most:
        out.status = INVALID
        out.number = LIMIT_SESSION_TTL_MIN_MS
        return 0
    for i in range(what.limits):
        it.limits[load_le16(at + 10 * i)] = load_le64(at + 10 * i + 2)
    return 0


cdef int execute(StoreState *it, const command *what, Outcome *out) except -1 nogil:
    cdef uint8_t operation = what.operation
    if what.now_ms > it.clock_ms:
        it.clock_ms = what.now_ms
    if what.flags & COMMAND_FENCED and not permit_fence(it, what.fence_name, what.fence_token):
        out.status = FENCED
        return 0
    if operation <= OPERATION_TRANSACTION:
        return keys_apply(it, what, out)
    if operation == OPERATION_SESSION_OPEN:
        return session_open(it, what, out)
    if operation == OPERATION_SESSION_END:
        return session_end(it, what, out)
    if operation <= OPERATION_FORCE_RELEASE:
        return permits_apply(it, what, out)
    if operation == OPERATION_SET_LIMITS:
        return set_limits(it, what, out)
    if operation == OPERATION_SET_VERSION:
        if what.new_version < it.cluster_version:
            out.status = INVALID
        elif what.new_version > it.known_version:
            newer_version(it.writing, what.new_version, it.known_version)
        else:
            it.cluster_version = what.new_version
        out.number = it.cluster_version
        return 0
    if what.revision > it.history_floor: # OPERATION_COMPACT_HISTORY
        it.history_floor = min(what.revision, it.writing)
    if it.history_floor > it.history.since:
        it.history.since = it.history_floor
    out.number = it.history_floor
    return 0


cdef int write_result(StoreState *it, const Outcome *out, sink *results) except -1 nogil:
    cdef uint8_t *head = sink_grow(results, RESULT_HEAD)
    if head == NULL:
        no_memory()
    head[0] = <uint8_t> out.status
    head[1] = <uint8_t> out.flags
    store_le64(head + 2, it.writing)
    store_le64(head + 10, out.number)
    if it.body.length and sink_put(results, it.body.bytes, it.body.length) < 0:
        no_memory()
    return 0


cdef int apply_decoded(StoreState *it, const command *what, const char *wrong, sink *results) except -1 nogil:
    cdef Outcome out
    cdef size_t place = results.length
    cdef int admission
    out.status = OK
    out.flags = 0
    out.number = 0
    it.body.length = 0
    if wrong != NULL:
        out.status = MALFORMED
        if sink_put(&it.body, wrong, strlen(wrong)) < 0:
            no_memory()
        return write_result(it, &out, results)
    if what.version > it.cluster_version and what.operation != OPERATION_SET_VERSION:
        out.status = VERSION_NOT_ENABLED
        out.number = it.cluster_version
        return write_result(it, &out, results)
    admission = session_admit(it, what, &out, results)
    if admission == ANSWERED:
        return 0
    if admission == EXECUTE:
        execute(it, what, &out)
    write_result(it, &out, results)
    if admission == EXECUTE and what.flags & COMMAND_NUMBERED:
        session_retain(it, what, results.bytes + place, results.length - place)
    return 0


cdef inline int begin(StoreState *it, uint64_t index) except -1 nogil:
    if index != it.applied_index + 1:
        out_of_order(index, it.applied_index)
    it.writing = index
    forest_write_at(it.trees, index)
    return 0


cdef inline void finish(StoreState *it, uint64_t index, uint64_t term) noexcept nogil:
    it.applied_index = index
    it.applied_term = term
    history_trim(it)


cdef int store_apply(
    StoreState *it, uint64_t index, uint64_t term, const uint8_t *command_bytes, size_t length, sink *results
) except -1 nogil:
    cdef command what
    cdef int newer
    cdef const char *wrong = command_decode(command_bytes, length, it.known_version, &what, &newer)
    if newer:
        newer_version(index, what.version, it.known_version)
    begin(it, index)
    apply_decoded(it, &what, wrong, results)
    finish(it, index, term)
    return 0


cdef int store_skip(StoreState *it, uint64_t index, uint64_t term) except -1 nogil:
    begin(it, index)
    finish(it, index, term)
    return 0


cdef int store_configure(
    StoreState *it, uint64_t index, uint64_t term, const uint8_t *membership, size_t length
) except -1 nogil:
    begin(it, index)
    it.membership.length = 0
    if sink_put(&it.membership, membership, length) < 0:
        no_memory()
    finish(it, index, term)
    return 0


cdef int store_publish(StoreState *it) except -1 nogil:
    if it.published_index == it.applied_index:
        return 0
    sessions_flush(it)
    if forest_publish(it.trees, it.applied_index) < 0:
        no_memory()
    it.published_index = it.applied_index
    return 0


cdef int apply_group(
    StoreState *it, uint64_t index, const entry *entries, size_t count, sink *results, vector[size_t] *ends
) except -1 nogil:
    """At most GROUP entries: decode all, fetch all that they will touch, then apply them."""
    cdef command what[GROUP]
    cdef const char *wrong[GROUP]
    cdef int newer[GROUP]
    cdef const tree_node *leaves[GROUP]
    cdef const entry *one
    cdef size_t i
    for i in range(count):
        one = &entries[i]
        leaves[i] = NULL
        if one.kind != ENTRY_COMMAND:
            continue
        wrong[i] = command_decode(entry_bytes(one), one.length, it.known_version, &what[i], &newer[i])
        if wrong[i] == NULL and what[i].operation <= OPERATION_INCREMENT:
            leaves[i] = forest_near_leaf(it.trees, KEYS, what[i].key.bytes, what[i].key.length)
    for i in range(count):
        if leaves[i] != NULL:
            forest_near_item(leaves[i], what[i].key.bytes, what[i].key.length)
    for i in range(count):
        one = &entries[i]
        if one.kind == ENTRY_COMMAND:
            if newer[i]:
                newer_version(index + i, what[i].version, it.known_version)
            begin(it, index + i)
            apply_decoded(it, &what[i], wrong[i], results)
            finish(it, index + i, one.term)
        elif one.kind == ENTRY_CONFIGURATION:
            store_configure(it, index + i, one.term, entry_bytes(one), one.length)
        else:
            store_skip(it, index + i, one.term)
        ends.push_back(results.length)
    return 0


cdef int store_apply_batch(
    StoreState *it, uint64_t first_index, const entry *entries, size_t count, sink *results, vector[size_t] *ends
) except -1 nogil:
    cdef size_t done = 0
    cdef size_t some
    ends.clear()
    while done < count:
        some = min(count - done, <size_t> GROUP)
        apply_group(it, first_index + done, entries + done, some, results, ends)
        done += some
        if done % PUBLISH_EVERY == 0:
            store_publish(it)
    return store_publish(it)


cdef int store_rebase(StoreState *it, uint64_t index) except -1 nogil:
    if index <= it.applied_index:
        with gil:
            raise InvalidArgument(f"a store at index {it.applied_index} cannot continue from {index}")
    it.writing = it.applied_index = it.history_floor = index
    forest_write_at(it.trees, index)
    history_clear(it, index)
    return store_publish(it)
