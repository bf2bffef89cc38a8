/* Any points and any key: the order is kept, the index stays inside, and the search agrees with a linear scan. */
#include <stdlib.h>

#include "../ketama.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 4) return 0;
    uint32_t hash = load_le32(data);
    size_t count = (size - 4) / 4;
    if (count > 4096) count = 4096;
    unsigned bits = ketama_bits(count);
    ketama_point *in = calloc(count + 1, sizeof *in), *out = calloc(count + 1, sizeof *out);
    uint32_t *first = calloc(((size_t)1 << bits) + 1, sizeof *first);
    if (in && out && first) {
        for (size_t i = 0; i < count; i++) in[i] = (ketama_point){load_le32(data + 4 + 4 * i), (uint32_t)i};
        ketama_sort(in, count, bits, out, first);
        size_t at = 0, above = 0;
        while (at < count && out[at].hash < hash) at++;
        while (above < count && out[above].hash <= hash) above++;
        if (ketama_find(out, count, first, bits, hash) != at) abort();
        if (ketama_find_above(out, count, first, bits, hash) != above) abort();
        for (size_t i = 1; i < count; i++)
            if (out[i - 1].hash > out[i].hash) abort();
    }
    free(in);
    free(out);
    free(first);
    return 0;
}
