/* The plain structs of a running node: connections, peers, requests, the loop. No behaviour; the rules that work on them are
 * free functions in the .pyx files of this folder. Knows nothing of Python.
 *
 * Everything belongs to the loop's thread, unless the field says otherwise. Times are microseconds of clock_microseconds(). */
#ifndef QUORATE_RUNTIME_STRUCTS_HPP
#define QUORATE_RUNTIME_STRUCTS_HPP

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include <pthread.h>

#include "base.h"
#include "lookup.h"
#include "mailbox.h"
#include "net.h"
#include "poller.h"
#include "quorate/raft/structs.hpp"
#include "quorate/runtime/clients.hpp"
#include "quorate/runtime/connection.hpp"
#include "quorate/runtime/members.hpp"
#include "quorate/runtime/questions.hpp"
#include "sink.h"

namespace quorate {

/* Connections ---------------------------------------------------------------------------------------------------- */

struct Peer {
    uint64_t id = 0;
    bool member = false;        /* of a configuration that is in force or may be again; else it is here for a while */
    uint64_t leave_at = 0;      /* it was removed, and is forgotten then; 0: it was not */
    int outgoing = -1, incoming = -1; /* slots */
    uint64_t retry_at = 0, backoff = 0;
    uint64_t incarnation = 0;   /* as it said last */
    uint64_t bound = 0;         /* the one that its id is bound to; 0: none yet */
    uint8_t refusing = 0;       /* why its last hello was refused: a Refusal, or 0 */
    uint8_t refused = 0;        /* why it refused ours */
    uint64_t refused_at = 0;    /* index of the configuration by which it did */
    std::string place;          /* as it said itself */

    /* Where it may be found. */
    std::vector<std::string> addresses; /* as people write them, the configured one first; tried in turn */
    size_t turn = 0;            /* which of them */
    lookup *looking = nullptr;  /* for the numbers of its name; owned */
    std::vector<net_address> found;
    size_t tried = 0;           /* of those found */

    bool cut = false;           /* the connection to it ended, and the loop has not looked yet */
    bool lost = false;          /* messages to it were lost, and the core has not been told */
    bool unheard = false;       /* what it said may have been lost with a connection from it, and the loop has not looked yet */
    bool answers_lost = false;  /* an answer to it was lost once, so that no goodbye can prove anything */
};

enum Counter {
    COUNT_ACCEPTED = 0,   /* connections taken */
    COUNT_CONNECTED,      /* connections made */
    COUNT_FLOOD,          /* refused: there are too many */
    COUNT_STRANGER,       /* spoke another protocol */
    COUNT_NEWER,          /* spoke a newer version of this one */
    COUNT_TOO_LARGE,      /* claimed a frame over the bound */
    COUNT_DAMAGED,        /* sent bytes whose checksum is wrong, or that are no message */
    COUNT_WRONG_CLUSTER,
    COUNT_NOT_MEMBER,     /* is none of the members, or not the one that was expected */
    COUNT_SLOW,           /* did not finish in time what it began */
    COUNT_DROPPED,        /* messages not sent, because the queue was full or there was no connection */
    COUNT_SENT,           /* messages */
    COUNT_RECEIVED,
    COUNT_BYTES_SENT,
    COUNT_BYTES_RECEIVED,
    COUNTERS
};

inline const char *role_name(uint8_t role) {
    static const char *const names[] = {"follower", "pre_candidate", "candidate", "leader"};
    return names[role & 3];
}

/* As status shows them, in the order of the numbers. */
inline const char *counter_name(int counter) {
    static const char *const names[COUNTERS] = {
        "accepted", "connected", "flood", "stranger", "newer_version", "too_large", "damaged", "wrong_cluster", "not_member",
        "slow", "dropped", "sent", "received", "bytes_sent", "bytes_received",
    };
    return names[counter];
}

/* Where a member lives, by the hello on this connection. */
struct Neighbour {
    uint32_t slot = 0, generation = 0;
    uint32_t process = 0;
    uint64_t started = 0;
};

struct Peers {
    /* Constant after start. */
    poller *poll = nullptr;     /* owned by the loop */
    int listener = -1;          /* -1: none, as for a node without peers */
    uint64_t id = 0, incarnation = 0;
    uint8_t cluster[16] = {};
    uint32_t payload_max = 0;
    std::vector<Peer> members;           /* a pointer into it is good until the table changes */
    std::vector<Connection> connections; /* of a fixed size */

    uint32_t top = 0;                    /* slots from here on are free, so that nobody looks at them */
    std::vector<uint32_t> unsent;        /* slots with output that was not tried to be written yet */
    std::vector<uint32_t> visitors;      /* slots of incoming connections that turned out to be clients */
    std::vector<Neighbour> near;         /* members that have said which process they live in */
    std::vector<uint64_t> gone;          /* members whose connection to us ended, for the core's hint */
    uint32_t strangers = 0;              /* incoming connections that have not said who they are */
    uint64_t listen_again_at = 0;        /* 0: listening */
    uint64_t random = 1;
    uint64_t counters[COUNTERS] = {};

