# Reads for clients on other machines: from a version to bytes, without the GIL.
#
# `version` is a pinned one (forest_pin), or that of a hold. Every function appends to `out`, and fails only for want of
# memory. Numbers are little-endian; a row is u16 and key, u32 and value, u64 create_revision,
# mod_revision, version, session.

from libc.stdint cimport uint32_t, uint64_t

from quorate.store._csrc cimport item, sink, tree_version, view

cdef int put_row(sink *out, const item *row) except -1 nogil
# u64 revision, u8 whether it is there, and the row.
cdef int read_key(const tree_version *version, view key, sink *out) except -1 nogil
# u64 revision, u8 whether it was cut, u32 count, rows. Cut at `limit` rows (0: none) or when the rows reach `bytes_most`;
# never before the first. With `keys_only` a row is u16 and key.
cdef int read_range(
    const tree_version *version, view start, view end, uint32_t limit, bint keys_only, uint64_t bytes_most, sink *out
) except -1 nogil
# u64 revision, u64 count.
cdef int read_count(const tree_version *version, view start, view end, sink *out) except -1 nogil
# u64 revision, u8 whether it is open, u64 id, u32 and the row of SESSIONS.
cdef int read_session(const tree_version *version, uint64_t session, sink *out) except -1 nogil
# u64 revision, u8 state: 0 none; HELD or WAITING with u16 and name, u32 and the row of QUEUE; TAKEN_AWAY with u32 and the
# row of REVOKED.
cdef int read_acquisition(
    const tree_version *version, uint64_t session, uint64_t acquisition, sink *out
) except -1 nogil
# u64 revision, u8 whether it is defined, u32 and the row of PERMITS, u32 count and u32 and row of QUEUE each: holders, then
# waiters, at most `limit`.
cdef int read_permit(const tree_version *version, view name, uint32_t limit, sink *out) except -1 nogil
