/* The long paths of XXH3-64, and XXH64. The loops over accumulators are plain C that gcc and clang turn into vector code. */
#include "xxh3.h"

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

static inline void accumulate(uint64_t *restrict lanes, const uint8_t *restrict at, const uint64_t *restrict secret) {
    uint64_t value[LANES], key[LANES];
    for (size_t i = 0; i < LANES; i++) value[i] = load_le64(at + 8 * i);
    for (size_t i = 0; i < LANES; i++) key[i] = value[i] ^ secret[i];
    for (size_t i = 0; i < LANES; i++) lanes[i] += value[i ^ 1] + (key[i] & 0xffffffffu) * (key[i] >> 32);
}

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
        for (size_t i = 0; i < STRIPES_A_BLOCK; i++) accumulate(lanes, at + block * BLOCK + i * STRIPE, secret + i);
        scramble(lanes, secret + 16);
    }
    const size_t stripes = (length - 1 - blocks * BLOCK) / STRIPE;
    for (size_t i = 0; i < stripes; i++) accumulate(lanes, at + blocks * BLOCK + i * STRIPE, secret + i);
    /* The last stripe overlaps what came before and uses the secret from byte 192 - 64 - 7. */
    for (size_t i = 0; i < LANES; i++) odd[i] = secret_at(secret, 121 + 8 * i);
    accumulate(lanes, at + length - STRIPE, odd);

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
