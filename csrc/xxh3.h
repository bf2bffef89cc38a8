/* XXH3-64 and XXH64 of bytes in memory, written from the xxHash specification (version 0.8, github.com/Cyan4973/xxHash).
 * Knows nothing of keys, rings or Python.
 *
 * Inputs of up to 128 bytes are hashed inline, because a ring lookup costs little more than its hash: the fixed secret of
 * the specification is then folded into constants. Longer inputs go through xxh3.c. */
#ifndef QUORATE_XXH3_H
#define QUORATE_XXH3_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define XXH_PRIME32_1 0x9E3779B1u
#define XXH_PRIME32_2 0x85EBCA77u
#define XXH_PRIME32_3 0xC2B2AE3Du
#define XXH_PRIME64_1 0x9E3779B185EBCA87u
#define XXH_PRIME64_2 0xC2B2AE3D27D4EB4Fu
#define XXH_PRIME64_3 0x165667B19E3779F9u
#define XXH_PRIME64_4 0x85EBCA77C2B2AE63u
#define XXH_PRIME64_5 0x27D4EB2F165667C5u
#define XXH_PRIME_MX1 0x165667919E3779F9u
#define XXH_PRIME_MX2 0x9FB21C651E98DF25u

/* XXH3-64 of any length under a seed; `bytes` may be NULL if `length` is 0. Never fails. */
static inline uint64_t xxh3_64(const void *bytes, size_t length, uint64_t seed);

/* The same for more than 128 bytes only. */
uint64_t xxh3_64_long(const uint8_t *bytes, size_t length, uint64_t seed);

/* XXH64 of any length under a seed. */
uint64_t xxh64(const void *bytes, size_t length, uint64_t seed);

/* The default secret, 192 bytes, as little-endian words: the paths below need only whole words of it. */
static const uint64_t xxh3_secret[24] = {
    0xbe4ba423396cfeb8u, 0x1cad21f72c81017cu, 0xdb979083e96dd4deu, 0x1f67b3b7a4a44072u,
    0x78e5c0cc4ee679cbu, 0x2172ffcc7dd05a82u, 0x8e2443f7744608b8u, 0x4c263a81e69035e0u,
    0xcb00c391bb52283cu, 0xa32e531b8b65d088u, 0x4ef90da297486471u, 0xd8acdea946ef1938u,
    0x3f349ce33f76faa8u, 0x1d4f0bc7c7bbdcf9u, 0x3159b4cd4be0518au, 0x647378d9c97e9fc8u,
    0xc3ebd33483acc5eau, 0xeb6313faffa081c5u, 0x49daf0b751dd0d17u, 0x9e68d429265516d3u,
    0xfca1477d58be162bu, 0xce31d07ad1b8f88fu, 0x280416958f3acb45u, 0x7e404bbbcafbd7afu,
};

static inline uint64_t xxh3_rotate_left(uint64_t x, unsigned bits) { return (x << bits) | (x >> (64u - bits)); }

/* Both halves of the 128-bit product, folded into one word. */
static inline uint64_t xxh3_multiply_fold(uint64_t a, uint64_t b) {
#ifdef __SIZEOF_INT128__
    const __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    const uint64_t low_low = (a & 0xffffffffu) * (b & 0xffffffffu), high_low = (a >> 32) * (b & 0xffffffffu);
    const uint64_t low_high = (a & 0xffffffffu) * (b >> 32), high_high = (a >> 32) * (b >> 32);
    const uint64_t cross = (low_low >> 32) + (high_low & 0xffffffffu) + low_high;
    const uint64_t upper = (high_low >> 32) + (cross >> 32) + high_high;
    const uint64_t lower = (cross << 32) | (low_low & 0xffffffffu);
    return upper ^ lower;
#endif
}

static inline uint64_t xxh3_avalanche(uint64_t h) {
    h ^= h >> 37;
    h *= XXH_PRIME_MX1;
    return h ^ (h >> 32);
}

static inline uint64_t xxh64_avalanche(uint64_t h) {
    h ^= h >> 33;
    h *= XXH_PRIME64_2;
    h ^= h >> 29;
    h *= XXH_PRIME64_3;
    return h ^ (h >> 32);
}

