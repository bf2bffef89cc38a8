/* A small segment, damaged in every way that a test can enumerate: an interrupted write is torn and never corrupt, a
 * flipped bit is corrupt and never torn, and no damage ever yields a record that was not written. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "../record.h"

enum { SIZE = 16384, SALT = 0x5EED, MOST = 64 };

typedef struct written {
    uint64_t from, to;
    uint16_t batch;
    uint32_t length;
    uint64_t index;
} written;

static uint8_t segment[SIZE], damaged[SIZE];
static written records[MOST];
static int count;
static record_cursor start, at;

static void put(uint32_t length, int fill, int ends) {
    uint8_t *out = segment + at.offset, *payload = out + RECORD_HEADER;
    record it = {.term = 3, .index = (uint64_t)count + 1, .length = length, .kind = RECORD_ENTRY};
    it.batch = (uint16_t)(at.batch + at.ended);
    it.flags = ends ? RECORD_ENDS_BATCH : 0;
    assert(at.offset + record_size(length) <= SIZE && count < MOST);
    memset(payload, fill, length);
    it.zero_sectors = record_zero_sectors(at.offset + RECORD_HEADER, payload, length);
    record_encode_header(out, &it, SALT);
    at.chain = record_encode_trailer(payload + length, out, payload, length, at.chain);
    records[count++] = (written){at.offset, at.offset + record_size(length), it.batch, length, it.index};
    at.offset += record_size(length);
    at.batch = it.batch;
    at.ended = (uint8_t)ends;
}

/* Reads `damaged`; returns the number of good records and why it ended. Good ones must be exactly the ones written. */
static int read_all(enum record_status *status, const char **reason) {
    record_cursor cursor = start;
    record it;
    const uint8_t *payload;
    int n = 0;
    while ((*status = record_scan(damaged, SIZE, SALT, &cursor, &it, &payload, reason)) == RECORD_GOOD) {
        assert(n < count && it.index == records[n].index && it.length == records[n].length && it.term == 3);
        assert(cursor.offset == records[n].to);
        assert(it.length == 0 || memcmp(payload, segment + records[n].from + RECORD_HEADER, it.length) == 0);
        n++;
    }
    return n;
}

static int complete_before(uint64_t offset) {
    int n = 0;
    while (n < count && records[n].to <= offset) n++;
    return n;
}

int main(void) {
    enum record_status status;
    const char *reason;
    segment_header head = {.sequence = 7, .segment_bytes = SIZE, .salt = SALT, .format = SEGMENT_FORMAT}, read;
    uint32_t chain;

    start.chain = segment_encode_header(segment, &head);
    start.offset = SEGMENT_HEADER;
    start.batch = 0xFFFF;
    start.ended = 1;
    at = start;
    assert(segment_decode_header(segment, &read, &chain) == 1 && chain == start.chain && read.sequence == 7);
    for (int bit = 0; bit < SEGMENT_HEADER * 8; bit++) {
        segment[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert(segment_decode_header(segment, &read, &chain) == 0);
        segment[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    head.format = SEGMENT_FORMAT + 1;
    segment_encode_header(damaged, &head);
    assert(segment_decode_header(damaged, &read, &chain) == -1);

    /* Payloads of zeros, of ones, empty ones, over several sectors, headers across sector borders. */
    put(0, 0, 1), put(64, 7, 0), put(1, 0, 0), put(300, 0, 1), put(1600, 0, 0), put(40, 9, 0), put(700, 1, 1);
    put(0, 0, 0), put(2, 255, 0), put(1500, 3, 1);
    assert(record_zero_sectors(0, damaged + 4096, 4096) == 8);
    int last_batch = count - 3; /* first record of the batch that may still be torn */

    memcpy(damaged, segment, SIZE);
    assert(read_all(&status, &reason) == count && status == RECORD_FILL);

    /* Cut at every byte, the fill behind it. Within 3 bytes of a checksum a cut may be refused: no disk tears there. */
    for (uint64_t cut = records[last_batch].from; cut < at.offset; cut++) {
        memcpy(damaged, segment, SIZE);
        memset(damaged + cut, 0, SIZE - cut);
        int n = read_all(&status, &reason), before = complete_before(cut);
        assert(n >= before);
        if (n > before) assert(memcmp(damaged, segment, (size_t)records[n - 1].to) == 0); /* the cut bytes were zero */
        if (status == RECORD_CORRUPT) assert(cut % 4 != 0);
    }
    /* A cut in front of the last batch takes away what was durable; the fill cannot tell, and no record is invented. */
    for (uint64_t cut = SEGMENT_HEADER; cut < records[last_batch].from; cut++) {
        memcpy(damaged, segment, SIZE);
        memset(damaged + cut, 0, SIZE - cut);
        assert(read_all(&status, &reason) >= complete_before(cut));
    }
    /* Every subset of the sectors of the last batch is lost: torn, never corrupt; all before it is there. */
    uint64_t first = records[last_batch].from / RECORD_SECTOR, last = (at.offset - 1) / RECORD_SECTOR;
    for (unsigned subset = 1; subset < 1u << (last - first + 1); subset++) {
        memcpy(damaged, segment, SIZE);
        for (uint64_t s = first; s <= last; s++) {
            uint64_t from = s * RECORD_SECTOR, to = from + RECORD_SECTOR;
            if (from < records[last_batch].from) from = records[last_batch].from; /* keeps the old part */
            if (subset >> (s - first) & 1) memset(damaged + from, 0, (size_t)(to - from));
        }
        int n = read_all(&status, &reason);
        assert(n >= last_batch && (status == RECORD_TORN || status == RECORD_FILL));
    }
    /* The same in the batches before, durable because a later one follows: corrupt, unless nothing was changed. */
    for (int r = 0; r < last_batch; r++) {
        for (uint64_t from = records[r].from; from < records[r].to; from += RECORD_SECTOR - from % RECORD_SECTOR) {
            uint64_t to = from + RECORD_SECTOR - from % RECORD_SECTOR;
            if (to > records[last_batch].from) to = records[last_batch].from;
            memcpy(damaged, segment, SIZE);
            memset(damaged + from, 0, (size_t)(to - from));
            int n = read_all(&status, &reason);
            if (memcmp(damaged, segment, SIZE) == 0) assert(n == count);
            else assert(status == RECORD_CORRUPT && reason[0]);
        }
    }
    /* Every bit, the last acknowledged record and the fill included. */
    for (uint64_t bit = SEGMENT_HEADER * 8; bit < SIZE * 8; bit++) {
        memcpy(damaged, segment, SIZE);
        damaged[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        int n = read_all(&status, &reason);
        if (bit / 8 < at.offset) assert(status == RECORD_CORRUPT && n == complete_before(bit / 8));
        else assert(n == count && (status == RECORD_CORRUPT || status == RECORD_TORN));
    }
    /* Exchanged, repeated and foreign records. */
    memcpy(damaged, segment, SIZE);
    memmove(damaged + records[1].from, damaged + records[2].from, (size_t)(SIZE - records[2].from));
    assert(read_all(&status, &reason) == 1 && status == RECORD_CORRUPT);
    memcpy(damaged, segment, SIZE);
    start.chain ^= 1;
    assert(read_all(&status, &reason) == 0 && status == RECORD_CORRUPT);
    puts("ok");
    return 0;
}
