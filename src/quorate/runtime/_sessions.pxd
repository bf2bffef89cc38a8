# The server side of sessions: renewals, expiry, and processes that end; see _sessions.pyx.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.map cimport map as ordered_map
from libcpp.set cimport set as ordered_set
from libcpp.unordered_map cimport unordered_map
from libcpp.vector cimport vector

from quorate.raft._types cimport ReadResult
from quorate.runtime._structs cimport Figures, Loop, Request, step_function

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


cdef int sessions_prepare(Loop *it) except -1
cdef void sessions_clear(Loop *it) noexcept nogil

# What a client's connection calls. `told` and `birth`: what its hello says of its process. Answers a handle that goes into
# Request.process of what it asks, so that sessions opened or renewed by it are bound to the process; 0: not known here, or
# not of this machine. A connection that ends gives its handle back once; that alone ends nothing.
cdef uint32_t watch_process(Loop *it, int socket, uint32_t told, uint64_t birth) except? 0xFFFFFFFF nogil
cdef int leave_process(Loop *it, uint32_t handle) except -1 nogil
cdef int bind_session(Loop *it, uint32_t handle, uint64_t session) except -1 nogil

# What the loop calls. A RENEW request, counted as pending by the caller, is taken over and answered once.
cdef int sessions_ask(Loop *it, Request *request) except -1 nogil
# A frame of a member: 0, or 1 if it is damaged.
cdef int sessions_frame(Loop *it, uint64_t peer, uint8_t kind, const uint8_t *at, size_t length) except -1 nogil
# Once all that waits was taken in: renewals go on to the core or to the leader.
cdef int sessions_go(Loop *it, step_function step) except -1 nogil
# At the end of a turn that began at `woke`, though it should have begun at `due`: what is to end is proposed. `crowded`: more
# was ready than the turn took in.
cdef int sessions_judge(Loop *it, step_function step, uint64_t due, uint64_t woke, bint crowded) except -1 nogil
cdef uint64_t sessions_deadline(Loop *it) noexcept nogil
# A token of TOKEN_PROCESS is ready.
cdef int sessions_process(Loop *it, uint64_t token) except -1 nogil
# Behind each batch that was applied, on every node; takes the store's changes.
cdef int sessions_applied(Loop *it) except -1 nogil
cdef int sessions_office(Loop *it) except -1 nogil
# The leader, or the connection to it, is gone.
cdef int sessions_lost(Loop *it) except -1 nogil
# Whether the proposal or the read was one of these.
cdef int sessions_placed(Loop *it, uint64_t id, uint8_t status) except -1 nogil
cdef int sessions_confirmed(Loop *it, const ReadResult *result) except -1 nogil
cdef void sessions_figures(Loop *it, Figures *out) noexcept nogil
cdef void sessions_stopped(Loop *it) noexcept nogil
