#include "record.h"

#include "crc32c.h"

static const uint8_t SEGMENT_MAGIC[8] = {'Q', 'U', 'O', 'R', 'L', 'O', 'G', '\n'};

/* A CRC with fewer than two bits set is stored inverted, so that one flipped bit never makes it look unwritten. */
static uint32_t stored(uint32_t crc) { return (crc & (crc - 1)) == 0 ? ~crc : crc; }

int record_is_zero(const uint8_t *bytes, uint64_t size) {
    uint64_t at = 0;
    for (; at < size && ((uintptr_t)(bytes + at) & 7u) != 0; at++)
        if (bytes[at]) return 0;
    for (; at + 64 <= size; at += 64) {
        uint64_t word[8];
        memcpy(word, bytes + at, sizeof word);
        if (word[0] | word[1] | word[2] | word[3] | word[4] | word[5] | word[6] | word[7]) return 0;
    }
    for (; at < size; at++)
        if (bytes[at]) return 0;
    return 1;
}

/* Whole zero sectors among `bytes`, which lie at `offset` in their file. */
static uint32_t zero_sectors(uint64_t offset, const uint8_t *bytes, uint64_t length) {
    uint32_t found = 0;
    uint64_t at = (RECORD_SECTOR - offset % RECORD_SECTOR) % RECORD_SECTOR;
    for (; at + RECORD_SECTOR <= length; at += RECORD_SECTOR)
        found += (uint32_t)record_is_zero(bytes + at, RECORD_SECTOR);
    return found;
}

uint16_t record_zero_sectors(uint64_t offset, const void *payload, uint32_t length) {
    QUORATE_STATIC_ASSERT(RECORD_PAYLOAD_MAX / RECORD_SECTOR <= 0xFFFF, "the count fits its field");
    if (length < RECORD_SECTOR) return 0;
    return (uint16_t)zero_sectors(offset, (const uint8_t *)payload, length);
}

void record_encode_header(uint8_t *out, const record *it, uint32_t salt) {
    out[0] = it->kind;
    out[1] = it->flags;
    store_le16(out + 2, it->batch);
    store_le32(out + 4, it->length);
    store_le32(out + 8, it->group);
    store_le16(out + 12, it->zero_sectors);
    store_le16(out + 14, 0);
    store_le64(out + 16, it->term);
    store_le64(out + 24, it->index);
    store_le32(out + 32, stored(crc32c(salt, out, 32)));
}

uint32_t record_encode_trailer(uint8_t *out, const uint8_t *header, const void *payload, uint32_t length,
                               uint32_t chain) {
    uint64_t padding = record_size(length) - RECORD_HEADER - length - RECORD_TRAILER;
    memset(out, 0, (size_t)padding);
    chain = crc32c(chain, header, RECORD_HEADER);
    if (length) chain = crc32c(chain, payload, length);
    chain = crc32c(chain, out, (size_t)padding);
    store_le32(out + padding, stored(chain));
    return chain;
}

uint32_t record_encode(uint8_t *out, const record *it, const void *payload, uint32_t salt, uint32_t chain) {
    uint64_t size = record_size(it->length);
    memset(out + size - RECORD_ALIGNMENT, 0, RECORD_ALIGNMENT); /* the padding; the payload goes over it */
    if (it->length) memcpy(out + RECORD_HEADER, payload, it->length);
    record_encode_header(out, it, salt);
    chain = crc32c(chain, out, (size_t)(size - RECORD_TRAILER));
    store_le32(out + size - RECORD_TRAILER, stored(chain));
    return chain;
}

int record_decode_header(const uint8_t *bytes, uint32_t salt, record *it) {
    it->kind = bytes[0];
    it->flags = bytes[1];
    it->batch = load_le16(bytes + 2);
    it->length = load_le32(bytes + 4);
    it->group = load_le32(bytes + 8);
    it->zero_sectors = load_le16(bytes + 12);
    it->term = load_le64(bytes + 16);
    it->index = load_le64(bytes + 24);
    /* The cheap tests come first: the search for headers behind damage asks at every multiple of 8. */
    if ((it->kind & (it->kind - 1)) == 0 || it->length > RECORD_PAYLOAD_MAX) return 0;
    if (it->flags & ~RECORD_ENDS_BATCH || load_le16(bytes + 14) != 0) return 0;
    return load_le32(bytes + 32) == stored(crc32c(salt, bytes, 32));
}

int record_verify(const uint8_t *header, const uint8_t *payload_and_trailer, const record *it, uint32_t chain,
                  uint32_t *next_chain) {
    uint64_t rest = record_size(it->length) - RECORD_HEADER - RECORD_TRAILER;
    chain = crc32c(chain, header, RECORD_HEADER);
    chain = crc32c(chain, payload_and_trailer, (size_t)rest);
    *next_chain = chain;
    return load_le32(payload_and_trailer + rest) == stored(chain);
}

/* Whether all intact headers from `from` on belong to `batch`. Damage with a later batch behind it was durable once. */
static int only_batch_follows(const uint8_t *bytes, uint64_t size, uint64_t from, uint32_t salt, uint16_t batch) {
    record found;
    for (; from + RECORD_HEADER <= size; from += RECORD_ALIGNMENT)
        if (bytes[from] && record_decode_header(bytes + from, salt, &found) && found.batch != batch) return 0;
    return 1;
}

