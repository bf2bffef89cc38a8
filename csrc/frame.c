#include "frame.h"

#include "crc32c.h"

static const uint8_t frame_magic[3] = {'Q', 'R', 'T'};

/* The checksum covers what stands before and behind its own field. */
static uint32_t frame_header_crc(const uint8_t *header) {
    return crc32c(crc32c(0, header, 12), header + 16, FRAME_HEADER - 16);
}

frame_status frame_decode(const uint8_t *bytes, size_t length, uint32_t payload_max, frame *it, size_t *size) {
    *size = FRAME_HEADER;
    /* A stranger is known by its first bytes; no need to wait for a whole header of it. */
    size_t seen = length < sizeof frame_magic ? length : sizeof frame_magic;
    if (seen && memcmp(bytes, frame_magic, seen) != 0) return FRAME_STRANGER;
    if (length < 4) return FRAME_MORE;
    if (bytes[3] == 0) return FRAME_DAMAGED;
    if (bytes[3] > FRAME_VERSION) return FRAME_NEWER;
    if (length < FRAME_HEADER) return FRAME_MORE;
    if (bytes[5] != 0 || load_le16(bytes + 6) != 0) return FRAME_DAMAGED;
    uint32_t payload = load_le32(bytes + 8);
    if (payload > payload_max) return FRAME_TOO_LARGE;
    *size = (size_t)FRAME_HEADER + payload;
    if (length < *size) return FRAME_MORE;
    uint32_t crc = frame_header_crc(bytes);
    if (payload) crc = crc32c(crc, bytes + FRAME_HEADER, payload);
    if (crc != load_le32(bytes + 12)) return FRAME_DAMAGED;
    it->group = load_le64(bytes + 16);
    it->payload = payload ? bytes + FRAME_HEADER : NULL;
    it->length = payload;
    it->kind = bytes[4];
    it->version = bytes[3];
    return FRAME_WHOLE;
}

int frame_encode(uint8_t header[FRAME_HEADER], uint8_t kind, uint64_t group, const frame_part *parts, size_t count) {
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) total += parts[i].length;
    if (total > UINT32_MAX) return -1;
    memcpy(header, frame_magic, sizeof frame_magic);
    header[3] = FRAME_VERSION;
    header[4] = kind;
    header[5] = 0;
    store_le16(header + 6, 0);
    store_le32(header + 8, (uint32_t)total);
    store_le64(header + 16, group);
    uint32_t crc = frame_header_crc(header);
    for (size_t i = 0; i < count; i++)
        if (parts[i].length) crc = crc32c(crc, parts[i].bytes, parts[i].length);
    store_le32(header + 12, crc);
    return 0;
}

const char *frame_status_text(frame_status status) {
    switch (status) {
    case FRAME_WHOLE: return "a whole frame";
    case FRAME_MORE: return "an incomplete frame";
    case FRAME_STRANGER: return "bytes of another protocol";
    case FRAME_NEWER: return "a frame of a newer version";
    case FRAME_TOO_LARGE: return "a frame over the size limit";
    case FRAME_DAMAGED: return "a damaged frame";
    }
    return "an unknown status";
}
