#include "command.h"

/* What is left to read. Every take checks first, and after a failure everything fails. */
typedef struct reader {
    const uint8_t *at;
    size_t left;
    const char *wrong;
} reader;

static const uint8_t *take(reader *it, size_t length) {
    static const uint8_t nothing[NONCE_BYTES];
    if (QUORATE_UNLIKELY(it->wrong || it->left < length)) {
        if (!it->wrong) it->wrong = "the command ends too early";
        return nothing; /* only for takes of a fixed length, none above NONCE_BYTES */
    }
    const uint8_t *from = it->at;
    it->at += length;
    it->left -= length;
    return from;
}

static uint8_t take_u8(reader *it) { return *take(it, 1); }
static uint16_t take_u16(reader *it) { return load_le16(take(it, 2)); }
static uint32_t take_u32(reader *it) { return load_le32(take(it, 4)); }
static uint64_t take_u64(reader *it) { return load_le64(take(it, 8)); }

static view take_bytes(reader *it, uint32_t length, uint32_t least, uint32_t most, const char *otherwise) {
    view out = {NULL, 0};
    if (it->wrong) return out;
    if (length < least || length > most) it->wrong = otherwise;
    else if (it->left < length) it->wrong = "the command ends too early";
    else {
        out.bytes = it->at;
        out.length = length;
        it->at += length;
        it->left -= length;
    }
    return out;
}

static view take_key(reader *it) {
    return take_bytes(it, take_u16(it), 1, KEY_BYTES_MAX, "a key has 1 to 4096 bytes");
}
static view take_end(reader *it) {
    return take_bytes(it, take_u16(it), 0, KEY_BYTES_MAX, "the end of a range has at most 4096 bytes");
}
static view take_value(reader *it) {
    return take_bytes(it, take_u32(it), 0, VALUE_BYTES_MAX, "a value has at most 8 MiB");
}
static view take_name(reader *it) {
    return take_bytes(it, take_u16(it), 1, PERMIT_NAME_MAX, "a name has 1 to 512 bytes");
}
static view take_label(reader *it) {
    return take_bytes(it, take_u16(it), 0, LABEL_BYTES_MAX, "a label or reason has at most 255 bytes");
}

static void take_range(reader *it, view *start, view *end, uint32_t *limit) {
    *limit = take_u32(it);
    /* The start may be empty: from the first key on. */
    *start = take_bytes(it, take_u16(it), 0, KEY_BYTES_MAX, "the start of a range has at most 4096 bytes");
    *end = take_end(it);
}

static void take_compare(reader *it, command_part *out) {
    memset(out, 0, sizeof *out);
    out->target = take_u8(it);
    out->relation = take_u8(it);
    out->key = take_key(it);
    if (out->target >= COMPARE_TARGETS || out->relation >= RELATIONS) {
        if (!it->wrong) it->wrong = "a comparison of an unknown kind";
    } else if (out->target == COMPARE_VALUE) {
        out->value = take_value(it);
    } else {
        out->operand = take_u64(it);
    }
}

static void take_part(reader *it, command_part *out) {
    memset(out, 0, sizeof *out);
    out->operation = take_u8(it);
    out->owned = take_u8(it);
    if (!it->wrong && (out->owned > 1 || (out->owned && out->operation != OPERATION_PUT &&
                                          out->operation != OPERATION_INCREMENT)))
        it->wrong = "a part of a transaction with flags that it cannot have";
    switch (out->operation) {
    case OPERATION_PUT: out->key = take_key(it); out->value = take_value(it); break;
    case OPERATION_GET:
    case OPERATION_DELETE: out->key = take_key(it); break;
    case OPERATION_INCREMENT: out->by = (int64_t)take_u64(it); out->key = take_key(it); break;
    case OPERATION_RANGE:
    case OPERATION_DELETE_RANGE: take_range(it, &out->key, &out->end, &out->limit); break;
    default:
        if (!it->wrong) it->wrong = "a part of a transaction of an unknown kind";
    }
}

static int view_compare(view a, view b) {
    uint32_t shorter = a.length < b.length ? a.length : b.length;
    int order = shorter ? memcmp(a.bytes, b.bytes, shorter) : 0;
    return order ? order : (a.length > b.length) - (a.length < b.length);
}

static int writes(const command_part *it) { return it->operation < OPERATION_GET; }

/* Whether two writes may touch the same key; a point is a range of one. */
static int overlap(const command_part *a, const command_part *b) {
    int a_range = a->operation == OPERATION_DELETE_RANGE, b_range = b->operation == OPERATION_DELETE_RANGE;
    if (!a_range && !b_range) return view_compare(a->key, b->key) == 0;
    if (!a_range) { /* a point, b range */
        return view_compare(b->key, a->key) <= 0 && (!b->end.length || view_compare(a->key, b->end) < 0);
    }
    if (!b_range) return overlap(b, a);
    return (!a->end.length || view_compare(b->key, a->end) < 0) && (!b->end.length || view_compare(a->key, b->end) < 0);
}

