#include "snapshot.h"

#include "crc32c.h"

static const uint8_t SNAPSHOT_MAGIC[8] = {'Q', 'U', 'O', 'R', 'S', 'N', 'A', 'P'};

uint32_t snapshot_encode_prologue(uint8_t *out, uint32_t salt) {
    memcpy(out, SNAPSHOT_MAGIC, sizeof SNAPSHOT_MAGIC);
    store_le32(out + 8, SNAPSHOT_FORMAT);
    store_le32(out + 12, salt);
    return crc32c(0, out, SNAPSHOT_PROLOGUE);
}

int snapshot_decode_prologue(const uint8_t *bytes, uint32_t *salt, uint32_t *chain) {
    if (memcmp(bytes, SNAPSHOT_MAGIC, sizeof SNAPSHOT_MAGIC) != 0) return 0;
    *salt = load_le32(bytes + 12);
    *chain = crc32c(0, bytes, SNAPSHOT_PROLOGUE);
    if (load_le32(bytes + 8) > SNAPSHOT_FORMAT) return -1;
    return load_le32(bytes + 8) == SNAPSHOT_FORMAT;
}

void snapshot_encode_head(uint8_t *out, const snapshot_head *it) {
    memcpy(out, it->cluster, 16);
    store_le64(out + 16, it->node);
    store_le64(out + 24, it->incarnation);
    store_le64(out + 32, it->id);
    store_le64(out + 40, it->configuration_index);
    store_le64(out + 48, it->content_format);
    store_le32(out + 56, it->chunk_bytes);
    store_le32(out + 60, it->configuration_length);
    store_le64(out + 64, 0);
    if (it->configuration_length) memcpy(out + SNAPSHOT_HEAD_FIXED, it->configuration, it->configuration_length);
}

int snapshot_decode_head(const uint8_t *payload, uint32_t length, snapshot_head *it) {
    if (length < SNAPSHOT_HEAD_FIXED) return 0;
    memcpy(it->cluster, payload, 16);
    it->node = load_le64(payload + 16);
    it->incarnation = load_le64(payload + 24);
    it->id = load_le64(payload + 32);
    it->configuration_index = load_le64(payload + 40);
    it->content_format = load_le64(payload + 48);
    it->chunk_bytes = load_le32(payload + 56);
    it->configuration_length = load_le32(payload + 60);
    it->configuration = payload + SNAPSHOT_HEAD_FIXED;
    if (it->chunk_bytes == 0 || it->chunk_bytes % 8 != 0 || it->chunk_bytes > SNAPSHOT_CHUNK_MAX) return 0;
    if (load_le64(payload + 64) != 0 || it->configuration_length > SNAPSHOT_CONFIGURATION_MAX) return 0;
    return it->configuration_length == length - SNAPSHOT_HEAD_FIXED;
}
