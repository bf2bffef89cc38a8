/* What a node knows of the cluster's members beside the configuration in the log: addresses to try, and questions about
 * members on their way. No behaviour; the functions are in _roster.pyx, _changes.pyx and
 * _members.pyx. Knows nothing of Python.
 *
 * Everything belongs to the loop's thread, unless the field says otherwise. */
#ifndef QUORATE_RUNTIME_MEMBERS_HPP
#define QUORATE_RUNTIME_MEMBERS_HPP

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "quorate/raft/structs.hpp"

namespace quorate {

struct Request;

/* A change or a transfer that this node, as the leader, has in hand. */
struct Managed {
    Request *request = nullptr;     /* its reference is held */
    bool proposed = false;          /* the core was asked; a change that the leader itself has under way comes first */
    bool placed = false;            /* it is in the log, at: */
    uint64_t index = 0, term = 0;
    std::vector<Change> changes;
};

/* What went on to the leader. */
struct Passed {
    Request *request = nullptr;     /* its reference is held */
    uint64_t leader = 0;
};

enum Standing : uint8_t {
    STANDING_VOTER = 0,
    STANDING_LEARNER,
    STANDING_JOINING,               /* no member yet */
    STANDING_REMOVED,
    STANDING_REFUSED                /* the others know its id with another incarnation: its data were lost */
};

struct Members {
    std::map<uint64_t, std::string> given;  /* places of the list that the node was started with; constant after start */
    uint64_t seen_index = UINT64_MAX;       /* the table of peers was made from this configuration */
    bool settled = false;                   /* and it was committed then, and not joint */
    std::map<uint64_t, Managed> managed;    /* by the number that the core knows */
    std::map<uint64_t, Passed> passed;      /* by the number that the leader answers */
    Request *answered = nullptr;            /* of other members, to be sent; linked by `next` */
    uint64_t asked = 0;                     /* by other members, and not answered */

    /* Shared; under the loop's lock. */
    std::string roster;                     /* as REQUEST_MEMBERS is answered, without what only a leader knows */
    uint64_t version = 0;                   /* of it; grows */
    uint8_t standing = STANDING_VOTER;
};

} // namespace quorate

#endif
