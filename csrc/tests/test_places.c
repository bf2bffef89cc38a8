/* The placement kernels: vectors of jump, monotony of both jumps, rendezvous against its order, Maglev's table. */
#include <assert.h>
#include <stdlib.h>

#include "../places.h"

enum { MOST = 200 };

static uint64_t state = 7;
static uint64_t next_random(void) {
    state += 0x9e3779b97f4a7c15u;
    return xxh3_64(&state, sizeof state, 0);
}

static void jumps(void) {
    /* Vectors that implementations of jump share. */
    assert(places_jump(1, 1) == 0 && places_jump(42, 57) == 43 && places_jump(0xDEAD10CC, 1) == 0);
    assert(places_jump(0xDEAD10CC, 666) == 361 && places_jump(256, 1024) == 520);
    assert(places_jumpback(1, 1) == 0);
    for (int k = 0; k < 2000; k++) {
        uint64_t hash = next_random();
        uint32_t a = 0, b = 0;
        for (uint32_t n = 1; n <= 300; n++) { /* a key stays, or moves to the bucket that is new */
            uint32_t x = places_jump(hash, n), y = places_jumpback(hash, n);
            assert(x < n && y < n);
            assert(x == a || x == n - 1);
            assert(y == b || y == n - 1);
            a = x;
            b = y;
        }
        assert(places_jumpback(hash, 1u << 31) < 1u << 31);
    }
}

/* Shorter lists, on either side of where another way of making them begins. */
static void few_are_the_first(uint64_t hash, const uint64_t *seeds, const double *inverse, uint32_t nodes,
                              const uint32_t *all) {
    static const uint32_t lengths[] = {0, 1, 2, 3, 31, 32, 33, 100};
    uint64_t draws[MOST];
    double costs[MOST];
    uint32_t few[MOST];
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        if (lengths[i] > nodes) continue;
        places_order(hash, seeds, inverse, nodes, lengths[i], costs, draws, few);
        assert(memcmp(few, all, lengths[i] * sizeof *few) == 0);
    }
}

static void rendezvous(void) {
    uint64_t seeds[MOST], draws[MOST];
    double inverse[MOST], ones[MOST], costs[MOST];
    uint32_t order[MOST];
    for (uint32_t i = 0; i < MOST; i++) {
        seeds[i] = next_random();
        inverse[i] = 1.0 / (1.0 + i % 7);
        ones[i] = 1.0;
    }
    seeds[5] = seeds[4]; /* an equal draw for every key: the lower number has it */
    for (uint32_t nodes = 1; nodes < MOST; nodes += 13) {
        for (int k = 0; k < 200; k++) {
            uint64_t hash = next_random();
            places_order(hash, seeds, inverse, nodes, nodes, costs, draws, order);
            assert(order[0] == places_rendezvous_weighted(hash, seeds, inverse, nodes));
            for (uint32_t i = 1; i < nodes; i++) {
                const uint64_t a = places_draw(hash, seeds[order[i - 1]]), b = places_draw(hash, seeds[order[i]]);
                assert(places_exponential(a) * inverse[order[i - 1]] <= places_exponential(b) * inverse[order[i]]);
            }
            few_are_the_first(hash, seeds, inverse, nodes, order);
            places_order(hash, seeds, NULL, nodes, nodes, costs, draws, order);
            assert(order[0] == places_rendezvous(hash, seeds, nodes));
            assert(order[0] == places_rendezvous_weighted(hash, seeds, ones, nodes));
            for (uint32_t i = 1; i < nodes; i++)
                assert(places_draw(hash, seeds[order[i - 1]]) >= places_draw(hash, seeds[order[i]]));
            few_are_the_first(hash, seeds, NULL, nodes, order);
        }
    }
}

static void exponential(void) {
    const double half = places_exponential(1ull << 63), smallest = places_exponential(0);
    assert(half > 0.69314718 && half < 0.69314719);
    assert(smallest > 36.7 && smallest < 36.8);
    assert(places_exponential(UINT64_MAX) > 0 && places_exponential(UINT64_MAX) < 1e-15);
    for (int k = 0; k < 100000; k++) { /* it never rises with the draw */
        uint64_t a = next_random() >> (k % 64), b = next_random() >> (k % 60);
        if (a > b) { uint64_t c = a; a = b; b = c; }
        assert(places_exponential(a) >= places_exponential(b));
    }
}

static void maglev(uint32_t size, uint32_t nodes, double heavy) {
    uint16_t *table = calloc(size, sizeof *table);
    uint64_t offsets[MOST] = {0}, skips[MOST] = {0};
    double weights[MOST] = {0}, total = 0;
    uint32_t counts[MOST] = {0};
    places_turn heap[MOST];
    assert(table);
    for (uint32_t i = 0; i < nodes; i++) {
        offsets[i] = next_random();
        skips[i] = next_random();
        weights[i] = i == 1 ? heavy : 1.0;
        total += weights[i];
    }
    places_maglev(table, size, offsets, skips, weights, nodes, heap);
    for (uint32_t place = 0; place < size; place++) {
        assert(table[place] < nodes);
        counts[table[place]]++;
    }
    for (uint32_t i = 0; i < nodes; i++) {
        double ideal = size * weights[i] / total;
        assert(counts[i] > ideal - 2 - weights[i] && counts[i] < ideal + 2 + weights[i]);
    }
    free(table);
}

int main(void) {
    jumps();
    rendezvous();
    exponential();
    assert(!places_is_prime(0) && !places_is_prime(1) && places_is_prime(2) && places_is_prime(3));
    assert(!places_is_prime(4));
    assert(places_is_prime(65537) && !places_is_prime(65535) && !places_is_prime(25) && places_is_prime(7));
    assert(places_is_prime(16777213) && !places_is_prime(4294967295u) && places_is_prime(4294967291u));
    assert(places_reduce(0, 7) == 0 && places_reduce(UINT64_MAX, 7) == 6);
    assert(places_reduce(UINT64_MAX, 1u << 24) == (1u << 24) - 1);
    maglev(65537, 1, 1);
    maglev(65537, 7, 1);
    maglev(65537, 100, 10);
    maglev(5, 5, 1);
    maglev(3, 1, 1);
    maglev(1009, 10, 0.001);
    return 0;
}
