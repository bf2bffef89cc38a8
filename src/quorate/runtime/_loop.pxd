# The native thread of a node; see _loop.pyx.

from libc.stdint cimport uint64_t

from quorate.runtime._structs cimport Loop

cdef int loop_prepare(Loop *it) except -1
cdef int loop_start(Loop *it, const char *name) except -1
cdef void loop_stop(Loop *it) noexcept nogil
cdef void loop_clear(Loop *it) noexcept nogil
