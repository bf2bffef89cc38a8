# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/tree.c csrc/forest.c csrc/command.c
"""The other half of `_read`: from the bytes that a node answers with to the objects that its own readers make.

The bytes come from outside, so every length is checked before it is believed, and whatever does not fit raises InvalidArgument.
Knows nothing of connections. `skip` is the length of a namespace: so many bytes of each key are not shown.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from quorate.store._csrc cimport *
from quorate.store._permits cimport *
from quorate.store._reader cimport KeyValue, acquisition_of, key_value, session_view

from dataclasses import replace

from quorate.errors import InvalidArgument
from quorate.store.views import Acquisition, EventKind, PermitKind, WatchEvent
from quorate.store.views import Permit as PermitView

cdef enum:
    SESSION_FIXED = 45  # bytes of a row of SESSIONS before the label
    EVENT_FIXED = 34

cdef dict KINDS = {int(each): each for each in EventKind}


cdef struct Cursor:
    const uint8_t *at
    size_t left


cdef int begin(Cursor *it, bytes data) except -1:
    it.at = <const uint8_t *> PyBytes_AS_STRING(data)
    it.left = <size_t> PyBytes_GET_SIZE(data)
    return 0


cdef const uint8_t *take(Cursor *it, size_t length) except NULL:
    cdef const uint8_t *found = it.at
    if length > it.left:
        raise InvalidArgument(f"the answer is cut short: {length} bytes are announced, {it.left} are there")
    it.at += length
    it.left -= length
    return found


cdef int finish(Cursor *it) except -1:
    if it.left:
        raise InvalidArgument(f"the answer has {it.left} bytes too many")
    return 0


cdef inline uint64_t u64(Cursor *it) except? 1:
    return load_le64(take(it, 8))


cdef inline uint32_t u32(Cursor *it) except? 1:
    return load_le32(take(it, 4))


cdef inline uint16_t u16(Cursor *it) except? 1:
    return load_le16(take(it, 2))


cdef inline uint8_t u8(Cursor *it) except? 1:
    return take(it, 1)[0]


cdef bytes short_bytes(Cursor *it, size_t skip):
    cdef size_t length = u16(it)
    cdef const uint8_t *at
    if length < skip:
        raise InvalidArgument("the answer has a key outside of the namespace")
    at = take(it, length)
    return PyBytes_FromStringAndSize(<const char *> at + skip, <Py_ssize_t> (length - skip))


cdef item *row_of(Cursor *it) except NULL:
    """A row as `put_row` wrote it."""
    cdef uint16_t key_length = u16(it)
    cdef const uint8_t *key = take(it, key_length)
    cdef uint32_t value_length = u32(it)
    cdef const uint8_t *value = take(it, value_length)
    cdef const uint8_t *numbers = take(it, 32)
    cdef item *row = item_new(key, key_length, value_length)
    if row == NULL:
        raise MemoryError
    memcpy(item_value_to_fill(row), value, value_length)
    row.create_revision = load_le64(numbers)
    row.mod_revision = load_le64(numbers + 8)
    row.version = load_le64(numbers + 16)
    row.session = load_le64(numbers + 24)
    return row


cdef KeyValue key_value_of(Cursor *it, size_t skip):
    cdef item *row = row_of(it)
    if row.key_length < skip:
        item_release(row)
        raise InvalidArgument("the answer has a key outside of the namespace")
    return key_value(row, <Py_ssize_t> skip)


cdef item *table_row(Cursor *it, uint64_t key, size_t least) except NULL:
    """A row of one of the store's own tables: its value, and a number as its key."""
    cdef uint8_t name[8]
    cdef uint32_t length = u32(it)
    cdef const uint8_t *value = take(it, length)
    cdef item *row
    if length < least:
        raise InvalidArgument("the answer has a row that is too short")
    store_be64(name, key)
    row = item_new(name, 8, length)
    if row == NULL:
        raise MemoryError
    memcpy(item_value_to_fill(row), value, length)
    return row


