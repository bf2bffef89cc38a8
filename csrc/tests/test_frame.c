/* Frames: what is written is read; every cut waits; every flipped bit is found; bounds come before belief. */
#include <stdio.h>
#include <stdlib.h>

#include "../crc32c.h"
#include "../frame.h"

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

static size_t make(uint8_t *into, uint8_t kind, uint64_t group, const char *first, const char *second) {
    frame_part parts[2] = {{first, strlen(first)}, {second, strlen(second)}};
    CHECK(frame_encode(into, kind, group, parts, 2) == 0);
    memcpy(into + FRAME_HEADER, first, parts[0].length);
    memcpy(into + FRAME_HEADER + parts[0].length, second, parts[1].length);
    return FRAME_HEADER + parts[0].length + parts[1].length;
}

int main(void) {
    uint8_t bytes[256];
    frame it;
    size_t size, total = make(bytes, 7, 0x1122334455667788u, "hello ", "world");

    CHECK(frame_decode(bytes, total, 100, &it, &size) == FRAME_WHOLE);
    CHECK(size == total && it.kind == 7 && it.version == FRAME_VERSION && it.group == 0x1122334455667788u);
    CHECK(it.length == 11 && memcmp(it.payload, "hello world", 11) == 0);
    /* What follows belongs to the next frame. */
    CHECK(frame_decode(bytes, sizeof bytes, 100, &it, &size) == FRAME_WHOLE && size == total);

    for (size_t cut = 0; cut < total; cut++) {
        CHECK(frame_decode(bytes, cut, 100, &it, &size) == FRAME_MORE);
        CHECK(size > cut && size <= total);
    }
    for (size_t bit = 0; bit < total * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        frame_status status = frame_decode(bytes, total, 100, &it, &size);
        CHECK(status != FRAME_WHOLE);
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    CHECK(frame_decode(bytes, total, 100, &it, &size) == FRAME_WHOLE);

    CHECK(frame_decode(bytes, total, 10, &it, &size) == FRAME_TOO_LARGE);
    CHECK(frame_decode(bytes, total, 11, &it, &size) == FRAME_WHOLE);
    CHECK(frame_decode((const uint8_t *)"GET / HTTP/1.1", 14, 100, &it, &size) == FRAME_STRANGER);
    CHECK(frame_decode((const uint8_t *)"QX", 2, 100, &it, &size) == FRAME_STRANGER);
    bytes[3] = FRAME_VERSION + 1;
    CHECK(frame_decode(bytes, 4, 100, &it, &size) == FRAME_NEWER);

    total = make(bytes, 1, 0, "", "");
    CHECK(total == FRAME_HEADER && frame_decode(bytes, total, 0, &it, &size) == FRAME_WHOLE);
    CHECK(it.length == 0 && it.payload == NULL && it.group == 0);

    frame_part huge = {NULL, (size_t)UINT32_MAX + 1};
    CHECK(frame_encode(bytes, 1, 0, &huge, 1) == -1);
    for (int status = FRAME_WHOLE; status <= FRAME_DAMAGED; status++) CHECK(frame_status_text((frame_status)status)[0]);
    return 0;
}
