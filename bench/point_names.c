/* What a ring point costs by the ways to number it: the hash of the name under a plain number as seed, under SplitMix64's
 * output of that number (what the ring does, decision 0003), and the hash of a text "name-number" (what most libraries do).
 *
 *     gcc -O3 -Icsrc bench/point_names.c csrc/points.c csrc/xxh3.c -o build/point_names && build/point_names */
#include "points.h"
#include "xxh3.h"

#include <stdio.h>
#include <time.h>

enum { COUNT = 160000, ROUNDS = 21 };

static const char NAME[] = "node-0001";
static uint64_t hashes[COUNT];

static void by_number(void) {
    for (uint32_t i = 0; i < COUNT; i++) hashes[i] = xxh3_64(NAME, sizeof NAME - 1, i);
}

static void by_splitmix(void) { points_generate(hashes, NAME, sizeof NAME - 1, 0, 0, COUNT); }

static void by_text(void) {
    char text[256]; /* more than any name needs, so that no compiler fears for the paths of longer inputs */
    for (uint32_t i = 0; i < COUNT; i++) {
        const int length = snprintf(text, sizeof text, "%s-%u", NAME, i);
        hashes[i] = xxh3_64(text, (size_t)length, 0);
    }
}

/* The least of all rounds, in nanoseconds a point, of this thread's own processor time. */
static double least(void (*generate)(void)) {
    double found = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        struct timespec begin, end;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
        generate();
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
        const double spent = (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
        if (spent / COUNT < found) found = spent / COUNT;
    }
    return found;
}

int main(void) {
    const double number = least(by_number), splitmix = least(by_splitmix), text = least(by_text);
    printf("number %.2f ns, SplitMix64 %.2f ns, text %.1f ns a point: text costs %.0f times the second\n", number, splitmix,
           text, text / splitmix);
    return 0;
}
