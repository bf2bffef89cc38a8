# The handle for Python around one node's state.

from libc.stdint cimport uint32_t

from quorate.raft._types cimport Core


cdef class Raft:
    cdef Core *core
    cdef uint32_t busy
    cdef readonly object config
    cdef object failure
    cdef int enter(self) except -1
    cdef int fail(self, object event) except -1
    cdef object copy_state(self)


cdef class LogView:
    cdef Raft raft
