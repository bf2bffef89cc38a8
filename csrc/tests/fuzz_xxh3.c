/* Hashes hostile bytes from an exact allocation, so that a read past the end is seen, and checks that the place does not matter. */
#include "../xxh3.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 8) return 0;
    const uint64_t seed = load_le64(data);
    const size_t length = size - 8;
    uint8_t *exact = (uint8_t *)malloc(length ? length : 1);
    if (!exact) return 0;
    memcpy(exact, data + 8, length);
    if (xxh3_64(exact, length, seed) != xxh3_64(data + 8, length, seed)) abort();
    if (xxh64(exact, length, seed) != xxh64(data + 8, length, seed)) abort();
    free(exact);
    return 0;
}
