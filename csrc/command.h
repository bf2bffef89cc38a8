/* The binary form of the commands that the replicated store applies: a bounded parser over the caller's bytes.
 *
 * A decoded command points into the bytes that it was decoded from. Decoding is the whole validation that does not need the
 * store's state: a command that passes here before it is proposed cannot be malformed when it is applied, and one that does
 * not pass gives the same answer on every node. Knows nothing of what the operations do.
 *
 * All numbers are little-endian. A key, name, label or reason is a u16 length and its bytes, a value a u32 length and its
 * bytes. Head, 24 bytes:
 *
 *     0 u8  version      1 u8 operation      2 u16 flags
 *     4 u32 window       number - low-water mark of the client; 0 if not numbered
 *     8 u64 session      0 if none
 *    16 u64 number       of this request in its session; 0 if not numbered
 *   [24 u64 fence token, name                 if COMMAND_FENCED]
 *       body
 *
 * The fixed head lets a session's runtime fill in session, number and window without knowing the rest. */
#ifndef QUORATE_COMMAND_H
#define QUORATE_COMMAND_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { COMMAND_VERSION = 1, COMMAND_HEAD = 24, NONCE_BYTES = 16 };

enum command_operation {
    OPERATION_PUT = 1,              /* key, value */
    OPERATION_DELETE = 2,           /* key */
    OPERATION_DELETE_RANGE = 3,     /* u32 limit, start, end (empty: to the last key) */
    OPERATION_COMPARE_AND_SET = 4,  /* u64 mod_revision (0: must not exist), key, value */
    OPERATION_INCREMENT = 5,        /* i64 by, key */
    OPERATION_TRANSACTION = 6,      /* u16 compares, u16 then, u16 else, and these */
    OPERATION_SESSION_OPEN = 7,     /* u64 now_ms, u32 ttl_ms, 16 bytes nonce, label */
    OPERATION_SESSION_END = 8,      /* u64 session, u8 reason */
    OPERATION_ACQUIRE = 9,          /* u64 now_ms, u64 acquisition, u32 capacity, u32 units, u8 kind, name, value */
    OPERATION_RELEASE = 10,         /* u64 acquisition */
    OPERATION_CANCEL = 11,          /* u64 acquisition */
    OPERATION_HOLDER_VALUE = 12,    /* u64 acquisition, value */
    OPERATION_FORCE_RELEASE = 13,   /* u64 now_ms, u64 token (0: every holder), name, reason */
    OPERATION_SET_LIMITS = 14,      /* u16 count, then u16 limit, u64 value each, limits ascending */
    OPERATION_SET_VERSION = 15,     /* u8 version */
    OPERATION_COMPACT_HISTORY = 16, /* u64 revision: watches may not ask for older events */
    OPERATION_LAST = 16,
    /* Only inside a transaction. */
    OPERATION_GET = 32,   /* key */
    OPERATION_RANGE = 33, /* u32 limit, start, end */
};

enum command_flags {
    COMMAND_NUMBERED = 1, /* applied exactly once, in number order */
    COMMAND_FENCED = 2,   /* only while the named permit has a holder of this token */
    COMMAND_OWNED = 4,    /* the written key belongs to the session, and goes with it */
    COMMAND_TRY = 8,      /* an acquire that does not wait */
    COMMAND_FLAGS = 15
};

enum compare_target {
    COMPARE_VALUE = 0, COMPARE_MOD_REVISION = 1, COMPARE_CREATE_REVISION = 2, COMPARE_VERSION = 3, COMPARE_SESSION = 4,
    COMPARE_TARGETS = 5
}; /* a key that does not exist has all numbers 0, and no value equals it */
enum compare_relation {
    RELATION_EQUAL = 0, RELATION_NOT_EQUAL = 1, RELATION_LESS = 2, RELATION_GREATER = 3, RELATIONS = 4
};

enum permit_kind { PERMIT_MUTEX = 1, PERMIT_SEMAPHORE = 2, PERMIT_RWLOCK = 3, PERMIT_ELECTION = 4, PERMIT_KINDS = 5 };
enum { RWLOCK_CAPACITY = 0x7fffffff }; /* a reader takes one unit, a writer all of them */

enum session_end {
    END_GOODBYE = 1, END_EXPIRED = 2, END_PROCESS_EXIT = 3, END_FORCED = 4, END_REASONS = 5
};

typedef struct view {
    const uint8_t *bytes;
    uint32_t length;
} view;

typedef struct command {
    uint8_t version, operation, kind, reason, new_version;
    uint16_t flags, compares, thens, elses, limits;
    uint32_t window, limit, ttl_ms, capacity, units;
    uint64_t session, number, fence_token, token, revision, acquisition, target, now_ms;
    int64_t by;
    view fence_name, key, end, value, name, label, nonce; /* label: also the reason of a forced release */
    view body; /* the parts of a transaction, or the limits */
} command;

/* One part of a transaction. */
typedef struct command_part {
    uint8_t operation, owned, target, relation;
    uint32_t limit;
    uint64_t operand;
    int64_t by;
    view key, end, value;
} command_part;

/* NULL if the bytes are a command of a version up to `known`; else what is wrong with them, as a constant text. `*newer`
 * tells that the version is above `known`, so that nothing else can be said. */
const char *command_decode(const void *bytes, size_t length, uint8_t known, command *out, int *newer);

/* The parts of a decoded transaction one after the other: compares, thens, elses. `*at` starts at 0. Returns 0 at the end. */
int command_compare_next(const command *it, uint32_t *at, command_part *out);
int command_part_next(const command *it, uint32_t *at, command_part *out);

/* Whether an encoded command only gives back: what a leader without room on its disk still admits. */
static inline int command_frees(const uint8_t *bytes, size_t length) {
    if (length < COMMAND_HEAD) return 0;
    switch (bytes[1]) {
    case OPERATION_DELETE:
    case OPERATION_DELETE_RANGE:
    case OPERATION_SESSION_END:
    case OPERATION_RELEASE:
    case OPERATION_CANCEL:
    case OPERATION_FORCE_RELEASE:
    case OPERATION_COMPACT_HISTORY: return 1;
    default: return 0;
    }
}

/* Fills in the session's fields of an encoded command. */
static inline void command_number(uint8_t *bytes, uint64_t session, uint64_t number, uint32_t window) {
    store_le16(bytes + 2, (uint16_t)(load_le16(bytes + 2) | COMMAND_NUMBERED));
    store_le32(bytes + 4, window);
    store_le64(bytes + 8, session);
    store_le64(bytes + 16, number);
}

#ifdef __cplusplus
}
#endif
#endif
