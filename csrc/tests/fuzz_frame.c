/* Any bytes as a stream of frames, whole and in pieces: the reader asks for more than it has, never for less, reads nothing
 * outside, and says the same however the stream is cut. */
#include <stdlib.h>

#include "../frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    size_t at = 0, need = 0;
    frame it;
    volatile uint8_t seen = 0;
    for (;;) {
        frame_status status = frame_decode(bytes + at, size - at, 1024, &it, &need);
        if (status == FRAME_MORE && need <= size - at) abort();
        if (status != FRAME_WHOLE) break;
        if (need > size - at || it.length != need - FRAME_HEADER) abort();
        for (uint32_t i = 0; i < it.length; i++) seen = (uint8_t)(seen ^ it.payload[i]);
        for (size_t cut = 0; cut < need; cut++) {
            frame part;
            size_t more;
            if (frame_decode(bytes + at, cut, 1024, &part, &more) != FRAME_MORE || more <= cut) abort();
        }
        at += need;
    }
    /* What is made of the input is read back as it was. */
    uint8_t whole[FRAME_HEADER + 1024];
    size_t length = size < 1024 ? size : 1024;
    frame_part part = {bytes, length};
    if (frame_encode(whole, size ? bytes[0] : 0, size, &part, 1) != 0) abort();
    if (length) memcpy(whole + FRAME_HEADER, bytes, length);
    if (frame_decode(whole, FRAME_HEADER + length, 1024, &it, &need) != FRAME_WHOLE || it.length != length) abort();
    return 0;
}
