# The structs of engine.hpp as the modules of this folder see them. Declarations only.

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.deque cimport deque
from libcpp.string cimport string
from libcpp.vector cimport vector

from quorate.runtime._lane_structs cimport LaneDriver, Lanes
from quorate.runtime._notices cimport Notices
from quorate.runtime._structs cimport Request, mailbox, net_address, poller, pthread_cond_t, pthread_mutex_t, pthread_t


cdef extern from "lookup.h" nogil:
    enum:
        LOOKUP_HOST_MAX
        LOOKUP_FOUND_MAX
        LOOKUP_PENDING
    ctypedef struct lookup:
        pass
    lookup *lookup_start(const char *host, uint16_t port, void (*done)(void *) noexcept nogil, void *context)
    int lookup_take(lookup *it, net_address *found, size_t most, int *reason)
    void lookup_free(lookup *it)
    const char *lookup_text(int reason)


cdef extern from "quorate/client/engine.hpp" namespace "quorate" nogil:
    const uint8_t TROUBLE_NONE
    const uint8_t TROUBLE_UNTRIED
    const uint8_t TROUBLE_LOOKUP
    const uint8_t TROUBLE_ADDRESS
    const uint8_t TROUBLE_CONNECT
    const uint8_t TROUBLE_SLOW
    const uint8_t TROUBLE_SILENT
    const uint8_t TROUBLE_STRANGER
    const uint8_t TROUBLE_NEWER
    const uint8_t TROUBLE_DAMAGED
    const uint8_t TROUBLE_CLUSTER
    const uint8_t TROUBLE_REFUSED
    const uint8_t TROUBLE_LOST
    const uint8_t TROUBLE_HUNG

    cdef cppclass Trouble:
        uint8_t kind
        int32_t detail
        string text
        Trouble()

    cdef cppclass Place:
        cbool used
        cbool given
        cbool told
        string text
        string host
        uint16_t port
        vector[net_address] found
        size_t next
        lookup *looking
        cbool lasting
        int link
        uint64_t node
        uint64_t tried_at
        uint64_t retry_at
        uint64_t backoff
        Trouble trouble
        Place()

    const uint8_t LINK_FREE
    const uint8_t LINK_CONNECTING
    const uint8_t LINK_GREETING
    const uint8_t LINK_OPEN

    cdef cppclass Link:
        int fd
        uint8_t state
        cbool queued
        uint32_t generation
        int place
        uint64_t node
        uint64_t deadline
        int32_t broken
        vector[uint8_t] input "in"
        size_t begin
        size_t end
        vector[uint8_t] out
        size_t sent
        uint64_t written
        uint32_t in_flight
        uint32_t prompt
        uint64_t heard_at
        uint64_t waits_since
        uint64_t used_at
        cbool useful
        cbool probed
        uint64_t behind_until

    const uint8_t ROUTE_LEADER
    const uint8_t ROUTE_NEAR
    const uint8_t ROUTES

    cdef cppclass Ask:
        cbool used
        uint8_t kind
        uint8_t route
        uint8_t refusal
        uint32_t generation
        uint8_t losses
        int link
        uint64_t ends_at
        uint64_t expires_at
        Request *request
        Ask()

    cdef cppclass KnownMember:
        uint64_t id
        uint8_t flags
        string name
        string address
        KnownMember()

    cdef cppclass EngineFigures:
        uint64_t in_flight
        uint64_t parked
        uint64_t links
        uint64_t output_bytes
        uint64_t turns
        uint64_t asked
        uint64_t answered
        uint64_t asked_again
        uint64_t expired
        uint64_t lost
        uint64_t connected
        uint64_t attempts
        uint64_t leader_changes
        uint64_t bytes_sent
        uint64_t bytes_received
        uint64_t lanes
        uint64_t lane_commands
        uint64_t lane_sent
        uint64_t lane_again
        uint64_t lanes_lost
        uint64_t lanes_renewed
        EngineFigures()

    cdef cppclass EngineTold:
        uint64_t leader
        uint64_t term
        uint64_t seen
        uint8_t *cluster
        cbool cluster_known
        cbool connected
        vector[KnownMember] members
        vector[Place] places
        vector[uint64_t] linked
        EngineFigures figures

    cdef cppclass Engine:
        poller *poll
        mailbox *mail
        pthread_t thread
        int pid
        cbool running
        cbool follow
        cbool near_wanted
        int stopping
        int failed
        int ended
        vector[uint8_t] hello
        uint8_t *cluster
        cbool cluster_known
        vector[Place] places
        vector[Link] links
        vector[uint32_t] unsent
        uint64_t random
        uint64_t next_attempt_at
        uint64_t calm_at
        uint64_t alone_since
        uint64_t leader
        uint64_t term
        uint64_t members_term
        uint64_t members_applied
        vector[KnownMember] members
        int near_link
        uint64_t *hold_until
        vector[Ask] asks
        vector[uint32_t] free_asks
        deque[uint64_t] *parked
        uint64_t expiry_at
        uint64_t seen
        cbool doubted
        cbool was_connected
        Lanes *lanes
        Notices *notices
        LaneDriver driver
        int lanes_link
        uint32_t lanes_generation
        uint64_t lanes_leader
        uint64_t lanes_term
        EngineFigures figures
        pthread_mutex_t lock
        pthread_cond_t changed
        EngineTold told
        uint64_t due
        cbool news
        Engine()