    uint64_t newest_index = 0;           /* of the newest configuration in our log */
    uint64_t configuration_index = 0;    /* of the newest one that is committed */
    std::string place;                   /* name and address of this node, which its hello says */
    uint32_t process = 0;                /* in which this node lives, as its hello says; constant after start */
    uint64_t started = 0;

    /* The frame that peers_next reported last, if it was none of the protocol; lent until the next call. */
    uint8_t other_kind = 0;
    const uint8_t *other = nullptr;
    uint32_t other_length = 0;
};

/* Requests ------------------------------------------------------------------------------------------------------- */

/* Also the numbers on the wire (docs/internals/wire.md). */
enum RequestKind : uint8_t {
    REQUEST_PROPOSE = 1, /* an encoded command */
    REQUEST_READ,        /* a barrier */
    REQUEST_QUERY,
    REQUEST_WATCH,
    REQUEST_AWAIT,
    REQUEST_RENEW,
    REQUEST_STATUS,
    REQUEST_MEMBERS,
    REQUEST_CHANGE,
    REQUEST_TRANSFER
};

/* Also the numbers on the wire: new ones come at the end. */
enum Outcome : uint8_t {
    OUTCOME_PENDING = 0,
    OUTCOME_DONE,
    /* Proven: nothing was appended, or what was appended was replaced before it was committed. */
    OUTCOME_NO_LEADER,
    OUTCOME_NOT_LEADER,
    OUTCOME_OVERLOADED,
    OUTCOME_TRANSFERRING,
    OUTCOME_DISK_FULL,
    OUTCOME_STALLED,
    OUTCOME_REPLACED,
    OUTCOME_REFUSED,
    OUTCOME_STOPPED_BEFORE,
    /* Handed on, and not known. */
    OUTCOME_CONNECTION_LOST,
    OUTCOME_EXPIRED,
    OUTCOME_STOPPED_AFTER,
    /* Of a client: no node could be reached, so that it never left this process. */
    OUTCOME_UNREACHABLE,
    /* Proven too: the body is none of its kind (the result may say why in words), or nobody here knows the kind. */
    OUTCOME_MALFORMED,
    /* Of a lane: the session ended, and the command was proven not to be applied, or that is not known. */
    OUTCOME_SESSION_LOST_BEFORE,
    OUTCOME_SESSION_LOST_AFTER,
    /* Of a lane: what was asked before is not answered yet, so that this was not sent in time. */
    OUTCOME_NOT_SENT,
    /* Proven, and the result says in words why. */
    OUTCOME_REJECTED
};

struct Answered; /* completions.hpp */

/* One question. Each that holds it has a reference, the asker and the loop at first; the last one frees it. */
struct Request {
    uint32_t references = 2;    /* atomic */
    uint8_t kind = 0;
    uint64_t expires_at = 0;    /* when the asker stops waiting */
    buffer *command = nullptr;  /* the body; one reference */
    uint32_t process = 0;       /* of the asker, if it is known (_sessions): its sessions end with it */

    /* A native asker, of the same thread: `then` is called once, with the outcome written, and takes the loop's reference
     * over. Nothing below is locked or signalled for it. */
    void (*then)(Request *it) = nullptr;
    /* Of a struct that begins with this one: called by the last one that lets go, frees everything. */
    void (*freed)(Request *it) = nullptr;
    void *asker = nullptr;      /* what `then` and `freed` belong to */
    uint64_t tag = 0;           /* the asker's own */
    const bool *unwanted = nullptr; /* true: it takes no answer any more, so that what is parked may be let go of */

    /* An asker that is woken by a descriptor: under the lock. */
    Answered *completions = nullptr; /* one reference */
    void *handle = nullptr;     /* of Python, which keeps it alive; the loop never looks at it */
    Request *next = nullptr;    /* in the list of what is answered */

