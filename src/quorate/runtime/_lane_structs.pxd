# The structs of lanes.hpp as the modules of lanes see them, what any thread may read of a lane, and the tables of all lanes
# in which the line of one (_lane_line.pyx), its life (_lane_life.pyx) and what drives them (_lanes.pyx) note when it is to be
# looked at. Inline, because this happens for each command.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.deque cimport deque
from libcpp.pair cimport pair
from libcpp.set cimport set as ordered_set
from libcpp.vector cimport vector

from quorate.raft._types cimport buffer
from quorate.runtime._notices cimport Notices
from quorate.runtime._structs cimport (
    OUTCOME_MALFORMED,
    OUTCOME_NO_LEADER,
    OUTCOME_STOPPED_BEFORE,
    OUTCOME_UNREACHABLE,
    Request,
)


cdef extern from "quorate/runtime/lanes.hpp" namespace "quorate" nogil:
    const uint8_t LANE_OPENING
    const uint8_t LANE_OPEN
    const uint8_t LANE_CLOSING
    const uint8_t LANE_CLOSED
    const uint8_t LANE_LOST

    const uint8_t LOSS_NONE
    const uint8_t LOSS_ENDED
    const uint8_t LOSS_DEADLINE
    const uint8_t LOSS_REFUSED
    const uint8_t LOSS_REWOUND
    const uint8_t LOSS_STOPPED
    const uint8_t LOSS_LIMIT

    const uint8_t REQUEST_LANE_OPEN
    const uint8_t REQUEST_LANE_COMMAND
    const uint8_t REQUEST_LANE_MANY
    const uint8_t REQUEST_LANE_CLOSE
    const uint8_t REQUEST_LANE_LIMIT

    const uint8_t COMMAND_WAITS
    const uint8_t COMMAND_SENT
    const uint8_t COMMAND_DONE

    const uint8_t SENDING_COMMAND
    const uint8_t SENDING_OPEN
    const uint8_t SENDING_END
    const uint8_t SENDING_RENEWAL

    const uint64_t LANES_QUEUED_MAX
    const size_t MANY_COMMANDS_MAX

    cdef cppclass Many(Request):
        vector[buffer *] commands
        vector[uint32_t] weights
        vector[buffer *] results
        vector[uint8_t] outcomes
        size_t left
        Many()

    cdef cppclass LaneCommand:
        buffer *command
        Request *request
        uint32_t position
        uint32_t weight
        uint32_t attempt
        uint16_t flights
        uint8_t state
        uint8_t refusal
        cbool doubt
        cbool shared
        LaneCommand()

    cdef cppclass NativeLane "quorate::Lane"

    cdef cppclass Sending(Request):
        uint32_t attempt
        uint8_t what
        uint64_t sent_at
        vector[NativeLane *] lanes
        Sending()

    cdef cppclass NativeLane "quorate::Lane":
        uint32_t references
        uint64_t id
        uint32_t ttl_ms
        uint64_t ttl
        uint64_t margin
        uint8_t label_length
        uint8_t *label
        uint8_t state
        uint8_t loss
        uint64_t session
        uint64_t deadline
        uint64_t limit
        int dropped
        Lanes *lanes
        uint8_t *nonce
        cbool closing
        cbool asked
        cbool ready
        Request *opening
        Request *ending
        buffer *opened
        uint64_t found
        uint64_t opened_from
        uint8_t refusal
        deque[LaneCommand] line
        uint64_t base
        size_t numbered
        size_t cursor
        size_t live
        uint64_t weight
        uint32_t window
        uint32_t flights
        uint32_t attempt
        uint64_t retry_at
        uint64_t pause
        uint64_t backoff
        uint64_t expiry
        uint64_t renew_at
        uint64_t timer
        NativeLane()


ctypedef NativeLane *LanePointer

