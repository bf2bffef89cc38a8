/* The plain structs of lanes: a client's sessions and the numbered commands in them. No behaviour; the rules that work on them
 * are free functions in _lane_line.pyx, _lane_life.pyx and _lanes.pyx. Knows nothing of Python, nor whether a node's loop or a
 * remote client's drives it.
 *
 * Everything belongs to the thread of that loop, unless the field says otherwise. Times are microseconds of
 * clock_microseconds(), which counts the time that the machine was suspended. */
#ifndef QUORATE_RUNTIME_LANES_HPP
#define QUORATE_RUNTIME_LANES_HPP

#include <cstdint>
#include <deque>
#include <set>
#include <utility>
#include <vector>

#include "quorate/runtime/notices.hpp"
#include "quorate/runtime/structs.hpp"

namespace quorate {

enum LaneState : uint8_t {
    LANE_OPENING = 0, /* no session yet */
    LANE_OPEN,
    LANE_CLOSING,     /* a goodbye is on its way, or waits for what is pending */
    LANE_CLOSED,      /* by a goodbye */
    LANE_LOST         /* what was held is not held any more; `loss` says why */
};

enum LaneLoss : uint8_t {
    LOSS_NONE = 0,
    LOSS_ENDED,    /* the cluster does not know the session any more */
    LOSS_DEADLINE, /* no renewal in time: it may have been ended, from now on */
    LOSS_REFUSED,  /* it was never opened; `opened` is the result */
    LOSS_REWOUND,  /* the cluster has an older state of the session than it had: it was restored from a backup */
    LOSS_STOPPED,  /* the engine ended */
    LOSS_LIMIT     /* its holder gave it a limit, and that is passed */
};

/* What a lane is asked by Python threads: kinds of Request that never leave the process. */
enum LaneRequest : uint8_t {
    REQUEST_LANE_OPEN = 200, /* answered once there is a session, with the result of its opening */
    REQUEST_LANE_COMMAND,    /* tag: weight of its result */
    REQUEST_LANE_MANY,       /* a Many */
    REQUEST_LANE_CLOSE,      /* answered once the session has ended */
    REQUEST_LANE_LIMIT       /* the limit was changed; nobody waits for an answer */
};

struct Lane;

/* Commands that are asked for as one. */
struct Many : Request {
    std::vector<buffer *> commands;  /* one reference each, until the lane takes them */
    std::vector<uint32_t> weights;
    /* Written by the loop before the outcome; one for each command. */
    std::vector<buffer *> results;   /* one reference each, or none */
    std::vector<uint8_t> outcomes;
    size_t left = 0;                 /* commands that are not settled */
};

enum CommandState : uint8_t { COMMAND_WAITS = 0, COMMAND_SENT, COMMAND_DONE };

struct LaneCommand {
    buffer *command = nullptr;   /* one reference; numbered in place before it is sent first, copied afterwards */
    Request *request = nullptr;  /* who asked, one reference; null once answered. Of a Many: shared by its commands */
    uint32_t position = 0;       /* in a Many */
    uint32_t weight = 0;         /* most bytes that its result may retain in the session */
    uint32_t attempt = 0;        /* the newest sending's; older ones tell of results, and of nothing else */
    uint16_t flights = 0;        /* sendings of any attempt that are not answered */
    uint8_t state = COMMAND_WAITS;
    uint8_t refusal = 0;         /* the last outcome that proves that a sending came to nothing */
    bool doubt = false;          /* a sending was lost: it may have been appended */
    bool shared = false;         /* the bytes were sent before, so that they may not be changed */
};

/* Something on its way to the cluster. The driver gets it as a Request of kind REQUEST_PROPOSE or REQUEST_RENEW, and answers
 * it once, with request_answer. */
struct Sending : Request {
    uint32_t attempt = 0;        /* of the command, or of the lane */
    uint8_t what = 0;            /* SendingKind */
    uint64_t sent_at = 0;
    std::vector<Lane *> lanes;   /* of a renewal; counted as flights of theirs */
};

enum SendingKind : uint8_t { SENDING_COMMAND = 0, SENDING_OPEN, SENDING_END, SENDING_RENEWAL };

struct Lanes;

struct Lane {
    uint32_t references = 2;     /* atomic: the handle, the engine, and each request in a mailbox */
    /* Constant. */
    uint64_t id = 0;             /* for notices */
    uint32_t ttl_ms = 0;
    uint64_t ttl = 0, margin = 0;
    uint8_t label_length = 0;
    uint8_t label[255] = {};
    /* Written by the loop, read by anybody: atomic. */
    uint8_t state = LANE_OPENING;
    uint8_t loss = LOSS_NONE;
    uint64_t session = 0;
    uint64_t deadline = 0;       /* until then the session is ours for sure; 0: it is not */
    uint64_t limit = UINT64_MAX; /* atomic, written by any thread: the session is not ours from then on, whatever is renewed */
    int dropped = 0;             /* atomic: nobody holds the handle any more, and the request to close it found no room */

