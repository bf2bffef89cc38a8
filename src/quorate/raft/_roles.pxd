# Becoming a follower, which every part of the protocol may have to do.

from libc.stdint cimport uint64_t

from quorate.raft._types cimport Core, Update


cdef int become_follower(Core *core, Update *update, uint64_t term, uint64_t leader) except -1 nogil
cdef int heard_leader(Core *core, Update *update, uint64_t leader) except -1 nogil
