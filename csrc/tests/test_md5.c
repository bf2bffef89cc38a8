/* MD5 against the test suite of RFC 1321 §A.5, and against itself split over block borders. */
#include <assert.h>
#include <stdio.h>

#include "../md5.h"

static void expect(const char *text, const char *hex) {
    uint32_t words[4];
    char got[33];
    md5_words(text, strlen(text), words);
    for (int i = 0; i < 16; i++)
        snprintf(got + 2 * i, 3, "%02x", (unsigned)(words[i / 4] >> (8 * (i % 4)) & 0xff));
    if (strcmp(got, hex) != 0) fprintf(stderr, "md5(%s) = %s, not %s\n", text, got, hex);
    assert(strcmp(got, hex) == 0);
}

int main(void) {
    expect("", "d41d8cd98f00b204e9800998ecf8427e");
    expect("a", "0cc175b9c0f1b6a831c399e269772661");
    expect("abc", "900150983cd24fb0d6963f7d28e17f72");
    expect("message digest", "f96b697d7cb7938d525a2f31aaf161d0");
    expect("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b");
    expect("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f");
    expect("12345678901234567890123456789012345678901234567890123456789012345678901234567890",
           "57edf4a22be3c955ac49da2e2107b67a");

    /* The bytes behind the text must not matter, at any length around the border of a block and at any alignment. */
    uint8_t clean[256], dirty[256];
    for (size_t length = 0; length < 200; length++) {
        for (size_t shift = 0; shift < 4; shift++) {
            uint32_t a[4], b[4];
            memset(clean, 0, sizeof clean);
            memset(dirty, 0xa5, sizeof dirty);
            for (size_t i = 0; i < length; i++) clean[i] = dirty[i + shift] = (uint8_t)(i * 7 + length);
            md5_words(clean, length, a);
            md5_words(dirty + shift, length, b);
            assert(memcmp(a, b, sizeof a) == 0);
        }
    }
    return 0;
}
