# The structs of structs.hpp and the kernels of csrc as the modules of this folder see them. Declarations only.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.deque cimport deque
from libcpp.map cimport map as ordered_map
from libcpp.map cimport multimap
from libcpp.string cimport string
from libcpp.unordered_map cimport unordered_map
from libcpp.vector cimport vector

from quorate.raft._types cimport Change, Core, EntryRef, Event, HardState, Message, buffer


cdef extern from "poller.h" nogil:
    enum:
        POLLER_READ
        POLLER_WRITE
        POLLER_CLOSED
    ctypedef struct poller:
        pass
    ctypedef struct poller_event:
        uint64_t token
        uint32_t ready
    const char *poller_name()
    poller *poller_new(size_t capacity)
    void poller_free(poller *it)
    int poller_add(poller *it, int descriptor, uint32_t interest, uint64_t token)
    int poller_change(poller *it, int descriptor, uint32_t interest)
    int poller_remove(poller *it, int descriptor)
    int poller_wait(poller *it, poller_event *events, size_t most, uint64_t deadline)
    void poller_wake(poller *it)
    uint64_t clock_microseconds()


cdef extern from "mailbox.h" nogil:
    enum:
        MAILBOX_FULL
        MAILBOX_CLOSED
        MAILBOX_PUT
        MAILBOX_WAKE
    ctypedef struct mailbox:
        pass
    mailbox *mailbox_new(size_t capacity)
    void mailbox_free(mailbox *it)
    int mailbox_put(mailbox *it, void *item)
    void *mailbox_take(mailbox *it)
    int mailbox_sleeps(mailbox *it)
    void mailbox_awake(mailbox *it)
    void mailbox_close(mailbox *it)
    int mailbox_closed(const mailbox *it)
    size_t mailbox_size(const mailbox *it)
    int mailbox_crowded(const mailbox *it)


cdef extern from "frame.h" nogil:
    enum:
        FRAME_HEADER
        FRAME_WHOLE
        FRAME_MORE
        FRAME_STRANGER
        FRAME_NEWER
        FRAME_TOO_LARGE
        FRAME_DAMAGED
    ctypedef struct frame:
        uint64_t group
        const uint8_t *payload
        uint32_t length
        uint8_t kind
        uint8_t version
    ctypedef struct frame_part:
        const void *bytes
        size_t length
    int frame_decode(const uint8_t *bytes, size_t length, uint32_t payload_max, frame *it, size_t *size)
    int frame_encode(uint8_t *header, uint8_t kind, uint64_t group, const frame_part *parts, size_t count)
    uint16_t load_le16(const void *at)
    uint32_t load_le32(const void *at)
    uint64_t load_le64(const void *at)
    void store_le16(void *at, uint16_t x)
    void store_le32(void *at, uint32_t x)
    void store_le64(void *at, uint64_t x)


cdef extern from "net.h" nogil:
    ctypedef struct net_address:
        uint32_t length
    int net_address_ip(net_address *it, const char *host, uint16_t port, uint32_t scope)
    int net_address_unix(net_address *it, const char *path, size_t length)
    int net_connect(const net_address *to)
    int net_connected(int descriptor)
    int net_accept(int listener)
    int64_t net_read(int descriptor, void *into, size_t size)
    int64_t net_write(int descriptor, const void *data, size_t size)
    void net_close(int descriptor)


cdef extern from "lookup.h" nogil:
    enum:
        LOOKUP_FOUND_MAX
        LOOKUP_PENDING
    ctypedef struct lookup:
        pass
    lookup *lookup_start(const char *host, uint16_t port, void (*done)(void *) noexcept nogil, void *context)
    int lookup_take(lookup *it, net_address *found, size_t most, int *reason)
    void lookup_free(lookup *it)


cdef extern from "address.h" nogil:
    enum:
        ADDRESS_HOST_MAX
        ADDRESS_NONE
        ADDRESS_NUMBER
        ADDRESS_NAME
    int address_parse(const char *text, size_t length, net_address *it, char *host, uint16_t *port)


cdef extern from "sink.h" nogil:
    ctypedef struct sink:
        uint8_t *bytes
        size_t length
        size_t capacity
    void sink_free(sink *it)


cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    ctypedef struct pthread_condattr_t:
        pass
    int pthread_create(pthread_t *thread, const void *attributes, void *(*run)(void *) noexcept nogil, void *argument)
    int pthread_join(pthread_t thread, void **result)
    int pthread_mutex_init(pthread_mutex_t *it, const void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *it)
    int pthread_mutex_lock(pthread_mutex_t *it)
    int pthread_mutex_unlock(pthread_mutex_t *it)
    int pthread_condattr_init(pthread_condattr_t *it)
    int pthread_condattr_setclock(pthread_condattr_t *it, int clock)
    int pthread_condattr_destroy(pthread_condattr_t *it)
    int pthread_cond_init(pthread_cond_t *it, const pthread_condattr_t *attributes)
    int pthread_cond_destroy(pthread_cond_t *it)
    int pthread_cond_wait(pthread_cond_t *it, pthread_mutex_t *lock)
    int pthread_cond_timedwait(pthread_cond_t *it, pthread_mutex_t *lock, const timespec *until)
    int pthread_cond_signal(pthread_cond_t *it)
    int pthread_cond_broadcast(pthread_cond_t *it)
    int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)


cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int sigfillset(sigset_t *it)
    enum:
        SIG_SETMASK


cdef extern from "<time.h>" nogil:
    ctypedef struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    enum:
        CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *it)


# Flags that two threads share.
cdef extern from *:
    """
    static inline int flag_get(const int *it) { return __atomic_load_n(it, __ATOMIC_ACQUIRE); }
    static inline void flag_set(int *it) { __atomic_store_n(it, 1, __ATOMIC_RELEASE); }
    """
    int flag_get(const int *it) noexcept nogil
    void flag_set(int *it) noexcept nogil


