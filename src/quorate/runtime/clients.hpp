/* Connections of clients to a node. No behaviour; the functions are in _clients.pyx.
 *
 * Everything belongs to the loop's thread. */
#ifndef QUORATE_RUNTIME_CLIENTS_HPP
#define QUORATE_RUNTIME_CLIENTS_HPP

#include <cstdint>
#include <deque>
#include <vector>

#include "buffer.h"
#include "quorate/runtime/connection.hpp"

namespace quorate {

struct Clients;
struct Request;

/* Of the poller: + the slot of a client, in the lower half; its generation is in the upper half. */
enum : uint32_t { TOKEN_CLIENTS = 0x80000000u };

enum ClientCounter {
    CLIENT_WELCOMED = 0,
    CLIENT_ENDED,         /* connections that are over, whoever ended them */
    CLIENT_TURNED_AWAY,   /* there are too many */
    CLIENT_WRONG_CLUSTER,
    CLIENT_NEWER,         /* spoke a newer version */
    CLIENT_MALFORMED,     /* sent what is no frame or no question */
    CLIENT_TOO_LARGE,     /* claimed a frame over the bound */
    CLIENT_SLOW,          /* did not finish the frame that it began */
    CLIENT_STUCK,         /* did not read its answers */
    CLIENT_ASKS,
    CLIENT_ANSWERS,
    CLIENT_OVERLOADED,    /* asks that were refused because the node has as many as it takes */
    CLIENT_STALLED,       /* times that a client was not read from until it had some of its answers */
    CLIENT_NEWS,
    CLIENT_BYTES_SENT,
    CLIENT_BYTES_RECEIVED,
    CLIENT_COUNTERS
};

/* As status shows them, in the order of the numbers. */
inline const char *client_counter_name(int counter) {
    static const char *const names[CLIENT_COUNTERS] = {
        "welcomed", "ended", "turned_away", "wrong_cluster", "newer_version", "malformed", "too_large", "slow", "stuck",
        "asks", "answers", "overloaded", "stalled", "news", "bytes_sent", "bytes_received",
    };
    return names[counter];
}

/* Why a client is refused: the first byte of KIND_REFUSAL. */
enum ClientRefusal : uint8_t {
    TURNED_CLUSTER = 1,
    TURNED_VERSION = 2,
    TURNED_TOO_MANY = 3,
    TURNED_MALFORMED = 16,
    TURNED_TOO_LARGE = 17,
    TURNED_STUCK = 18
};

/* Held by its slot and by each question that is not answered; the last one frees it. */
struct Client {
    uint32_t references = 1;
    uint32_t slot = 0;
    Clients *all = nullptr;
    Connection connection;
    uint32_t asks = 0;            /* that are not answered */
    bool gone = false;            /* the connection is over: answers go nowhere */
    bool unwanted = false;        /* gone, or stuck */
    bool stuck = false;           /* it is to be closed, because its output is over the bound */
    bool stalled = false;         /* it is not read from until it has some of its answers */
    bool again = false;           /* in Clients::again */
    bool missed_news = false;
    uint64_t input_due = 0;       /* the rest of a frame; 0: in the middle of nothing */
    uint64_t output_due = 0;      /* any progress of the output */
    uint8_t nonce[16] = {};       /* as it said in its hello */
    uint32_t process = 0;         /* a handle of sessions; 0: not known here */
};

struct Clients {
    std::vector<Client *> slots;       /* of a fixed size, made at the start; read by a forked child too */
    std::vector<uint32_t> generations; /* of the slots */
    std::vector<uint32_t> free;
    std::vector<Request *> asked;      /* for take_requests, one reference each; from `taken` on */
    size_t taken = 0;
    std::deque<Request *> urgent;      /* the same, of kinds that wait for no majority: taken however much is pending */
    std::vector<uint32_t> unsent;      /* slots with output that was not tried to be written yet */
    std::vector<uint32_t> again;       /* slots with frames that were received and not looked at */
    buffer *spare = nullptr;           /* to receive into: idle clients hold none */
    uint32_t count = 0;
    uint32_t timed = 0;                /* how many of the two times above are set */
    uint64_t look_at = 0;              /* when they are looked at; 0 if none is set */
    uint64_t output = 0;               /* bytes that are queued, of all */
    uint64_t told_leader = 0, told_term = 0, told_configuration = 0; /* the news that went out last */
    std::vector<uint8_t> news;         /* used again */
    uint64_t counters[CLIENT_COUNTERS] = {};
};

} // namespace quorate

#endif
