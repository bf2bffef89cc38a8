/* CRC32C against the vectors of RFC 3720 §B.4, and the instruction against the tables at every split and alignment. */
#undef NDEBUG
#include "../crc32c.h"

#include <assert.h>
#include <stdio.h>

static void check(const uint8_t *bytes, size_t length, uint32_t expected) {
    assert(crc32c(0, bytes, length) == expected);
    assert(crc32c_by_table(0, bytes, length) == expected);
}

int main(void) {
    uint8_t block[64];
    check((const uint8_t *)"", 0, 0);
    check((const uint8_t *)"123456789", 9, 0xe3069283u);
    memset(block, 0, 32);
    check(block, 32, 0x8a9136aau);
    memset(block, 0xff, 32);
    check(block, 32, 0x62a8ab43u);
    for (size_t i = 0; i < 32; i++) block[i] = (uint8_t)i;
    check(block, 32, 0x46dd794eu);
    for (size_t i = 0; i < 32; i++) block[i] = (uint8_t)(31 - i);
    check(block, 32, 0x113fdb5cu);
    static const uint8_t scsi_read[48] = {
        0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
        0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0};
    check(scsi_read, 48, 0xd9963a56u);

    uint8_t noise[300];
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof noise; i++) {
        state = state * 1664525u + 1013904223u;
        noise[i] = (uint8_t)(state >> 24);
    }
    for (size_t start = 0; start < 9; start++)
        for (size_t length = 0; length + start <= sizeof noise; length++) {
            const uint32_t whole = crc32c_by_table(0, noise + start, length);
            assert(crc32c(0, noise + start, length) == whole);
            const size_t split = length / 3;
            assert(crc32c(crc32c(0, noise + start, split), noise + start + split, length - split) == whole);
            assert(crc32c_by_table(crc32c_by_table(0, noise + start, split), noise + start + split, length - split) == whole);
        }
    puts("crc32c: ok");
    return 0;
}
