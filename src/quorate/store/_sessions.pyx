# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/tree.c csrc/forest.c csrc/command.c
"""Sessions: opened by a nonce, ended by a logged decision, their requests applied once and in number order.

A session's counters live in memory while entries are applied, and are written to its row before each publication. The time
to live is only noted here: the leader measures it (`_deadlines`), and what it decides comes back as an entry. When a session
ends, its permits, keys and results go in the same entry.

    SESSIONS  session -> u32 ttl_ms; u64 opened_ms, applied, mark; 16 bytes nonce; u8 length and label
    RESULTS   session, number -> the encoded result
"""

from cython.operator cimport dereference
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from quorate.store._csrc cimport *
from quorate.store._keys cimport keys_end_session
from quorate.store._permits cimport permits_end_session
from quorate.store._sessions cimport *
from quorate.store._state cimport *


cdef inline void result_key(uint8_t *out, uint64_t session, uint64_t number) noexcept nogil:
    store_be64(out, session)
    store_be64(out + 8, number)


cdef inline int touch(StoreState *it, Session *session) except -1 nogil:
    if not session.dirty:
        session.dirty = 1
        it.dirty.push_back(session.id)
    return 0


cdef int raise_mark(StoreState *it, Session *session, uint64_t mark) except -1 nogil:
    """Forgets the results up to `mark`: the client has them."""
    cdef uint8_t key[16]
    cdef tree_place at
    while session.mark < mark:
        session.mark += 1
        result_key(key, session.id, session.mark)
        forest_seek(it.trees, RESULTS, key, 16, &at)
        if at.found != NULL:
            session.result_bytes -= at.found.value_length - RESULT_HEAD
            if forest_remove(it.trees, &at) < 0:
                no_memory()
    return 0


cdef int session_admit(StoreState *it, const command *what, Outcome *out, sink *results) except -1 nogil:
    cdef uint8_t key[16]
    cdef uint64_t mark = what.number - what.window
    cdef const item *row
    cdef size_t place
    cdef Session *session
    if not what.session:
        return EXECUTE
    session = session_of(it, what.session)
    if session == NULL:
        out.status = SESSION_LOST
        return REFUSED
    if not what.flags & COMMAND_NUMBERED:
        return EXECUTE
    if mark > session.mark and mark <= session.applied:
        touch(it, session)
        raise_mark(it, session, mark)
    if what.number <= session.mark:
        out.status = BELOW_MARK
        out.number = session.mark
        return REFUSED
    if what.number <= session.applied:
        result_key(key, session.id, what.number)
        row = forest_get(it.trees, RESULTS, key, 16)
        place = results.length
        if sink_put(results, item_value(row), row.value_length) < 0:
            no_memory()
        results.bytes[place + 1] |= REPLAYED
        return ANSWERED
    if what.number != session.applied + 1:
        out.status = GAP
        out.number = session.applied + 1
        return REFUSED
    if what.number - session.mark > it.limits[<int> LIMIT_SESSION_RESULTS]:
        out.status = WINDOW_FULL
        out.number = it.limits[<int> LIMIT_SESSION_RESULTS]
        return REFUSED
    return EXECUTE


cdef int session_retain(StoreState *it, const command *what, const uint8_t *result, size_t length) except -1 nogil:
    cdef uint8_t key[16]
    cdef uint8_t cut[RESULT_HEAD]
    cdef Session *session = session_of(it, what.session)
    cdef size_t body = length - RESULT_HEAD
    touch(it, session)
    session.applied = what.number
    result_key(key, session.id, what.number)
    if session.result_bytes + body > it.limits[<int> LIMIT_SESSION_RESULT_BYTES]:
        # What it did is remembered, what it read is not: a bound on memory that every node draws at the same place.
        memcpy(cut, result, RESULT_HEAD)
        cut[1] |= SHORT
        return row_put(it, RESULTS, key, 16, cut, RESULT_HEAD)
    session.result_bytes += body
    return row_put(it, RESULTS, key, 16, result, <uint32_t> length)


# ---- opening and ending ---------------------------------------------------------------------------------------------


cdef inline uint64_t nonce_hash(const uint8_t *nonce) noexcept nogil:
    return load_le64(nonce) ^ (load_le64(nonce + 8) * <uint64_t> 0x9E3779B97F4A7C15)


cdef Session *session_of_nonce(StoreState *it, const uint8_t *nonce, uint64_t *place) noexcept nogil:
    """The session opened by a nonce; nonces of equal hashes lie at the next places, without gaps."""
    cdef Session *session
    place[0] = nonce_hash(nonce)
    while True:
        found = it.nonces.find(place[0])
        if found == it.nonces.end():
            return NULL
        session = session_of(it, dereference(found).second)
        if memcmp(session.nonce, nonce, NONCE_BYTES) == 0:
            return session
        place[0] += 1


