"""What a log says, read back from its segments; see _replay.pyx."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

from quorate.storage._csrc cimport buffer, entry, record, record_cursor, segment_header
from quorate.storage._wal cimport HardState, Position

cdef cppclass Replay:
    HardState hard
    Position base            # a snapshot covers the entries up to here
    Position last            # the last entry, or what the base or a reset says
    Position start           # what was in front of entries[0]
    vector[entry] entries    # from start.index + 1 on; each holds a reference
    buffer *slab             # small payloads share buffers of SLAB_BYTES
    uint32_t slab_used
    uint32_t group
    uint64_t records
    cbool began              # whether the first segment has been seen

cdef class Replayed:
    cdef Replay *replay
    cdef readonly list segments      # of (file, header fields, where the records end, sealed)
    cdef readonly object cut         # None, or what was found behind the last good record
    cdef readonly object orphan      # path of a last segment without records behind an unsealed one, or None
    cdef readonly bytes cluster
    cdef readonly object node
    cdef readonly object incarnation
    cdef readonly object segment_bytes
    cdef record_cursor cursor        # of the active segment
    cdef uint32_t salt

cdef Replay *replay_new() except NULL
cdef void replay_free(Replay *it) noexcept nogil
cdef void replay_begin(Replay *it, const segment_header *header) noexcept nogil
cdef const char *replay_record(Replay *it, const record *what, const uint8_t *payload) noexcept nogil
