#include "question.h"

/* What is left to read; `ok` becomes 0 at the first thing that is not there, and stays so. */
typedef struct cursor {
    const uint8_t *at;
    size_t left;
    int ok;
} cursor;

static const uint8_t *take(cursor *it, size_t count) {
    if (!it->ok || it->left < count) {
        it->ok = 0;
        return NULL;
    }
    const uint8_t *place = it->at;
    it->at += count;
    it->left -= count;
    return place;
}

static uint8_t take_u8(cursor *it) {
    const uint8_t *place = take(it, 1);
    return place ? *place : 0;
}

static uint32_t take_u32(cursor *it) {
    const uint8_t *place = take(it, 4);
    return place ? load_le32(place) : 0;
}

static uint64_t take_u64(cursor *it) {
    const uint8_t *place = take(it, 8);
    return place ? load_le64(place) : 0;
}

/* A name of `least` to `most` bytes. */
static view take_name(cursor *it, uint32_t least, uint32_t most) {
    view out = {NULL, 0};
    const uint8_t *place = take(it, 2);
    if (!place) return out;
    out.length = load_le16(place);
    if (out.length < least || out.length > most) it->ok = 0;
    out.bytes = take(it, out.length);
    return out;
}

static int ended(const cursor *it) { return it->ok && it->left == 0 ? 0 : -1; }

int question_query(const void *bytes, size_t length, query *out) {
    cursor it = {bytes, length, 1};
    memset(out, 0, sizeof *out);
    out->local = take_u8(&it);
    out->min_revision = take_u64(&it);
    out->what = take_u8(&it);
    if (out->local > 1) return -1;
    switch (out->what) {
    case QUERY_KEY: out->start = take_name(&it, 0, KEY_BYTES_MAX); break;
    case QUERY_RANGE:
        out->limit = take_u32(&it);
        out->keys_only = take_u8(&it);
        out->bytes_most = take_u32(&it);
        if (out->keys_only > 1) return -1;
        /* fall through */
    case QUERY_COUNT:
        out->start = take_name(&it, 0, KEY_BYTES_MAX);
        out->end = take_name(&it, 0, KEY_BYTES_MAX);
        break;
    case QUERY_SESSION: out->session = take_u64(&it); break;
    case QUERY_ACQUISITION:
        out->session = take_u64(&it);
        out->acquisition = take_u64(&it);
        break;
    case QUERY_PERMIT:
        out->limit = take_u32(&it);
        out->start = take_name(&it, 0, PERMIT_NAME_MAX);
        break;
    default: return -1;
    }
    return ended(&it);
}

int question_watch(const void *bytes, size_t length, watch_question *out) {
    cursor it = {bytes, length, 1};
    out->after = take_u64(&it);
    out->spaces = take_u32(&it);
    out->events_most = take_u32(&it);
    out->bytes_most = take_u32(&it);
    out->start = take_name(&it, 0, KEY_BYTES_MAX);
    out->end = take_name(&it, 0, KEY_BYTES_MAX);
    if (out->spaces == 0 || out->spaces > WATCH_SPACES_ALL) return -1;
    return ended(&it);
}

int question_await(const void *bytes, size_t length, await_question *out) {
    cursor it = {bytes, length, 1};
    out->session = take_u64(&it);
    out->acquisition = take_u64(&it);
    out->min_revision = it.left ? take_u64(&it) : 0;
    return ended(&it);
}

int question_ask(const void *bytes, size_t length, ask_frame *out) {
    cursor it = {bytes, length, 1};
    out->id = take_u64(&it);
    out->patience_ms = take_u32(&it);
    out->kind = take_u8(&it);
    out->body.bytes = it.at;
    out->body.length = (uint32_t)it.left;
    return it.ok && it.left <= UINT32_MAX ? 0 : -1;
}

int question_hello(const void *bytes, size_t length, client_hello *out) {
    cursor it = {bytes, length, 1};
    memset(out, 0, sizeof *out);
    out->version = take_u8(&it);
    if (it.ok && out->version > CLIENT_HELLO_VERSION) return 1;
    out->cluster = take(&it, CLUSTER_ID);
    out->nonce = take(&it, CLIENT_NONCE);
    out->process = take_u32(&it);
    out->started = take_u64(&it);
    out->label.length = take_u8(&it);
    out->label.bytes = take(&it, out->label.length);
    if (out->version == 0) return -1;
    return ended(&it);
}