def decode_key(bytes data not None, size_t skip=0) -> tuple[int, KeyValue | None]:
    """(revision, the key or None).

    >>> decode_key((7).to_bytes(8, "little") + bytes(1))
    (7, None)
    """
    cdef Cursor it
    cdef uint64_t revision
    begin(&it, data)
    revision = u64(&it)
    found = key_value_of(&it, skip) if u8(&it) else None
    finish(&it)
    return revision, found


cdef list rows_of(Cursor *it, bint keys_only, size_t skip):
    cdef list found = []
    cdef uint32_t i
    for i in range(u32(it)): # what is announced costs nothing until its bytes are there
        found.append(short_bytes(it, skip) if keys_only else key_value_of(it, skip))
    return found


def decode_range(bytes data not None, bint keys_only=False, size_t skip=0) -> tuple[int, bool, list[KeyValue] | list[bytes]]:
    """(revision, whether it was cut, keys in order)."""
    cdef Cursor it
    cdef uint64_t revision
    cdef bint cut
    begin(&it, data)
    revision = u64(&it)
    cut = u8(&it) != 0
    found = rows_of(&it, keys_only, skip)
    finish(&it)
    return revision, cut, found


def decode_count(bytes data not None) -> tuple[int, int]:
    """(revision, number of keys)."""
    cdef Cursor it
    cdef uint64_t revision
    cdef uint64_t count
    begin(&it, data)
    revision = u64(&it)
    count = u64(&it)
    finish(&it)
    return revision, count


def decode_session(bytes data not None) -> tuple[int, SessionView | None]:
    """(revision, the session or None)."""
    cdef Cursor it
    cdef uint64_t revision
    cdef item *row
    begin(&it, data)
    revision = u64(&it)
    if not u8(&it):
        finish(&it)
        return revision, None
    row = table_row(&it, u64(&it), SESSION_FIXED)
    try:
        if row.value_length != SESSION_FIXED + <uint32_t> item_value(row)[SESSION_FIXED - 1]:
            raise InvalidArgument("the answer has a session with a label of another length")
        finish(&it)
        return revision, session_view(row)
    finally:
        item_release(row)


def decode_acquisition(
    bytes data not None, uint64_t session, uint64_t acquisition
) -> tuple[int, Acquisition | None]:
    """(revision, where the acquisition stands, or None if it is over)."""
    cdef Cursor it
    cdef uint64_t revision
    cdef uint8_t state
    cdef item *row
    cdef const uint8_t *at
    begin(&it, data)
    revision = u64(&it)
    state = u8(&it)
    if state == 0:
        finish(&it)
        return revision, None
    if state not in (HELD, WAITING, TAKEN_AWAY):
        raise InvalidArgument(f"the answer has an acquisition of the unknown state {state}")
    name = short_bytes(&it, 0) if state != TAKEN_AWAY else b""
    row = table_row(&it, 0, REVOKED_FIXED if state == TAKEN_AWAY else QUEUE_FIXED)
    try:
        finish(&it)
        if state != TAKEN_AWAY:
            return revision, acquisition_of(row, name)
        at = item_value(row)
        if row.value_length < REVOKED_FIXED + <uint32_t> at[16]:
            raise InvalidArgument("the answer has a revoked acquisition that is cut short")
        reason = PyBytes_FromStringAndSize(<const char *> at + REVOKED_FIXED, at[16])
        name = PyBytes_FromStringAndSize(
            <const char *> at + REVOKED_FIXED + at[16], row.value_length - REVOKED_FIXED - at[16]
        )
        return revision, Acquisition(
            state="revoked", name=name, session=session, acquisition=acquisition, token=load_le64(at),
            queued_at=load_le64(at + 8), reason=reason,
        )
    finally:
        item_release(row)


