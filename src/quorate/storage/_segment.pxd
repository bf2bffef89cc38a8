"""Records into segment files; see _segment.pyx."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.string cimport string

from quorate.storage._wal cimport HardState, Wal

cdef enum:
    SEAL_BYTES = 40        # record_size(0); kept free at the end of each segment
    SEGMENT_PREFACE = 88   # what a segment begins with: base (40) and hard state (48)

cdef string segment_path(Wal *wal, uint64_t sequence) noexcept nogil
cdef string reserve_path(Wal *wal) noexcept nogil
cdef int segment_build(Wal *wal) noexcept nogil
cdef int segment_activate(Wal *wal, uint64_t sequence, uint32_t chain_in, int *fd, uint32_t *chain) noexcept nogil
cdef int segment_fill(Wal *wal, int fd, uint64_t start, uint64_t end, cbool paced) noexcept nogil
cdef int log_fail(Wal *wal, int error, const char *what, const char *path, uint64_t offset) noexcept nogil
cdef int log_put(Wal *wal, int kind, uint64_t term, uint64_t index, const uint8_t *payload,
                 uint32_t length) noexcept nogil
cdef int log_put_hard(Wal *wal, const HardState *hard) noexcept nogil
cdef int log_end_batch(Wal *wal) noexcept nogil
cdef int log_write_preface(Wal *wal) noexcept nogil
