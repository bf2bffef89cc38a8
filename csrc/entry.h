/* One entry of a Raft log: its term, its kind, and the slice of a shared buffer that holds its payload.
 *
 * 24 bytes, because a log keeps millions. The index is not stored: it follows from the place in the log. Many entries may
 * share one buffer (a batch, a received frame); each holds one reference. */
#ifndef QUORATE_ENTRY_H
#define QUORATE_ENTRY_H

#include "buffer.h"

#ifdef __cplusplus
extern "C" {
#endif

enum entry_kind {
    ENTRY_COMMAND = 0,       /* for the state machine */
    ENTRY_NOOP = 1,          /* the first entry of a leader's term (Raft §5.4.2, §8) */
    ENTRY_CONFIGURATION = 2, /* a cluster configuration (Raft §6) */
    ENTRY_KINDS = 3
};

typedef struct entry {
    uint64_t term;
    buffer *data; /* NULL if length is 0 */
    uint32_t offset;
    uint32_t length : 28; /* at most ENTRY_BYTES_MAX */
    uint32_t kind : 4;
} entry;

QUORATE_STATIC_ASSERT(sizeof(void *) != 8 || sizeof(entry) == 24, "an entry is three words");
QUORATE_STATIC_ASSERT(ENTRY_BYTES_MAX < (1 << 28), "a length fits its bits");

static inline const uint8_t *entry_bytes(const entry *it) { return it->data ? it->data->bytes + it->offset : NULL; }
static inline entry entry_retained(const entry *it) { buffer_retain(it->data); return *it; }
static inline void entry_release(entry *it) { buffer_release(it->data); it->data = NULL; }

#ifdef __cplusplus
}
#endif
#endif
