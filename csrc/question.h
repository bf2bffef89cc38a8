/* The bodies of the questions that clients ask a node (docs/internals/wire.md): a bounded parser over the caller's bytes.
 *
 * What is decoded points into those bytes. Knows nothing of connections, of the store, and of who may ask. All numbers are
 * little-endian; a name is a u16 length and its bytes. */
#ifndef QUORATE_QUESTION_H
#define QUORATE_QUESTION_H

#include "base.h"
#include "command.h"

#ifdef __cplusplus
extern "C" {
#endif

enum query_what {
    QUERY_KEY = 1,         /* key */
    QUERY_RANGE = 2,       /* u32 limit (0: none), u8 keys only, u32 bytes at most, start, end (empty: to the last key) */
    QUERY_COUNT = 3,       /* start, end */
    QUERY_SESSION = 4,     /* u64 session */
    QUERY_ACQUISITION = 5, /* u64 session, u64 acquisition */
    QUERY_PERMIT = 6       /* u32 limit, name */
};

enum { WATCH_SPACES_ALL = 3, CLIENT_HELLO_VERSION = 1, CLIENT_NONCE = 16, CLUSTER_ID = 16, ASK_HEAD = 13 };

/* u8 consistency (0 linearizable, 1 local), u64 revision, u8 what, and what belongs to that. */
typedef struct query {
    uint64_t min_revision; /* a local answer waits until the node has applied it */
    uint64_t session, acquisition;
    view start, end;       /* start: also the key or the name */
    uint32_t limit, bytes_most;
    uint8_t local, what, keys_only;
} query;

/* u64 after, u32 spaces, u32 events at most, u32 bytes at most, start, end. */
typedef struct watch_question {
    uint64_t after;
    uint32_t spaces, events_most, bytes_most;
    view start, end;
} watch_question;

/* u64 session, u64 acquisition, and, if there is more, u64 revision that the node must have applied. */
typedef struct await_question {
    uint64_t session, acquisition, min_revision;
} await_question;

/* u64 id, u32 patience in milliseconds, u8 kind, body. */
typedef struct ask_frame {
    uint64_t id;
    uint32_t patience_ms;
    uint8_t kind;
    view body;
} ask_frame;

/* u8 version, 16 bytes cluster (0: any), 16 bytes nonce, u32 process, u64 its mark of process.h (0: not told), u8 length and label. */
typedef struct client_hello {
    uint8_t version;
    const uint8_t *cluster, *nonce;
    uint32_t process;
    uint64_t started;
    view label;
} client_hello;

/* Each: 0, or -1 if the bytes are no such body, or more than one. */
int question_query(const void *bytes, size_t length, query *out);
int question_watch(const void *bytes, size_t length, watch_question *out);
int question_await(const void *bytes, size_t length, await_question *out);
int question_ask(const void *bytes, size_t length, ask_frame *out);

/* 0; -1 if the bytes are none; 1 if they are of a newer version, and then nothing but that is filled in. */
int question_hello(const void *bytes, size_t length, client_hello *out);

#ifdef __cplusplus
}
#endif
#endif