cdef int forget_nonce(StoreState *it, Session *session) except -1 nogil:
    cdef uint64_t place
    cdef uint64_t next
    cdef uint64_t other
    session_of_nonce(it, session.nonce, &place)
    it.nonces.erase(place)
    next = place + 1
    while True: # close the gap, so that those behind are found
        found = it.nonces.find(next)
        if found == it.nonces.end():
            return 0
        other = dereference(found).second
        it.nonces.erase(next)
        session_of_nonce(it, session_of(it, other).nonce, &place)
        it.nonces[0][place] = other
        next += 1


cdef int enlist(StoreState *it, Session *session) except -1 nogil:
    cdef uint64_t place
    cdef SessionChange change
    session_of_nonce(it, session.nonce, &place)
    it.sessions[0][session.id] = session
    it.nonces[0][place] = session.id
    change.id = session.id
    change.ttl_ms = session.ttl_ms
    it.changes.push_back(change)
    return 0


cdef int session_open(StoreState *it, const command *what, Outcome *out) except -1 nogil:
    cdef uint64_t place
    cdef Session *session = session_of_nonce(it, what.nonce.bytes, &place)
    if session != NULL:
        out.flags |= REPLAYED
        out.number = session.id
        return 0
    out.status = LIMIT
    if what.ttl_ms < it.limits[<int> LIMIT_SESSION_TTL_MIN_MS]:
        out.number = LIMIT_SESSION_TTL_MIN_MS
        return 0
    if what.ttl_ms > it.limits[<int> LIMIT_SESSION_TTL_MAX_MS]:
        out.number = LIMIT_SESSION_TTL_MAX_MS
        return 0
    if it.sessions.size() >= it.limits[<int> LIMIT_SESSIONS]:
        out.number = LIMIT_SESSIONS
        return 0
    out.status = OK
    session = <Session *> calloc(1, sizeof(Session))
    if session == NULL:
        no_memory()
    session.id = out.number = it.writing
    session.ttl_ms = what.ttl_ms
    session.opened_ms = it.clock_ms
    memcpy(session.nonce, what.nonce.bytes, NONCE_BYTES)
    session.label_length = <uint8_t> what.label.length
    if what.label.length:
        memcpy(session.label, what.label.bytes, what.label.length)
    enlist(it, session)
    # Its row never changes its size, and is there from this entry on: the size of the store decides what is refused, and
    # may not depend on when this node publishes.
    return session_save(it, session)


cdef int session_end(StoreState *it, const command *what, Outcome *out) except -1 nogil:
    cdef uint8_t key[8]
    cdef SessionChange change
    cdef Session *session = session_of(it, what.target)
    if session == NULL:
        out.status = NOT_FOUND
        return 0
    out.number = session.permits + session.keys
    permits_end_session(it, session)
    keys_end_session(it, session)
    raise_mark(it, session, session.applied)
    store_be64(key, session.id)
    row_remove(it, SESSIONS, key, 8)
    forget_nonce(it, session)
    it.sessions.erase(session.id)
    change.id = session.id
    change.ttl_ms = 0
    it.changes.push_back(change)
    free(session)
    return 0


cdef int session_save(StoreState *it, const Session *session) except -1 nogil:
    cdef uint8_t key[8]
    cdef uint8_t row[SESSION_ROW_FIXED + 255]
    store_be64(key, session.id)
    store_le32(row, session.ttl_ms)
    store_le64(row + 4, session.opened_ms)
    store_le64(row + 12, session.applied)
    store_le64(row + 20, session.mark)
    memcpy(row + 28, session.nonce, NONCE_BYTES)
    row[44] = session.label_length
    memcpy(row + SESSION_ROW_FIXED, session.label, session.label_length)
    return row_put(it, SESSIONS, key, 8, row, SESSION_ROW_FIXED + session.label_length)


cdef int sessions_flush(StoreState *it) except -1 nogil:
    cdef Session *session
    cdef size_t i
    for i in range(it.dirty.size()):
        session = session_of(it, it.dirty[0][i])
        if session == NULL or not session.dirty:
            continue
        session.dirty = 0
        session_save(it, session)
    it.dirty.clear()
    return 0


cdef int session_restore(StoreState *it, const item *row) except -1 nogil:
    """1, or 0 if the row cannot be right."""
    cdef const uint8_t *at = item_value(row)
    cdef uint64_t place
    cdef Session *session
    if row.key_length != 8 or row.value_length < SESSION_ROW_FIXED or row.value_length != <uint32_t> SESSION_ROW_FIXED + at[44]:
        return 0
    if load_le32(at) == 0 or load_le64(at + 20) > load_le64(at + 12) or session_of_nonce(it, at + 28, &place) != NULL:
        return 0
    session = <Session *> calloc(1, sizeof(Session))
    if session == NULL:
        no_memory()
    session.id = load_be64(item_key(row))
    session.ttl_ms = load_le32(at)
    session.opened_ms = load_le64(at + 4)
    session.applied = load_le64(at + 12)
    session.mark = load_le64(at + 20)
    memcpy(session.nonce, at + 28, NONCE_BYTES)
    session.label_length = at[44]
    memcpy(session.label, at + SESSION_ROW_FIXED, session.label_length)
    enlist(it, session)
    return 1
