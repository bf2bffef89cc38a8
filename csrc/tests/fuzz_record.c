/* Any bytes as a segment and as a segment header: the scan ends, reads nothing outside, and moves only forward. */
#include <stdlib.h>

#include "../record.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    record_cursor cursor = {0, 0, 0xFFFF, 1};
    segment_header head;
    record it;
    const uint8_t *payload;
    const char *reason;
    uint32_t salt = 0, chain;
    volatile uint8_t seen = 0;
    if (size >= SEGMENT_HEADER && segment_decode_header(bytes, &head, &chain) == 1) {
        cursor.offset = SEGMENT_HEADER;
        cursor.chain = chain;
        salt = head.salt;
    }
    for (;;) {
        uint64_t before = cursor.offset;
        if (record_scan(bytes, size, salt, &cursor, &it, &payload, &reason) != RECORD_GOOD) break;
        if (cursor.offset <= before || cursor.offset > size) abort();
        for (uint32_t i = 0; i < it.length; i++) seen = (uint8_t)(seen ^ payload[i]);
    }
    return 0;
}
