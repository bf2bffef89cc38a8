# Questions about members, and the way of each to the leader; see _members.pyx.

from libc.stdint cimport uint8_t, uint64_t

from quorate.runtime._structs cimport Loop, Request, step_function

# A request of one of the three kinds, counted as pending.
cdef int members_take(Loop *it, Request *request, step_function step) except -1 nogil
# A frame of another member: 1 if it was understood.
cdef int members_frame(
    Loop *it, uint64_t peer, uint8_t kind, const uint8_t *at, size_t length, step_function step
) except -1 nogil
# Once a turn.
cdef int members_tick(Loop *it, uint64_t now, step_function step) except -1 nogil
cdef uint64_t members_deadline(Loop *it) noexcept nogil
# The connection to a member, or from it, is gone: what it was asked has no answer.
cdef int members_lost(Loop *it, uint64_t peer, bint proven) except -1 nogil
# At the end, before the connections are closed.
cdef int members_goodbye(Loop *it) except -1 nogil
cdef void members_stopped(Loop *it) noexcept nogil
