/* The points of a consistent-hash ring: generate, sort, merge, drop, index, search. Knows nodes only as numbers; knows
 * nothing of their names' meaning, of weights or of Python.
 *
 * A ring is an array of marks in ascending order, and an index: buckets[b] is the place of the first point whose hash has the
 * top bits b. Hashes are uniform, so a bucket holds one or two points, and a search is one load from the index and a compare
 * with the next few marks: O(1) expected (Karger et al. 1997 need only "the next point").
 *
 * A mark is the upper 48 bits of the hash with the owner in the lower 16, so that a search of a ring that is too large for
 * the cache waits for two loads and not for three. The lower 16 bits of the hash lie apart; a search needs them only if the
 * upper 48 are equal, once in a billion for the largest of rings, and is exact in that case too.
 *
 * Order: by hash, then by owner. Owners are numbered in the order of their names, so equal hashes go to the lesser name.
 * The owner of a hash h is that of the first point at or after h, else of point 0. */
#ifndef QUORATE_POINTS_H
#define QUORATE_POINTS_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    POINTS_PAD = 4,           /* entries after the last: hash 2^64 - 1, owner of point 0. A search may read and end there. */
    POINTS_BATCH = 32,        /* lookups under way at once in a batch: enough to hide a miss of the last cache */
    POINTS_BUCKET_BITS_MAX = 24
};

QUORATE_STATIC_ASSERT(RING_NODES_MAX <= UINT16_MAX, "an owner fits 16 bits");
QUORATE_STATIC_ASSERT(RING_POINTS_MAX <= (1 << POINTS_BUCKET_BITS_MAX), "a bucket for each point at most");

typedef struct points {
    uint64_t *marks;   /* count + POINTS_PAD; see above */
    uint32_t *buckets; /* one for each value of the top bits */
    uint16_t *rests;   /* count + POINTS_PAD: the lower 16 bits of each hash */
    uint32_t count;
    uint32_t shift;    /* 64 - bits of the index, so that h >> shift is a bucket; always below 64 */
} points;

static inline uint64_t points_hash(const points *it, uint32_t i) { return (it->marks[i] & ~(uint64_t)0xffff) | it->rests[i]; }
static inline uint16_t points_owner_at(const points *it, uint32_t i) { return (uint16_t)it->marks[i]; }

/* Bytes that points of this count need, as one block. */
size_t points_bytes(uint32_t count);

/* Lays the arrays of `it` out in `block` of points_bytes(count); they are not filled. */
void points_place(points *it, void *block, uint32_t count);

/* The hash of point number `vnode` of a node is XXH3-64 of its name under this seed: output number `vnode`, counted from 0, of
 * SplitMix64 (Steele, Lea, Flood 2014) started at the ring's seed.
 *
 * The plain number would not do. XXH3 of up to three bytes is a bijection of (name ^ (constant + seed)), so that with small
 * seeds the points of "n01" and "n02" are nearly the same numbers, and ties would give all keys to the lesser name. */
static inline uint64_t points_seed(uint64_t ring_seed, uint32_t vnode) {
    uint64_t z = ring_seed + ((uint64_t)vnode + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Fills hashes[0 … last - first) with the points first … last - 1 of a name, in no order. */
void points_generate(uint64_t *hashes, const void *name, size_t length, uint64_t ring_seed, uint32_t first, uint32_t last);

/* Sorts hashes alone, in place. */
void points_sort(uint64_t *hashes, uint32_t count);

/* Fills `it` (placed) from it->count points in any order. */
void points_build(points *it, const uint64_t *hashes, const uint16_t *owners);

/* Fills `it` (placed for base->count + count) from `base` and `count` sorted new points of one owner. Owners of `base` from
 * `owner` on move up by one if `is_new`. */
void points_merge(points *it, const points *base, const uint64_t *hashes, uint32_t count, uint16_t owner, int is_new);

/* Fills `it` (placed for base->count - count) from `base` without `count` sorted points of one owner, each of which `base` has.
 * Owners above `owner` move down by one if `is_gone`. */
void points_drop(points *it, const points *base, const uint64_t *hashes, uint32_t count, uint16_t owner, int is_gone);

/* Searches for hashes[0 … n) with several under way at once, and writes owners to out[0 … n). There must be a point. */
void points_find_many(const points *it, const uint64_t *hashes, int32_t *out, size_t n);

/* Adds to arcs[owner] how many hashes each owner has, modulo 2^64. So if all end at 0, the owner of point 0 has all 2^64. */
void points_arcs(const points *it, uint64_t *arcs);

/* From a bucket's first point on to the first at or after h; `count` (a pad with the owner of point 0) when there is none. */
static inline uint32_t points_scan(const points *it, uint32_t place, uint64_t h) {
    const uint64_t *at = it->marks + place;
    const uint64_t upper = h & ~(uint64_t)0xffff;
    unsigned before;
    /* Four compares without a branch, because how many points of the bucket lie before h cannot be predicted. */
    do {
        before = (unsigned)(at[0] < upper) + (unsigned)(at[1] < upper) + (unsigned)(at[2] < upper) + (unsigned)(at[3] < upper);
        at += before;
    } while (QUORATE_UNLIKELY(before == 4));
    place = (uint32_t)(at - it->marks);
    while (QUORATE_UNLIKELY(it->marks[place] >> 16 == h >> 16 && it->rests[place] < (uint16_t)h)) place++;
    return place;
}

static inline uint32_t points_find(const points *it, uint64_t h) { return points_scan(it, it->buckets[h >> it->shift], h); }
static inline uint16_t points_owner(const points *it, uint64_t h) { return points_owner_at(it, points_find(it, h)); }

#ifdef __cplusplus
}
#endif
#endif