    /* Written once by the loop, under the lock, with `outcome` last. */
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t answered = PTHREAD_COND_INITIALIZER;
    uint8_t outcome = OUTCOME_PENDING;
    uint64_t index = 0, term = 0, leader = 0;
    buffer *result = nullptr;   /* one reference */
};

/* Requests that went into the core as one event. */
struct Batch {
    std::vector<Request *> requests;
    uint64_t expires_at = 0;
    bool read = false;
    uint64_t forwarded = 0;     /* the leader that was asked, and whose answer is awaited */
    bool doubted = false;       /* it leads no more; its answer may still come */
    bool reserve = false;       /* all of it gives back, so that the reserve is for it */
};

/* A request whose place in the log is known. */
struct Waiting {
    uint64_t term;
    Request *request;
};

/* The loop ------------------------------------------------------------------------------------------------------- */

/* What a step wants written, until the log has taken it. */
struct Writing {
    bool has_hard_state = false;
    HardState hard_state;
    uint64_t ticket = 0;        /* the core's; 0: of none of its updates */
    int base_kind = 0;          /* of storage: SUBMIT_NOTHING, SUBMIT_BASE, SUBMIT_RESET */
    uint64_t base_index = 0, base_term = 0;
    uint64_t first_index = 0;
    size_t taken = 0;           /* entries that the log has */
    std::vector<EntryRef> entries;
};

struct Ticket {
    uint64_t wal;               /* the log's */
    uint64_t core;              /* the core's; 0 for all but the last piece of a write */
};

struct Held {
    uint64_t ticket;            /* of the core: these wait until it is durable */
    std::vector<Message> messages;
};

/* What a leader knows of another member. */
struct Follower {
    uint64_t id, match_index, heard_at; /* heard_at: 0 if nothing of this term came from it */
    bool learner;
};

/* What others may know of the loop; written at the end of each turn. */
struct Figures {
    uint8_t role = 0;
    bool disk_full = false;
    uint64_t term = 0, leader = 0, commit = 0, applied = 0, last_index = 0, durable_index = 0;
    uint64_t pending = 0;       /* requests that wait for an answer */
    uint64_t writes = 0;        /* steps' writes that are not durable */
    uint64_t held = 0;          /* groups of messages that wait for the disk */
    uint64_t backlog = 0;       /* writes that the log has not taken */
    uint64_t parked = 0;        /* questions that wait for the store to change */
    uint64_t questions = 0;     /* that were asked, of all kinds but proposals and barriers */
    uint64_t turns = 0, steps = 0, elections = 0, leader_changes = 0;
    uint64_t connected = 0;     /* members that messages can be sent to */
    uint64_t strangers = 0;
    uint64_t output_bytes = 0;  /* encoded and not sent */
    uint64_t renewed = 0, renewal_rounds = 0, expired = 0, process_exits = 0, pauses = 0, processes = 0;
    uint64_t sessions = 0;
    uint64_t log_entries = 0, log_bytes = 0; /* kept in memory */
    uint64_t counters[COUNTERS] = {};
    uint64_t clients = 0;       /* connected */
    uint64_t client_counters[CLIENT_COUNTERS] = {};
    uint32_t followers_count = 0;            /* 0 unless this node leads */
    Follower followers[MEMBERS_MAX];
};

enum Failure : uint8_t { FAILURE_NONE = 0, FAILURE_RAISED, FAILURE_DISK, FAILURE_INVARIANT, FAILURE_POLLER, FAILURE_LOG_RULE };

struct Loop {
    /* Constant after start; the owner of the node frees what they point to when the thread has ended. */
    Core *core = nullptr;
    poller *poll = nullptr;
    mailbox *mail = nullptr;    /* carries Request pointers, one reference each */
    mailbox *urgent = nullptr;  /* the same for renewals, which overload must not hold up */
    void *sessions = nullptr;   /* Sessions; see _sessions.pyx */
    void *wal = nullptr;        /* a Wal of storage, a StoreState of store: compiled there, and no header says what they are */
    void *store = nullptr;
    int disk_fd = -1;           /* what the log writes when something became durable; reading end */
    int disk_write_fd = -1;
    pthread_t thread = {};
    int pid = 0;
    bool running = false;       /* touched by the handle alone */
    int stopping = 0;           /* atomic; set by the handle */
    int failed = 0;             /* atomic; set by the thread once `failure` and the exception can be looked at */
    int ended = 0;              /* atomic; set by the thread when all requests are answered */

    Peers peers;
    Members members;

    /* Disk. */
    std::deque<Writing> backlog;
    std::deque<Ticket> tickets; /* taken by the log, not durable */
    std::deque<Held> held;
    bool has_lazy = false;      /* a commit index that will be written along with the next thing that must be */
    HardState lazy;
    uint64_t written_commit = 0;
    uint64_t wanted_ticket = 0; /* the core's newest that must be durable before promises leave */
    uint64_t durable_ticket = 0;
    bool disk_full = false;

    /* Requests. */
    uint64_t next_id = 1;
    uint64_t pending = 0;
    std::map<uint64_t, Batch> batches;
    uint64_t doubt_until = 0;   /* then what is doubted counts as not known; 0: nothing is */
    std::multimap<uint64_t, Waiting> waiting; /* by index */
    uint64_t waiting_expiry = UINT64_MAX;     /* none of them expires before */
    void *lanes = nullptr;      /* a Lanes: lanes.hpp */
    void *notices = nullptr;    /* a Notices: notices.hpp */
    std::deque<Request *> sending; /* what lanes sent in this turn, and the core has not been given */
    Questions questions;
    Clients clients;

    /* Applying. */
    uint64_t applied = 0;
    bool applied_due = false;   /* the core has not been told */
    sink results = {};          /* of one batch; its memory is used again */
    std::vector<size_t> ends;

    uint64_t deadline = 0;
    uint8_t role = 0;
    uint64_t term = 0, leader = 0;
    uint64_t steps = 0, elections = 0, leader_changes = 0;
    std::deque<Event> own;      /* events that duties brought about */
    void *snapshots = nullptr;  /* a Snapshots (snapshots.hpp) */

    /* Shared; under `lock`. */
    pthread_mutex_t lock;
    pthread_cond_t changed;     /* the leader or the role became another, or the thread ended */
    Figures status;

    uint8_t failure = FAILURE_NONE; /* read by others behind `failed` */
};

} // namespace quorate

#endif
