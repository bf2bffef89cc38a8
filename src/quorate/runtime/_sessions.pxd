# The server side of sessions: renewals and expiry; see _sessions.pyx.

from libc.stdint cimport uint8_t, uint64_t

from quorate.raft._types cimport ReadResult
from quorate.runtime._structs cimport Figures, Loop, Request, step_function

cdef int sessions_prepare(Loop *it) except -1
cdef void sessions_clear(Loop *it) noexcept nogil

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
