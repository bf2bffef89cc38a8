# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/tree.c csrc/forest.c csrc/command.c
"""The store as canonical bytes, and back: two stores with the same state give the same bytes, whatever their history.

Numbers are little-endian. What can be made from other tables is left out and made anew.

    head      8 bytes "QUORSTOR", u32 format version, u8 cluster version, u64 applied index, term, clock_ms, history floor,
              u16 count and u64 of each limit, u32 length and bytes of the membership
    row       u8 table + 1, u16 key length, u32 value length, [of a user key: u64 create_revision, mod_revision, version,
              session], key, value; tables in the order of ORDER, rows in the order of their keys
    end       u8 0, u64 count of rows of each table of ORDER

The writer reads a version that the forest holds for it, so it neither stops nor is disturbed by entries that are applied
meanwhile. The parser trusts nothing: every length is bounded before it is waited for, every row is checked against those
that it depends on, which come before it. Knows nothing of files or checksums.
"""

from cython.operator cimport dereference
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memmove
from libcpp.unordered_map cimport unordered_map

from quorate.store._apply cimport store_publish
from quorate.store._csrc cimport *
from quorate.store._keys cimport key_restore
from quorate.store._permits cimport *
from quorate.store._sessions cimport RESULT_HEAD, SESSION_ROW_FIXED, session_restore
from quorate.store._snapshot cimport *
from quorate.store._state cimport *

from quorate.errors import InvalidArgument, NodeFailed, Overloaded, StorageError

cdef enum:
    FORMAT = 1
    SECTIONS = 6
    HEAD_FIXED = 47   # before the limits
    MEMBERSHIP_MAX = 1 << 20
    ROW_HEAD = 7
    KEY_NUMBERS = 32
    SESSION_ROW_MAX = SESSION_ROW_FIXED + 255

cdef uint32_t[6] ORDER = [SESSIONS, KEYS, RESULTS, PERMITS, QUEUE, REVOKED]
cdef uint32_t[10] KEY_LEAST = [1, 0, 8, 16, 1, QUEUE_KEY, 0, 16, 0, 0]
cdef uint32_t[10] KEY_MOST = [4096, 0, 8, 16, 512, QUEUE_KEY, 0, 16, 0, 0]
cdef uint32_t[10] VALUE_MOST = [
    8 << 20, 0, SESSION_ROW_MAX, 16 << 20, PERMIT_FIXED + 255, QUEUE_FIXED + 65_536, 0, REVOKED_FIXED + 255 + 512, 0, 0
]


# ---- writing --------------------------------------------------------------------------------------------------------


cdef int too_many_snapshots() except -1 nogil:
    with gil:
        raise Overloaded("too many snapshots are being written; wait for one to end")


cdef int write_head(StoreState *it, sink *out) except -1 nogil:
    cdef uint32_t i
    cdef bint failed = sink_put(out, b"QUORSTOR", 8) < 0
    failed |= sink_u32(out, FORMAT) < 0
    failed |= sink_u8(out, it.cluster_version) < 0
    failed |= sink_u64(out, it.applied_index) < 0
    failed |= sink_u64(out, it.applied_term) < 0
    failed |= sink_u64(out, it.clock_ms) < 0
    failed |= sink_u64(out, it.history_floor) < 0
    failed |= sink_u16(out, <uint16_t> LIMITS_END) < 0
    for i in range(<uint32_t> LIMITS_END):
        failed |= sink_u64(out, it.limits[i]) < 0
    failed |= sink_u32(out, <uint32_t> it.membership.length) < 0
    failed |= sink_put(out, it.membership.bytes, it.membership.length) < 0
    if failed:
        no_memory()
    return 0


cdef SnapshotWriter *snapshot_begin(StoreState *it) except NULL nogil:
    cdef SnapshotWriter *writer
    store_publish(it)
    writer = <SnapshotWriter *> calloc(1, sizeof(SnapshotWriter))
    if writer == NULL:
        no_memory()
    writer.hold = forest_keep(it.trees)
    if writer.hold == NULL:
        free(writer)
        too_many_snapshots()
    writer.version = forest_held(writer.hold)
    write_head(it, &writer.ready)
    writer.section = 0
    tree_seek(&writer.cursor, writer.version.roots[ORDER[0]], b"", 0)
    return writer


