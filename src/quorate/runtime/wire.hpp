/* What the frames between nodes, and between a client and a node, are; csrc/frame.h is how they look. Numbers alone. */
#ifndef QUORATE_RUNTIME_WIRE_HPP
#define QUORATE_RUNTIME_WIRE_HPP

#include <cstdint>

namespace quorate {

/* All of them come to the same listener; the first one tells a member from a client. */
enum FrameKind : uint8_t {
    KIND_HELLO = 1, /* between members: u8 version, 16 bytes cluster, u64 node, u64 incarnation, u64 whom it wants, u64 0 */
    KIND_RAFT,      /* a message of the protocol */
    KIND_CLIENT,    /* hello of a client: u8 version, 16 bytes cluster (zeros: any), 16 bytes nonce, u32 process, u64 its
                       start (0: not told), u8 + label */
    KIND_WELCOME,   /* u8 version, 16 bytes cluster, u64 node, u64 leader or 0, u64 term, u64 applied, u16 members, each:
                       u64 id, u8 + name, u8 + address, u8 flags (1: voter) */
    KIND_ASK,       /* u64 id, u32 patience in ms, u8 kind of request, its body */
    KIND_ANSWER,    /* u64 id, u8 outcome, u64 index, u64 term, u64 leader, result */
    KIND_NEWS,      /* as WELCOME, when the leader, the term or the members became others */
    KIND_RENEW,     /* between members: u64 id, body of REQUEST_RENEW */
    KIND_RENEWED,   /* between members: u64 id, u8 outcome, result */
    KIND_REFUSAL    /* u8 reason, u8 + text in plain words; then the connection is closed */
};

enum : uint8_t { CLIENT_VERSION = 1 };

} // namespace quorate

#endif
