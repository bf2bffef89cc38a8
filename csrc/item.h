/* One row of a store table: an immutable, reference-counted buffer that holds key, value and revisions in one allocation.
 *
 * An item *is* a buffer (buffer.h): buffer_retain and buffer_release work on it from any thread, so a reader or a watcher
 * keeps a row alive without a copy. Knows nothing of what the rows mean; the fields after `mod_revision` are free for
 * tables that are not user keys. */
#ifndef QUORATE_ITEM_H
#define QUORATE_ITEM_H

#include "buffer.h"

#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct item {
    uint32_t references;      /* buffer.references */
    uint32_t length;          /* buffer.length: all that follows */
    uint64_t create_revision; /* log index of the entry that made the key */
    uint64_t mod_revision;    /* log index of the entry that wrote this row; the forest reclaims by it */
    uint64_t version;         /* writes since the key was made, 1 for the first */
    uint64_t session;         /* owner, or 0 */
    uint32_t value_length;
    uint16_t key_length;
    uint16_t spare; /* always 0 */
    uint8_t bytes[]; /* key, then value */
} item;

enum { ITEM_FIXED = 40 }; /* bytes of an item between the head of the buffer and the key */

QUORATE_STATIC_ASSERT(sizeof(item) == sizeof(buffer) + ITEM_FIXED, "an item is a buffer");
QUORATE_STATIC_ASSERT(offsetof(item, length) == offsetof(buffer, length), "the heads agree");

static inline const uint8_t *item_key(const item *it) { return it->bytes; }
static inline const uint8_t *item_value(const item *it) { return it->bytes + it->key_length; }
static inline uint8_t *item_value_to_fill(item *it) { return it->bytes + it->key_length; }
static inline item *item_retain(const item *it) { return (item *)buffer_retain((buffer *)(uintptr_t)it); }
static inline void item_release(const item *it) { buffer_release((buffer *)(uintptr_t)it); }

/* What an item costs in memory, near enough for a quota. */
static inline uint64_t item_cost(const item *it) { return (uint64_t)it->length + sizeof(buffer) + 8; }

/* Items are allocated in steps of 16 bytes less 8, as allocators round anyway: so two items of one step can take each
 * other's memory. */
static inline uint32_t item_step(uint32_t length) { return (length + (uint32_t)sizeof(buffer) + 23) / 16; }
static inline size_t item_step_bytes(uint32_t step) { return (size_t)step * 16 - 8; }

/* An item in this memory, of its step at least: one reference, its key filled, its value undefined, its revisions 0. `key`
 * may be NULL to fill it later. The caller has checked both lengths against its limits. */
static inline item *item_begin(void *memory, const void *key, uint16_t key_length, uint32_t value_length) {
    item *it = (item *)memory;
    if (QUORATE_UNLIKELY(!it)) return NULL;
    it->references = 1;
    it->length = (uint32_t)ITEM_FIXED + key_length + value_length;
    it->create_revision = it->mod_revision = it->version = it->session = 0;
    it->value_length = value_length;
    it->key_length = key_length;
    it->spare = 0;
    if (key) memcpy(it->bytes, key, key_length);
    return it;
}

/* The same in new memory; NULL if it is short. */
static inline item *item_new(const void *key, uint16_t key_length, uint32_t value_length) {
    uint32_t step = item_step((uint32_t)ITEM_FIXED + key_length + value_length);
    return item_begin(malloc(item_step_bytes(step)), key, key_length, value_length);
}

/* Numbers in keys are big-endian, so that they order as numbers. */
static inline void store_be64(void *at, uint64_t x) {
    x = QUORATE_LE64(__builtin_bswap64(x));
    memcpy(at, &x, sizeof x);
}
static inline uint64_t load_be64(const void *at) { return __builtin_bswap64(load_le64(at)); }

#ifdef __cplusplus
}
#endif
#endif
