/* The wire frame: what stands around every message between nodes and between a client and a node.
 *
 *   offset  bytes
 *        0  3      "QRT"
 *        3  1      version of the frame
 *        4  1      kind, for the receiver to tell what the payload is
 *        5  1      flags, 0 in version 1
 *        6  2      reserved, 0
 *        8  4      length of the payload
 *       12  4      CRC32C of the header without this field, and of the payload
 *       16  8      Raft group
 *       24         payload
 *
 * All numbers are little-endian. Knows nothing of sockets and of what payloads mean. A reader learns how many bytes it
 * needs before it has to make room for them, and the bound on a payload is the caller's, looked at before the length is
 * believed. */
#ifndef QUORATE_FRAME_H
#define QUORATE_FRAME_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { FRAME_HEADER = 24, FRAME_VERSION = 1 };

typedef enum frame_status {
    FRAME_WHOLE = 0,    /* a frame is there */
    FRAME_MORE,         /* the bytes so far are right, and more are needed */
    FRAME_STRANGER,     /* not a frame: somebody speaks another protocol */
    FRAME_NEWER,        /* a version that this build does not know */
    FRAME_TOO_LARGE,    /* a payload over the bound */
    FRAME_DAMAGED       /* reserved bytes are not 0, or the checksum is wrong */
} frame_status;

typedef struct frame {
    uint64_t group;
    const uint8_t *payload; /* inside the bytes that were read; NULL if length is 0 */
    uint32_t length;
    uint8_t kind;
    uint8_t version;
} frame;

/* A part of a payload, as writev takes it. */
typedef struct frame_part {
    const void *bytes;
    size_t length;
} frame_part;

/* Looks at `length` bytes that begin with a frame. `*size` becomes the bytes of the whole frame if it is there, or as far as
 * it is known (at least a header), so that FRAME_MORE says how many to wait for. Fills `it` only for FRAME_WHOLE. */
frame_status frame_decode(const uint8_t *bytes, size_t length, uint32_t payload_max, frame *it, size_t *size);

/* Writes the header of a frame whose payload is `parts`, one behind the other. -1 if they have 4 GiB or more, else 0. */
int frame_encode(uint8_t header[FRAME_HEADER], uint8_t kind, uint64_t group, const frame_part *parts, size_t count);

/* In words, for logs. */
const char *frame_status_text(frame_status status);

#ifdef __cplusplus
}
#endif
#endif