/* Within a branch no key is written twice: so every part can be judged by the state before the transaction, and the whole
 * is done or refused. Quadratic, over at most TRANSACTION_OPERATIONS_MAX parts. */
static void take_branch(reader *it, uint32_t count) {
    reader outer = *it;
    for (uint32_t i = 0; i < count && !it->wrong; i++) {
        command_part one, other;
        take_part(it, &one);
        if (it->wrong || !writes(&one)) continue;
        reader inner = outer;
        for (uint32_t j = 0; j < i; j++) {
            take_part(&inner, &other);
            if (writes(&other) && overlap(&one, &other)) {
                it->wrong = "a branch of a transaction writes a key twice";
                return;
            }
        }
    }
}

static void take_transaction(reader *it, command *out) {
    out->compares = take_u16(it);
    out->thens = take_u16(it);
    out->elses = take_u16(it);
    out->body.bytes = it->at;
    if (out->compares > TRANSACTION_OPERATIONS_MAX || out->thens > TRANSACTION_OPERATIONS_MAX ||
        out->elses > TRANSACTION_OPERATIONS_MAX) {
        if (!it->wrong) it->wrong = "a transaction has at most 256 comparisons, and 256 operations a branch";
        return;
    }
    for (uint32_t i = 0; i < out->compares && !it->wrong; i++) {
        command_part part;
        take_compare(it, &part);
    }
    take_branch(it, out->thens);
    take_branch(it, out->elses);
    out->body.length = (uint32_t)(it->at - out->body.bytes);
}

static void take_acquire(reader *it, command *out) {
    out->now_ms = take_u64(it);
    out->acquisition = take_u64(it);
    out->capacity = take_u32(it);
    out->units = take_u32(it);
    out->kind = take_u8(it);
    out->name = take_name(it);
    out->value = take_bytes(it, take_u32(it), 0, HOLDER_VALUE_MAX, "a holder's value has at most 65,536 bytes");
    if (it->wrong) return;
    if (out->kind == 0 || out->kind >= PERMIT_KINDS) it->wrong = "a permit of an unknown kind";
    else if (out->units == 0 || out->units > out->capacity || out->capacity > RWLOCK_CAPACITY)
        it->wrong = "a permit is taken by at least one unit and at most its capacity";
    else if ((out->kind == PERMIT_MUTEX || out->kind == PERMIT_ELECTION) && out->capacity != 1)
        it->wrong = "a mutex or an election has a capacity of 1";
    else if (out->kind == PERMIT_RWLOCK && out->capacity != RWLOCK_CAPACITY)
        it->wrong = "a read-write lock has the fixed capacity RWLOCK_CAPACITY";
    else if (out->kind == PERMIT_RWLOCK && out->units != 1 && out->units != RWLOCK_CAPACITY)
        it->wrong = "a reader takes one unit, a writer all";
    else if (out->acquisition == 0) it->wrong = "an acquisition has a number above 0";
}

static void take_limits(reader *it, command *out) {
    uint32_t before = 0;
    out->limits = take_u16(it);
    out->body.bytes = it->at;
    if (!it->wrong && (out->limits == 0 || out->limits > 256)) it->wrong = "1 to 256 limits are set at once";
    for (uint32_t i = 0; i < out->limits && !it->wrong; i++) {
        uint32_t id = take_u16(it);
        take_u64(it);
        if (!it->wrong && id <= before) it->wrong = "limits are set in ascending order, each once";
        before = id;
    }
    out->body.length = (uint32_t)(it->at - out->body.bytes);
}

