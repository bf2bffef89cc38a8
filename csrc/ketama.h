/* Continuum of the ketama family: how many digests a server has, its points, and the search.
 *
 * Two kinds of point: 32 bits of MD5 (libketama, libmemcached, uhashring's ketama mode) and all 128 bits (uhashring's
 * default mode). Both are found by a bucket index over the leading bits: MD5 spreads points evenly, so that a bucket
 * holds one point or so, whatever the size. Knows nothing of names, weights' meaning or keys; allocates nothing; the
 * caller owns all memory. */
#ifndef QUORATE_KETAMA_H
#define QUORATE_KETAMA_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    KETAMA_POINTS_PER_DIGEST = 4, /* an MD5 digest is four words */
    KETAMA_SUFFIX_MAX = 12        /* room behind a server's text for "-4294967295" and a zero */
};

typedef struct ketama_point {
    uint32_t hash;
    uint32_t owner;
} ketama_point;

typedef struct ketama_wide_point {
    uint64_t high, low; /* the digest as a big-endian number */
    uint32_t owner;
    uint32_t unused;
} ketama_wide_point;

/* Digests of one server of weight `weight` among `servers` that weigh `total` together (total > 0), rounded exactly as
 * the library of that name rounds: both lose a digest where a single-precision product falls just below a whole
 * number. */
uint32_t ketama_digests_libketama(uint64_t weight, uint64_t total, uint32_t servers);
uint32_t ketama_digests_libmemcached(uint64_t weight, uint64_t total, uint32_t servers);

/* Points of digests 0 … digests-1 of the server whose name are the first `length` bytes of `text`; the
 * KETAMA_SUFFIX_MAX bytes behind are overwritten. `per_digest` is 0 … 4. Writes digests * per_digest points. */
void ketama_points(char *text, size_t length, uint32_t digests, uint32_t per_digest, uint32_t owner,
                   ketama_point *out);

/* The same with the whole digest as one point. Writes `digests` points. */
void ketama_wide_points(char *text, size_t length, uint32_t digests, uint32_t owner, ketama_wide_point *out);

/* Leading bits to index `count` points by: one or two points a bucket. 0 … 24. */
unsigned ketama_bits(size_t count);

/* Sorts `in` into `out` by hash; equal hashes keep their order. `first` gets 2^bits + 1 places: bucket b is
 * out[first[b]] … out[first[b+1]-1]. `count` < 2^32. */
void ketama_sort(const ketama_point *in, size_t count, unsigned bits, ketama_point *out, uint32_t *first);
void ketama_wide_sort(const ketama_wide_point *in, size_t count, unsigned bits, ketama_wide_point *out,
                      uint32_t *first);

/* Gives each of several equal points the owner of the last of them. */
void ketama_last_wins(ketama_point *points, size_t count);

/* Drops all but the last of several equal points; returns how many are left. `first` is not updated. */
size_t ketama_wide_last_stays(ketama_wide_point *points, size_t count);

static inline uint32_t ketama_bucket(uint32_t hash, unsigned bits) { return bits ? hash >> (32u - bits) : 0; }
static inline uint64_t ketama_wide_bucket(uint64_t high, unsigned bits) { return bits ? high >> (64u - bits) : 0; }

/* First point with hash ≥ `hash`; `count` if there is none (the caller goes on at 0). */
static inline size_t ketama_find(const ketama_point *points, size_t count, const uint32_t *first, unsigned bits,
                                 uint32_t hash) {
    size_t i = first[ketama_bucket(hash, bits)];
    while (i < count && points[i].hash < hash) i++;
    return i;
}

/* First point with hash > `hash`; `count` if there is none. */
static inline size_t ketama_find_above(const ketama_point *points, size_t count, const uint32_t *first, unsigned bits,
                                       uint32_t hash) {
    size_t i = first[ketama_bucket(hash, bits)];
    while (i < count && points[i].hash <= hash) i++;
    return i;
}

static inline size_t ketama_wide_find_above(const ketama_wide_point *points, size_t count, const uint32_t *first,
                                            unsigned bits, uint64_t high, uint64_t low) {
    size_t i = first[ketama_wide_bucket(high, bits)];
    while (i < count && (points[i].high < high || (points[i].high == high && points[i].low <= low))) i++;
    return i;
}

#ifdef __cplusplus
}
#endif
#endif
