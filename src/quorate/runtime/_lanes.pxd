# Lanes: sessions of a client and the numbered commands in them, for whichever loop drives them; see _lanes.pyx.
#
# A loop that drives lanes
#   gives each request of a kind from REQUEST_LANE_OPEN on to lanes_take,
#   calls lanes_run at the end of taking in, and again at lanes_deadline, and at once while lanes_ready and it has room,
#   answers each request that its LaneDriver.send took, once, with request_answer: with what its own kinds PROPOSE and RENEW
#     come to, CONNECTION_LOST when it is not known,
#   calls lanes_connected when there is a leader to send to (again for each other leader or term), and when there is none,
#   calls lanes_stopped at its end, after it has answered everything that it took.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.deque cimport deque
from libcpp.pair cimport pair
from libcpp.set cimport set as ordered_set
from libcpp.vector cimport vector

from quorate.raft._types cimport buffer
from quorate.runtime._notices cimport Notices
from quorate.runtime._structs cimport Request


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


cdef Lanes *lanes_new(Notices *notices, uint64_t seed) except NULL
# After lanes_stopped.
cdef void lanes_free(Lanes *it) noexcept nogil

# A request of a kind from REQUEST_LANE_OPEN on; takes the loop's reference over.
cdef int lanes_take(Lanes *it, Request *request, uint64_t now) except -1 nogil
# Whether lanes_run would send something; a driver without room does not ask.
cdef bint lanes_ready(Lanes *it) noexcept nogil
# When lanes_run has something to do at the latest.
cdef uint64_t lanes_deadline(Lanes *it) noexcept nogil
# Expires, renews and sends what is due.
cdef int lanes_run(Lanes *it, LaneDriver *driver, uint64_t now) except -1 nogil
# There is a leader to send to, or another one, or none.
cdef int lanes_connected(Lanes *it, bint connected, uint64_t now) except -1 nogil
# The loop has ended: answers everything. Whatever is asked afterwards is answered at once.
cdef void lanes_stopped(Lanes *it) noexcept nogil

cdef void lane_release(NativeLane *it) noexcept nogil
# Until when the session is ours, 0 if it is not; from any thread.
cdef uint64_t lane_deadline(const NativeLane *it) noexcept nogil
# From any thread: from this time on the session is not ours; a REQUEST_LANE_LIMIT tells the loop to look at it.
cdef void lane_limit(NativeLane *it, uint64_t at) noexcept nogil
cdef uint8_t lane_state(const NativeLane *it) noexcept nogil
cdef uint8_t lane_loss(const NativeLane *it) noexcept nogil
cdef uint64_t lane_session(const NativeLane *it) noexcept nogil
