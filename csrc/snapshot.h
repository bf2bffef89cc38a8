/* The parts of a snapshot file that are not plain records: its first bytes, and what its head record holds.
 *
 * Knows nothing of files, nor of what the content means. A snapshot file is
 *
 *     prologue   "QUORSNAP", format u32, salt u32
 *     records    one HEAD, then CHUNKs of chunk_bytes each (the last may be shorter), then one END
 *
 * with the records of record.h in one chain that begins with the CRC32C of the prologue. The place of chunk n follows
 * from its number, so that reading can begin anywhere. */
#ifndef QUORATE_SNAPSHOT_H
#define QUORATE_SNAPSHOT_H

#include "record.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SNAPSHOT_FORMAT = 1,
    SNAPSHOT_PROLOGUE = 16,
    SNAPSHOT_HEAD_FIXED = 72,
    SNAPSHOT_END_BYTES = 16,
    SNAPSHOT_CHUNK_MAX = 4194304,
    SNAPSHOT_CONFIGURATION_MAX = 1048576
};

/* The term and index of the last entry that the snapshot covers are those of the HEAD record. */
typedef struct snapshot_head {
    uint8_t cluster[16]; /* identity of the directory that holds the file */
    uint64_t node;
    uint64_t incarnation;
    uint64_t id;                  /* drawn where the content was made; copies keep it, so that a transfer can resume */
    uint64_t configuration_index; /* of the entry with the configuration in force at the snapshot's index */
    uint64_t content_format;      /* of the content, for its owner */
    uint32_t chunk_bytes;         /* a multiple of 8, at most SNAPSHOT_CHUNK_MAX */
    uint32_t configuration_length;
    const uint8_t *configuration;
} snapshot_head;

/* Writes SNAPSHOT_PROLOGUE bytes; returns the chain that the head continues. */
uint32_t snapshot_encode_prologue(uint8_t *out, uint32_t salt);

/* 1 if it is one, 0 if not, -1 if it is of a newer format. */
int snapshot_decode_prologue(const uint8_t *bytes, uint32_t *salt, uint32_t *chain);

/* Writes the SNAPSHOT_HEAD_FIXED + configuration_length bytes of the head's payload. */
void snapshot_encode_head(uint8_t *out, const snapshot_head *it);

/* 1 if the payload is a head, else 0; `configuration` points into it. */
int snapshot_decode_head(const uint8_t *payload, uint32_t length, snapshot_head *it);

/* Where chunk `number` begins, given where the chunks begin. */
static inline uint64_t snapshot_chunk_offset(uint64_t first, uint64_t number, uint32_t chunk_bytes) {
    return first + number * record_size(chunk_bytes);
}

#ifdef __cplusplus
}
#endif
#endif