cdef uint64_t snapshot_index(const SnapshotWriter *it) noexcept nogil:
    return it.version.revision


cdef int write_next(SnapshotWriter *it) except -1 nogil:
    """Encodes the next row, or the end."""
    cdef const item *row = tree_at(&it.cursor)
    cdef uint8_t *fill
    cdef uint32_t table
    cdef size_t numbers
    cdef uint32_t i
    while row == NULL and it.section + 1 < <uint32_t> SECTIONS:
        it.section += 1
        tree_seek(&it.cursor, it.version.roots[ORDER[it.section]], b"", 0)
        row = tree_at(&it.cursor)
    if row == NULL:
        fill = sink_grow(&it.ready, 1 + 8 * SECTIONS)
        if fill == NULL:
            no_memory()
        fill[0] = 0
        for i in range(<uint32_t> SECTIONS):
            store_le64(fill + 1 + 8 * i, it.version.counts[ORDER[i]])
        it.done = True
        return 0
    table = ORDER[it.section]
    numbers = KEY_NUMBERS if table == KEYS else 0
    fill = sink_grow(&it.ready, ROW_HEAD + numbers + row.key_length + row.value_length)
    if fill == NULL:
        no_memory()
    fill[0] = <uint8_t> (table + 1)
    store_le16(fill + 1, row.key_length)
    store_le32(fill + 3, row.value_length)
    if numbers:
        store_le64(fill + 7, row.create_revision)
        store_le64(fill + 15, row.mod_revision)
        store_le64(fill + 23, row.version)
        store_le64(fill + 31, row.session)
    # Key and value lie beside each other in the item, too.
    memcpy(fill + ROW_HEAD + numbers, item_key(row), <size_t> row.key_length + row.value_length)
    tree_next(&it.cursor)
    return 0


cdef int64_t snapshot_read(SnapshotWriter *it, uint8_t *out, size_t capacity) except -1 nogil:
    cdef size_t given = 0
    cdef size_t some
    while given < capacity:
        if it.taken == it.ready.length:
            if it.done:
                break
            it.taken = it.ready.length = 0
            # Some rows at once, so that the copying below is in larger pieces.
            while it.ready.length < 4096 and not it.done:
                write_next(it)
        some = min(capacity - given, it.ready.length - it.taken)
        memcpy(out + given, it.ready.bytes + it.taken, some)
        it.taken += some
        given += some
    it.written += given
    return <int64_t> given


cdef void snapshot_end(SnapshotWriter *it) noexcept nogil:
    if it != NULL:
        forest_drop(it.hold)
        sink_free(&it.ready)
        free(it)


# ---- reading --------------------------------------------------------------------------------------------------------


cdef int damaged(const SnapshotReader *it, const char *why) except -1 nogil:
    with gil:
        raise StorageError(
            f"the snapshot is damaged: {why.decode()}", offset=it.offset, advice="Use another snapshot, or another member's"
        )


cdef int newer_format(uint32_t format, uint8_t version, uint8_t known) except -1 nogil:
    with gil:
        raise NodeFailed(
            f"the snapshot has format {format} and store version {version}; this program knows format {<int> FORMAT} "
            f"and versions up to {known}: install the version that wrote it"
        )


cdef SnapshotReader *restore_begin(uint8_t known_version) except NULL nogil:
    cdef SnapshotReader *it = <SnapshotReader *> calloc(1, sizeof(SnapshotReader))
    if it == NULL:
        no_memory()
    it.permits = new unordered_map[uint64_t, Tally]()
    it.store = store_new(known_version)
    return it


cdef void restore_free(SnapshotReader *it) noexcept nogil:
    if it != NULL:
        item_release(it.last)
        store_free(it.store)
        sink_free(&it.pending)
        del it.permits
        free(it)