static inline uint64_t xxh3_mix16(const uint8_t *at, const uint64_t *secret, uint64_t seed) {
    return xxh3_multiply_fold(load_le64(at) ^ (secret[0] + seed), load_le64(at + 8) ^ (secret[1] - seed));
}

static inline uint64_t xxh3_64_1to3(const uint8_t *at, size_t length, uint64_t seed) {
    const uint32_t combined = ((uint32_t)at[0] << 16) | ((uint32_t)at[length >> 1] << 24) | (uint32_t)at[length - 1] |
                              ((uint32_t)length << 8);
    const uint64_t flip = (uint32_t)(xxh3_secret[0] ^ (xxh3_secret[0] >> 32));
    return xxh64_avalanche(combined ^ (flip + seed));
}

static inline uint64_t xxh3_64_4to8(const uint8_t *at, size_t length, uint64_t seed) {
    seed ^= (uint64_t)__builtin_bswap32((uint32_t)seed) << 32;
    const uint64_t input = load_le32(at + length - 4) + ((uint64_t)load_le32(at) << 32);
    uint64_t h = input ^ ((xxh3_secret[1] ^ xxh3_secret[2]) - seed);
    h ^= xxh3_rotate_left(h, 49) ^ xxh3_rotate_left(h, 24);
    h *= XXH_PRIME_MX2;
    h ^= (h >> 35) + length;
    h *= XXH_PRIME_MX2;
    return h ^ (h >> 28);
}

/* The hash of a number's eight bytes in little-endian order, whatever the machine's. */
static inline uint64_t xxh3_64_of_number(uint64_t number, uint64_t seed) {
    number = QUORATE_LE64(number);
    return xxh3_64_4to8((const uint8_t *)&number, sizeof number, seed);
}

static inline uint64_t xxh3_64_9to16(const uint8_t *at, size_t length, uint64_t seed) {
    const uint64_t low = load_le64(at) ^ ((xxh3_secret[3] ^ xxh3_secret[4]) + seed);
    const uint64_t high = load_le64(at + length - 8) ^ ((xxh3_secret[5] ^ xxh3_secret[6]) - seed);
    return xxh3_avalanche(length + __builtin_bswap64(low) + high + xxh3_multiply_fold(low, high));
}

static inline uint64_t xxh3_64_17to128(const uint8_t *at, size_t length, uint64_t seed) {
    uint64_t sum = length * XXH_PRIME64_1;
    if (length > 32) {
        if (length > 64) {
            if (length > 96) {
                sum += xxh3_mix16(at + 48, xxh3_secret + 12, seed);
                sum += xxh3_mix16(at + length - 64, xxh3_secret + 14, seed);
            }
            sum += xxh3_mix16(at + 32, xxh3_secret + 8, seed);
            sum += xxh3_mix16(at + length - 48, xxh3_secret + 10, seed);
        }
        sum += xxh3_mix16(at + 16, xxh3_secret + 4, seed);
        sum += xxh3_mix16(at + length - 32, xxh3_secret + 6, seed);
    }
    sum += xxh3_mix16(at, xxh3_secret, seed);
    sum += xxh3_mix16(at + length - 16, xxh3_secret + 2, seed);
    return xxh3_avalanche(sum);
}

static inline uint64_t xxh3_64(const void *bytes, size_t length, uint64_t seed) {
    const uint8_t *at = (const uint8_t *)bytes;
    if (QUORATE_LIKELY(length <= 16)) {
        if (QUORATE_LIKELY(length > 8)) return xxh3_64_9to16(at, length, seed);
        if (QUORATE_LIKELY(length >= 4)) return xxh3_64_4to8(at, length, seed);
        if (length) return xxh3_64_1to3(at, length, seed);
        return xxh64_avalanche(seed ^ xxh3_secret[7] ^ xxh3_secret[8]);
    }
    if (QUORATE_LIKELY(length <= 128)) return xxh3_64_17to128(at, length, seed);
    return xxh3_64_long(at, length, seed);
}

#ifdef __cplusplus
}
#endif
#endif
