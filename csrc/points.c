#include "points.h"

#include "xxh3.h"

enum { SORT_SMALL = 24 };

/* Bits of the index: one to two points a bucket, because a small index stays in the cache and four compares cost less than
 * a miss. */
static uint32_t bucket_bits(uint32_t count) { return count < 4 ? 1 : 31u - (uint32_t)__builtin_clz(count); }

size_t points_bytes(uint32_t count) {
    const size_t entries = (size_t)count + POINTS_PAD;
    return entries * (sizeof(uint64_t) + sizeof(uint16_t)) + (sizeof(uint32_t) << bucket_bits(count));
}

void points_place(points *it, void *block, uint32_t count) {
    const size_t entries = (size_t)count + POINTS_PAD;
    it->marks = (uint64_t *)block;
    it->buckets = (uint32_t *)(it->marks + entries);
    it->rests = (uint16_t *)(it->buckets + ((size_t)1 << bucket_bits(count)));
    it->count = count;
    it->shift = 64 - bucket_bits(count);
}

void points_generate(uint64_t *hashes, const void *name, size_t length, uint64_t ring_seed, uint32_t first, uint32_t last) {
    /* The branch on the length is taken out of the loop for names as long as most are. */
    const uint8_t *at = (const uint8_t *)name;
    if (length >= 9 && length <= 16) {
        for (uint32_t v = first; v < last; v++) *hashes++ = xxh3_64_9to16(at, length, points_seed(ring_seed, v));
    } else if (length >= 4 && length <= 8) {
        for (uint32_t v = first; v < last; v++) *hashes++ = xxh3_64_4to8(at, length, points_seed(ring_seed, v));
    } else {
        for (uint32_t v = first; v < last; v++) *hashes++ = xxh3_64(at, length, points_seed(ring_seed, v));
    }
}

static void sort_by_insertion(uint64_t *hashes, uint32_t count) {
    for (uint32_t i = 1; i < count; i++) {
        const uint64_t h = hashes[i];
        uint32_t j = i;
        for (; j && hashes[j - 1] > h; j--) hashes[j] = hashes[j - 1];
        hashes[j] = h;
    }
}

/* In place, byte by byte from the top: at most eight levels, so that no input makes it quadratic. */
static void sort_from_byte(uint64_t *hashes, uint32_t count, unsigned shift) {
    uint32_t next[256], end[256] = {0}, sum = 0;
    for (uint32_t i = 0; i < count; i++) end[(hashes[i] >> shift) & 255]++;
    for (unsigned b = 0; b < 256; b++) {
        next[b] = sum;
        sum += end[b];
        end[b] = sum;
    }
    for (unsigned b = 0; b < 256; b++) {
        while (next[b] < end[b]) {
            const uint64_t h = hashes[next[b]];
            const unsigned home = (unsigned)(h >> shift) & 255;
            hashes[next[b]] = hashes[next[home]];
            hashes[next[home]++] = h;
        }
    }
    for (unsigned b = 0, start = 0; b < 256; start = end[b++]) {
        const uint32_t size = end[b] - start;
        if (size <= SORT_SMALL) sort_by_insertion(hashes + start, size);
        else if (shift) sort_from_byte(hashes + start, size, shift - 8);
    }
}

void points_sort(uint64_t *hashes, uint32_t count) {
    if (count <= SORT_SMALL) sort_by_insertion(hashes, count);
    else sort_from_byte(hashes, count, 56);
}

static inline uint64_t mark_of(uint64_t hash, uint16_t owner) { return (hash & ~(uint64_t)0xffff) | owner; }

static inline int is_after(uint64_t mark, uint16_t rest, uint64_t other_mark, uint16_t other_rest) {
    if (QUORATE_LIKELY(mark >> 16 != other_mark >> 16)) return mark > other_mark;
    return rest > other_rest || (rest == other_rest && mark > other_mark);
}

/* Sorts the few points of one bucket. Shell's gaps keep a crowded bucket, which only chosen names could make, from going
 * quadratic. */
static void sort_marks(uint64_t *marks, uint16_t *rests, uint32_t count) {
    static const uint32_t gaps[] = {701, 301, 132, 57, 23, 10, 4, 1};
    for (size_t g = count > 24 ? 0 : sizeof gaps / sizeof *gaps - 1; g < sizeof gaps / sizeof *gaps; g++) {
        const uint32_t gap = gaps[g];
        for (uint32_t i = gap; i < count; i++) {
            const uint64_t mark = marks[i];
            const uint16_t rest = rests[i];
            uint32_t j = i;
            for (; j >= gap && is_after(marks[j - gap], rests[j - gap], mark, rest); j -= gap) {
                marks[j] = marks[j - gap];
                rests[j] = rests[j - gap];
            }
            marks[j] = mark;
            rests[j] = rest;
        }
    }
}

static void pad(points *it) {
    for (uint32_t i = 0; i < POINTS_PAD; i++) {
        it->marks[it->count + i] = mark_of(UINT64_MAX, it->count ? points_owner_at(it, 0) : 0);
        it->rests[it->count + i] = UINT16_MAX;
    }
}

