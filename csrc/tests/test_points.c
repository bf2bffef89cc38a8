/* Rings of random and of crowded hashes: built, grown and shrunk, each step against a fresh build and against the model. */
#include "points_model.h"

#include <stdio.h>

enum { NODES = 9, MOST = 700 };

static uint64_t state = 42;
static uint64_t noise(void) { /* splitmix64 */
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Hashes of different crowding: uniform, all in few buckets, with many equal, at both ends. */
static uint64_t hash_of_kind(unsigned kind) {
    switch (kind) {
    case 0: return noise();
    case 1: return noise() & 0xffffu;
    case 2: return (noise() & 7) << 61;
    case 3: return noise() & 1 ? UINT64_MAX - (noise() & 3) : noise() & 3;
    default: return ((noise() & 3) << 30) | ((noise() & 3) << 14); /* the upper 48 bits are often equal, the lower ones not */
    }
}

static points build(const uint64_t *hashes, const uint16_t *owners, uint32_t count) {
    points it = points_new(count);
    points_build(&it, hashes, owners);
    check_points(&it);
    return it;
}

static void test_grow_and_shrink(unsigned kind, uint32_t each) {
    uint64_t hashes[MOST] = {0}, keys[64], part[MOST];
    uint16_t owners[MOST] = {0};
    uint32_t count = 0;
    points ring = build(hashes, owners, 0);
    /* Nodes join in front of the others, so that each renumbers them all. */
    for (uint16_t node = 0; node < NODES; node++) {
        for (uint32_t i = 0; i < count; i++) owners[i]++;
        for (uint32_t i = 0; i < each; i++) {
            part[i] = hashes[count + i] = hash_of_kind(kind);
            owners[count + i] = 0;
        }
        points_sort(part, each);
        points grown = points_new(count + each);
        points_merge(&grown, &ring, part, each, 0, 1);
        count += each;
        points fresh = build(hashes, owners, count);
        check_same(&grown, &fresh);
        points_free(&ring);
        points_free(&fresh);
        ring = grown;
        for (uint32_t i = 0; i < 64; i++) keys[i] = i % 4 == 0 ? hashes[noise() % count] + (i % 3) - 1 : noise();
        check_lookups(&ring, hashes, owners, keys, 64);
    }
    /* The one in the middle loses half of its points, then all. */
    for (int gone = 0; gone < 2; gone++) {
        uint32_t kept = 0, dropped = 0;
        for (uint32_t i = 0; i < count; i++) {
            if (owners[i] == 4 && (gone || dropped < each / 2)) part[dropped++] = hashes[i];
            else {
                hashes[kept] = hashes[i];
                owners[kept++] = (uint16_t)(owners[i] - (gone && owners[i] > 4));
            }
        }
        points_sort(part, dropped);
        points less = points_new(count - dropped), fresh = build(hashes, owners, kept);
        points_drop(&less, &ring, part, dropped, 4, gone);
        check_same(&less, &fresh);
        points_free(&ring);
        points_free(&fresh);
        ring = less;
        count = kept;
    }
    points_free(&ring);
}

static void test_more_of_a_node(void) {
    uint64_t hashes[4] = {10, 20, 20, 30}, more[2] = {5, 20};
    uint16_t owners[4] = {0, 0, 2, 1};
    points ring = build(hashes, owners, 4), grown = points_new(6);
    points_merge(&grown, &ring, more, 2, 1, 0);
    check_points(&grown);
    check_that(points_owner_at(&grown, 0) == 1 && points_owner(&grown, 15) == 0 && points_owner(&grown, 31) == 1);
    points_free(&ring);
    points_free(&grown);
}

static void test_arcs(void) {
    uint64_t hashes[3] = {100, 300, 600}, arcs[2] = {0, 0};
    uint16_t owners[3] = {0, 1, 0};
    points ring = build(hashes, owners, 3);
    points_arcs(&ring, arcs);
    check_that(arcs[1] == 200 && arcs[0] == (uint64_t)0 - 200);
    points_free(&ring);
}

static void test_generate(void) {
    uint64_t few[5], all[10];
    points_generate(all, "node-1", 6, 7, 0, 10);
    points_generate(few, "node-1", 6, 7, 5, 10);
    check_that(!memcmp(few, all + 5, sizeof few));
    /* The published first outputs of SplitMix64 started at 1234567. */
    check_that(points_seed(1234567, 0) == 6457827717110365317u && points_seed(1234567, 1) == 3203168211198807973u);
}

static void test_sort(uint32_t count, unsigned kind) {
    uint64_t *hashes = (uint64_t *)malloc(count * sizeof *hashes), sum = 0, after = 0;
    check_that(hashes != NULL);
    for (uint32_t i = 0; i < count; i++) sum += hashes[i] = hash_of_kind(kind);
    points_sort(hashes, count);
    for (uint32_t i = 0; i < count; i++) {
        after += hashes[i];
        check_that(!i || hashes[i - 1] <= hashes[i]);
    }
    check_that(sum == after);
    free(hashes);
}

int main(void) {
    for (unsigned kind = 0; kind < 5; kind++) {
        for (uint32_t each = 1; each < 70; each += 1 + each / 7) test_grow_and_shrink(kind, each);
        for (uint32_t count = 1; count < 100000; count = count * 3 + 1) test_sort(count, kind);
    }
    test_more_of_a_node();
    test_arcs();
    test_generate();
    puts("points: ok");
    return 0;
}
