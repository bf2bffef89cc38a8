# A lane as Python holds it; see _lane.pyx. For any engine: a node or a client.

from libc.stdint cimport uint8_t, uint64_t

from quorate.runtime._completions cimport Asked
from quorate.runtime._lane_structs cimport NativeLane
from quorate.runtime._requests cimport Pending
from quorate.runtime._structs cimport Request, mailbox, poller


cdef class PendingMany(Asked):
    cdef readonly double timeout


cdef class Lane:
    cdef NativeLane *it
    cdef object engine       # keeps mailbox and poller alive
    cdef mailbox *mail
    cdef poller *poll
    cdef const int *ended
    cdef object describe
    cdef Pending ending
    cdef unsigned long generation
    cdef readonly Pending opening
    cdef object __weakref__      # so that who keeps a list of lanes need not keep their sessions alive

    # What held() tells.
    cdef bint alive(self) noexcept
    cdef int mine(self) except -1
    cdef int hand_in(self, Request *request) except -1
    # An absolute time of the engine's clock, or <uint64_t>-1 for none.
    cdef int limit_to(self, uint64_t at) except -1
    cdef Pending asked(self, Request *request, double timeout)


# What an outcome means that only lanes have; None for the others.
cdef object lane_error(uint8_t outcome)

# `margin` in seconds, or None; `timeout`: for the opening; `mark`: of this process, if its exit is to end the session wherever
# it is seen. Takes no lock and waits for nothing.
cdef Lane lane_open(
    object engine, mailbox *mail, poller *poll, const int *ended, object describe, double ttl, bytes label,
    object margin, double timeout, uint64_t mark,
)