void points_build(points *it, const uint64_t *hashes, const uint16_t *owners) {
    const uint32_t count = it->count, shift = it->shift;
    const size_t buckets = (size_t)1 << (64 - shift);
    memset(it->buckets, 0, buckets * sizeof *it->buckets);
    for (uint32_t i = 0; i < count; i++) it->buckets[hashes[i] >> shift]++;
    uint32_t sum = 0;
    for (size_t b = 0; b < buckets; b++) it->buckets[b] = sum += it->buckets[b];
    /* Each bucket is filled from its end; so its number ends as the place of its first point. */
    for (uint32_t i = count; i-- > 0;) {
        const uint32_t place = --it->buckets[hashes[i] >> shift];
        it->marks[place] = mark_of(hashes[i], owners[i]);
        it->rests[place] = (uint16_t)hashes[i];
    }
    for (size_t b = 0; b < buckets; b++) {
        const uint32_t start = it->buckets[b], end = b + 1 < buckets ? it->buckets[b + 1] : count;
        if (end - start > 1) sort_marks(it->marks + start, it->rests + start, end - start);
    }
    pad(it);
}

/* Fills the index from the hashes alone. */
static void build_index(points *it) {
    const size_t buckets = (size_t)1 << (64 - it->shift);
    size_t b = 0;
    for (uint32_t i = 0; i < it->count; i++)
        for (const size_t home = (size_t)(it->marks[i] >> it->shift); b <= home; b++) it->buckets[b] = i;
    for (; b < buckets; b++) it->buckets[b] = it->count;
}

/* Copies a run of points, owners from `from` on moved by `step`; a few instructions for several of them. */
static void copy_run(points *it, uint32_t to, const points *base, uint32_t first, uint32_t last, uint32_t from, int step) {
    const uint64_t *restrict of = base->marks + first;
    uint64_t *restrict marks = it->marks + to;
    const uint32_t size = last - first;
    if (step > 0)
        for (uint32_t i = 0; i < size; i++) marks[i] = of[i] + ((uint32_t)(of[i] & 0xffff) >= from);
    else if (step < 0)
        for (uint32_t i = 0; i < size; i++) marks[i] = of[i] - ((uint32_t)(of[i] & 0xffff) >= from);
    else
        memcpy(marks, of, size * sizeof *marks);
    memcpy(it->rests + to, base->rests + first, size * sizeof *it->rests);
}

/* Fills the index of `it` from that of `base`, when `hashes` were added (step 1) or taken away (step -1): between two of them
 * all buckets move by the same number. */
static void carry_index(points *it, const points *base, const uint64_t *hashes, uint32_t count, uint32_t step) {
    if (it->shift != base->shift) {
        build_index(it);
        return;
    }
    const size_t buckets = (size_t)1 << (64 - it->shift);
    size_t b = 0;
    for (uint32_t i = 0; i <= count; i++) {
        const size_t end = i < count ? (size_t)(hashes[i] >> it->shift) + 1 : buckets;
        const uint32_t moved = step * i;
        for (; b < end; b++) it->buckets[b] = base->buckets[b] + moved;
    }
}

void points_merge(points *it, const points *base, const uint64_t *hashes, uint32_t count, uint16_t owner, int is_new) {
    uint32_t taken = 0, written = 0;
    for (uint32_t i = 0; i <= count; i++) {
        uint32_t end = base->count;
        if (i < count) {
            end = base->count ? points_find(base, hashes[i]) : 0;
            /* Equal hashes stand in the order of their owners; a moved owner is above the new one. */
            while (end < base->count && points_hash(base, end) == hashes[i] && points_owner_at(base, end) < owner + !is_new) end++;
            if (end < taken) end = taken;
        }
        copy_run(it, written, base, taken, end, owner, is_new ? 1 : 0);
        written += end - taken;
        taken = end;
        if (i < count) {
            it->marks[written] = mark_of(hashes[i], owner);
            it->rests[written++] = (uint16_t)hashes[i];
        }
    }
    pad(it);
    carry_index(it, base, hashes, count, 1u);
}

void points_drop(points *it, const points *base, const uint64_t *hashes, uint32_t count, uint16_t owner, int is_gone) {
    uint32_t taken = 0, written = 0;
    for (uint32_t i = 0; i <= count; i++) {
        uint32_t end = base->count;
        if (i < count) {
            end = points_find(base, hashes[i]);
            if (end < taken) end = taken; /* one of two equal points of this owner is gone already */
            while (points_owner_at(base, end) != owner) end++;
        }
        copy_run(it, written, base, taken, end, owner, is_gone ? -1 : 0);
        written += end - taken;
        taken = end + 1;
    }
    pad(it);
    carry_index(it, base, hashes, count, (uint32_t)-1);
}

void points_find_many(const points *it, const uint64_t *hashes, int32_t *out, size_t n) {
    for (size_t start = 0; start < n; start += POINTS_BATCH) {
        const size_t size = n - start < POINTS_BATCH ? n - start : POINTS_BATCH;
        const uint64_t *h = hashes + start;
        uint32_t place[POINTS_BATCH];
        for (size_t i = 0; i < size; i++) __builtin_prefetch(it->buckets + (h[i] >> it->shift));
        for (size_t i = 0; i < size; i++) {
            place[i] = it->buckets[h[i] >> it->shift];
            __builtin_prefetch(it->marks + place[i]);
        }
        for (size_t i = 0; i < size; i++) out[start + i] = points_owner_at(it, points_scan(it, place[i], h[i]));
    }
}

void points_arcs(const points *it, uint64_t *arcs) {
    uint64_t before = it->count ? points_hash(it, it->count - 1) : 0;
    for (uint32_t i = 0; i < it->count; i++) {
        const uint64_t h = points_hash(it, i);
        arcs[points_owner_at(it, i)] += h - before;
        before = h;
    }
}