cdef int64_t read_head(SnapshotReader *it, const uint8_t *at, size_t left) except -1 nogil:
    """Bytes of the head, or 0 if it is not all there."""
    cdef StoreState *store = it.store
    cdef uint32_t limits
    cdef uint32_t membership
    cdef uint32_t i
    cdef uint64_t value
    if left < HEAD_FIXED:
        return 0
    if memcmp(at, b"QUORSTOR", 8) != 0:
        damaged(it, b"it does not begin as a snapshot of a store does")
    if load_le32(at + 8) != FORMAT or at[12] > store.known_version:
        newer_format(load_le32(at + 8), at[12], store.known_version)
    limits = load_le16(at + 45)
    if at[12] == 0 or limits != LIMITS_END:
        damaged(it, b"its version or number of limits cannot be")
    if left < HEAD_FIXED + 8 * <size_t> limits + 4:
        return 0
    membership = load_le32(at + HEAD_FIXED + 8 * limits)
    if membership > MEMBERSHIP_MAX:
        damaged(it, b"its membership is too long")
    if left < HEAD_FIXED + 8 * <size_t> limits + 4 + membership:
        return 0
    store.cluster_version = at[12]
    store.applied_index = store.writing = load_le64(at + 13)
    store.applied_term = load_le64(at + 21)
    store.clock_ms = load_le64(at + 29)
    store.history_floor = load_le64(at + 37)
    if store.history_floor > store.applied_index:
        damaged(it, b"its history begins in the future")
    for i in range(limits):
        value = load_le64(at + HEAD_FIXED + 8 * i)
        if value < limit_least(i) or value > limit_most(i):
            damaged(it, b"a limit is outside of its bounds")
        store.limits[i] = value
    if sink_put(&store.membership, at + HEAD_FIXED + 8 * limits + 4, membership) < 0:
        no_memory()
    forest_write_at(store.trees, store.applied_index)
    it.begun = True
    return HEAD_FIXED + 8 * <int64_t> limits + 4 + membership


cdef const char *check_result(SnapshotReader *it, const item *row) noexcept nogil:
    cdef Session *session = session_of(it.store, load_be64(item_key(row)))
    cdef uint64_t number = load_be64(item_key(row) + 8)
    if session == NULL:
        return b"a result of no session"
    if number <= session.mark or number > session.applied or row.value_length < RESULT_HEAD:
        return b"a result outside of what its session retains"
    session.result_bytes += row.value_length - RESULT_HEAD
    return NULL


cdef const char *check_permit(SnapshotReader *it, const item *row, Tally *tally) noexcept nogil:
    cdef Permit permit
    if row.value_length < PERMIT_FIXED or row.value_length != <uint32_t> PERMIT_FIXED + item_value(row)[65]:
        return b"a permit of a wrong length"
    permit_load(row, &permit)
    tally.row = row
    tally.held = permit.held
    tally.holders = permit.holders
    tally.waiters = permit.waiters
    if (
        permit.kind == 0 or permit.kind > PERMIT_ELECTION or permit.capacity == 0 or permit.held > permit.capacity
        or permit.id == 0 or permit.id > it.store.applied_index or permit.idle_since > it.store.applied_index
        or permit.token > it.store.applied_index or it.permits.count(permit.id)
        or (permit.idle_since != 0) != (permit.holders == 0 and permit.waiters == 0)
    ):
        return b"a permit that cannot be"
    return NULL


