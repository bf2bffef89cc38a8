/* Buckets lie without gaps, quantiles are within 7 %, what is old is forgotten, and sums are not. */
#include <stdio.h>
#include <stdlib.h>

#include "../histogram.h"

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

static int near(uint64_t found, uint64_t wanted) {
    return found * 100u >= wanted * 93u && found * 100u <= wanted * 107u;
}

int main(void) {
    CHECK(histogram_bucket(UINT64_MAX) == HISTOGRAM_BUCKETS - 1);
    uint32_t last = 0;
    for (uint64_t value = 0; value < 100000u; value++) {
        uint32_t bucket = histogram_bucket(value);
        CHECK(bucket == last || bucket == last + 1u);
        CHECK(near(histogram_value(bucket), value) && histogram_bucket(histogram_value(bucket)) == bucket);
        last = bucket;
    }
    for (uint32_t bit = 0; bit < 32; bit++) CHECK(near(histogram_value(histogram_bucket(1ull << bit)), 1ull << bit));

    histogram it = {0};
    CHECK(histogram_quantile(&it, 500) == 0 && histogram_quantile(&it, 1000) == 0);
    for (uint64_t value = 1; value <= 1000u; value++) histogram_add(&it, value * 10u);
    CHECK(it.total == 1000u && it.sum == 5005000u && it.most == 10000u);
    CHECK(near(histogram_quantile(&it, 500), 5000) && near(histogram_quantile(&it, 990), 9900));
    CHECK(near(histogram_quantile(&it, 1000), 10000) && near(histogram_quantile(&it, 0), 10));

    for (uint32_t i = 0; i < 10u * HISTOGRAM_WINDOW; i++) {
        histogram_add(&it, 3);
        CHECK(it.counted <= HISTOGRAM_WINDOW);
    }
    CHECK(histogram_quantile(&it, 1000) == 3u); /* of 1,000 times halved ten times nothing is left */
    CHECK(it.most == 10000u && it.sum == 5005000u + 30u * HISTOGRAM_WINDOW);
    return 0;
}
