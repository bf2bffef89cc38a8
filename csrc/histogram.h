/* How long something takes that happens often: counts in buckets, enough for quantiles within 7 %, in one KiB and no allocation.
 *
 * Old times are forgotten: when WINDOW of them are counted, all counts are halved. So the quantiles speak of the last few
 * thousand, which is what an operator asks for; `total` and `sum` go on for ever.
 * Buckets are eighths of an octave, so small values are exact. Knows no clock. */
#ifndef QUORATE_HISTOGRAM_H
#define QUORATE_HISTOGRAM_H

#include "base.h"

enum { HISTOGRAM_BUCKETS = 240, HISTOGRAM_WINDOW = 4096 };

typedef struct {
    uint64_t total, sum, most; /* how many, together, and the greatest, since the beginning */
    uint32_t counted;          /* in `counts`, at most HISTOGRAM_WINDOW */
    uint32_t counts[HISTOGRAM_BUCKETS];
} histogram;

static inline uint32_t histogram_bucket(uint64_t value) {
    uint64_t bounded = value > UINT32_MAX ? UINT32_MAX : value;
    if (bounded < 8u) return (uint32_t)bounded;
    uint32_t octave = 63u - (uint32_t)__builtin_clzll(bounded);
    return (octave - 2u) * 8u + (uint32_t)((bounded >> (octave - 3u)) & 7u);
}

/* The middle of a bucket. */
static inline uint64_t histogram_value(uint32_t bucket) {
    if (bucket < 16u) return bucket;
    uint32_t octave = bucket / 8u + 2u;
    uint64_t width = (uint64_t)1 << (octave - 3u);
    return (8u + bucket % 8u) * width + width / 2u;
}

static inline void histogram_add(histogram *it, uint64_t value) {
    it->total += 1u;
    it->sum += value;
    if (value > it->most) it->most = value;
    if (it->counted == HISTOGRAM_WINDOW) {
        it->counted = 0;
        for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) it->counted += it->counts[i] /= 2u;
    }
    it->counts[histogram_bucket(value)] += 1u;
    it->counted += 1u;
}

/* The value that `thousandths` of the recent ones do not pass; 0 if there is none. */
static inline uint64_t histogram_quantile(const histogram *it, uint32_t thousandths) {
    uint64_t wanted = ((uint64_t)it->counted * thousandths + 999u) / 1000u, seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += it->counts[i];
        if (seen && seen >= wanted) return histogram_value(i);
    }
    return 0;
}

#endif
