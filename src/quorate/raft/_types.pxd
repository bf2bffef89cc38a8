# What the modules of this folder share: the structs of structs.hpp as Cython sees them. Only declarations; no rule of the
# protocol stands here.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp cimport bool
from libcpp.deque cimport deque
from libcpp.map cimport map as ordered_map
from libcpp.string cimport string
from libcpp.utility cimport pair
from libcpp.vector cimport vector


cdef extern from "base.h" nogil:
    const uint64_t ENTRY_BYTES_MAX
    const uint64_t MEMBERS_MAX
    const uint64_t MEMBER_PLACE_MAX
    const uint64_t MESSAGE_ENTRIES_MAX


cdef extern from "entry.h" nogil:
    ctypedef struct buffer:
        uint32_t length
        uint8_t *bytes

    ctypedef struct entry:
        uint64_t term
        buffer *data
        uint32_t offset
        uint32_t length
        uint32_t kind

    const uint32_t ENTRY_COMMAND
    const uint32_t ENTRY_NOOP
    const uint32_t ENTRY_CONFIGURATION
    const uint32_t ENTRY_KINDS

    buffer *buffer_new(uint32_t length)
    buffer *buffer_from(const void *data, uint32_t length)
    buffer *buffer_retain(buffer *it)
    void buffer_release(buffer *it)
    uint32_t buffer_references(const buffer *it)
    const uint8_t *entry_bytes(const entry *it)
    entry entry_retained(const entry *it)
    void entry_release(entry *it)


ctypedef entry *entry_pointer

