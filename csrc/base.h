/* What every kernel shares: integer types, byte order, hints, checks at compile time, and the limits that Cython code uses
 * too. Knows nothing of Python, of Raft or of files. */
#ifndef QUORATE_BASE_H
#define QUORATE_BASE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
#define QUORATE_STATIC_ASSERT(condition, text) static_assert(condition, text)
extern "C" {
#else
#define QUORATE_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

#define QUORATE_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define QUORATE_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* Bounds; each has the same name and value in quorate/limits.py, and a test compares them. */
enum {
    NODE_NAME_MAX = 255,
    RING_NODES_MAX = 65535,
    RING_VNODES_MAX = 65536,
    RING_POINTS_MAX = 16777216,
    SLOTS_MAX = 1048576,
    ENTRY_BYTES_MAX = 16777216,
    MEMBERS_MAX = 64,
    MEMBER_PLACE_MAX = 512,
    MESSAGE_ENTRIES_MAX = 65536,
    KEY_BYTES_MAX = 4096,
    VALUE_BYTES_MAX = 8388608,
    PERMIT_NAME_MAX = 512,
    LABEL_BYTES_MAX = 255,
    HOLDER_VALUE_MAX = 65536,
    TRANSACTION_OPERATIONS_MAX = 256
};

/* Little-endian loads and stores at any alignment. On a little-endian machine each is one instruction. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define QUORATE_LE16(x) __builtin_bswap16(x)
#define QUORATE_LE32(x) __builtin_bswap32(x)
#define QUORATE_LE64(x) __builtin_bswap64(x)
#else
#define QUORATE_LE16(x) (x)
#define QUORATE_LE32(x) (x)
#define QUORATE_LE64(x) (x)
#endif

static inline uint16_t load_le16(const void *at) { uint16_t x; memcpy(&x, at, sizeof x); return QUORATE_LE16(x); }
static inline uint32_t load_le32(const void *at) { uint32_t x; memcpy(&x, at, sizeof x); return QUORATE_LE32(x); }
static inline uint64_t load_le64(const void *at) { uint64_t x; memcpy(&x, at, sizeof x); return QUORATE_LE64(x); }
static inline void store_le16(void *at, uint16_t x) { x = QUORATE_LE16(x); memcpy(at, &x, sizeof x); }
static inline void store_le32(void *at, uint32_t x) { x = QUORATE_LE32(x); memcpy(at, &x, sizeof x); }
static inline void store_le64(void *at, uint64_t x) { x = QUORATE_LE64(x); memcpy(at, &x, sizeof x); }

#ifdef __cplusplus
}
#endif
#endif