static void take_body(reader *it, command *out) {
    switch (out->operation) {
    case OPERATION_PUT: out->key = take_key(it); out->value = take_value(it); break;
    case OPERATION_DELETE: out->key = take_key(it); break;
    case OPERATION_DELETE_RANGE: take_range(it, &out->key, &out->end, &out->limit); break;
    case OPERATION_COMPARE_AND_SET:
        out->revision = take_u64(it);
        out->key = take_key(it);
        out->value = take_value(it);
        break;
    case OPERATION_INCREMENT: out->by = (int64_t)take_u64(it); out->key = take_key(it); break;
    case OPERATION_TRANSACTION: take_transaction(it, out); break;
    case OPERATION_SESSION_OPEN:
        out->now_ms = take_u64(it);
        out->ttl_ms = take_u32(it);
        out->nonce.bytes = take(it, NONCE_BYTES);
        out->nonce.length = NONCE_BYTES;
        out->label = take_label(it);
        break;
    case OPERATION_SESSION_END:
        out->target = take_u64(it);
        out->reason = take_u8(it);
        if (!it->wrong && (!out->target || !out->reason || out->reason >= END_REASONS))
            it->wrong = "a session ends by its number, for a known reason";
        break;
    case OPERATION_ACQUIRE: take_acquire(it, out); break;
    case OPERATION_RELEASE:
    case OPERATION_CANCEL:
    case OPERATION_HOLDER_VALUE:
        out->acquisition = take_u64(it);
        if (!it->wrong && !out->acquisition) it->wrong = "an acquisition has a number above 0";
        if (out->operation == OPERATION_HOLDER_VALUE)
            out->value = take_bytes(it, take_u32(it), 0, HOLDER_VALUE_MAX, "a holder's value has at most 65,536 bytes");
        break;
    case OPERATION_FORCE_RELEASE:
        out->now_ms = take_u64(it);
        out->token = take_u64(it);
        out->name = take_name(it);
        out->label = take_label(it);
        break;
    case OPERATION_SET_LIMITS: take_limits(it, out); break;
    case OPERATION_SET_VERSION:
        out->new_version = take_u8(it);
        if (!it->wrong && !out->new_version) it->wrong = "a cluster version is at least 1";
        break;
    case OPERATION_COMPACT_HISTORY: out->revision = take_u64(it); break;
    default: it->wrong = "an unknown operation";
    }
}

static const char *check_head(const command *it) {
    uint8_t operation = it->operation;
    if (it->flags & ~COMMAND_FLAGS) return "unknown flags";
    if (it->flags & COMMAND_NUMBERED) {
        if (!it->session || !it->number || !it->window || it->window > it->number)
            return "a numbered command has a session, a number, and a window of 1 to the number";
        if (operation == OPERATION_SESSION_END) return "the end of a session is not numbered";
    } else if (it->number || it->window) {
        return "a command that is not numbered has neither number nor window";
    }
    if (operation == OPERATION_SESSION_OPEN && it->session) return "a session is not opened within a session";
    if ((it->flags & COMMAND_FENCED) && operation > OPERATION_TRANSACTION) return "only writes of keys can be fenced";
    if ((it->flags & COMMAND_OWNED) && (!it->session || (operation != OPERATION_PUT && operation != OPERATION_INCREMENT &&
                                                         operation != OPERATION_COMPARE_AND_SET)))
        return "only a write within a session can make a key the session's own";
    if ((it->flags & COMMAND_TRY) && operation != OPERATION_ACQUIRE) return "only an acquire can be a try";
    if (operation >= OPERATION_ACQUIRE && operation <= OPERATION_HOLDER_VALUE && !it->session)
        return "a permit is taken within a session";
    return NULL;
}

const char *command_decode(const void *bytes, size_t length, uint8_t known, command *out, int *newer) {
    reader it = {(const uint8_t *)bytes, length, NULL};
    *newer = 0;
    if (!length) return "the command is empty";
    memset(out, 0, sizeof *out);
    out->version = take_u8(&it);
    if (out->version > known) {
        *newer = 1;
        return "the command is of a newer version than this program knows";
    }
    if (!out->version) return "a command's version is at least 1";
    if (length > ENTRY_BYTES_MAX) return "the command is longer than an entry can be";
    if (length < COMMAND_HEAD) return "the command ends too early";
    out->operation = take_u8(&it);
    out->flags = take_u16(&it);
    out->window = take_u32(&it);
    out->session = take_u64(&it);
    out->number = take_u64(&it);
    it.wrong = check_head(out);
    if (!it.wrong && (out->flags & COMMAND_FENCED)) {
        out->fence_token = take_u64(&it);
        out->fence_name = take_name(&it);
    }
    if (!it.wrong) take_body(&it, out);
    if (!it.wrong && out->operation == OPERATION_TRANSACTION && !out->session) {
        command_part part;
        uint32_t at = 0;
        while (command_part_next(out, &at, &part))
            if (part.owned) return "only a write within a session can make a key the session's own";
    }
    if (!it.wrong && it.left) it.wrong = "bytes are left over behind the command";
    return it.wrong;
}

int command_compare_next(const command *it, uint32_t *at, command_part *out) {
    reader in = {it->body.bytes + *at, it->body.length - *at, NULL};
    take_compare(&in, out);
    *at = it->body.length - (uint32_t)in.left;
    return in.wrong == NULL;
}

int command_part_next(const command *it, uint32_t *at, command_part *out) {
    if (*at == 0) /* the parts lie behind the comparisons */
        for (uint32_t i = 0; i < it->compares; i++)
            if (!command_compare_next(it, at, out)) return 0;
    if (*at >= it->body.length) return 0;
    reader in = {it->body.bytes + *at, it->body.length - *at, NULL};
    take_part(&in, out);
    *at = it->body.length - (uint32_t)in.left;
    return in.wrong == NULL;
}
