/* Bytes that grow at their end: where encoders write. One owner, one thread. */
#ifndef QUORATE_SINK_H
#define QUORATE_SINK_H

#include "base.h"

#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sink {
    uint8_t *bytes; /* owned; given back with sink_free */
    size_t length, capacity;
} sink;

static inline void sink_free(sink *it) {
    free(it->bytes);
    it->bytes = NULL;
    it->length = it->capacity = 0;
}

/* Room for `more` bytes; the place where they go, or NULL if memory is short. Counts them as written. */
static inline uint8_t *sink_grow(sink *it, size_t more) {
    if (QUORATE_UNLIKELY(it->capacity - it->length < more)) {
        size_t capacity = it->capacity ? it->capacity : 256;
        while (capacity - it->length < more) {
            if (capacity > SIZE_MAX / 2) return NULL;
            capacity *= 2;
        }
        uint8_t *bytes = (uint8_t *)realloc(it->bytes, capacity);
        if (!bytes) return NULL;
        it->bytes = bytes;
        it->capacity = capacity;
    }
    uint8_t *place = it->bytes + it->length;
    it->length += more;
    return place;
}

/* Each answers 0, or -1 if memory is short. */
static inline int sink_put(sink *it, const void *bytes, size_t length) {
    if (!length) return 0;
    uint8_t *place = sink_grow(it, length);
    if (!place) return -1;
    memcpy(place, bytes, length);
    return 0;
}
static inline int sink_u8(sink *it, uint8_t x) { return sink_put(it, &x, 1); }
static inline int sink_u16(sink *it, uint16_t x) { uint8_t b[2]; store_le16(b, x); return sink_put(it, b, 2); }
static inline int sink_u32(sink *it, uint32_t x) { uint8_t b[4]; store_le32(b, x); return sink_put(it, b, 4); }
static inline int sink_u64(sink *it, uint64_t x) { uint8_t b[8]; store_le64(b, x); return sink_put(it, b, 8); }

#ifdef __cplusplus
}
#endif
#endif
