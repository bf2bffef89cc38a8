/* What a node knows of sessions beside the replicated store: renewals on their way, expiries that were proposed, and the
 * processes of this machine that hold sessions. No behaviour; the functions are in _sessions.pyx and
 * _processes.pyx. Knows nothing of Python.
 *
 * Everything belongs to the loop's thread. Times are microseconds of clock_microseconds(), unless the name says otherwise. */
#ifndef QUORATE_RUNTIME_SESSIONS_HPP
#define QUORATE_RUNTIME_SESSIONS_HPP

#include <cstdint>
#include <map>
#include <set>
#include <unordered_map>
#include <vector>

namespace quorate {

struct Request;

/* One question to renew: of this node, or of a member that forwarded it. */
struct Renewal {
    Request *request = nullptr;    /* its reference is held; NULL: a member's */
    uint64_t peer = 0, id = 0;     /* the member, and its number for what it forwarded */
    uint64_t arrived_ms = 0;       /* at the leader, rounded up: the new deadlines count from here */
    std::vector<uint64_t> sessions;
};

/* What went to the leader in one frame. */
struct ForwardedRenewals {
    uint64_t leader = 0;
    uint64_t expires_at = 0;       /* an answer that was lost is not waited for */
    size_t sessions = 0;
    std::vector<Renewal> all;
};

/* A process of this machine that holds sessions. */
struct Process {
    bool used = false;
    bool member = false;           /* a member of the cluster lives in it, whose own sessions bear its mark */
    bool exited = false;           /* kept for a while, for sessions that its last requests open */
    int fd = -1;                   /* tells of the exit */
    uint32_t generation = 0;       /* of the place */
    uint32_t number = 0;
    uint64_t birth = 0;
    uint32_t connections = 0;
    uint64_t forget_at = 0;        /* once it has exited */
    std::set<uint64_t> sessions;
};

struct Sessions {
    void *deadlines = nullptr;     /* Deadlines of the store */
    uint64_t led_term = 0;         /* in which this node judges; 0: it does not */

    /* Renewals. At most one quorum round of them is under way: what comes meanwhile shares the next. */
    std::vector<Renewal> waiting;
    std::vector<Renewal> round;
    uint64_t round_id = 0;         /* 0: none */
    uint64_t round_term = 0;
    uint64_t next_round_at = 0;
    uint64_t asked = 0;            /* requests of this node that are not answered */
    std::map<uint64_t, ForwardedRenewals> forwarded; /* a follower's, by number */

    /* Expiry. */
    std::map<uint64_t, std::vector<uint64_t>> expiries; /* by number of the proposal */
    uint64_t look_at = 0;          /* not before: so that sessions that end together are one proposal */
    uint64_t settled_at = 0;       /* not before: after a pause renewals come first */
    uint64_t paused_at = 0;        /* when the last one was seen */
    uint64_t crowded_since = 0;    /* more is ready than one turn takes in; 0: it is not */

    /* Processes. */
    std::vector<Process> processes;
    std::unordered_map<uint64_t, uint32_t> owners; /* session -> place of its process */
    uint32_t exited = 0;           /* places that wait to be forgotten */
    uint32_t watched = 0;          /* and those of processes that live */
    std::set<uint64_t> ending;     /* sessions whose process is gone, until the store does not have them any more */
    uint64_t end_at = 0;

    uint64_t renewed = 0, rounds = 0, expired = 0, exits = 0, pauses = 0; /* counted */
};

} // namespace quorate

#endif
