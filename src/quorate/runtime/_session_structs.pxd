# The structs of sessions.hpp as the server side of sessions sees them.

from libc.stdint cimport uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.map cimport map as ordered_map
from libcpp.set cimport set as ordered_set
from libcpp.unordered_map cimport unordered_map
from libcpp.vector cimport vector

from quorate.runtime._structs cimport Loop, Request

cdef enum:
    TOKEN_PROCESS = 8       # in the lower half of a poller's token; the upper one says which
    PROCESSES_MAX = 1024    # processes watched at a time
    RENEW_SESSIONS_MAX = 8192 # of one request


cdef extern from "quorate/runtime/sessions.hpp" namespace "quorate" nogil:
    cdef cppclass Renewal:
        Request *request
        uint64_t peer
        uint64_t id
        uint64_t arrived_ms
        vector[uint64_t] sessions
        Renewal()

    cdef cppclass ForwardedRenewals:
        uint64_t leader
        uint64_t expires_at
        size_t sessions
        vector[Renewal] all
        ForwardedRenewals()

    cdef cppclass Process:
        cbool used
        cbool member
        cbool exited
        int fd
        uint32_t generation
        uint32_t number
        uint64_t birth
        uint32_t connections
        uint64_t forget_at
        ordered_set[uint64_t] sessions
        Process()

    cdef cppclass Sessions:
        void *deadlines
        uint64_t led_term
        vector[Renewal] waiting
        vector[Renewal] round
        uint64_t round_id
        uint64_t round_term
        uint64_t next_round_at
        uint64_t asked
        ordered_map[uint64_t, ForwardedRenewals] forwarded
        ordered_map[uint64_t, vector[uint64_t]] expiries
        uint64_t look_at
        uint64_t settled_at
        uint64_t paused_at
        uint64_t crowded_since
        vector[Process] processes
        unordered_map[uint64_t, uint32_t] owners
        uint32_t exited
        uint32_t watched
        ordered_set[uint64_t] ending
        uint64_t end_at
        uint64_t renewed
        uint64_t rounds
        uint64_t expired
        uint64_t exits
        uint64_t pauses
        Sessions()


cdef inline Sessions *sessions_of(Loop *it) noexcept nogil:
    return <Sessions *>it.sessions
