/* Prologue and head survive a round trip; every shortened or contradictory one is refused. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>

#include "../snapshot.h"

int main(void) {
    uint8_t prologue[SNAPSHOT_PROLOGUE], payload[SNAPSHOT_HEAD_FIXED + 5], bad[sizeof payload + 1];
    uint32_t salt, chain, start = snapshot_encode_prologue(prologue, 77);
    snapshot_head head = {.node = 3, .incarnation = 4, .id = 5, .configuration_index = 6, .content_format = 7}, read;
    assert(snapshot_decode_prologue(prologue, &salt, &chain) == 1 && salt == 77 && chain == start);
    store_le32(prologue + 8, SNAPSHOT_FORMAT + 1);
    assert(snapshot_decode_prologue(prologue, &salt, &chain) == -1);
    prologue[0] ^= 1;
    assert(snapshot_decode_prologue(prologue, &salt, &chain) == 0);

    memcpy(head.cluster, "0123456789abcdef", 16);
    head.chunk_bytes = 4096;
    head.configuration = (const uint8_t *)"abcde";
    head.configuration_length = 5;
    snapshot_encode_head(payload, &head);
    assert(snapshot_decode_head(payload, sizeof payload, &read) == 1);
    assert(memcmp(read.cluster, head.cluster, 16) == 0 && read.node == 3 && read.incarnation == 4 && read.id == 5);
    assert(read.configuration_index == 6 && read.content_format == 7 && read.chunk_bytes == 4096);
    assert(read.configuration_length == 5 && memcmp(read.configuration, "abcde", 5) == 0);

    for (uint32_t length = 0; length < sizeof payload; length++) assert(!snapshot_decode_head(payload, length, &read));
    memcpy(bad, payload, sizeof payload);
    bad[sizeof payload] = 0;
    assert(!snapshot_decode_head(bad, sizeof bad, &read));
    uint32_t sizes[] = {0, 7, 4097, SNAPSHOT_CHUNK_MAX + 8};
    for (int i = 0; i < 4; i++) {
        store_le32(bad + 56, sizes[i]);
        assert(!snapshot_decode_head(bad, sizeof payload, &read));
    }
    assert(snapshot_chunk_offset(100, 3, 4096) == 100 + 3 * record_size(4096));
    puts("ok");
    return 0;
}
