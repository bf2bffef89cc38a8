/* Log records over bytes: encode, scan, and tell a torn tail from corruption. Snapshot files use the same records.
 *
 * Knows nothing of files, threads, Raft's rules or Python. docs/internals/storage.md draws the format; in short:
 *
 *     record   kind u8, flags u8, batch u16, length u32 | group u32, zero_sectors u16, 0 u16 | term u64 | index u64 |
 *              header check u32 | payload | zeros up to a multiple of 8, less 4 | chain u32
 *
 * All little-endian, every record at a multiple of 8. The header check is the CRC32C of the first 32 bytes, salted by
 * the segment, so a header can be trusted (or found again behind damage) alone. The chain is the CRC32C of the whole
 * record, continued from the record before, so no record can be lost, moved or exchanged unseen.
 *
 * Three rules make the unwritten zero fill recognisable, even against one flipped bit. (1) The first 8 bytes, the
 * header check and the chain have each at least two bits set in every record. (2) The header says how many whole
 * 512-byte sectors of its payload are zero by right. (3) Records carry the number of their batch, and batch n + 1 is
 * written only after batch n is durable: so a hole with a later batch behind it was not torn, it was durable and is
 * now damaged. */
#ifndef QUORATE_RECORD_H
#define QUORATE_RECORD_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    RECORD_ALIGNMENT = 8,
    RECORD_HEADER = 36,
    RECORD_TRAILER = 4,
    RECORD_SECTOR = 512, /* the unit that a disk writes whole or not at all */
    RECORD_PAYLOAD_MAX = ENTRY_BYTES_MAX,
    SEGMENT_HEADER = 512, /* a sector of its own, never written again while records follow */
    SEGMENT_FORMAT = 1
};

/* Each kind has at least two bits set (rule 1 above). */
enum record_kind {
    RECORD_ENTRY = 0x30,      /* 0x30 | entry kind: an entry of the Raft log; an index not above the last truncates */
    RECORD_HARD_STATE = 0x41, /* term; index = commit; payload = vote, u64 (0: none) */
    RECORD_BASE = 0x42,       /* entries up to (term, index) are covered by a snapshot and dropped; later ones stay */
    RECORD_RESET = 0x50,      /* a snapshot at (term, index) replaces the whole log; the next entry is index + 1 */
    RECORD_MARK = 0x44,       /* the log was opened or closed here; proves that everything before is durable */
    RECORD_SEAL = 0x48,       /* last record of a segment that has a successor */
    RECORD_SNAPSHOT_HEAD = 0x81,
    RECORD_SNAPSHOT_CHUNK = 0x82,
    RECORD_SNAPSHOT_END = 0x84
};

enum { RECORD_ENDS_BATCH = 1 }; /* flags */

typedef struct record {
    uint64_t term;
    uint64_t index;
    uint32_t group;
    uint32_t length; /* payload bytes, at most RECORD_PAYLOAD_MAX */
    uint16_t batch;
    uint16_t zero_sectors;
    uint8_t kind;
    uint8_t flags;
} record;

/* Where a scan stands: after the last good record. */
typedef struct record_cursor {
    uint64_t offset;
    uint32_t chain; /* of the last good record, or of the segment header */
    uint16_t batch; /* of the last good record; 0xFFFF in front of the first */
    uint8_t ended;  /* whether the last good record ended its batch */
} record_cursor;

enum record_status {
    RECORD_GOOD = 0,    /* a record was read and the cursor moved */
    RECORD_FILL = 1,    /* only the zero fill from here to the end */
    RECORD_TORN = 2,    /* an incomplete last write: its unwritten part still holds the fill, no later batch follows */
    RECORD_CORRUPT = 3, /* anything else */
    RECORD_NO_SPACE = 4 /* fewer bytes are left than a record needs */
};

/* Bytes that a record of this payload takes in the file. */
static inline uint64_t record_size(uint64_t length) {
    return (RECORD_HEADER + length + RECORD_TRAILER + (RECORD_ALIGNMENT - 1)) & ~(uint64_t)(RECORD_ALIGNMENT - 1);
}

/* How many whole sectors of a payload that will start at `offset` in its file are zero. */
uint16_t record_zero_sectors(uint64_t offset, const void *payload, uint32_t length);

/* Writes the RECORD_HEADER bytes of `it` at `out`. */
void record_encode_header(uint8_t *out, const record *it, uint32_t salt);

/* Writes padding and chain (at most 11 bytes, record_size - RECORD_HEADER - length) at `out`; returns the new chain. */
uint32_t record_encode_trailer(uint8_t *out, const uint8_t *header, const void *payload, uint32_t length,
                               uint32_t chain);

/* Both at once, payload copied: the record_size(it->length) bytes of a record go to `out`; returns the new chain. */
uint32_t record_encode(uint8_t *out, const record *it, const void *payload, uint32_t salt, uint32_t chain);

/* Reads a header; 0 if it is not intact. Decides on these RECORD_HEADER bytes alone. */
int record_decode_header(const uint8_t *bytes, uint32_t salt, record *it);

/* Reads the record at the cursor in the segment `bytes[0 .. size)`; `*payload` points into it. On RECORD_TORN and
 * RECORD_CORRUPT `*reason` says what was seen. Reads whatever the bytes claim only after checking that it is there. */
enum record_status record_scan(const uint8_t *bytes, uint64_t size, uint32_t salt, record_cursor *cursor, record *it,
                               const uint8_t **payload, const char **reason);

/* Whether the record whose header is intact at the cursor of a stream of chunks verifies; for files without a fill. */
int record_verify(const uint8_t *header, const uint8_t *payload_and_trailer, const record *it, uint32_t chain,
                  uint32_t *next_chain);

/* The first sector of a segment. */
typedef struct segment_header {
    uint64_t sequence;      /* 1, 2, 3, … without a gap */
    uint64_t segment_bytes; /* size of the whole file */
    uint8_t cluster[16];    /* identity: a segment of another cluster, node or incarnation is refused */
    uint64_t node;
    uint64_t incarnation;
    uint64_t last_index; /* last entry before this segment */
    uint64_t last_term;
    uint32_t salt;     /* random; of the header checks in this segment */
    uint32_t chain_in; /* chain of the seal of the segment before; 0 in the first */
    uint32_t format;
} segment_header;

/* Fills the SEGMENT_HEADER bytes at `out`; returns the chain that the first record continues. */
uint32_t segment_encode_header(uint8_t *out, const segment_header *it);

/* 1 if intact, 0 if damaged or no segment, -1 if intact but of a newer format. */
int segment_decode_header(const uint8_t *bytes, segment_header *it, uint32_t *chain);

/* Whether all bytes are zero. */
int record_is_zero(const uint8_t *bytes, uint64_t size);

#ifdef __cplusplus
}
#endif
#endif