    Lanes *lanes = nullptr;
    uint8_t nonce[16] = {};
    bool closing = false;
    bool asked = false;          /* the opening or the goodbye is on its way */
    bool ready = false;          /* in Lanes::ready */
    Request *opening = nullptr;  /* who waits for the session, one reference */
    Request *ending = nullptr;   /* who waits for its end, one reference */
    buffer *opened = nullptr;    /* the result of opening it, once there is one */
    uint64_t found = 0;          /* the session in it, until lanes_run has looked at the time */
    uint64_t opened_from = 0;    /* when this nonce was sent first; 0: not yet */
    uint8_t refusal = 0;         /* the last outcome that kept the lane from sending */

    /* Invariant: line[i] has the number base + i, for i < numbered; mark = base - 1, so that all before are answered. */
    std::deque<LaneCommand> line;
    uint64_t base = 1;
    size_t numbered = 0;
    size_t cursor = 0;           /* those before it are under way or done */
    size_t live = 0;             /* commands whose asker waits */
    uint64_t weight = 0;         /* of those that are numbered */
    uint32_t window = 4096;
    uint32_t flights = 0;        /* sendings of any attempt that are not answered */
    uint32_t attempt = 0;        /* of the opening or the goodbye */
    uint64_t retry_at = 0;       /* nothing is sent before */
    uint64_t pause = 0;          /* what retry_at is to be made of */
    uint64_t backoff = 0;        /* the last pause; 0 after progress */
    uint64_t expiry = UINT64_MAX;/* no asker's time is over before */
    uint64_t renew_at = 0;       /* its place in Lanes::renewals; 0: none */
    uint64_t timer = 0;          /* its place in Lanes::timers; 0: none */
};

/* How what a lane sends gets to the cluster. */
struct LaneDriver {
    void *context = nullptr;
    /* Takes a request, which it will answer; or 0: not now, and lanes_ready() asks again. Never answers before it returns. */
    int (*send)(void *context, Request *request) = nullptr;
};

/* All lanes of one engine. */
struct Lanes {
    Notices *notices = nullptr;  /* not owned; may be null */
    bool connected = false;      /* there is somebody to send to */
    bool stopped = false;
    uint64_t queued = 0;         /* commands in all lines */
    std::set<Lane *> all;
    std::deque<Lane *> ready;    /* have something to send */
    std::set<std::pair<uint64_t, Lane *>> timers, renewals;
    std::vector<Sending *> spare;
    uint64_t random = 1;
    /* Figures. */
    uint64_t sent = 0, again = 0, restarts = 0, lost = 0, renewed = 0, renewals_failed = 0;
};

enum { LANES_QUEUED_MAX = 262144, MANY_COMMANDS_MAX = 65536 };

} // namespace quorate

#endif
