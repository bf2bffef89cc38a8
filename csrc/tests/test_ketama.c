/* The ketama kernel: known vectors, the rounding of each dialect, order and ties, search against a linear scan. */
#include <assert.h>
#include <stdlib.h>

#include "../ketama.h"
#include "../md5.h"

static uint64_t state = 1;
static uint32_t next_random(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

static void known_vectors(void) {
    uint32_t words[4];
    md5_words("test", 4, words);
    assert(words[0] == 3446378249u);

    /* libketama, 127.0.0.1:11211 of weight 600 and 127.0.0.1:11212 of weight 400: "test" lies on 3454255383 of the
     * first. */
    static const char *servers[2] = {"127.0.0.1:11211", "127.0.0.1:11212"};
    static const uint64_t weights[2] = {600, 400};
    ketama_point in[1024], out[1024];
    uint32_t first[2049];
    size_t count = 0;
    for (uint32_t s = 0; s < 2; s++) {
        char text[64];
        size_t length = strlen(servers[s]);
        memcpy(text, servers[s], length);
        uint32_t digests = ketama_digests_libketama(weights[s], 1000, 2);
        ketama_points(text, length, digests, 4, s, in + count);
        count += (size_t)digests * 4;
    }
    unsigned bits = ketama_bits(count);
    ketama_sort(in, count, bits, out, first);
    size_t at = ketama_find(out, count, first, bits, words[0]);
    assert(at < count && out[at].hash == 3454255383u && out[at].owner == 0);
}

static void rounding(void) {
    /* Servers of equal weight: 40 digests each, but for the counts at which single precision falls short. */
    static const uint32_t ketama_39[] = {61, 122, 237, 244};
    static const uint32_t memcached_39[] = {25, 47, 50, 100, 200};
    size_t a = 0, b = 0;
    for (uint32_t n = 1; n <= 244; n++) {
        int short_a = a < 4 && ketama_39[a] == n;
        assert(ketama_digests_libketama(1, n, n) == (short_a ? 39u : 40u));
        a += (size_t)short_a;
    }
    for (uint32_t i = 0; i < 5; i++) assert(ketama_digests_libmemcached(1, memcached_39[i], memcached_39[i]) == 39u);
    for (uint32_t n = 1; n < 100; n++) b += ketama_digests_libmemcached(1, n, n) == 40u;
    assert(b >= 90);
    assert(ketama_digests_libketama(1, 1, 1) == 40u && ketama_digests_libmemcached(1, 1, 1) == 40u);
}

static void search(size_t count, uint32_t mask) {
    ketama_point *in = calloc(count + 1, sizeof *in), *out = calloc(count + 1, sizeof *out);
    unsigned bits = ketama_bits(count);
    uint32_t *first = calloc(((size_t)1 << bits) + 1, sizeof *first);
    assert(in && out && first);
    for (size_t i = 0; i < count; i++) in[i] = (ketama_point){next_random() & mask, (uint32_t)i};
    ketama_sort(in, count, bits, out, first);
    for (size_t i = 1; i < count; i++) {
        assert(out[i - 1].hash <= out[i].hash);
        if (out[i - 1].hash == out[i].hash) assert(out[i - 1].owner < out[i].owner); /* stable */
    }
    for (size_t k = 0; k < 400; k++) {
        uint32_t hash = k < 2 ? (k ? UINT32_MAX : 0) : k < 200 && count ? out[k % count].hash : next_random();
        size_t at = 0, above = 0;
        while (at < count && out[at].hash < hash) at++;
        while (above < count && out[above].hash <= hash) above++;
        assert(ketama_find(out, count, first, bits, hash) == at);
        assert(ketama_find_above(out, count, first, bits, hash) == above);
    }
    ketama_last_wins(out, count);
    for (size_t i = 1; i < count; i++)
        if (out[i - 1].hash == out[i].hash) assert(out[i - 1].owner == out[i].owner);
    free(in);
    free(out);
    free(first);
}

static void wide(size_t count, uint64_t mask) {
    ketama_wide_point *in = calloc(count + 1, sizeof *in), *out = calloc(count + 1, sizeof *out);
    unsigned bits = ketama_bits(count);
    uint32_t *first = calloc(((size_t)1 << bits) + 1, sizeof *first);
    assert(in && out && first);
    for (size_t i = 0; i < count; i++) {
        uint64_t high = (uint64_t)next_random() << 32 & mask, low = next_random() & 3;
        in[i] = (ketama_wide_point){high, low, (uint32_t)i, 0};
    }
    ketama_wide_sort(in, count, bits, out, first);
    size_t kept = ketama_wide_last_stays(out, count);
    for (size_t i = 1; i < kept; i++)
        assert(out[i - 1].high < out[i].high || (out[i - 1].high == out[i].high && out[i - 1].low < out[i].low));
    for (size_t i = 0; i < count; i++) { /* the last of equal points in the order given is the one kept */
        size_t owner = i;
        for (size_t j = i; j < count; j++)
            if (in[j].high == in[i].high && in[j].low == in[i].low) owner = j;
        size_t at = 0;
        while (out[at].high != in[i].high || out[at].low != in[i].low) at++;
        assert(at < kept && out[at].owner == owner);
    }
    memcpy(in, out, kept * sizeof *in);
    bits = ketama_bits(kept);
    ketama_wide_sort(in, kept, bits, out, first);
    for (size_t k = 0; k < 400 && kept; k++) {
        uint64_t high = k % 2 ? out[k % kept].high : (uint64_t)next_random() << 32, low = next_random() & 3;
        size_t above = 0;
        while (above < kept && (out[above].high < high || (out[above].high == high && out[above].low <= low))) above++;
        assert(ketama_wide_find_above(out, kept, first, bits, high, low) == above);
    }
    free(in);
    free(out);
    free(first);
}

int main(void) {
    static const size_t counts[] = {0, 1, 2, 3, 16, 17, 160, 1000};
    known_vectors();
    rounding();
    assert(ketama_bits(0) == 0 && ketama_bits(1) == 0 && ketama_bits(2) == 1 && ketama_bits(16000) == 14);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        search(counts[i], UINT32_MAX);
        search(counts[i], 0xff0000ffu); /* crowded buckets and many ties */
        search(counts[i], 3);
        wide(counts[i], UINT64_MAX);
        wide(counts[i], 0xf000000000000000u);
    }
    return 0;
}