/* A header that is not intact: does it show what an interrupted write leaves? */
static int header_unwritten(const uint8_t *bytes, uint64_t size, uint64_t offset) {
    uint64_t room = size - offset < RECORD_HEADER ? size - offset : RECORD_HEADER;
    uint64_t first = RECORD_SECTOR - offset % RECORD_SECTOR; /* bytes up to the next sector */
    if (record_is_zero(bytes + offset, room)) return 1;
    /* One of its two sectors is missing. Each side always holds a word with two bits set (rule 1). */
    if (first < room && (record_is_zero(bytes + offset, first) || record_is_zero(bytes + offset + first, room - first)))
        return 1;
    /* Nothing behind it, not even its own chain: it was never completed. */
    return record_is_zero(bytes + offset + room, size - offset - room);
}

enum record_status record_scan(const uint8_t *bytes, uint64_t size, uint32_t salt, record_cursor *cursor, record *it,
                               const uint8_t **payload, const char **reason) {
    uint64_t offset = cursor->offset, rest;
    uint16_t batch = (uint16_t)(cursor->batch + cursor->ended);
    uint32_t chain;
    const uint8_t *at = bytes + offset;
    *payload = NULL;
    *reason = "";
    if (offset > size || size - offset < (uint64_t)record_size(0)) {
        if (offset <= size && !record_is_zero(at, size - offset)) {
            *reason = "bytes behind the last record";
            return RECORD_CORRUPT;
        }
        return RECORD_NO_SPACE;
    }
    if (!record_decode_header(at, salt, it)) {
        if (load_le64(at) == 0 && record_is_zero(at, size - offset)) return RECORD_FILL;
        if (!header_unwritten(bytes, size, offset)) {
            *reason = "a record header is damaged";
            return RECORD_CORRUPT;
        }
        if (!only_batch_follows(bytes, size, offset + RECORD_ALIGNMENT, salt, batch)) {
            *reason = "a record header is gone, and later durable records follow";
            return RECORD_CORRUPT;
        }
        *reason = "the header of the last write is incomplete";
        return RECORD_TORN;
    }
    rest = record_size(it->length);
    if (rest > size - offset) {
        *reason = "a record claims to reach beyond its segment";
        return RECORD_CORRUPT;
    }
    if (it->batch != batch) {
        *reason = "a record is not of the batch that must follow";
        return RECORD_CORRUPT;
    }
    if (record_verify(at, at + RECORD_HEADER, it, cursor->chain, &chain)) {
        if (it->length) *payload = at + RECORD_HEADER;
        cursor->offset = offset + rest;
        cursor->chain = chain;
        cursor->batch = it->batch;
        cursor->ended = it->flags & RECORD_ENDS_BATCH;
        return RECORD_GOOD;
    }
    if (load_le32(at + rest - RECORD_TRAILER) != 0 &&
        zero_sectors(offset + RECORD_HEADER, at + RECORD_HEADER, it->length) <= it->zero_sectors) {
        *reason = "the checksum of a record is wrong";
        return RECORD_CORRUPT;
    }
    if (!only_batch_follows(bytes, size, offset + rest, salt, batch)) {
        *reason = "a part of a record is gone, and later durable records follow";
        return RECORD_CORRUPT;
    }
    *reason = "a part of the last write is missing";
    return RECORD_TORN;
}

uint32_t segment_encode_header(uint8_t *out, const segment_header *it) {
    uint32_t crc;
    memset(out, 0, SEGMENT_HEADER);
    memcpy(out, SEGMENT_MAGIC, sizeof SEGMENT_MAGIC);
    store_le32(out + 8, it->format);
    store_le64(out + 16, it->sequence);
    store_le64(out + 24, it->segment_bytes);
    memcpy(out + 32, it->cluster, 16);
    store_le64(out + 48, it->node);
    store_le64(out + 56, it->incarnation);
    store_le64(out + 64, it->last_index);
    store_le64(out + 72, it->last_term);
    store_le32(out + 80, it->salt);
    store_le32(out + 84, it->chain_in);
    crc = crc32c(0, out, SEGMENT_HEADER - 4);
    store_le32(out + SEGMENT_HEADER - 4, crc);
    return crc;
}

int segment_decode_header(const uint8_t *bytes, segment_header *it, uint32_t *chain) {
    *chain = crc32c(0, bytes, SEGMENT_HEADER - 4);
    if (memcmp(bytes, SEGMENT_MAGIC, sizeof SEGMENT_MAGIC) != 0) return 0;
    if (load_le32(bytes + SEGMENT_HEADER - 4) != *chain) return 0;
    it->format = load_le32(bytes + 8);
    if (it->format > SEGMENT_FORMAT) return -1;
    it->sequence = load_le64(bytes + 16);
    it->segment_bytes = load_le64(bytes + 24);
    memcpy(it->cluster, bytes + 32, 16);
    it->node = load_le64(bytes + 48);
    it->incarnation = load_le64(bytes + 56);
    it->last_index = load_le64(bytes + 64);
    it->last_term = load_le64(bytes + 72);
    it->salt = load_le32(bytes + 80);
    it->chain_in = load_le32(bytes + 84);
    return it->format == SEGMENT_FORMAT;
}