cdef extern from "quorate/raft/structs.hpp" namespace "quorate" nogil:
    cdef cppclass EntryRef:
        uint64_t term
        buffer *data
        uint32_t offset
        uint32_t length
        uint32_t kind
        EntryRef()
        EntryRef(const entry &other)
        EntryRef(const EntryRef &other)

    cdef cppclass Configuration:
        vector[uint64_t] incoming
        vector[uint64_t] outgoing
        vector[uint64_t] learners
        vector[uint64_t] learners_next
        vector[pair[uint64_t, uint64_t]] incarnations
        vector[pair[uint64_t, string]] places
        bool auto_leave
        Configuration()

    const uint8_t REQUEST_VOTE
    const uint8_t REQUEST_VOTE_RESPONSE
    const uint8_t APPEND_ENTRIES
    const uint8_t APPEND_ENTRIES_RESPONSE
    const uint8_t HEARTBEAT
    const uint8_t HEARTBEAT_RESPONSE
    const uint8_t INSTALL_SNAPSHOT
    const uint8_t INSTALL_SNAPSHOT_RESPONSE
    const uint8_t TIMEOUT_NOW
    const uint8_t FORWARD_PROPOSAL
    const uint8_t FORWARD_PROPOSAL_RESPONSE
    const uint8_t FORWARD_READ
    const uint8_t FORWARD_READ_RESPONSE
    const uint8_t MESSAGE_TYPES

    cdef cppclass Message:
        uint8_t type
        bool pre_vote
        bool transfer
        bool success
        uint8_t status
        uint64_t group
        uint64_t sender
        uint64_t receiver
        uint64_t term
        uint64_t incarnation
        uint64_t index
        uint64_t log_term
        uint64_t commit
        uint64_t round
        uint64_t id
        uint64_t reject_index
        uint64_t hint_index
        uint64_t hint_term
        uint64_t offset
        uint64_t length
        uint64_t size
        uint64_t digest
        uint64_t configuration_index
        uint64_t leader
        Configuration configuration
        vector[EntryRef] entries
        EntryRef data
        Message()
        Message(const Message &other)

    const uint8_t TICK
    const uint8_t RECEIVE
    const uint8_t PROPOSE
    const uint8_t PROPOSE_CHANGE
    const uint8_t PERSISTED
    const uint8_t APPLIED
    const uint8_t SNAPSHOT_PERSISTED
    const uint8_t SNAPSHOT_FAILED
    const uint8_t READ_INDEX
    const uint8_t TRANSFER_LEADERSHIP
    const uint8_t CAMPAIGN
    const uint8_t FORGET_LEADER
    const uint8_t COMPACT
    const uint8_t UNREACHABLE
    const uint8_t LEADER_CONNECTION_CLOSED
    const uint8_t DISK_STALLED
    const uint8_t EVENT_TYPES

    const uint8_t ADD_VOTER
    const uint8_t ADD_LEARNER
    const uint8_t REMOVE_MEMBER
    const uint8_t MOVE_MEMBER
    const uint8_t CHANGE_TYPES
    const uint8_t JOINT_AUTO
    const uint8_t JOINT_EXPLICIT
    const uint8_t JOINT_LEAVE
    const uint8_t JOINT_MODES

    cdef cppclass Change:
        uint8_t type
        uint64_t id
        uint64_t incarnation
        string place
        Change()

    cdef cppclass Event:
        uint8_t type
        uint8_t mode
        uint64_t now
        uint64_t id
        uint64_t ticket
        uint64_t index
        uint64_t term
        uint64_t size
        uint64_t digest
        const Message *message
        vector[EntryRef] entries
        vector[Change] changes
        Event()

    const uint8_t ACCEPTED
    const uint8_t FORWARDED
    const uint8_t NO_LEADER
    const uint8_t NOT_LEADER
    const uint8_t OVERLOADED
    const uint8_t TRANSFERRING
    const uint8_t CHANGE_IN_FLIGHT
    const uint8_t NO_COMMIT_IN_TERM
    const uint8_t INVALID
    const uint8_t STALLED
    const uint8_t NOT_VOTER
    const uint8_t LEADER_CHANGED
    const uint8_t NO_ROOM
    const uint8_t STATUSES

    cdef cppclass HardState:
        uint64_t term
        uint64_t vote
        uint64_t commit

    cdef cppclass SnapshotChunk:
        uint64_t index
        uint64_t term
        uint64_t offset
        uint64_t size
        uint64_t digest
        uint64_t configuration_index
        bool done
        Configuration configuration
        EntryRef data
        SnapshotChunk()

    cdef cppclass ReadResult:
        uint64_t id
        uint64_t index
        uint8_t status
        ReadResult()

    cdef cppclass ProposalResult:
        uint64_t id
        uint64_t index
        uint64_t term
        uint64_t leader
        uint8_t status
        ProposalResult()

    cdef cppclass Update:
        uint64_t ticket
        bool has_hard_state
        bool sync
        bool has_chunk
        uint8_t role
        HardState hard_state
        uint64_t first_index
        vector[EntryRef] entries
        SnapshotChunk chunk
        vector[Message] messages
        vector[Message] messages_after
        uint64_t apply_index
        vector[EntryRef] apply
        vector[ReadResult] reads
        vector[ProposalResult] proposals
        uint64_t deadline
        uint64_t term
        uint64_t leader
        uint64_t commit
        Update()

    const uint8_t FOLLOWER
    const uint8_t PRE_CANDIDATE
    const uint8_t CANDIDATE
    const uint8_t LEADER
    const uint64_t LOG_BLOCK

    cdef cppclass Log:
        uint64_t snapshot_index
        uint64_t snapshot_term
        uint64_t last_index
        uint64_t last_term
        uint64_t payload_bytes
        uint64_t base
        deque[entry *] blocks
        deque[pair[entry_pointer, uint32_t]] dead
        uint32_t dead_slot
        deque[pair[uint64_t, Configuration]] configurations
        Log()

    cdef cppclass Flight:
        uint64_t last_index
        uint64_t bytes

    const uint8_t PROBE
    const uint8_t REPLICATE
    const uint8_t SNAPSHOT

    cdef cppclass Progress:
        uint64_t match_index
        uint64_t next_index
        uint8_t mode
        bool paused
        bool learner
        bool full
        deque[Flight] flights
        uint64_t flight_bytes
        uint64_t acked_round
        uint64_t last_response
        uint64_t snapshot_index
        uint64_t snapshot_term
        uint64_t snapshot_offset
        bool snapshot_waiting
        uint64_t snapshot_sent_at
        uint64_t snapshot_size
        uint64_t snapshot_digest
        uint64_t snapshot_configuration_index
        Configuration snapshot_configuration
        uint64_t sent_commit
        Progress()

    cdef cppclass Round:
        uint64_t number
        uint64_t sent_at

    cdef cppclass PendingRead:
        uint64_t id
        uint64_t asker
        uint64_t index
        uint64_t round

    cdef cppclass ForwardedRead:
        uint64_t token
        uint64_t id
        uint64_t expires_at

    cdef cppclass Write:
        uint64_t ticket
        uint64_t since
        uint64_t last_index
        uint64_t last_term

    const uint8_t REJECT_GROUP
    const uint8_t REJECT_RECEIVER
    const uint8_t REJECT_SENDER
    const uint8_t REJECT_TYPE
    const uint8_t REJECT_TERM
    const uint8_t REJECT_INDEX
    const uint8_t REJECT_INCARNATION
    const uint8_t REJECT_STALE
    const uint8_t REJECT_LIMIT
    const uint8_t REJECT_EVENT
    const uint8_t REJECT_SNAPSHOT
    const uint8_t REJECTIONS

    cdef cppclass Settings:
        uint64_t heartbeat
        uint64_t election_timeout_min
        uint64_t election_timeout_max
        uint64_t lease
        uint64_t disk_stall
        uint64_t hint_delay_max
        bool pre_vote
        bool check_quorum
        bool lease_reads
        bool forward
        uint64_t max_message_bytes
        uint64_t max_inflight_messages
        uint64_t max_inflight_bytes
        uint64_t max_uncommitted_bytes
        uint64_t max_apply_bytes
        uint64_t snapshot_chunk_bytes
        uint64_t compaction_tail
        uint64_t compaction_tail_bytes
        uint64_t max_pending_reads

    cdef cppclass Before "decltype(quorate::Core::before)":
        uint64_t term
        uint64_t vote
        uint64_t commit
        uint64_t applied
        uint64_t last_index
        uint8_t role

    cdef cppclass Core:
        uint64_t id
        uint64_t group
        uint64_t incarnation
        Settings settings
        uint64_t current_term
        uint64_t voted_for
        Log log
        uint8_t role
        uint64_t leader
        uint64_t commit_index
        uint64_t last_applied
        uint64_t applying
        uint64_t configuration_index
        uint64_t persisted_index
        uint64_t handed_index
        uint64_t next_ticket
        uint64_t hard_state_ticket
        uint64_t durable_ticket
        HardState handed_hard_state
        deque[Write] writes
        uint64_t now
        uint64_t election_deadline
        uint64_t last_leader_contact
        bool leader_suspect
        bool disk_stalled
        bool aside
        bool disk_full
        uint64_t next_handover
        bool campaign_transfer
        uint64_t transfer_campaign_until
        vector[pair[uint64_t, bool]] votes
        ordered_map[uint64_t, Progress] progress
        uint64_t term_start_index
        uint64_t uncommitted_bytes
        bool reserve
        uint64_t heartbeat_deadline
        uint64_t quorum_deadline
        uint64_t round
        deque[Round] rounds
        uint64_t confirmed_round
        uint64_t lease_until
        bool round_wanted
        deque[PendingRead] pending_reads
        uint64_t transfer_target
        uint64_t transfer_id
        uint64_t transfer_deadline
        bool transfer_sent
        ordered_map[uint64_t, uint64_t] heard_incarnations
        ordered_map[uint64_t, string] known_places
        deque[ReadResult] ready_reads
        deque[ForwardedRead] forwarded_reads
        uint64_t read_token
        uint64_t own_snapshot_index
        uint64_t own_snapshot_term
        uint64_t own_snapshot_size
        uint64_t own_snapshot_digest
        Configuration own_snapshot_configuration
        uint64_t own_snapshot_configuration_index
        SnapshotChunk incoming
        uint64_t random
        uint64_t *rejected
        Before before
        bool failed
        uint8_t mutation
        Core()


