# What can happen to a node, as Python sees it.

from quorate.raft._types cimport Event as NativeEvent


cdef class Event:
    cdef NativeEvent native
    cdef readonly object message
