/* Any bytes as a prologue and as a head: nothing outside is read, and what is accepted encodes to the same bytes. */
#include <stdlib.h>

#include "../snapshot.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    snapshot_head head;
    uint32_t salt, chain;
    if (size >= SNAPSHOT_PROLOGUE) snapshot_decode_prologue(bytes, &salt, &chain);
    if (snapshot_decode_head(bytes, (uint32_t)size, &head)) {
        uint8_t *again = (uint8_t *)malloc(size);
        if (!again) return 0;
        snapshot_encode_head(again, &head);
        if (memcmp(again, bytes, size) != 0) abort();
        free(again);
    }
    return 0;
}