cdef extern from "quorate/raft/structs.hpp" nogil:
    bint QUORATE_MUTATION(const Core *core, int number) noexcept
    const char *QUORATE_BUILD_NAME


# One thread at a time in a handle: the flag is taken for the length of a call, and a second thread is refused. No lock, for
# nobody has a reason to wait here, and nothing relies on the GIL.
cdef extern from *:
    """
    static inline uint32_t quorate_enter(uint32_t *busy) { return __atomic_exchange_n(busy, 1u, __ATOMIC_ACQUIRE); }
    static inline void quorate_leave(uint32_t *busy) { __atomic_store_n(busy, 0u, __ATOMIC_RELEASE); }
    """
    uint32_t quorate_enter(uint32_t *busy) noexcept nogil
    void quorate_leave(uint32_t *busy) noexcept nogil


# Each known bug that a debug build can put back; the numbers are those of the table in mutations.py.
cdef enum:
    COMMIT_OLDER_TERM = 1
    TRUNCATE_ON_DUPLICATE = 2
    VOTE_NOT_PERSISTED = 3
    COUNT_REPLY_TWICE = 4
    CHANGE_BEFORE_COMMIT = 5
    TWO_CHANGES_IN_FLIGHT = 6
    SNAPSHOT_KEEPS_CONFLICT = 7
    READ_WITHOUT_QUORUM = 8
    READ_BEFORE_COMMIT = 9
    LEASE_IGNORES_PAUSE = 10
    LEASE_IGNORES_VOTE_PROMISE = 11
    REMOVED_LEADER_STAYS = 12
    JOINT_NEEDS_ONE_MAJORITY = 13
    VOTE_STALE_LOG = 14
    VOTE_TWICE = 15
    APPEND_WITHOUT_PREV_CHECK = 16
    COMMIT_BEYOND_MATCH = 17
    ACK_BEFORE_PERSIST = 18
    PERSISTED_BY_INDEX_ALONE = 19
    LEADER_COUNTS_UNPERSISTED = 20
    CONFIG_NOT_UNDONE = 21
    SNAPSHOT_WITHOUT_CONFIGURATION = 22
    CHECK_QUORUM_NEVER = 23
    PRE_VOTE_BUMPS_TERM = 24
    LEARNER_COUNTS_IN_QUORUM = 25
    READ_TOKEN_REUSED = 26
    LEADER_APPENDS_OVER = 27
    TERM_NOT_PERSISTED = 28
