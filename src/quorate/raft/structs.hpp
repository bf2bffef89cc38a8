/* The plain structs of the protocol: what a message, an event, an update and a node's state hold. No behaviour but
 * ownership of buffers; the rules that work on them are free functions in the .pyx files of this folder.
 *
 * Knows nothing of Python, files, sockets or clocks. Times are microseconds of the monotonic clock that came in with the
 * event. Index 0 stands for "before the first entry", id 0 for "nobody". */
#ifndef QUORATE_RAFT_STRUCTS_HPP
#define QUORATE_RAFT_STRUCTS_HPP

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "entry.h"

namespace quorate {

using std::uint64_t;
using std::uint8_t;

/* One reference to an entry's payload: copying retains the buffer, destroying releases it. */
struct EntryRef : entry {
    EntryRef() noexcept : entry{} {}
    explicit EntryRef(const entry &other) noexcept : entry(entry_retained(&other)) {}
    EntryRef(const EntryRef &other) noexcept : entry(entry_retained(&other)) {}
    EntryRef(EntryRef &&other) noexcept : entry(other) { other.data = nullptr, other.length = 0; }
    EntryRef &operator=(EntryRef other) noexcept {
        std::swap(static_cast<entry &>(*this), static_cast<entry &>(other));
        return *this;
    }
    ~EntryRef() { buffer_release(data); }
};

/* A cluster configuration (Raft §6). It is joint while `outgoing` is not empty: a decision then needs a majority of
 * `incoming` and a majority of `outgoing`. All lists are sorted and free of duplicates. */
struct Configuration {
    std::vector<uint64_t> incoming, outgoing, learners;
    std::vector<uint64_t> learners_next; /* voters of `outgoing` that become learners when the joint state is left */
    std::vector<std::pair<uint64_t, uint64_t>> incarnations; /* (member, incarnation), sorted; absent or 0: not bound yet */
    std::vector<std::pair<uint64_t, std::string>> places; /* (member, what its owner says of it), sorted; never looked into */
    bool auto_leave = false; /* the leader leaves the joint state by itself once it is committed */
};

enum MessageType : uint8_t {
    REQUEST_VOTE = 1,
    REQUEST_VOTE_RESPONSE,
    APPEND_ENTRIES,
    APPEND_ENTRIES_RESPONSE,
    HEARTBEAT,
    HEARTBEAT_RESPONSE,
    INSTALL_SNAPSHOT,
    INSTALL_SNAPSHOT_RESPONSE,
    TIMEOUT_NOW,
    FORWARD_PROPOSAL,
    FORWARD_PROPOSAL_RESPONSE,
    FORWARD_READ,
    FORWARD_READ_RESPONSE,
    MESSAGE_TYPES
};

/* One struct for all messages; the comment names the types that use a field. Unused fields are 0. */
struct Message {
    uint8_t type = 0;
    bool pre_vote = false;     /* RequestVote and its response */
    bool transfer = false;     /* RequestVote: the leader itself asked for this election */
    bool success = false;      /* responses: granted, appended, accepted */
    uint8_t status = 0;        /* ForwardProposalResponse, ForwardReadResponse: a Status */
    uint64_t group = 0, sender = 0, receiver = 0, term = 0;
    uint64_t incarnation = 0;  /* of the sender */
    uint64_t index = 0;        /* last_log, prev_log, match or snapshot index; index of a forwarded proposal or read */
    uint64_t log_term = 0;     /* the term that goes with `index` */
    uint64_t commit = 0;       /* AppendEntries, Heartbeat: leader_commit */
    uint64_t round = 0;        /* AppendEntries, Heartbeat and responses: which quorum round this is or answers */
    uint64_t id = 0;           /* Forward*: the request of the forwarding node */
    uint64_t reject_index = 0, hint_index = 0, hint_term = 0;       /* AppendEntriesResponse that rejects */
    uint64_t offset = 0, length = 0, size = 0, digest = 0;          /* InstallSnapshot and its response, bytes */
    uint64_t configuration_index = 0;                               /* RequestVote: of the candidate's configuration */
    uint64_t leader = 0;                                            /* ForwardProposalResponse */
    Configuration configuration;                                    /* InstallSnapshot */
    std::vector<EntryRef> entries;                                  /* AppendEntries, ForwardProposal */
    EntryRef data;                                                  /* InstallSnapshot: the chunk, put in by the carrier */
};

enum EventType : uint8_t {
    TICK = 1,
    RECEIVE,
    PROPOSE,
    PROPOSE_CHANGE,
    PERSISTED,
    APPLIED,
    SNAPSHOT_PERSISTED,
    SNAPSHOT_FAILED,
    READ_INDEX,
    TRANSFER_LEADERSHIP,
    CAMPAIGN,
    FORGET_LEADER,
    COMPACT,
    UNREACHABLE,
    LEADER_CONNECTION_CLOSED,
    DISK_STALLED,
    EVENT_TYPES
};

enum ChangeType : uint8_t { ADD_VOTER = 1, ADD_LEARNER, REMOVE_MEMBER, MOVE_MEMBER, CHANGE_TYPES };
enum JointMode : uint8_t { JOINT_AUTO = 0, JOINT_EXPLICIT, JOINT_LEAVE, JOINT_MODES };

struct Change {
    uint8_t type = 0;
    uint64_t id = 0, incarnation = 0;
    std::string place; /* where the member is; empty: as it was */
};

struct Event {
    uint8_t type = 0;
    uint8_t mode = 0;            /* ProposeChange: a JointMode; DiskStalled: 1 if stalled, 2 if full; ReadIndex: 1 if a lease
                                    will not do; Propose, and Receive of a forwarded proposal: 1 if the reserve is for it */
    uint64_t now = 0;
    uint64_t id = 0;             /* of the request, or the target or peer */
    uint64_t ticket = 0, index = 0, term = 0, size = 0, digest = 0;
    const Message *message = nullptr; /* Receive: lent for the length of the step */
    std::vector<EntryRef> entries;    /* Propose */
    std::vector<Change> changes;
};

/* What became of a proposal or a read. All but the first two prove that nothing was appended. */
enum Status : uint8_t {
    ACCEPTED = 0,
    FORWARDED,
    NO_LEADER,
    NOT_LEADER,
    OVERLOADED,
    TRANSFERRING,
    CHANGE_IN_FLIGHT,
    NO_COMMIT_IN_TERM,
    INVALID,
    STALLED,
    NOT_VOTER,
    LEADER_CHANGED,
    NO_ROOM, /* disks are full: only what frees something is taken in */
    STATUSES
};

struct HardState {
    uint64_t term = 0, vote = 0, commit = 0;
};

struct SnapshotChunk {
    uint64_t index = 0, term = 0, offset = 0, size = 0, digest = 0;
    uint64_t configuration_index = 0; /* of `configuration`, which the snapshot carries (Raft §7) */
    bool done = false;
    Configuration configuration;
    EntryRef data;
};

struct ReadResult {
    uint64_t id = 0, index = 0;
    uint8_t status = 0;
};

struct ProposalResult {
    uint64_t id = 0, index = 0, term = 0, leader = 0;
    uint8_t status = 0;
};

/* What one step asks its caller to do, in the order of duty. */
struct Update {
    uint64_t ticket = 0;                 /* names this update's writes for the Persisted event; 0: nothing to write */
    bool has_hard_state = false, sync = false, has_chunk = false;
    uint8_t role = 0;
    HardState hard_state;
    uint64_t first_index = 0;            /* of `entries`; what storage has from there on is replaced */
    std::vector<EntryRef> entries;
    SnapshotChunk chunk;
    std::vector<Message> messages;       /* may leave at once */
    std::vector<Message> messages_after; /* leave when everything handed out up to this update is durable */
    uint64_t apply_index = 0;            /* of the first of `apply` */
    std::vector<EntryRef> apply;
    std::vector<ReadResult> reads;
    std::vector<ProposalResult> proposals;
    uint64_t deadline = 0, term = 0, leader = 0, commit = 0;
};

enum Role : uint8_t { FOLLOWER = 0, PRE_CANDIDATE, CANDIDATE, LEADER };

/* Blocks of entries, so that a log grows without moving, wastes less than a block at each end, and cuts its head at the
 * cost of what it removes. */
enum { LOG_BLOCK = 512 };

struct Log {
    uint64_t snapshot_index = 0, snapshot_term = 0; /* of the entry before the first one kept */
    uint64_t last_index = 0;                        /* ≥ snapshot_index */
    uint64_t last_term = 0;                         /* = term of last_index, kept at hand */
    uint64_t payload_bytes = 0;
    uint64_t base = 0;                              /* index of slot 0 of the first block; base ≤ snapshot_index + 1 */
    std::deque<entry *> blocks;                     /* each with the sum of its payloads behind the last slot */
    std::deque<std::pair<entry *, uint32_t>> dead;  /* removed blocks and their used slots: freed in portions (log_bury) */
    uint32_t dead_slot = 0;                         /* of the first of them: what comes next */
    std::deque<std::pair<uint64_t, Configuration>> configurations; /* by index, the newest last; the first is at or before
                                                                      snapshot_index, so each index has one in force */
    Log() = default;
    Log(const Log &) = delete;
    Log &operator=(const Log &) = delete;
};

/* One AppendEntries in flight: what it ends with and what it weighs. */
struct Flight {
    uint64_t last_index, bytes;
};

enum ProgressMode : uint8_t { PROBE = 0, REPLICATE, SNAPSHOT };

/* What the leader knows of a peer. */
struct Progress {
    uint64_t match_index = 0;       /* < next_index */
    uint64_t next_index = 1;
    uint8_t mode = PROBE;
    bool paused = false;            /* probe: one message is out and no answer came */
    bool learner = false;
    bool full = false;              /* its disk has no room, as it said last */
    std::deque<Flight> flights;     /* replicate: at most max_inflight_messages and max_inflight_bytes */
    uint64_t flight_bytes = 0;
    uint64_t acked_round = 0;       /* newest quorum round answered in this term */
    uint64_t last_response = 0;     /* when something of this term came from it */
    uint64_t snapshot_index = 0;    /* snapshot: which one is on its way; replication goes on after it */
    uint64_t snapshot_term = 0;
    uint64_t snapshot_offset = 0;   /* bytes that the peer is known to have */
    bool snapshot_waiting = false;  /* a chunk is out and no answer came */
    uint64_t snapshot_sent_at = 0;
    uint64_t snapshot_size = 0, snapshot_digest = 0, snapshot_configuration_index = 0;
    Configuration snapshot_configuration; /* a newer snapshot of our own does not disturb the one on its way */
    uint64_t sent_commit = 0;       /* the commit index that it was told last */
};

struct Round {
    uint64_t number, sent_at;
};

struct PendingRead {
    uint64_t id;        /* of the asker */
    uint64_t asker;     /* own id, or the follower that forwarded it */
    uint64_t index;     /* the answer, once known */
    uint64_t round;     /* confirmed when a quorum answered this round or a later one */
};

struct ForwardedRead {
    uint64_t token, id, expires_at;
};

/* Handed-out writes that are not reported durable yet. */
struct Write {
    uint64_t ticket, since, last_index, last_term;
};

enum Rejection : uint8_t {
    REJECT_GROUP = 0,
    REJECT_RECEIVER,
    REJECT_SENDER,
    REJECT_TYPE,
    REJECT_TERM,
    REJECT_INDEX,
    REJECT_INCARNATION,
    REJECT_STALE,
    REJECT_LIMIT,
    REJECT_EVENT,
    REJECT_SNAPSHOT,
    REJECTIONS
};

struct Settings {
    uint64_t heartbeat = 50000, election_timeout_min = 150000, election_timeout_max = 300000; /* microseconds */
    uint64_t lease = 0;                                                                       /* length that a leader uses */
    uint64_t disk_stall = 1000000, hint_delay_max = 10000;
    bool pre_vote = true, check_quorum = true, lease_reads = false, forward = true;
    uint64_t max_message_bytes = 1 << 20, max_inflight_messages = 256, max_inflight_bytes = 8 << 20;
    uint64_t max_uncommitted_bytes = 64 << 20; /* and a reserve beyond it for what gives back */
    uint64_t max_apply_bytes = 1 << 20, snapshot_chunk_bytes = 256 << 10;
    uint64_t compaction_tail = 0, compaction_tail_bytes = 0, max_pending_reads = 65536;
};

/* All state of one node of one group. Names follow Figure 2 of the paper. */
struct Core {
    uint64_t id = 0, group = 0, incarnation = 0;
    Settings settings;

