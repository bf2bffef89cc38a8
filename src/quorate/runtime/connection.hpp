/* A connection to a member or to a client, as the loop sees it: what came in and is not decoded, what is to go out. */
#ifndef QUORATE_RUNTIME_CONNECTION_HPP
#define QUORATE_RUNTIME_CONNECTION_HPP

#include <cstdint>
#include <vector>

#include "buffer.h"

namespace quorate {

enum ConnectionState : uint8_t {
    SLOT_FREE = 0,
    CONNECTING, /* outgoing: the handshake of the system is under way */
    GREETING,   /* a hello is awaited: outgoing the answer to ours, incoming the first word */
    OPEN,
    ARRIVED     /* it said the hello of a client, which is still to be decoded */
};

struct Connection {
    int fd = -1;                /* read by a forked child too, which closes what it inherited */
    uint8_t state = SLOT_FREE;
    bool incoming = false;
    bool queued = false;        /* its slot is in Peers::unsent */
    uint32_t generation = 0;    /* of the slot, so that an event for its last user is not taken for the next one's */
    uint64_t peer = 0;          /* 0: an incoming one that has not said who it is */
    uint64_t deadline = 0;      /* when what it is in the middle of must be over; 0: in the middle of nothing */
    buffer *chunk = nullptr;    /* received bytes; decoded entries may share it */
    uint32_t begin = 0, end = 0;/* what is not decoded yet, in the chunk */
    uint32_t need = 0;          /* bytes of the frame that has begun, as far as known */
    std::vector<uint8_t> out;   /* encoded frames */
    size_t sent = 0;            /* of them */
};

} // namespace quorate

#endif
