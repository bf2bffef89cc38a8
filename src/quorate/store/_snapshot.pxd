# The store as canonical bytes, and back.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libcpp.unordered_map cimport unordered_map

from quorate.store._csrc cimport forest_hold, item, sink, tree_cursor, tree_version
from quorate.store._state cimport StoreState

# Writes one snapshot. Made on the apply thread between entries; read on any one thread, while entries go on being applied.
cdef struct SnapshotWriter:
    forest_hold *hold  # the version that is written
    const tree_version *version
    sink ready         # encoded bytes that have not been taken
    size_t taken
    uint32_t section   # place in the order of the tables
    tree_cursor cursor
    uint64_t written   # bytes given out
    bint done

# What the rows of QUEUE must add up to.
cdef struct Tally:
    const item *row
    uint64_t held
    uint32_t holders
    uint32_t waiters

# Builds a store from a snapshot's bytes. Nothing else uses the store before it is done.
cdef struct SnapshotReader:
    StoreState *store       # owned until snapshot_finish hands it out
    sink pending       # bytes that are no whole record yet
    uint64_t offset    # of pending[0] in the snapshot
    uint32_t section
    bint begun
    bint done
    uint64_t[10] rows
    item *last         # the row before, one reference: rows come in order
    unordered_map[uint64_t, Tally] *permits

# Publishes what was applied and keeps it. NULL with an exception if too many snapshots are held already.
cdef SnapshotWriter *snapshot_begin(StoreState *it) except NULL nogil
# Fills up to `capacity` bytes; 0 at the end.
cdef int64_t snapshot_read(SnapshotWriter *it, uint8_t *out, size_t capacity) except -1 nogil
# The index that it stands for.
cdef uint64_t snapshot_index(const SnapshotWriter *it) noexcept nogil
# Gives the version back; from any thread, at any time.
cdef void snapshot_end(SnapshotWriter *it) noexcept nogil

cdef SnapshotReader *restore_begin(uint8_t known_version) except NULL nogil
# StorageError if the bytes cannot be a snapshot; NodeFailed if they are of a newer version.
cdef int restore_feed(SnapshotReader *it, const uint8_t *bytes, size_t length) except -1 nogil
# The store, which the caller owns. StorageError if the snapshot is not complete.
cdef StoreState *restore_finish(SnapshotReader *it) except NULL nogil
cdef void restore_free(SnapshotReader *it) noexcept nogil
# Puts a restored store in the place of this one, for a follower that was sent a snapshot; its readers see the change as one
# publication. `fresh` must have had no reader, and stays the caller's: afterwards it holds the old sessions and history, but
# not the old tables, which this one frees in portions as readers let go. So both cost the applying thread next to nothing.
cdef int store_exchange(StoreState *it, StoreState *fresh) except -1 nogil
# The same, and frees what is left, in any case.
cdef int store_adopt(StoreState *it, StoreState *fresh) except -1 nogil