    /* Persistent (Figure 2); durable before any message that depends on it leaves. */
    uint64_t current_term = 0;      /* never falls */
    uint64_t voted_for = 0;         /* changes only with the term, or from 0 */
    Log log;

    /* Volatile. */
    uint8_t role = FOLLOWER;
    uint64_t leader = 0;            /* of current_term, 0 if not known */
    uint64_t commit_index = 0;      /* never falls; ≤ log.last_index */
    uint64_t last_applied = 0;      /* ≤ applying ≤ commit_index */
    uint64_t applying = 0;          /* handed out to be applied */
    uint64_t configuration_index = 0; /* of the configuration in force */

    /* Durability. */
    uint64_t persisted_index = 0;   /* own entries up to here are durable; ≤ log.last_index */
    uint64_t handed_index = 0;      /* entries up to here were handed out to be written */
    uint64_t next_ticket = 1;
    uint64_t hard_state_ticket = 0; /* the newest write that carries a term or vote */
    uint64_t durable_ticket = 0;
    HardState handed_hard_state;    /* as last handed out */
    std::deque<Write> writes;

    /* Time. */
    uint64_t now = 0;
    uint64_t election_deadline = 0;
    uint64_t last_leader_contact = 0;
    bool leader_suspect = false;    /* its connection closed, or we were told to forget it */
    bool disk_stalled = false;
    bool aside = false;             /* set between steps: we were told that we are no member any more, and do not campaign */
    bool disk_full = false;         /* there is room for what is vital, and for what frees something */
    uint64_t next_handover = 0;     /* leader with a full disk: when to look again for somebody who has room */
    bool campaign_transfer = false; /* the coming campaign was ordered by the leader */
    uint64_t transfer_campaign_until = 0;