def decode_permit(bytes data not None, bytes name not None) -> tuple[int, PermitView | None]:
    """(revision, the permit with its holders and waiters, or None if the name is not defined)."""
    cdef Cursor it
    cdef uint64_t revision
    cdef item *row
    cdef uint32_t i
    cdef Permit permit
    cdef list queue = []
    begin(&it, data)
    revision = u64(&it)
    if not u8(&it):
        finish(&it)
        return revision, None
    row = table_row(&it, 0, PERMIT_FIXED)
    try:
        if row.value_length < PERMIT_FIXED + <uint32_t> item_value(row)[PERMIT_FIXED - 1]:
            raise InvalidArgument("the answer has a permit that is cut short")
        permit_load(row, &permit)
    finally:
        item_release(row)
    for i in range(u32(&it)):
        row = table_row(&it, 0, QUEUE_FIXED)
        try:
            queue.append(acquisition_of(row, name))
        finally:
            item_release(row)
    finish(&it)
    try:
        kind = PermitKind(permit.kind)
    except ValueError:
        raise InvalidArgument(f"the answer has a permit of the unknown kind {permit.kind}") from None
    return revision, PermitView(
        name=name, kind=kind, capacity=permit.capacity, held=permit.held, holders=permit.holders, waiters=permit.waiters,
        token=permit.token, queue=tuple(queue), forced_at=permit.forced_at, forced_token=permit.forced_token,
        forced_ms=permit.forced_ms,
        reason=PyBytes_FromStringAndSize(<const char *> permit.reason, permit.reason_length),
    )


def decode_parts(bytes data not None, size_t skip=0) -> list[tuple[int, object]]:
    """What the operations of a transaction came to: (operation, result) each.

    A put gives None, a delete whether the key was there, an increment the sum, a delete of a range (how many, whether some
    are left), a get the key or None, or False if the result would have become too long, a range (keys, whether it was cut).
    """
    cdef Cursor it
    cdef uint8_t operation
    cdef uint8_t flag
    cdef list found = []
    begin(&it, data)
    while it.left:
        operation = u8(&it)
        if operation == OPERATION_PUT:
            part = None
        elif operation == OPERATION_DELETE:
            part = u8(&it) != 0
        elif operation == OPERATION_INCREMENT:
            part = int.from_bytes(take(&it, 8)[:8], "little", signed=True)
        elif operation == OPERATION_DELETE_RANGE:
            flag = u8(&it)
            part = (u64(&it), flag != 0)
        elif operation == OPERATION_GET:
            flag = u8(&it)
            part = key_value_of(&it, skip) if flag == 1 else None if flag == 0 else False
        elif operation == OPERATION_RANGE:
            flag = u8(&it)
            part = (rows_of(&it, False, skip), flag != 0)
        else:
            raise InvalidArgument(f"the answer has a part of the unknown operation {operation}")
        found.append((operation, part))
    return found


def decode_events(bytes data not None, size_t skip=0) -> tuple[bool, int, int, list[WatchEvent]]:
    """(whether the history asked for is gone, from where to go on, the first revision that is there, events in order). A kind of
    event that this program does not know is left out."""
    cdef Cursor it
    cdef bint compacted
    cdef uint64_t complete
    cdef uint64_t first
    cdef uint32_t i
    cdef const uint8_t *head
    cdef item *row
    cdef list found = []
    begin(&it, data)
    compacted = u8(&it) != 0
    complete = u64(&it)
    first = u64(&it)
    for i in range(u32(&it)):
        head = take(&it, EVENT_FIXED)
        row = row_of(&it)
        try:
            if row.key_length < skip:
                raise InvalidArgument("the answer has an event outside of the namespace")
            kind = KINDS.get(head[32])
            if kind is None:
                # Of a newer cluster. What happened stays told: the one before it is the last of the revision now.
                if head[33] and found and found[len(found) - 1].revision == load_le64(head):
                    found.append(replace(found.pop(), last_of_revision=True))
                continue
            found.append(WatchEvent(
                revision=load_le64(head), kind=kind,
                name=PyBytes_FromStringAndSize(<const char *> item_key(row) + skip, row.key_length - <Py_ssize_t> skip),
                value=PyBytes_FromStringAndSize(<const char *> item_value(row), row.value_length),
                version=row.version, session=load_le64(head + 8), acquisition=load_le64(head + 16),
                token=load_le64(head + 24), last_of_revision=head[33] != 0,
            ))
        finally:
            item_release(row)
    finish(&it)
    return compacted, complete, first, found
