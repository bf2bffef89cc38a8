# What steps want written, on its way to the log and back; see _disk.pyx.

from libc.stdint cimport uint64_t

from quorate.raft._types cimport Update
from quorate.runtime._structs cimport Loop

# What came back from the log.
cdef struct Durable:
    uint64_t ticket     # the core's newest that is durable now; 0: none is that was not before
    uint64_t index      # the log's last entry as of it
    uint64_t term
    bint full_changed

cdef int disk_write(Loop *it, Update *update) except -1 nogil
cdef int disk_push(Loop *it) except -1 nogil
cdef int disk_completed(Loop *it, Durable *out) except -1 nogil
cdef void disk_flush(Loop *it) noexcept nogil