cdef extern from "quorate/runtime/lanes.hpp" namespace "quorate" nogil:
    cdef cppclass LaneDriver:
        void *context
        int (*send)(void *context, Request *request) except -1 nogil
        LaneDriver()

    cdef cppclass Lanes:
        Notices *notices
        cbool connected
        cbool stopped
        uint64_t queued
        ordered_set[NativeLane *] all
        deque[NativeLane *] ready
        ordered_set[pair[uint64_t, LanePointer]] timers
        ordered_set[pair[uint64_t, LanePointer]] renewals
        vector[Sending *] spare
        uint64_t random
        uint64_t sent
        uint64_t again
        uint64_t restarts
        uint64_t lost
        uint64_t renewed
        uint64_t renewals_failed
        Lanes()

ctypedef pair[uint64_t, LanePointer] place

cdef enum:
    # A result of the store (store/_state.pxd).
    RESULT_HEAD = 18
    RESULT_NUMBER = 10

cdef extern from *:
    """
    #include <cstdint>
    static const uint64_t NEVER = UINT64_MAX;
    static inline bool shared_give_back(uint32_t *count) { return __atomic_fetch_sub(count, 1u, __ATOMIC_ACQ_REL) == 1; }
    static inline uint64_t shared_load64(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void shared_store64(uint64_t *at, uint64_t x) { __atomic_store_n(at, x, __ATOMIC_RELEASE); }
    static inline uint8_t shared_load8(const uint8_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void shared_store8(uint8_t *at, uint8_t x) { __atomic_store_n(at, x, __ATOMIC_RELEASE); }
    """
    const uint64_t NEVER
    bint shared_give_back(uint32_t *count) noexcept nogil
    uint64_t shared_load64(const uint64_t *at) noexcept nogil
    void shared_store64(uint64_t *at, uint64_t x) noexcept nogil
    uint8_t shared_load8(const uint8_t *at) noexcept nogil
    void shared_store8(uint8_t *at, uint8_t x) noexcept nogil


# From any thread ---------------------------------------------------------------------------------------------------------


cdef inline uint64_t lane_deadline(const NativeLane *it) noexcept nogil:
    """Until when the session is ours, 0 if it is not."""
    return min(shared_load64(&it.deadline), shared_load64(&it.limit))


cdef inline void lane_limit(NativeLane *it, uint64_t at) noexcept nogil:
    """From this time on the session is not ours; a REQUEST_LANE_LIMIT tells the loop to look at it."""
    shared_store64(&it.limit, at)


cdef inline uint8_t lane_state(const NativeLane *it) noexcept nogil:
    return shared_load8(&it.state)


cdef inline uint8_t lane_loss(const NativeLane *it) noexcept nogil:
    return shared_load8(&it.loss)


cdef inline uint64_t lane_session(const NativeLane *it) noexcept nogil:
    return shared_load64(&it.session)


# From the thread of the loop ---------------------------------------------------------------------------------------------


cdef inline bint proves(uint8_t outcome) noexcept nogil:
    """That nothing was appended, or that what was can never be committed."""
    return OUTCOME_NO_LEADER <= outcome <= OUTCOME_STOPPED_BEFORE or outcome == OUTCOME_UNREACHABLE or outcome == OUTCOME_MALFORMED


cdef inline bint over(const NativeLane *lane) noexcept nogil:
    return lane.state == LANE_CLOSED or lane.state == LANE_LOST


cdef inline void wake(Lanes *it, NativeLane *lane) noexcept nogil:
    if not lane.ready:
        lane.ready = True
        it.ready.push_back(lane)


cdef inline void timer_at(Lanes *it, NativeLane *lane, uint64_t at) noexcept nogil:
    """Not later than this. A timer that comes too early is set again, so that nobody has to move it back."""
    if at == NEVER or (lane.timer and lane.timer <= at):
        return
    if lane.timer:
        it.timers.erase(place(lane.timer, lane))
    lane.timer = max(at, <uint64_t>1)
    it.timers.insert(place(lane.timer, lane))


cdef inline void renew_at(Lanes *it, NativeLane *lane, uint64_t at) noexcept nogil:
    """At this time; 0: not."""
    if lane.renew_at:
        it.renewals.erase(place(lane.renew_at, lane))
    lane.renew_at = at
    if at:
        it.renewals.insert(place(at, lane))


cdef inline int no_memory() except -1 nogil:
    with gil:
        raise MemoryError
