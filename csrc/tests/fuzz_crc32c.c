/* The instruction and the tables agree on hostile bytes, whole and split. */
#include "../crc32c.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    const size_t length = size - 1, split = length ? data[0] % (length + 1) : 0;
    const uint32_t whole = crc32c(0, data + 1, length);
    if (whole != crc32c_by_table(0, data + 1, length)) abort();
    if (whole != crc32c(crc32c_by_table(0, data + 1, split), data + 1 + split, length - split)) abort();
    return 0;
}
