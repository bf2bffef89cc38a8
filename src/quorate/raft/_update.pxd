# What a step asks its caller to do, as Python sees it.

from quorate.raft._types cimport Update as NativeUpdate


cdef class Update:
    cdef NativeUpdate native
    cdef object cached_messages
    cdef object cached_after
    cdef tuple as_tuple(self)
