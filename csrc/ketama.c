/* Points, order and rounding of the ketama family. See ketama.h. */
#include "ketama.h"

#include "md5.h"

QUORATE_STATIC_ASSERT(sizeof(ketama_point) == 8, "a point is one word");
QUORATE_STATIC_ASSERT(sizeof(ketama_wide_point) == 24, "a wide point is three words");

/* Each step of the arithmetic is stored through a volatile: the dialects are defined by single steps of IEEE 754, and a
 * compiler may otherwise fuse a product and a sum where the machine has that instruction. */
uint32_t ketama_digests_libketama(uint64_t weight, uint64_t total, uint32_t servers) {
    volatile float part = (float)weight / (float)total;
    volatile double scaled = (double)part * 40.0;
    volatile double product = scaled * (double)(float)servers;
    return (uint32_t)(float)product; /* floorf of what is not negative */
}

uint32_t ketama_digests_libmemcached(uint64_t weight, uint64_t total, uint32_t servers) {
    volatile float part = (float)weight / (float)total;
    volatile float points = part * 160.0f;
    volatile float digests = points / 4.0f;
    volatile float product = digests * (float)servers;
    volatile float lifted = product + 0.0000000001f;
    return (uint32_t)lifted;
}

/* Decimal digits of `number` at `at`; returns how many. */
static size_t ketama_decimal(char *at, uint32_t number) {
    char reversed[10];
    size_t count = 0;
    do {
        reversed[count++] = (char)('0' + number % 10u);
        number /= 10u;
    } while (number);
    for (size_t i = 0; i < count; i++) at[i] = reversed[count - 1 - i];
    return count;
}

void ketama_points(char *text, size_t length, uint32_t digests, uint32_t per_digest, uint32_t owner,
                   ketama_point *out) {
    text[length] = '-';
    for (uint32_t k = 0; k < digests; k++) {
        uint32_t words[4];
        md5_words(text, length + 1 + ketama_decimal(text + length + 1, k), words);
        for (uint32_t i = 0; i < per_digest; i++, out++) {
            out->hash = words[i];
            out->owner = owner;
        }
    }
}

void ketama_wide_points(char *text, size_t length, uint32_t digests, uint32_t owner, ketama_wide_point *out) {
    text[length] = '-';
    for (uint32_t k = 0; k < digests; k++) {
        uint32_t words[4];
        md5_words(text, length + 1 + ketama_decimal(text + length + 1, k), words);
        out[k].high = (uint64_t)__builtin_bswap32(words[0]) << 32 | __builtin_bswap32(words[1]);
        out[k].low = (uint64_t)__builtin_bswap32(words[2]) << 32 | __builtin_bswap32(words[3]);
        out[k].owner = owner;
        out[k].unused = 0;
    }
}

unsigned ketama_bits(size_t count) {
    unsigned bits = 0;
    while (bits < 24 && ((size_t)1 << bits) < count) bits++;
    return bits;
}

/* One counting pass over the leading bits, then insertion within each bucket. Insertion is quadratic in a bucket, and
 * buckets are short because the points are MD5 digests: crowding one would take a search for preimages, not a choice
 * of names. */
#define KETAMA_DEFINE_SORT(name, type, bucket_of, is_above)                                                    \
    void name(const type *in, size_t count, unsigned bits, type *out, uint32_t *first) {                       \
        size_t buckets = (size_t)1 << bits;                                                                    \
        memset(first, 0, (buckets + 1) * sizeof *first);                                                       \
        for (size_t i = 0; i < count; i++) first[bucket_of(in[i], bits) + 1]++;                                \
        for (size_t b = 0; b < buckets; b++) first[b + 1] += first[b];                                         \
        for (size_t i = 0; i < count; i++) out[first[bucket_of(in[i], bits)]++] = in[i];                       \
        /* Each place was moved to the end of its bucket, which is the start of the next one. */              \
        memmove(first + 1, first, buckets * sizeof *first);                                                    \
        first[0] = 0;                                                                                          \
        for (size_t i = 1; i < count; i++) {                                                                   \
            type point = out[i];                                                                               \
            size_t at = i;                                                                                     \
            for (; at > 0 && is_above(out[at - 1], point); at--) out[at] = out[at - 1];                        \
            out[at] = point;                                                                                   \
        }                                                                                                      \
    }

#define KETAMA_BUCKET_OF(point, bits) ketama_bucket((point).hash, (bits))
#define KETAMA_IS_ABOVE(a, b) ((a).hash > (b).hash)
#define KETAMA_WIDE_BUCKET_OF(point, bits) ketama_wide_bucket((point).high, (bits))
#define KETAMA_WIDE_IS_ABOVE(a, b) ((a).high > (b).high || ((a).high == (b).high && (a).low > (b).low))

KETAMA_DEFINE_SORT(ketama_sort, ketama_point, KETAMA_BUCKET_OF, KETAMA_IS_ABOVE)
KETAMA_DEFINE_SORT(ketama_wide_sort, ketama_wide_point, KETAMA_WIDE_BUCKET_OF, KETAMA_WIDE_IS_ABOVE)

void ketama_last_wins(ketama_point *points, size_t count) {
    for (size_t i = count; i-- > 1;)
        if (points[i - 1].hash == points[i].hash) points[i - 1].owner = points[i].owner;
}

size_t ketama_wide_last_stays(ketama_wide_point *points, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept && points[kept - 1].high == points[i].high && points[kept - 1].low == points[i].low) kept--;
        points[kept++] = points[i];
    }
    return kept;
}
