# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/tree.c csrc/forest.c csrc/command.c
"""Permits: a name, a capacity, holders and waiters in the order in which they came.

Mutex, semaphore, read-write lock and election are this with different capacities. A grant happens in the log entry that makes
it possible, and its token is that entry's index: so tokens of an exclusive lock grow strictly, whatever is deleted, saved or
restored in between. The head of the queue is never overtaken. An acquisition is named by (session, number chosen by the
client); asking again in the same acquisition gives the same answer.

Rows, numbers little-endian:

    PERMITS   name -> u64 id, idle_since, token, forced_at, forced_token, forced_ms; u32 capacity, held, holders, waiters;
                      u8 kind; u8 length and reason of the forced release
    QUEUE     permit, state, token or place, place -> u64 session, acquisition, token, since_ms, queued_at; u32 units; value
    ACQUIRED  session, acquisition -> u64 permit, queued_at, token (0: waits); name
    REVOKED   session, acquisition -> u64 token, at; u8 length and reason; name
    IDLE      idle since, permit -> name
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from libcpp.vector cimport vector

from quorate.store._csrc cimport *
from quorate.store._permits cimport *
from quorate.store._state cimport *


cdef void permit_load(const item *row, Permit *out) noexcept nogil:
    cdef const uint8_t *at = item_value(row)
    out.id = load_le64(at)
    out.idle_since = load_le64(at + 8)
    out.token = load_le64(at + 16)
    out.forced_at = load_le64(at + 24)
    out.forced_token = load_le64(at + 32)
    out.forced_ms = load_le64(at + 40)
    out.capacity = load_le32(at + 48)
    out.held = load_le32(at + 52)
    out.holders = load_le32(at + 56)
    out.waiters = load_le32(at + 60)
    out.kind = at[64]
    out.reason_length = at[65]
    memcpy(out.reason, at + PERMIT_FIXED, out.reason_length)


cdef int permit_save(StoreState *it, const Permit *permit, view name) except -1 nogil:
    cdef uint8_t row[PERMIT_FIXED + 255]
    store_le64(row, permit.id)
    store_le64(row + 8, permit.idle_since)
    store_le64(row + 16, permit.token)
    store_le64(row + 24, permit.forced_at)
    store_le64(row + 32, permit.forced_token)
    store_le64(row + 40, permit.forced_ms)
    store_le32(row + 48, permit.capacity)
    store_le32(row + 52, permit.held)
    store_le32(row + 56, permit.holders)
    store_le32(row + 60, permit.waiters)
    row[64] = permit.kind
    row[65] = permit.reason_length
    memcpy(row + PERMIT_FIXED, permit.reason, permit.reason_length)
    return row_put(it, PERMITS, name.bytes, name.length, row, PERMIT_FIXED + permit.reason_length)


cdef void place_load(const item *row, Place *out) noexcept nogil:
    cdef const uint8_t *at = item_value(row)
    out.session = load_le64(at)
    out.acquisition = load_le64(at + 8)
    out.token = load_le64(at + 16)
    out.since_ms = load_le64(at + 24)
    out.queued_at = load_le64(at + 32)
    out.units = load_le32(at + 40)


cdef void queue_key(uint8_t *out, uint64_t permit, uint8_t state, uint64_t first, uint64_t second) noexcept nogil:
    store_be64(out, permit)
    out[8] = state
    store_be64(out + 9, first)
    store_be64(out + 17, second)


cdef inline void place_key(uint8_t *out, uint64_t permit, const Place *place) noexcept nogil:
    if place.token:
        queue_key(out, permit, HELD, place.token, place.queued_at)
    else:
        queue_key(out, permit, WAITING, place.queued_at, place.queued_at)


cdef int place_save(StoreState *it, uint64_t permit, const Place *place, view value) except -1 nogil:
    cdef uint8_t key[QUEUE_KEY]
    cdef tree_place at
    cdef item *row
    cdef uint8_t *fill
    place_key(key, permit, place)
    row = forest_item(it.trees, key, QUEUE_KEY, QUEUE_FIXED + value.length)
    if row == NULL:
        no_memory()
    fill = item_value_to_fill(row)
    store_le64(fill, place.session)
    store_le64(fill + 8, place.acquisition)
    store_le64(fill + 16, place.token)
    store_le64(fill + 24, place.since_ms)
    store_le64(fill + 32, place.queued_at)
    store_le32(fill + 40, place.units)
    if value.length:
        memcpy(fill + QUEUE_FIXED, value.bytes, value.length)
    row.mod_revision = it.writing
    forest_seek(it.trees, QUEUE, key, QUEUE_KEY, &at)
    if forest_set(it.trees, &at, row) < 0:
        no_memory()
    return 0


cdef void acquired_key(uint8_t *out, uint64_t session, uint64_t acquisition) noexcept nogil:
    store_be64(out, session)
    store_be64(out + 8, acquisition)


cdef int acquired_save(StoreState *it, uint64_t permit, const Place *place, view name) except -1 nogil:
    cdef uint8_t key[16]
    cdef uint8_t row[ACQUIRED_FIXED + 512]
    acquired_key(key, place.session, place.acquisition)
    store_le64(row, permit)
    store_le64(row + 8, place.queued_at)
    store_le64(row + 16, place.token)
    memcpy(row + ACQUIRED_FIXED, name.bytes, name.length)
    return row_put(it, ACQUIRED, key, 16, row, ACQUIRED_FIXED + name.length)


cdef inline view acquired_name(const item *row) noexcept nogil:
    cdef view name
    name.bytes = item_value(row) + ACQUIRED_FIXED
    name.length = row.value_length - ACQUIRED_FIXED
    return name


cdef inline const item *acquired_place(StoreState *it, const item *acquired) noexcept nogil:
    """The row of QUEUE that a row of ACQUIRED stands for."""
    cdef uint8_t key[QUEUE_KEY]
    cdef Place place
    cdef const uint8_t *at = item_value(acquired)
    place.queued_at = load_le64(at + 8)
    place.token = load_le64(at + 16)
    place_key(key, load_le64(at), &place)
    return forest_get(it.trees, QUEUE, key, QUEUE_KEY)


cdef inline view holder_value(const item *row) noexcept nogil:
    cdef view value
    value.bytes = item_value(row) + QUEUE_FIXED
    value.length = row.value_length - QUEUE_FIXED
    return value


cdef int tell(StoreState *it, uint32_t kind, view name, const Place *place) except -1 nogil:
    return event_add(
        it, kind, forest_get(it.trees, PERMITS, name.bytes, name.length), place.session, place.acquisition, place.token
    )


cdef bint permit_fence(StoreState *it, view name, uint64_t token) noexcept nogil:
    """Whether a holder of this permit has this token."""
    cdef uint8_t key[QUEUE_KEY]
    cdef tree_cursor cursor
    cdef const item *row = forest_get(it.trees, PERMITS, name.bytes, name.length)
    if row == NULL or token == 0:
        return False
    queue_key(key, load_le64(item_value(row)), HELD, token, 0)
    tree_seek(&cursor, forest_root(it.trees, QUEUE), key, QUEUE_KEY)
    row = tree_at(&cursor)
    return row != NULL and memcmp(item_key(row), key, 17) == 0


# ---- the queue ------------------------------------------------------------------------------------------------------


cdef int grant_waiting(StoreState *it, Permit *permit, view name) except -1 nogil:
    """Grants from the head on as long as the head fits; never overtakes it."""
    cdef uint8_t key[QUEUE_KEY]
    cdef tree_cursor cursor
    cdef item *row
    cdef Place place
    while permit.waiters:
        queue_key(key, permit.id, WAITING, 0, 0)
        tree_seek(&cursor, forest_root(it.trees, QUEUE), key, QUEUE_KEY)
        row = item_retain(tree_at(&cursor))
        place_load(row, &place)
        if place.units > permit.capacity - permit.held:
            item_release(row)
            break
        row_remove(it, QUEUE, item_key(row), QUEUE_KEY)
        place.token = it.writing
        place.since_ms = it.clock_ms
        place_save(it, permit.id, &place, holder_value(row))
        item_release(row)
        acquired_save(it, permit.id, &place, name)
        permit.waiters -= 1
        permit.holders += 1
        permit.held += place.units
        permit.token = place.token
        tell(it, EVENT_GRANT, name, &place)
    return 0


cdef int forget_idle(StoreState *it) except -1 nogil:
    """Definitions of names that are not in use are kept within their limit; the longest idle go first."""
    cdef tree_cursor cursor
    cdef item *row
    while forest_count(it.trees, IDLE) > it.limits[<int> LIMIT_IDLE_PERMITS]:
        tree_seek(&cursor, forest_root(it.trees, IDLE), b"", 0)
        row = item_retain(tree_at(&cursor))
        row_remove(it, PERMITS, item_value(row), row.value_length)
        row_remove(it, IDLE, item_key(row), row.key_length)
        item_release(row)
    return 0


cdef int hand_over(StoreState *it, Permit *permit, view name) except -1 nogil:
    """After places were given up: grants, notes idleness, saves."""
    cdef uint8_t key[16]
    grant_waiting(it, permit, name)
    if permit.holders == 0 and permit.waiters == 0 and permit.idle_since == 0:
        permit.idle_since = it.writing
        acquired_key(key, permit.idle_since, permit.id)
        row_put(it, IDLE, key, 16, name.bytes, name.length)
    permit_save(it, permit, name)
    return forget_idle(it)


cdef int give_up(StoreState *it, Permit *permit, view name, const item *row, uint32_t kind) except -1 nogil:
    """Takes a place out of the queue, of a holder or a waiter, without handing over; `row` is its row of QUEUE."""
    cdef uint8_t key[16]
    cdef Place place
    place_load(row, &place)
    if place.token:
        permit.holders -= 1
        permit.held -= place.units
        tell(it, kind, name, &place)
    else:
        permit.waiters -= 1
    acquired_key(key, place.session, place.acquisition)
    row_remove(it, ACQUIRED, key, 16)
    row_remove(it, QUEUE, item_key(row), QUEUE_KEY)
    return 0


# ---- operations -------------------------------------------------------------------------------------------------------


cdef int revoked_answer(StoreState *it, const item *row, Outcome *out) except -1 nogil:
    """The reason of the forced release that took the acquisition away."""
    cdef const uint8_t *at = item_value(row)
    out.status = REVOKED_BY_FORCE
    out.number = load_le64(at)
    if sink_put(&it.body, at + REVOKED_FIXED, at[16]) < 0:
        no_memory()
    return 0


cdef int acquire_again(StoreState *it, const command *what, const item *acquired, Outcome *out) except -1 nogil:
    """The acquisition exists: the same question gets the same answer, another is refused."""
    cdef view name = acquired_name(acquired)
    cdef Permit permit
    cdef Place place
    place_load(acquired_place(it, acquired), &place)
    permit_load(forest_get(it.trees, PERMITS, name.bytes, name.length), &permit)
    if tree_compare(name.bytes, name.length, what.name.bytes, what.name.length) != 0 or permit.kind != what.kind:
        out.status = ACQUISITION_CONFLICT
    elif permit.capacity != what.capacity:
        out.status = CAPACITY_MISMATCH
        out.number = permit.capacity
    elif place.units != what.units:
        # A reader that waits to become a writer, while another does the same, would wait for ever.
        out.status = UPGRADE_REFUSED if permit.kind == PERMIT_RWLOCK and place.units == 1 else ACQUISITION_CONFLICT
    elif place.token:
        out.number = place.token
        out.flags |= GRANTED
    else:
        out.status = QUEUED
        out.number = place.queued_at
    return 0


cdef int acquire(StoreState *it, const command *what, Outcome *out) except -1 nogil:
    cdef uint8_t key[16]
    cdef Session *session = session_of(it, what.session)
    cdef const item *row
    cdef Permit permit
    cdef Place place
    cdef bint fresh
    cdef bint granted
    acquired_key(key, what.session, what.acquisition)
    row = forest_get(it.trees, REVOKED, key, 16)
    if row != NULL:
        return revoked_answer(it, row, out)
    row = forest_get(it.trees, ACQUIRED, key, 16)
    if row != NULL:
        return acquire_again(it, what, row, out)
    row = forest_get(it.trees, PERMITS, what.name.bytes, what.name.length)
    fresh = row == NULL
    if fresh:
        memset(&permit, 0, sizeof(Permit))
        permit.id = it.writing
        permit.kind = what.kind
        permit.capacity = what.capacity
    else:
        permit_load(row, &permit)
    granted = permit.waiters == 0 and what.units <= permit.capacity - permit.held
    if permit.kind != what.kind:
        out.status = KIND_MISMATCH
        out.number = permit.kind
    elif permit.capacity != what.capacity:
        out.status = CAPACITY_MISMATCH
        out.number = permit.capacity
    elif not granted and what.flags & COMMAND_TRY:
        out.status = WOULD_BLOCK
    elif fresh and forest_count(it.trees, PERMITS) >= it.limits[<int> LIMIT_PERMITS]:
        out.status = LIMIT
        out.number = LIMIT_PERMITS
    elif session.permits >= it.limits[<int> LIMIT_SESSION_PERMITS]:
        out.status = LIMIT
        out.number = LIMIT_SESSION_PERMITS
    elif not granted and permit.waiters >= it.limits[<int> LIMIT_PERMIT_WAITERS]:
        out.status = LIMIT
        out.number = LIMIT_PERMIT_WAITERS
    if out.status:
        return 0
    if permit.idle_since:
        acquired_key(key, permit.idle_since, permit.id)
        row_remove(it, IDLE, key, 16)
        permit.idle_since = 0
    place.session = what.session
    place.acquisition = what.acquisition
    place.queued_at = it.writing
    place.token = place.queued_at if granted else 0
    place.since_ms = it.clock_ms
    place.units = what.units
    if granted:
        permit.token = place.token
        permit.holders += 1
        permit.held += what.units
        out.flags |= GRANTED
    else:
        permit.waiters += 1
        out.status = QUEUED
    out.number = place.queued_at
    session.permits += 1
    place_save(it, permit.id, &place, what.value)
    acquired_save(it, permit.id, &place, what.name)
    permit_save(it, &permit, what.name)
    return tell(it, EVENT_GRANT if granted else EVENT_WAIT, what.name, &place)


cdef int release(StoreState *it, const command *what, Outcome *out) except -1 nogil:
    """Release gives up what is held; cancel gives up a wait too. Both answer with the token, 0 for a waiter."""
    cdef uint8_t key[16]
    cdef Session *session = session_of(it, what.session)
    cdef item *acquired
    cdef item *row
    cdef Permit permit
    cdef view name
    acquired_key(key, what.session, what.acquisition)
    row = forest_get(it.trees, REVOKED, key, 16)
    if row != NULL: # told once; then the acquisition is over
        revoked_answer(it, row, out)
        session.permits -= 1
        row_remove(it, REVOKED, key, 16)
        return 0
    acquired = forest_get(it.trees, ACQUIRED, key, 16)
    if acquired == NULL:
        out.status = NOT_HELD
        return 0
    out.number = load_le64(item_value(acquired) + 16)
    if out.number == 0 and what.operation == OPERATION_RELEASE:
        out.status = NOT_HELD
        return 0
    item_retain(acquired)
    name = acquired_name(acquired)
    row = item_retain(acquired_place(it, acquired))
    permit_load(forest_get(it.trees, PERMITS, name.bytes, name.length), &permit)
    give_up(it, &permit, name, row, EVENT_RELEASE)
    session.permits -= 1
    hand_over(it, &permit, name)
    item_release(row)
    item_release(acquired)
    return 0


cdef int set_holder_value(StoreState *it, const command *what, Outcome *out) except -1 nogil:
    cdef uint8_t key[16]
    cdef const item *acquired
    cdef Place place
    acquired_key(key, what.session, what.acquisition)
    acquired = forest_get(it.trees, ACQUIRED, key, 16)
    if acquired == NULL or load_le64(item_value(acquired) + 16) == 0:
        out.status = NOT_HELD
        return 0
    place_load(acquired_place(it, acquired), &place)
    out.number = place.token
    place_save(it, load_le64(item_value(acquired)), &place, what.value)
    return tell(it, EVENT_VALUE, acquired_name(acquired), &place)


cdef int force_release(StoreState *it, const command *what, Outcome *out) except -1 nogil:
    """Takes a permit away from one holder, or all; each is told by its acquisition until it gives that up."""
    cdef uint8_t key[QUEUE_KEY]
    cdef uint8_t revoked[REVOKED_FIXED + 255 + 512]
    cdef tree_cursor cursor
    cdef item *row = forest_get(it.trees, PERMITS, what.name.bytes, what.name.length)
    cdef Permit permit
    cdef Place place
    if row == NULL:
        out.status = NOT_FOUND
        return 0
    permit_load(row, &permit)
    permit.forced_ms = it.clock_ms
    permit.reason_length = <uint8_t> what.label.length
    if what.label.length:
        memcpy(permit.reason, what.label.bytes, what.label.length)
    while permit.holders:
        queue_key(key, permit.id, HELD, what.token, 0)
        tree_seek(&cursor, forest_root(it.trees, QUEUE), key, QUEUE_KEY)
        row = item_retain(tree_at(&cursor))
        if row == NULL or memcmp(item_key(row), key, 17 if what.token else 9) != 0:
            item_release(row)
            break
        place_load(row, &place)
        give_up(it, &permit, what.name, row, EVENT_REVOKE)
        item_release(row)
        permit.forced_at = it.writing
        permit.forced_token = place.token
        out.number += 1
        acquired_key(key, place.session, place.acquisition)
        store_le64(revoked, place.token)
        store_le64(revoked + 8, permit.forced_at)
        revoked[16] = permit.reason_length
        memcpy(revoked + REVOKED_FIXED, permit.reason, permit.reason_length)
        memcpy(revoked + REVOKED_FIXED + permit.reason_length, what.name.bytes, what.name.length)
        row_put(
            it, REVOKED, key, 16, revoked, REVOKED_FIXED + permit.reason_length + what.name.length
        )
    if out.number == 0:
        out.status = NOT_HELD
        return 0
    return hand_over(it, &permit, what.name)


cdef int permits_apply(StoreState *it, const command *what, Outcome *out) except -1 nogil:
    if what.operation == OPERATION_ACQUIRE:
        return acquire(it, what, out)
    if what.operation == OPERATION_HOLDER_VALUE:
        return set_holder_value(it, what, out)
    if what.operation == OPERATION_FORCE_RELEASE:
        return force_release(it, what, out)
    return release(it, what, out)


cdef int permits_end_session(StoreState *it, Session *session) except -1 nogil:
    """All places of the session go before any is handed over: so no grant goes to the session that ends, and no exclusive
    lock is granted twice in one entry."""
    cdef uint8_t prefix[8]
    cdef tree_cursor cursor
    cdef item *row
    cdef item *place
    cdef view name
    cdef Permit permit
    cdef vector[item *] given_up
    cdef size_t i
    store_be64(prefix, session.id)
    while True:
        tree_seek(&cursor, forest_root(it.trees, ACQUIRED), prefix, 8)
        row = <item *> tree_at(&cursor)
        if row == NULL or memcmp(item_key(row), prefix, 8) != 0:
            break
        item_retain(row)
        given_up.push_back(row)
        name = acquired_name(row)
        place = item_retain(acquired_place(it, row))
        permit_load(forest_get(it.trees, PERMITS, name.bytes, name.length), &permit)
        give_up(it, &permit, name, place, EVENT_RELEASE)
        permit_save(it, &permit, name)
        item_release(place)
    for i in range(given_up.size()):
        name = acquired_name(given_up[i])
        place = forest_get(it.trees, PERMITS, name.bytes, name.length)
        if place != NULL: # else it went idle by an earlier turn, and was forgotten
            permit_load(place, &permit)
            hand_over(it, &permit, name)
        item_release(given_up[i])
    while True:
        tree_seek(&cursor, forest_root(it.trees, REVOKED), prefix, 8)
        row = <item *> tree_at(&cursor)
        if row == NULL or memcmp(item_key(row), prefix, 8) != 0:
            break
        item_retain(row)
        row_remove(it, REVOKED, item_key(row), 16)
        item_release(row)
    session.permits = 0
    return 0


cdef int permit_index_idle(StoreState *it, const item *row) except -1 nogil:
    cdef uint8_t key[16]
    cdef const uint8_t *at = item_value(row)
    if load_le64(at + 8):
        acquired_key(key, load_le64(at + 8), load_le64(at))
        row_put(it, IDLE, key, 16, item_key(row), row.key_length)
    return 0


cdef int permit_index_place(StoreState *it, const item *row, uint64_t permit, view name) except -1 nogil:
    cdef Place place
    place_load(row, &place)
    return acquired_save(it, permit, &place, name)
