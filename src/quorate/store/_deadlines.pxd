# When sessions expire, as the leader's own clock sees it. Not replicated: a decision to expire goes through the log.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.pair cimport pair
from libcpp.queue cimport priority_queue
from libcpp.unordered_map cimport unordered_map

from quorate.store._state cimport StoreState

cdef enum Renewal:
    RENEWED = 0
    UNKNOWN = 1          # no such session: it is lost
    EXPIRY_PROPOSED = 2  # too late: never acknowledge

cdef struct Deadline:
    uint64_t at_ms   # on the leader's monotonic clock
    uint32_t ttl_ms
    uint32_t proposed

# Times are milliseconds of the leader's monotonic clock, negated in the heap so that the earliest is on top.
cdef struct Deadlines:
    unordered_map[uint64_t, Deadline] *all
    priority_queue[pair[int64_t, uint64_t]] *heap  # no later than the deadline that it stands for
    bint leading

cdef Deadlines *deadlines_new() except NULL nogil
cdef void deadlines_free(Deadlines *it) noexcept nogil
# This node became leader, and has applied the first entry of its term: every session gets its full time.
cdef int deadlines_lead(Deadlines *it, StoreState *store, uint64_t now_ms) except -1 nogil
cdef void deadlines_follow(Deadlines *it) noexcept nogil
# Takes in the sessions that entries opened or ended; after each batch, on every node.
cdef int deadlines_take(Deadlines *it, StoreState *store, uint64_t now_ms) except -1 nogil
# A renewal whose quorum round is confirmed may be acknowledged if this says RENEWED. `now_ms`: when it was received.
cdef int deadlines_renew(Deadlines *it, uint64_t session, uint64_t now_ms) noexcept nogil
# The sessions whose time is over, at most `most`; each is given once, and from then on refuses renewals. After a pause of
# the loop, call it only when the renewals that waited have been taken in.
cdef int deadlines_due(Deadlines *it, uint64_t now_ms, uint64_t *sessions, int most) except -1 nogil
# The proposal was refused (nothing was appended): the session is due again.
cdef int deadlines_retry(Deadlines *it, uint64_t session) except -1 nogil
# The earliest time at which one may be due, or 0 if there is none.
cdef uint64_t deadlines_next(const Deadlines *it) noexcept nogil
