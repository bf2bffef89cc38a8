/* The long paths of XXH3-64, and XXH64. */
#include "xxh3.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { STRIPE = 64, LANES = 8, STRIPES_A_BLOCK = 16, BLOCK = STRIPE * STRIPES_A_BLOCK };

/* The 64-bit little-endian word at a byte offset of the secret; written so that no byte order shows. */
static inline uint64_t secret_at(const uint64_t *secret, size_t offset) {
    const unsigned shift = (unsigned)(offset % 8) * 8;
    const uint64_t low = secret[offset / 8];
    return shift ? (low >> shift) | (secret[offset / 8 + 1] << (64 - shift)) : low;
}

/* 129 to 240 bytes: the second half reads the secret from odd offsets, as the specification has it. */
static uint64_t hash_129_to_240(const uint8_t *at, size_t length, uint64_t seed) {
    uint64_t sum = length * XXH_PRIME64_1, end;
    const size_t rounds = length / 16;
    for (size_t i = 0; i < 8; i++) sum += xxh3_mix16(at + 16 * i, xxh3_secret + 2 * i, seed);
    sum = xxh3_avalanche(sum);
    {
        const uint64_t secret[2] = {secret_at(xxh3_secret, 119), secret_at(xxh3_secret, 127)};
        end = xxh3_mix16(at + length - 16, secret, seed);
    }
    for (size_t i = 8; i < rounds; i++) {
        const uint64_t secret[2] = {secret_at(xxh3_secret, 16 * (i - 8) + 3), secret_at(xxh3_secret, 16 * (i - 8) + 11)};
        end += xxh3_mix16(at + 16 * i, secret, seed);
    }
    return xxh3_avalanche(sum + end);
}

/* Takes in stripes of 64 bytes; each uses the secret from one word further on. */
#ifdef __SSE2__
static inline void accumulate(uint64_t *lanes, const uint8_t *at, const uint64_t *secret, size_t stripes) {
    __m128i pairs[LANES / 2];
    for (size_t i = 0; i < LANES / 2; i++) pairs[i] = _mm_loadu_si128((const __m128i *)(const void *)(lanes + 2 * i));
    for (size_t n = 0; n < stripes; n++, at += STRIPE, secret++) {
        for (size_t i = 0; i < LANES / 2; i++) {
            const __m128i value = _mm_loadu_si128((const __m128i *)(const void *)(at + 16 * i));
            const __m128i key = _mm_xor_si128(value, _mm_loadu_si128((const __m128i *)(const void *)(secret + 2 * i)));
            const __m128i product = _mm_mul_epu32(key, _mm_srli_epi64(key, 32));
            const __m128i swapped = _mm_shuffle_epi32(value, _MM_SHUFFLE(1, 0, 3, 2));
            pairs[i] = _mm_add_epi64(pairs[i], _mm_add_epi64(product, swapped));
        }
    }
    for (size_t i = 0; i < LANES / 2; i++) _mm_storeu_si128((__m128i *)(void *)(lanes + 2 * i), pairs[i]);
}
#else
static inline void accumulate(uint64_t *lanes, const uint8_t *at, const uint64_t *secret, size_t stripes) {
    for (size_t n = 0; n < stripes; n++, at += STRIPE, secret++) {
        uint64_t value[LANES];
        for (size_t i = 0; i < LANES; i++) value[i] = load_le64(at + 8 * i);
        for (size_t i = 0; i < LANES; i++) {
            const uint64_t key = value[i] ^ secret[i];
            lanes[i] += value[i ^ 1] + (key & 0xffffffffu) * (key >> 32);
        }
    }
}
#endif

static inline void scramble(uint64_t *restrict lanes, const uint64_t *restrict secret) {
    for (size_t i = 0; i < LANES; i++) lanes[i] = (lanes[i] ^ (lanes[i] >> 47) ^ secret[i]) * XXH_PRIME32_1;
}

static uint64_t hash_over_240(const uint8_t *at, size_t length, uint64_t seed) {
    uint64_t secret[24], odd[LANES];
    uint64_t lanes[LANES] = {XXH_PRIME32_3, XXH_PRIME64_1, XXH_PRIME64_2, XXH_PRIME64_3,
                             XXH_PRIME64_4, XXH_PRIME32_2, XXH_PRIME64_5, XXH_PRIME32_1};
    for (size_t i = 0; i < 24; i += 2) {
        secret[i] = xxh3_secret[i] + seed;
        secret[i + 1] = xxh3_secret[i + 1] - seed;
    }
    const size_t blocks = (length - 1) / BLOCK;
    for (size_t block = 0; block < blocks; block++) {
        accumulate(lanes, at + block * BLOCK, secret, STRIPES_A_BLOCK);
        scramble(lanes, secret + 16);
    }
    const size_t stripes = (length - 1 - blocks * BLOCK) / STRIPE;
    accumulate(lanes, at + blocks * BLOCK, secret, stripes);
    /* The last stripe overlaps what came before and uses the secret from byte 192 - 64 - 7. */
    for (size_t i = 0; i < LANES; i++) odd[i] = secret_at(secret, 121 + 8 * i);
    accumulate(lanes, at + length - STRIPE, odd, 1);

    uint64_t sum = length * XXH_PRIME64_1;
    for (size_t i = 0; i < LANES; i += 2)
        sum += xxh3_multiply_fold(lanes[i] ^ secret_at(secret, 11 + 8 * i), lanes[i + 1] ^ secret_at(secret, 19 + 8 * i));
    return xxh3_avalanche(sum);
}

uint64_t xxh3_64_long(const uint8_t *bytes, size_t length, uint64_t seed) {
    return length <= 240 ? hash_129_to_240(bytes, length, seed) : hash_over_240(bytes, length, seed);
}

static inline uint64_t round64(uint64_t lane, uint64_t input) {
    return xxh3_rotate_left(lane + input * XXH_PRIME64_2, 31) * XXH_PRIME64_1;
}

uint64_t xxh64(const void *bytes, size_t length, uint64_t seed) {
    const uint8_t *at = (const uint8_t *)bytes;
    size_t left = length;
    uint64_t h;
    if (length >= 32) {
        uint64_t lanes[4] = {seed + XXH_PRIME64_1 + XXH_PRIME64_2, seed + XXH_PRIME64_2, seed, seed - XXH_PRIME64_1};
        for (; left >= 32; left -= 32, at += 32)
            for (size_t i = 0; i < 4; i++) lanes[i] = round64(lanes[i], load_le64(at + 8 * i));
        h = xxh3_rotate_left(lanes[0], 1) + xxh3_rotate_left(lanes[1], 7) + xxh3_rotate_left(lanes[2], 12) +
            xxh3_rotate_left(lanes[3], 18);
        for (size_t i = 0; i < 4; i++) h = (h ^ round64(0, lanes[i])) * XXH_PRIME64_1 + XXH_PRIME64_4;
    } else {
        h = seed + XXH_PRIME64_5;
    }
    h += length;
    for (; left >= 8; left -= 8, at += 8)
        h = xxh3_rotate_left(h ^ round64(0, load_le64(at)), 27) * XXH_PRIME64_1 + XXH_PRIME64_4;
    if (left >= 4) {
        h = xxh3_rotate_left(h ^ (load_le32(at) * XXH_PRIME64_1), 23) * XXH_PRIME64_2 + XXH_PRIME64_3;
        left -= 4;
        at += 4;
    }
    for (; left; left--, at++) h = xxh3_rotate_left(h ^ (*at * XXH_PRIME64_5), 11) * XXH_PRIME64_1;
    return xxh64_avalanche(h);
}