cdef extern from "quorate/runtime/completions.hpp" namespace "quorate" nogil:
    const uint8_t SLOT_FREE
    const uint8_t CONNECTING
    const uint8_t GREETING
    const uint8_t OPEN
    const uint8_t ARRIVED

    cdef cppclass Connection:
        int fd
        uint8_t state
        cbool incoming
        cbool queued
        uint32_t generation
        uint64_t peer
        uint64_t deadline
        buffer *chunk
        uint32_t begin
        uint32_t end
        uint32_t need
        vector[uint8_t] out
        size_t sent

    cdef cppclass Peer:
        uint64_t id
        cbool member
        uint64_t leave_at
        int outgoing
        int incoming
        uint64_t retry_at
        uint64_t backoff
        uint64_t incarnation
        uint64_t bound
        uint8_t refusing
        uint8_t refused
        uint64_t refused_at
        string place
        vector[string] addresses
        size_t turn
        lookup *looking
        vector[net_address] found
        size_t tried
        cbool cut
        cbool lost
        cbool unheard
        cbool answers_lost
        Peer()

    const int COUNT_ACCEPTED
    const int COUNT_CONNECTED
    const int COUNT_FLOOD
    const int COUNT_STRANGER
    const int COUNT_NEWER
    const int COUNT_TOO_LARGE
    const int COUNT_DAMAGED
    const int COUNT_WRONG_CLUSTER
    const int COUNT_NOT_MEMBER
    const int COUNT_SLOW
    const int COUNT_DROPPED
    const int COUNT_SENT
    const int COUNT_RECEIVED
    const int COUNT_BYTES_SENT
    const int COUNT_BYTES_RECEIVED
    const int COUNTERS
    const char *counter_name(int counter)
    const char *role_name(uint8_t role)

    cdef cppclass Neighbour:
        uint32_t slot
        uint32_t generation
        uint32_t process
        uint64_t started
        Neighbour()

    cdef cppclass Peers:
        poller *poll
        int listener
        uint64_t id
        uint64_t incarnation
        uint8_t *cluster
        uint32_t payload_max
        vector[Peer] members
        vector[Connection] connections
        uint32_t top
        vector[uint32_t] unsent
        vector[uint32_t] visitors
        vector[Neighbour] near
        uint32_t process
        uint64_t started
        vector[uint64_t] gone
        uint32_t strangers
        uint64_t listen_again_at
        uint64_t random
        uint64_t *counters
        uint64_t newest_index
        uint64_t configuration_index
        string place
        uint8_t other_kind
        const uint8_t *other
        uint32_t other_length

    const uint8_t REQUEST_PROPOSE
    const uint8_t REQUEST_READ
    const uint8_t REQUEST_QUERY
    const uint8_t REQUEST_WATCH
    const uint8_t REQUEST_AWAIT
    const uint8_t REQUEST_RENEW
    const uint8_t REQUEST_STATUS
    const uint8_t REQUEST_MEMBERS
    const uint8_t REQUEST_CHANGE
    const uint8_t REQUEST_TRANSFER

    const uint8_t OUTCOME_PENDING
    const uint8_t OUTCOME_DONE
    const uint8_t OUTCOME_NO_LEADER
    const uint8_t OUTCOME_NOT_LEADER
    const uint8_t OUTCOME_OVERLOADED
    const uint8_t OUTCOME_TRANSFERRING
    const uint8_t OUTCOME_DISK_FULL
    const uint8_t OUTCOME_STALLED
    const uint8_t OUTCOME_REPLACED
    const uint8_t OUTCOME_REFUSED
    const uint8_t OUTCOME_STOPPED_BEFORE
    const uint8_t OUTCOME_CONNECTION_LOST
    const uint8_t OUTCOME_EXPIRED
    const uint8_t OUTCOME_STOPPED_AFTER
    const uint8_t OUTCOME_UNREACHABLE
    const uint8_t OUTCOME_MALFORMED
    const uint8_t OUTCOME_SESSION_LOST_BEFORE
    const uint8_t OUTCOME_SESSION_LOST_AFTER
    const uint8_t OUTCOME_NOT_SENT
    const uint8_t OUTCOME_REJECTED

    cdef cppclass Answered:
        uint32_t references
        Request *head
        int fd
        int write_fd
        Answered()

    cdef cppclass Request:
        uint32_t references
        uint8_t kind
        uint64_t expires_at
        buffer *command
        void (*then)(Request *it) noexcept nogil
        void (*freed)(Request *it) noexcept nogil
        void *asker
        uint64_t tag
        const cbool *unwanted
        Answered *completions
        void *handle
        Request *next
        uint32_t process
        pthread_mutex_t lock
        pthread_cond_t answered
        uint8_t outcome
        uint64_t index
        uint64_t term
        uint64_t leader
        buffer *result
        Request()

    cdef cppclass Batch:
        vector[Request *] requests
        uint64_t expires_at
        cbool read
        uint64_t forwarded
        cbool doubted
        cbool reserve
        Batch()

    cdef cppclass Waiting:
        uint64_t term
        Request *request

    const uint32_t TOKEN_CLIENTS

    const int CLIENT_WELCOMED
    const int CLIENT_ENDED
    const int CLIENT_TURNED_AWAY
    const int CLIENT_WRONG_CLUSTER
    const int CLIENT_NEWER
    const int CLIENT_MALFORMED
    const int CLIENT_TOO_LARGE
    const int CLIENT_SLOW
    const int CLIENT_STUCK
    const int CLIENT_ASKS
    const int CLIENT_ANSWERS
    const int CLIENT_OVERLOADED
    const int CLIENT_STALLED
    const int CLIENT_NEWS
    const int CLIENT_BYTES_SENT
    const int CLIENT_BYTES_RECEIVED
    const int CLIENT_COUNTERS
    const char *client_counter_name(int counter)

    const uint8_t TURNED_CLUSTER
    const uint8_t TURNED_VERSION
    const uint8_t TURNED_TOO_MANY
    const uint8_t TURNED_MALFORMED
    const uint8_t TURNED_TOO_LARGE
    const uint8_t TURNED_STUCK

    cdef cppclass Client:
        uint32_t references
        uint32_t slot
        Clients *all
        Connection connection
        uint32_t asks
        cbool gone
        cbool unwanted
        cbool stuck
        cbool stalled
        cbool again
        cbool missed_news
        uint64_t input_due
        uint64_t output_due
        uint8_t *nonce
        uint32_t process
        Client()

    cdef cppclass Clients:
        vector[Client *] slots
        vector[uint32_t] generations
        vector[uint32_t] free
        vector[Request *] asked
        size_t taken
        deque[Request *] urgent
        vector[uint32_t] unsent
        vector[uint32_t] again
        buffer *spare
        uint32_t count
        uint32_t timed
        uint64_t look_at
        uint64_t output
        uint64_t told_leader
        uint64_t told_term
        uint64_t told_configuration
        vector[uint8_t] news
        uint64_t *counters

    cdef cppclass Parked:
        Request *request
        Parked *before
        Parked *behind
        Parked *previous
        Parked *next
        multimap[uint64_t, Parked *].iterator by_deadline
        multimap[uint64_t, Parked *].iterator by_revision
        cbool waits_for_revision
        cbool indexed
        cbool odd
        cbool prefix
        cbool is_due
        uint64_t hash
        uint64_t after
        uint32_t spaces
        uint32_t events_most
        uint32_t bytes_most
        const uint8_t *start
        const uint8_t *end
        uint32_t start_length
        uint32_t end_length
        vector[uint64_t] places
        uint64_t session
        uint64_t acquisition
        Parked()

    cdef cppclass Questions:
        uint64_t parked
        Parked *first
        Parked *last
        multimap[uint64_t, Parked *] by_deadline
        multimap[uint64_t, Parked *] by_revision
        unordered_map[uint64_t, Parked *] index
        ordered_map[uint32_t, uint32_t] prefixes
        Parked *odd
        uint64_t odd_ones
        deque[Request *] ready
        uint64_t produced
        buffer *status
        vector[Parked *] due
        uint64_t seed
        uint64_t started_at
        buffer *texts
        uint16_t texts_count
        sink scratch
        uint64_t seen_place
        uint64_t seen_revision
        uint64_t sweep_at
        uint64_t abandoned
        uint64_t asked
        uint64_t refused

    cdef cppclass Writing:
        cbool has_hard_state
        HardState hard_state
        uint64_t ticket
        int base_kind
        uint64_t base_index
        uint64_t base_term
        uint64_t first_index
        size_t taken
        vector[EntryRef] entries
        Writing()

    cdef cppclass Ticket:
        uint64_t wal
        uint64_t core

    cdef cppclass Held:
        uint64_t ticket
        vector[Message] messages
        Held()

    cdef cppclass Follower:
        uint64_t id
        uint64_t match_index
        uint64_t heard_at
        cbool learner

    cdef cppclass Figures:
        uint8_t role
        cbool disk_full
        uint64_t term
        uint64_t leader
        uint64_t commit
        uint64_t applied
        uint64_t last_index
        uint64_t durable_index
        uint64_t pending
        uint64_t writes
        uint64_t held
        uint64_t backlog
        uint64_t parked
        uint64_t questions
        uint64_t turns
        uint64_t steps
        uint64_t elections
        uint64_t leader_changes
        uint64_t connected
        uint64_t strangers
        uint64_t output_bytes
        uint64_t renewed
        uint64_t renewal_rounds
        uint64_t expired
        uint64_t process_exits
        uint64_t pauses
        uint64_t processes
        uint64_t sessions
        uint64_t log_entries
        uint64_t log_bytes
        uint64_t *counters
        uint64_t clients
        uint64_t *client_counters
        uint32_t followers_count
        Follower *followers
        Figures()

    const uint8_t FAILURE_NONE
    const uint8_t FAILURE_RAISED
    const uint8_t FAILURE_DISK
    const uint8_t FAILURE_INVARIANT
    const uint8_t FAILURE_POLLER
    const uint8_t FAILURE_LOG_RULE

    const uint8_t STANDING_VOTER
    const uint8_t STANDING_LEARNER
    const uint8_t STANDING_JOINING
    const uint8_t STANDING_REMOVED
    const uint8_t STANDING_REFUSED

    cdef cppclass Managed:
        Request *request
        cbool proposed
        cbool placed
        uint64_t index
        uint64_t term
        vector[Change] changes
        Managed()

    cdef cppclass Passed:
        Request *request
        uint64_t leader
        Passed()

    cdef cppclass Members:
        ordered_map[uint64_t, string] given
        uint64_t seen_index
        cbool settled
        ordered_map[uint64_t, Managed] managed
        ordered_map[uint64_t, Passed] passed
        Request *answered
        uint64_t asked
        string roster
        uint64_t version
        uint8_t standing

    cdef cppclass Loop:
        Core *core
        poller *poll
        mailbox *mail
        mailbox *urgent
        void *sessions
        void *wal
        void *store
        int disk_fd
        int disk_write_fd
        pthread_t thread
        int pid
        cbool running
        int stopping
        int failed
        int ended
        Peers peers
        Members members
        deque[Writing] backlog
        deque[Ticket] tickets
        deque[Held] held
        cbool has_lazy
        HardState lazy
        uint64_t written_commit
        uint64_t wanted_ticket
        uint64_t durable_ticket
        cbool disk_full
        uint64_t next_id
        uint64_t pending
        ordered_map[uint64_t, Batch] batches
        uint64_t doubt_until
        multimap[uint64_t, Waiting] waiting
        uint64_t waiting_expiry
        void *lanes
        void *notices
        deque[Request *] sending
        Questions questions
        Clients clients
        uint64_t applied
        cbool applied_due
        sink results
        vector[size_t] ends
        uint64_t deadline
        uint8_t role
        uint64_t term
        uint64_t leader
        uint64_t steps
        uint64_t elections
        uint64_t leader_changes
        deque[Event] own
        pthread_mutex_t lock
        pthread_cond_t changed
        Figures status
        void *snapshots
        uint8_t failure
        Loop()


# How an event gets into the core; given along by the loop, which is the only one that knows how.
ctypedef int (*step_function)(Loop *it, Event *event) except -1 nogil
