# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/tree.c csrc/forest.c csrc/command.c
"""Reads for clients on other machines: from a version of the store to bytes, without the GIL.

`_reader` does the same for Python threads of this process, which want objects. Knows nothing of connections, nor of whether the
version is fresh enough to answer.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from quorate.store._csrc cimport *
from quorate.store._permits cimport *
from quorate.store._read cimport *
from quorate.store._reader cimport Reader
from quorate.store._state cimport *
from quorate.store._text cimport view_of


cdef int put_row(sink *out, const item *row) except -1 nogil:
    if (
        sink_u16(out, row.key_length) < 0
        or sink_put(out, item_key(row), row.key_length) < 0
        or sink_u32(out, row.value_length) < 0
        or sink_put(out, item_value(row), row.value_length) < 0
        or sink_u64(out, row.create_revision) < 0
        or sink_u64(out, row.mod_revision) < 0
        or sink_u64(out, row.version) < 0
        or sink_u64(out, row.session) < 0
    ):
        no_memory()
    return 0


cdef int put_head(sink *out, uint64_t revision, uint8_t state) except -1 nogil:
    if sink_u64(out, revision) < 0 or sink_u8(out, state) < 0:
        no_memory()
    return 0


cdef int put_value(sink *out, const item *row) except -1 nogil:
    if sink_u32(out, row.value_length) < 0 or sink_put(out, item_value(row), row.value_length) < 0:
        no_memory()
    return 0


cdef int read_key(const tree_version *version, view key, sink *out) except -1 nogil:
    cdef const item *row = tree_get(version.roots[<int> KEYS], key.bytes, key.length)
    put_head(out, version.revision, <uint8_t> (row != NULL))
    return put_row(out, row) if row != NULL else 0


cdef int read_range(
    const tree_version *version, view start, view end, uint32_t limit, bint keys_only, uint64_t bytes_most, sink *out
) except -1 nogil:
    cdef tree_cursor cursor
    cdef const item *row
    cdef uint32_t count = 0
    cdef uint64_t bytes_ = 0
    cdef size_t place
    put_head(out, version.revision, 0)
    place = out.length
    if sink_u32(out, 0) < 0:
        no_memory()
    tree_seek(&cursor, version.roots[<int> KEYS], start.bytes, start.length)
    while True:
        row = tree_at(&cursor)
        if row == NULL or (
            end.length and tree_compare(item_key(row), row.key_length, end.bytes, end.length) >= 0
        ):
            break
        bytes_ += row.key_length + 2 if keys_only else item_cost(row)
        if (limit and count == limit) or (count and bytes_ > bytes_most):
            out.bytes[place - 1] = 1
            break
        if not keys_only:
            put_row(out, row)
        elif sink_u16(out, row.key_length) < 0 or sink_put(out, item_key(row), row.key_length) < 0:
            no_memory()
        count += 1
        tree_next(&cursor)
    store_le32(out.bytes + place, count)
    return 0


cdef int read_count(const tree_version *version, view start, view end, sink *out) except -1 nogil:
    cdef uint64_t count = tree_count(
        version.roots[<int> KEYS], start.bytes, start.length, end.bytes if end.length else NULL, end.length
    )
    if sink_u64(out, version.revision) < 0 or sink_u64(out, count) < 0:
        no_memory()
    return 0


cdef int read_session(const tree_version *version, uint64_t session, sink *out) except -1 nogil:
    cdef uint8_t key[8]
    cdef const item *row
    store_be64(key, session)
    row = tree_get(version.roots[<int> SESSIONS], key, 8)
    put_head(out, version.revision, <uint8_t> (row != NULL))
    if row == NULL:
        return 0
    if sink_u64(out, session) < 0:
        no_memory()
    return put_value(out, row)


cdef int read_acquisition(
    const tree_version *version, uint64_t session, uint64_t acquisition, sink *out
) except -1 nogil:
    cdef uint8_t key[16]
    cdef uint8_t place[QUEUE_KEY]
    cdef uint64_t token
    cdef uint64_t queued_at
    cdef const item *row
    cdef const uint8_t *at
    acquired_key(key, session, acquisition)
    row = tree_get(version.roots[<int> ACQUIRED], key, 16)
    if row == NULL:
        row = tree_get(version.roots[<int> REVOKED], key, 16)
        put_head(out, version.revision, TAKEN_AWAY if row != NULL else 0)
        return put_value(out, row) if row != NULL else 0
    at = item_value(row)
    queued_at = load_le64(at + 8)
    token = load_le64(at + 16)
    put_head(out, version.revision, HELD if token else WAITING)
    if (
        sink_u16(out, <uint16_t> (row.value_length - ACQUIRED_FIXED)) < 0
        or sink_put(out, at + ACQUIRED_FIXED, row.value_length - ACQUIRED_FIXED) < 0
    ):
        no_memory()
    queue_key(place, load_le64(at), HELD if token else WAITING, token if token else queued_at, queued_at)
    return put_value(out, tree_get(version.roots[<int> QUEUE], place, QUEUE_KEY))


cdef int read_permit(const tree_version *version, view name, uint32_t limit, sink *out) except -1 nogil:
    cdef uint8_t key[QUEUE_KEY]
    cdef tree_cursor cursor
    cdef const item *row = tree_get(version.roots[<int> PERMITS], name.bytes, name.length)
    cdef uint64_t permit
    cdef uint32_t count = 0
    cdef size_t place
    put_head(out, version.revision, <uint8_t> (row != NULL))
    if row == NULL:
        return 0
    put_value(out, row)
    place = out.length
    if sink_u32(out, 0) < 0:
        no_memory()
    permit = load_le64(item_value(row))
    queue_key(key, permit, 0, 0, 0)
    tree_seek(&cursor, version.roots[<int> QUEUE], key, QUEUE_KEY)
    while count < limit:
        row = tree_at(&cursor)
        if row == NULL or load_be64(item_key(row)) != permit:
            break
        put_value(out, row)
        count += 1
        tree_next(&cursor)
    store_le32(out.bytes + place, count)
    return 0


def encoded(object reader, str what, *arguments) -> bytes:
    """What a remote client would be sent: ``encoded(reader, "key", b"k")``; for tests of this module.

    ``what`` is key, range (start, end, limit, keys_only, bytes_most), count (start, end), session, acquisition
    (session, acquisition) or permit (name, limit).
    """
    cdef forest *trees = (<Reader?> reader).trees
    cdef const tree_version *version
    cdef uint32_t ticket
    cdef sink out
    cdef view a
    cdef view b
    out.bytes = NULL
    out.length = out.capacity = 0
    if what in ("key", "range", "count", "permit"):
        view_of(arguments[0], &a)
    if what in ("range", "count"):
        view_of(arguments[1], &b)
    version = forest_pin(trees, &ticket)
    try:
        if what == "key":
            read_key(version, a, &out)
        elif what == "range":
            read_range(version, a, b, arguments[2], arguments[3], arguments[4], &out)
        elif what == "count":
            read_count(version, a, b, &out)
        elif what == "session":
            read_session(version, arguments[0], &out)
        elif what == "acquisition":
            read_acquisition(version, arguments[0], arguments[1], &out)
        else:
            read_permit(version, a, arguments[1], &out)
        return out.bytes[: out.length]
    finally:
        forest_unpin(trees, ticket)
        sink_free(&out)