cdef const char *check_place(SnapshotReader *it, const item *row, view *name) noexcept nogil:
    cdef uint8_t key[QUEUE_KEY]
    cdef Place place
    cdef Tally *tally
    cdef uint64_t permit = load_be64(item_key(row))
    cdef Session *session
    found = it.permits.find(permit)
    if found == it.permits.end() or row.value_length < QUEUE_FIXED:
        return b"a place in no queue"
    place_load(row, &place)
    if place.token:
        queue_key(key, permit, HELD, place.token, place.queued_at)
    else:
        queue_key(key, permit, WAITING, place.queued_at, place.queued_at)
    tally = &dereference(found).second
    session = session_of(it.store, place.session)
    if memcmp(key, item_key(row), QUEUE_KEY) != 0 or session == NULL or place.token > it.store.applied_index:
        return b"a place in a queue that cannot be"
    acquired_key(key, place.session, place.acquisition)
    if forest_get(it.store.trees, ACQUIRED, key, 16) != NULL:
        return b"an acquisition that stands twice"
    if place.token:
        if not tally.holders or tally.held < place.units:
            return b"a permit with more holders than it says"
        tally.holders -= 1
        tally.held -= place.units
    else:
        if not tally.waiters:
            return b"a permit with more waiters than it says"
        tally.waiters -= 1
    session.permits += 1
    name.bytes = item_key(tally.row)
    name.length = tally.row.key_length
    return NULL


cdef const char *check_revoked(SnapshotReader *it, const item *row) noexcept nogil:
    cdef Session *session = session_of(it.store, load_be64(item_key(row)))
    if session == NULL or row.value_length <= REVOKED_FIXED:
        return b"a forced release of no session"
    if row.value_length <= <uint32_t> REVOKED_FIXED + item_value(row)[16] or (
        row.value_length > <uint32_t> REVOKED_FIXED + item_value(row)[16] + <uint32_t> PERMIT_NAME_MAX
    ):
        return b"a forced release of a wrong length"
    session.permits += 1
    return NULL


cdef int take_row(SnapshotReader *it, uint32_t table, item *row) except -1 nogil:
    """Puts a row into its table after all checks. The row belongs to the caller until it is put."""
    cdef tree_place at
    cdef Tally tally
    cdef view name
    cdef const char *wrong = NULL
    if it.last != NULL and tree_compare(
        item_key(it.last), it.last.key_length, item_key(row), row.key_length
    ) >= 0:
        wrong = b"its rows are not in order"
    elif table == SESSIONS:
        if load_be64(item_key(row)) - 1 >= it.store.applied_index or not session_restore(it.store, row):
            wrong = b"a session that cannot be"
    elif table == KEYS:
        if key_restore(it.store, row) == 0:
            wrong = b"a key that cannot be"
    elif table == RESULTS:
        wrong = check_result(it, row)
    elif table == PERMITS:
        wrong = check_permit(it, row, &tally)
        if wrong == NULL:
            it.permits[0][load_le64(item_value(row))] = tally
            permit_index_idle(it.store, row)
    elif table == QUEUE:
        wrong = check_place(it, row, &name)
        if wrong == NULL:
            permit_index_place(it.store, row, load_be64(item_key(row)), name)
    else:
        wrong = check_revoked(it, row)
    if wrong != NULL:
        item_release(row)
        damaged(it, wrong)
    item_release(it.last)
    it.last = item_retain(row)
    it.rows[table] += 1
    forest_seek(it.store.trees, table, item_key(row), row.key_length, &at)
    if forest_set(it.store.trees, &at, row) < 0:
        no_memory()
    return 0