    /* Elections: who granted, who refused, in this campaign. */
    std::vector<std::pair<uint64_t, bool>> votes;

    /* Leader. */
    std::map<uint64_t, Progress> progress; /* ordered, so that runs repeat; holds every member but this node */
    uint64_t term_start_index = 0;  /* the no-op of this term */
    uint64_t uncommitted_bytes = 0;
    bool reserve = false;           /* what this step proposes may use the reserve */
    uint64_t heartbeat_deadline = 0;
    uint64_t quorum_deadline = 0;
    uint64_t round = 0;
    std::deque<Round> rounds;       /* when each unconfirmed round was sent */
    uint64_t confirmed_round = 0;
    uint64_t lease_until = 0;
    bool round_wanted = false;      /* a read waits for a round that was not sent yet */
    std::deque<PendingRead> pending_reads;  /* leader: waiting for the first commit of the term, or for a round */
    uint64_t transfer_target = 0, transfer_id = 0, transfer_deadline = 0;
    bool transfer_sent = false;
    std::map<uint64_t, uint64_t> heard_incarnations; /* of members that are not bound yet */
    std::map<uint64_t, std::string> known_places; /* given at the start; a leader fills in what the configuration lacks */

    /* Reads that know their index and wait for last_applied. */
    std::deque<ReadResult> ready_reads;

