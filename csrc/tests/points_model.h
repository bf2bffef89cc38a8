/* The plainest ring, by which the unit test and the fuzzer judge points.c: no index, no order, every point looked at. */
#include "../points.h"

#include <stdlib.h>

static inline void check_that(int condition) {
    if (!condition) abort();
}

static inline points points_new(uint32_t count) {
    points it;
    void *block = malloc(points_bytes(count));
    check_that(block != NULL);
    points_place(&it, block, count);
    return it;
}

static inline void points_free(points *it) { free(it->marks); }

/* The lookup by definition: the least (hash, owner) at or after h, else the least of all. */
static inline uint16_t model_owner(const uint64_t *hashes, const uint16_t *owners, uint32_t count, uint64_t h) {
    uint32_t best = count, least = 0;
    for (uint32_t i = 0; i < count; i++) {
        const int after_best = best < count && (hashes[i] > hashes[best] || (hashes[i] == hashes[best] && owners[i] >= owners[best]));
        if (hashes[i] >= h && !after_best) best = i;
        if (hashes[i] < hashes[least] || (hashes[i] == hashes[least] && owners[i] < owners[least])) least = i;
    }
    return owners[best < count ? best : least];
}

/* Everything that the head of points.h promises of a filled ring. */
static inline void check_points(const points *it) {
    const uint32_t buckets = it->shift == 64 ? 1 : 1u << (64 - it->shift);
    for (uint32_t i = 1; i < it->count; i++) {
        check_that(points_hash(it, i - 1) <= points_hash(it, i));
        check_that(points_hash(it, i - 1) < points_hash(it, i) || points_owner_at(it, i - 1) <= points_owner_at(it, i));
    }
    for (uint32_t i = 0; i < POINTS_PAD; i++) check_that(points_hash(it, it->count + i) == UINT64_MAX);
    for (uint32_t i = 0; it->count && i < POINTS_PAD; i++)
        check_that(points_owner_at(it, it->count + i) == points_owner_at(it, 0));
    for (uint32_t b = 0, i = 0; b < buckets; b++) {
        while (i < it->count && points_hash(it, i) >> it->shift < b) i++;
        check_that(it->buckets[b] == i);
    }
}

static inline void check_same(const points *a, const points *b) {
    check_that(a->count == b->count && a->shift == b->shift);
    check_that(!memcmp(a->marks, b->marks, (a->count + POINTS_PAD) * sizeof *a->marks));
    check_that(!memcmp(a->rests, b->rests, (a->count + POINTS_PAD) * sizeof *a->rests));
    check_that(!memcmp(a->buckets, b->buckets, sizeof *a->buckets << (64 - a->shift)));
}

static inline void check_lookups(const points *it, const uint64_t *hashes, const uint16_t *owners, const uint64_t *keys, uint32_t n) {
    int32_t *found = (int32_t *)malloc((n + 1) * sizeof *found);
    check_that(found != NULL);
    points_find_many(it, keys, found, n);
    for (uint32_t i = 0; i < n; i++) {
        const uint16_t expected = model_owner(hashes, owners, it->count, keys[i]);
        check_that(points_owner(it, keys[i]) == expected && found[i] == (int32_t)expected);
    }
    free(found);
}
