/* What the frames between nodes, and between a client and a node, are; csrc/frame.h is how they look. Numbers alone. */
#ifndef QUORATE_RUNTIME_WIRE_HPP
#define QUORATE_RUNTIME_WIRE_HPP

#include <cstdint>

namespace quorate {

/* All of them come to the same listener; the first one tells a member from a client. */
enum FrameKind : uint8_t {
    KIND_HELLO = 1, /* between members: u8 version, 16 bytes cluster, u64 node, u64 incarnation, u64 whom it wants,
                       u64 index of its newest configuration, u16 + its place (name and address), u32 process, u64 its
                       start (0: not told) */
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
    KIND_REFUSAL,   /* u8 reason, u8 + text in plain words, and of a member u64 index of its committed configuration; then the
                       connection is closed */
    KIND_GOODBYE    /* between members: the sender stops, and has answered everything that it took in */
};

/* Why a connection is refused. */
enum Refusal : uint8_t {
    REFUSAL_CLUSTER = 1,
    REFUSAL_VERSION,
    REFUSAL_TOO_MANY,
    REFUSAL_RECEIVER,    /* somebody else is wanted */
    REFUSAL_NOT_MEMBER,  /* or not any more */
    REFUSAL_INCARNATION  /* that member had other data */
};

enum : uint8_t { CLIENT_VERSION = 1 };

} // namespace quorate

#endif