cdef int64_t read_row(SnapshotReader *it, const uint8_t *at, size_t left) except -1 nogil:
    """Bytes of the next row or of the end, or 0 if it is not all there."""
    cdef uint32_t table
    cdef uint32_t section
    cdef uint32_t key_length
    cdef uint32_t value_length
    cdef size_t numbers
    cdef size_t total
    cdef item *row
    cdef uint32_t i
    if left == 0:
        return 0
    if at[0] == 0:
        if left < 1 + 8 * SECTIONS:
            return 0
        for i in range(<uint32_t> SECTIONS):
            if load_le64(at + 1 + 8 * i) != it.rows[ORDER[i]]:
                damaged(it, b"its number of rows is not what its end says")
        it.done = True
        return 1 + 8 * SECTIONS
    table = at[0] - 1
    section = it.section
    while section < <uint32_t> SECTIONS and ORDER[section] != table:
        section += 1
    if section == <uint32_t> SECTIONS:
        damaged(it, b"a table that is unknown, or out of its order")
    if left < ROW_HEAD:
        return 0
    key_length = load_le16(at + 1)
    value_length = load_le32(at + 3)
    if key_length < KEY_LEAST[table] or key_length > KEY_MOST[table] or value_length > VALUE_MOST[table]:
        damaged(it, b"a row that is too long or too short")
    numbers = KEY_NUMBERS if table == KEYS else 0
    total = ROW_HEAD + numbers + key_length + value_length
    if left < total:
        return 0
    if section != it.section:
        it.section = section
        item_release(it.last)
        it.last = NULL
    row = forest_item(it.store.trees, at + ROW_HEAD + numbers, <uint16_t> key_length, value_length)
    if row == NULL:
        no_memory()
    memcpy(item_value_to_fill(row), at + ROW_HEAD + numbers + key_length, value_length)
    row.mod_revision = it.store.applied_index
    if numbers:
        row.create_revision = load_le64(at + 7)
        row.mod_revision = load_le64(at + 15)
        row.version = load_le64(at + 23)
        row.session = load_le64(at + 31)
    take_row(it, table, row)
    return <int64_t> total


cdef int restore_feed(SnapshotReader *it, const uint8_t *bytes, size_t length) except -1 nogil:
    cdef size_t place = 0
    cdef int64_t some
    if sink_put(&it.pending, bytes, length) < 0:
        no_memory()
    while True:
        if it.done and it.pending.length > place:
            damaged(it, b"bytes follow its end")
        some = 0
        if not it.begun:
            some = read_head(it, it.pending.bytes, it.pending.length)
        elif not it.done:
            some = read_row(it, it.pending.bytes + place, it.pending.length - place)
        if some == 0:
            break
        place += some
        it.offset += some
    it.pending.length -= place
    if place:
        memmove(it.pending.bytes, it.pending.bytes + place, it.pending.length)
    return 0


cdef StoreState *restore_finish(SnapshotReader *it) except NULL nogil:
    cdef StoreState *store = it.store
    cdef uint64_t retained = 0
    if not it.done:
        damaged(it, b"it ends too early")
    for one in it.permits[0]:
        if one.second.holders or one.second.waiters or one.second.held:
            damaged(it, b"a permit without the holders or waiters that it says")
    for some in store.sessions[0]:
        retained += some.second.applied - some.second.mark
    if retained != it.rows[<int> RESULTS]:
        damaged(it, b"a session without the results that it retains")
    store.history.since = store.applied_index
    store_publish(store)
    it.store = NULL
    return store


cdef int store_exchange(StoreState *it, StoreState *fresh) except -1 nogil:
    cdef sink membership = fresh.membership
    cdef History history = it.history
    if fresh.applied_index <= it.applied_index:
        with gil:
            raise InvalidArgument(
                f"a store at index {it.applied_index} cannot take over one of index {fresh.applied_index}")
    if forest_adopt(it.trees, fresh.trees, fresh.applied_index) < 0:
        no_memory()
    # Watchers know places in the history by number, and those go on; its events go away with the old state.
    it.history = fresh.history
    it.history.first = it.history.end = history.end
    it.history.since = fresh.applied_index
    fresh.history = history
    it.sessions.swap(fresh.sessions[0])
    it.nonces.swap(fresh.nonces[0])
    it.changes.swap(fresh.changes[0])
    it.dirty.clear()
    fresh.membership = it.membership
    it.membership = membership
    it.applied_index = it.writing = it.published_index = fresh.applied_index
    it.applied_term = fresh.applied_term
    it.clock_ms = fresh.clock_ms
    it.history_floor = fresh.history_floor
    it.cluster_version = fresh.cluster_version
    memcpy(it.limits, fresh.limits, sizeof(it.limits))
    return 0


cdef int store_adopt(StoreState *it, StoreState *fresh) except -1 nogil:
    try:
        store_exchange(it, fresh)
    finally:
        store_free(fresh)
    return 0