    /* Follower. */
    std::deque<ForwardedRead> forwarded_reads;
    uint64_t read_token = 0;        /* starts at a random point of each start, so that no answer to an earlier life fits */

    /* Snapshots: the newest of our own that can be sent, and the one that is arriving. */
    uint64_t own_snapshot_index = 0, own_snapshot_term = 0, own_snapshot_size = 0, own_snapshot_digest = 0;
    Configuration own_snapshot_configuration;
    uint64_t own_snapshot_configuration_index = 0;
    SnapshotChunk incoming;         /* index 0: none; `offset` is what has arrived; done: waits for SnapshotPersisted */

    uint64_t random = 0;            /* state of the seeded generator */
    uint64_t rejected[REJECTIONS] = {};

    /* As it was after the last step, for the checks of change. */
    struct {
        uint64_t term, vote, commit, applied, last_index;
        uint8_t role;
    } before = {};
    bool failed = false;
    uint8_t mutation = 0;           /* debug builds only: a known bug, put back */
};

} // namespace quorate

/* A known bug that tests put back; no trace of it is left in a release build. */
#ifdef QUORATE_DEBUG
#define QUORATE_MUTATION(core, number) ((core)->mutation == (number))
#else
#define QUORATE_MUTATION(core, number) 0
#endif

#ifndef QUORATE_BUILD_NAME
#define QUORATE_BUILD_NAME "release"
#endif

#endif
