/* Questions that wait in the loop for the store to change: who waits, and the indexes that find them. No behaviour; the
 * functions are in _questions.pyx. Knows nothing of connections.
 *
 * Everything belongs to the loop's thread. */
#ifndef QUORATE_RUNTIME_QUESTIONS_HPP
#define QUORATE_RUNTIME_QUESTIONS_HPP

#include <cstdint>
#include <deque>
#include <map>
#include <unordered_map>
#include <vector>

#include "buffer.h"
#include "sink.h"

namespace quorate {

struct Request;

/* One parked question. It is in `by_deadline` and in the ring of all of them, and in the index that its kind needs. */
struct Parked {
    Request *request = nullptr;     /* its reference is held */
    Parked *before = nullptr, *behind = nullptr;          /* in the ring */
    Parked *previous = nullptr, *next = nullptr;          /* in the chain of its hash, or of the odd ones */
    std::multimap<uint64_t, Parked *>::iterator by_deadline, by_revision;
    bool waits_for_revision = false;
    bool indexed = false, odd = false, prefix = false;
    bool is_due = false;            /* it is in Questions::due */
    uint64_t hash = 0;
    /* A watch. The names lie in the request's body. */
    uint64_t after = 0;
    uint32_t spaces = 0, events_most = 0, bytes_most = 0;
    const uint8_t *start = nullptr, *end = nullptr;
    uint32_t start_length = 0, end_length = 0;
    std::vector<uint64_t> places;   /* in the history: events of this batch that it wants */
    /* An acquisition that is awaited. */
    uint64_t session = 0, acquisition = 0;
};

struct Questions {
    uint64_t parked = 0;
    Parked *first = nullptr, *last = nullptr;             /* the ring, opened: the one looked at longest ago is first */
    std::multimap<uint64_t, Parked *> by_deadline;
    std::multimap<uint64_t, Parked *> by_revision;        /* those that wait until the node has applied a revision */
    std::unordered_map<uint64_t, Parked *> index;         /* watches of one key and of a prefix, and acquisitions */
    std::map<uint32_t, uint32_t> prefixes;                /* length of a prefix -> how many watch one of that length */
    Parked *odd = nullptr;                                /* watches of other ranges: each event is held against all of them */
    uint64_t odd_ones = 0;                                /* how many */
    std::deque<Request *> ready;                          /* wait only because a turn has done enough; one reference each */
    uint64_t produced = 0;                                /* what this turn has done, in bytes of answers */
    buffer *status = nullptr;                             /* the answer to STATUS of this turn, if somebody asked */
    std::vector<Parked *> due;                            /* used again */
    uint64_t seed = 0;              /* of the hashes, so that nobody can choose names that meet */
    uint64_t started_at = 0;
    buffer *texts = nullptr;        /* constant: what STATUS says of this node in words; one reference */
    uint16_t texts_count = 0;
    sink scratch = {};              /* of one answer; its memory is used again */
    uint64_t seen_place = 0;        /* up to here the parked ones were held against the history */
    uint64_t seen_revision = 0;     /* and what that means */
    uint64_t sweep_at = 0;
    uint64_t abandoned = 0;         /* about how many parked ones have nobody left who waits */
    uint64_t asked = 0, refused = 0;/* questions of all kinds but proposals and barriers */
};

} // namespace quorate

#endif
