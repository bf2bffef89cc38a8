#include "points.h"

#include "xxh3.h"

enum { SORT_SMALL = 24 };

/* Least bits so that there are at least as many buckets as points. */
static uint32_t bucket_bits(uint32_t count) {
    return count <= 2 ? 1 : 32u - (uint32_t)__builtin_clz(count - 1);
}

size_t points_bytes(uint32_t count) {
    const size_t entries = (size_t)count + POINTS_PAD;
    return entries * (sizeof(uint64_t) + sizeof(uint16_t)) + (sizeof(uint32_t) << bucket_bits(count));
}

void points_place(points *it, void *block, uint32_t count) {
    const size_t entries = (size_t)count + POINTS_PAD;
    it->hashes = (uint64_t *)block;
    it->buckets = (uint32_t *)(it->hashes + entries);
    it->owners = (uint16_t *)(it->buckets + ((size_t)1 << bucket_bits(count)));
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

/* Sorts the few points of one bucket. Shell's gaps keep a crowded bucket, which only chosen names could make, from going
 * quadratic. */
static void sort_pairs(uint64_t *hashes, uint16_t *owners, uint32_t count) {
    static const uint32_t gaps[] = {701, 301, 132, 57, 23, 10, 4, 1};
    for (size_t g = count > 24 ? 0 : sizeof gaps / sizeof *gaps - 1; g < sizeof gaps / sizeof *gaps; g++) {
        const uint32_t gap = gaps[g];
        for (uint32_t i = gap; i < count; i++) {
            const uint64_t h = hashes[i];
            const uint16_t owner = owners[i];
            uint32_t j = i;
            for (; j >= gap; j -= gap) {
                const uint64_t other = hashes[j - gap];
                if (other < h || (other == h && owners[j - gap] <= owner)) break;
                hashes[j] = other;
                owners[j] = owners[j - gap];
            }
            hashes[j] = h;
            owners[j] = owner;
        }
    }
}

static void pad(points *it) {
    for (uint32_t i = 0; i < POINTS_PAD; i++) {
        it->hashes[it->count + i] = UINT64_MAX;
        it->owners[it->count + i] = it->count ? it->owners[0] : 0;
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
        it->hashes[place] = hashes[i];
        it->owners[place] = owners[i];
    }
    for (size_t b = 0; b < buckets; b++) {
        const uint32_t start = it->buckets[b], end = b + 1 < buckets ? it->buckets[b + 1] : count;
        if (end - start > 1) sort_pairs(it->hashes + start, it->owners + start, end - start);
    }
    pad(it);
}

/* Fills the index from the hashes alone. */
static void build_index(points *it) {
    const size_t buckets = (size_t)1 << (64 - it->shift);
    size_t b = 0;
    for (uint32_t i = 0; i < it->count; i++)
        for (const size_t home = (size_t)(it->hashes[i] >> it->shift); b <= home; b++) it->buckets[b] = i;
    for (; b < buckets; b++) it->buckets[b] = it->count;
}

/* Copies owners with those from `from` on moved by `step`; one vector instruction a dozen of them. */
static void copy_owners(uint16_t *restrict to, const uint16_t *restrict of, uint32_t count, uint32_t from, int step) {
    if (step > 0)
        for (uint32_t i = 0; i < count; i++) to[i] = (uint16_t)(of[i] + (of[i] >= from));
    else if (step < 0)
        for (uint32_t i = 0; i < count; i++) to[i] = (uint16_t)(of[i] - (of[i] >= from));
    else
        memcpy(to, of, count * sizeof *to);
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
            while (end < base->count && base->hashes[end] == hashes[i] && base->owners[end] < owner + !is_new) end++;
            if (end < taken) end = taken;
        }
        memcpy(it->hashes + written, base->hashes + taken, (end - taken) * sizeof *it->hashes);
        copy_owners(it->owners + written, base->owners + taken, end - taken, owner, is_new ? 1 : 0);
        written += end - taken;
        taken = end;
        if (i < count) {
            it->hashes[written] = hashes[i];
            it->owners[written++] = owner;
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
            while (base->owners[end] != owner) end++;
        }
        memcpy(it->hashes + written, base->hashes + taken, (end - taken) * sizeof *it->hashes);
        copy_owners(it->owners + written, base->owners + taken, end - taken, owner, is_gone ? -1 : 0);
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
            __builtin_prefetch(it->hashes + place[i]);
            __builtin_prefetch(it->owners + place[i]);
        }
        for (size_t i = 0; i < size; i++) {
            const uint64_t *at = it->hashes + place[i];
            for (;;) {
                const unsigned before = (unsigned)(at[0] < h[i]) + (unsigned)(at[1] < h[i]) + (unsigned)(at[2] < h[i]) +
                                        (unsigned)(at[3] < h[i]);
                at += before;
                if (QUORATE_LIKELY(before < 4)) break;
            }
            out[start + i] = it->owners[at - it->hashes];
        }
    }
}

void points_arcs(const points *it, uint64_t *arcs) {
    for (uint32_t i = 0; i < it->count; i++) arcs[it->owners[i]] += it->hashes[i] - it->hashes[i ? i - 1 : it->count - 1];
}
