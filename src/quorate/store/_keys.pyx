# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/tree.c csrc/forest.c csrc/command.c
"""Keys and values: put, delete, ranges, compare-and-set, increment, transactions.

Every operation is judged before anything is changed, so that it is done whole or refused whole. Within a branch of a
transaction no key is written twice (csrc/command.h), so its parts can all be judged by the state before it. Knows nothing
of sessions beyond their counters, nor of permits.

A key's row carries its revisions in the item's own fields: `create_revision`, `mod_revision`, `version`, `session`.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from quorate.store._csrc cimport *
from quorate.store._read cimport put_row
from quorate.store._state cimport *

cdef enum:
    OWNED_KEY_MAX = 8 + 4096
    NUMBER_BYTES = 20  # a sign and 19 digits


# What the parts of one command would add, so that they are held against the limits together.
cdef struct Growth:
    uint64_t keys
    uint64_t bytes
    uint64_t owned


cdef inline uint32_t owned_key(uint8_t *out, uint64_t session, const uint8_t *key, uint32_t length) noexcept nogil:
    store_be64(out, session)
    memcpy(out + 8, key, length)
    return length + 8


cdef inline uint32_t judge_put(
    StoreState *it, const tree_place *at, uint32_t key_length, uint64_t value_length, uint64_t owner, Growth *growth
) noexcept nogil:
    """The limit that a put would pass, or 0. What shrinks is never refused for the size of the store."""
    cdef uint64_t cost = 56 + key_length + value_length
    cdef uint64_t before = 0
    cdef Session *session
    if key_length > it.limits[<int> LIMIT_KEY_BYTES]:
        return LIMIT_KEY_BYTES
    if value_length > it.limits[<int> LIMIT_VALUE_BYTES]:
        return LIMIT_VALUE_BYTES
    if at.found == NULL:
        growth.keys += 1
        if forest_count(it.trees, KEYS) + growth.keys > it.limits[<int> LIMIT_KEYS]:
            return LIMIT_KEYS
    else:
        before = item_cost(at.found)
    if cost > before:
        growth.bytes += cost - before
        if forest_bytes(it.trees) + growth.bytes > it.limits[<int> LIMIT_STORE_BYTES]:
            return LIMIT_STORE_BYTES
    if owner and (at.found == NULL or at.found.session != owner):
        growth.owned += 1
        session = session_of(it, owner)
        if session == NULL or session.keys + growth.owned > it.limits[<int> LIMIT_SESSION_KEYS]:
            return LIMIT_SESSION_KEYS
    return 0


cdef int disown(StoreState *it, const item *row) except -1 nogil:
    cdef uint8_t key[OWNED_KEY_MAX]
    cdef Session *session = session_of(it, row.session)
    row_remove(it, OWNED, key, owned_key(key, row.session, item_key(row), row.key_length))
    if session != NULL:
        session.keys -= 1
    return 0


cdef int own(StoreState *it, uint64_t owner, const uint8_t *name, uint32_t length) except -1 nogil:
    cdef uint8_t key[OWNED_KEY_MAX]
    row_put(it, OWNED, key, owned_key(key, owner, name, length), NULL, 0)
    session_of(it, owner).keys += 1
    return 0


cdef int put(StoreState *it, tree_place *at, view key, const uint8_t *value, uint32_t length, uint64_t owner) except -1 nogil:
    cdef uint64_t index = it.writing
    cdef uint64_t former = 0
    cdef item *row = forest_item(it.trees, key.bytes, <uint16_t> key.length, length)
    if row == NULL:
        no_memory()
    if length:
        memcpy(item_value_to_fill(row), value, length)
    row.mod_revision = index
    row.session = owner
    if at.found != NULL:
        row.create_revision = at.found.create_revision
        row.version = at.found.version + 1
        former = at.found.session
        if former and former != owner:
            disown(it, at.found)
    else:
        row.create_revision = index
        row.version = 1
    if forest_set(it.trees, at, row) < 0:
        no_memory()
    if owner and owner != former:
        own(it, owner, key.bytes, key.length)
    return event_add(it, EVENT_PUT, row, owner, 0, 0)


cdef int remove(StoreState *it, tree_place *at, uint32_t kind) except -1 nogil:
    """Deletes the row that was found, and tells of it."""
    cdef item *row = item_retain(at.found)
    if row.session and kind != EVENT_EXPIRE:
        disown(it, row)
    if forest_remove(it.trees, at) < 0:
        no_memory()
    event_add(it, kind, row, row.session, 0, 0)
    item_release(row)
    return 0


cdef int remove_range(StoreState *it, view start, view end, uint64_t most, uint64_t *removed, uint32_t *more) except -1 nogil:
    """Deletes the first keys of a range, at most `most`."""
    cdef tree_cursor cursor
    cdef tree_place at
    cdef uint64_t count = 0
    cdef uint64_t size = 64
    cdef uint64_t i
    cdef const item *row
    cdef item **rows = <item **> malloc(size * sizeof(item *))
    cdef item **grown
    if rows == NULL:
        no_memory()
    more[0] = 0
    tree_seek(&cursor, forest_root(it.trees, KEYS), start.bytes, start.length)
    while True:
        row = tree_at(&cursor)
        if row == NULL or (
            end.length and tree_compare(item_key(row), row.key_length, end.bytes, end.length) >= 0
        ):
            break
        if count == most:
            more[0] = 1
            break
        if count == size:
            size *= 2
            grown = <item **> malloc(size * sizeof(item *))
            if grown == NULL:
                no_memory()
            memcpy(grown, rows, count * sizeof(item *))
            free(rows)
            rows = grown
        rows[count] = item_retain(row)
        count += 1
        tree_next(&cursor)
    for i in range(count):
        forest_seek(it.trees, KEYS, item_key(rows[i]), rows[i].key_length, &at)
        remove(it, &at, EVENT_DELETE)
        item_release(rows[i])
    free(rows)
    removed[0] = count
    return 0


# ---- numbers: decimal text, so that people can read and write them ------------------------------------------------


cdef bint parse_number(const item *row, int64_t *out) noexcept nogil:
    cdef const uint8_t *text = item_value(row)
    cdef uint32_t length = row.value_length
    cdef uint32_t i = 0
    cdef uint64_t value = 0
    cdef uint64_t most = <uint64_t> 0x7FFFFFFFFFFFFFFF
    cdef bint negative = length > 0 and text[0] == c"-"
    if negative:
        i = 1
        most += 1
    if length == i or length > NUMBER_BYTES:
        return False
    for i in range(i, length):
        if text[i] < c"0" or text[i] > c"9":
            return False
        if value > (most - (text[i] - c"0")) // 10:
            return False
        value = value * 10 + (text[i] - c"0")
    out[0] = <int64_t> (0 - value) if negative else <int64_t> value
    return True


cdef uint32_t format_number(uint8_t *out, int64_t number) noexcept nogil:
    cdef uint8_t digits[NUMBER_BYTES]
    cdef uint32_t count = 0
    cdef uint32_t length = 0
    cdef uint64_t rest = 0 - <uint64_t> number if number < 0 else <uint64_t> number
    if number < 0:
        out[0] = c"-"
        length = 1
    while count == 0 or rest:
        digits[count] = <uint8_t> (c"0" + rest % 10)
        rest //= 10
        count += 1
    while count:
        count -= 1
        out[length] = digits[count]
        length += 1
    return length


cdef extern from *:
    """
    static inline bool add_overflows(int64_t a, int64_t b, int64_t *out) { return __builtin_add_overflow(a, b, out); }
    """
    bint add_overflows(int64_t a, int64_t b, int64_t *out) noexcept nogil


cdef uint32_t judge_increment(const tree_place *at, int64_t by, int64_t *out) noexcept nogil:
    cdef int64_t before = 0
    if at.found != NULL and not parse_number(at.found, &before):
        return NOT_A_NUMBER
    return OVERFLOW if add_overflows(before, by, out) else OK


# ---- transactions ---------------------------------------------------------------------------------------------------


cdef bint holds(StoreState *it, const command_part *compare) noexcept nogil:
    cdef const item *row = forest_get(it.trees, KEYS, compare.key.bytes, compare.key.length)
    cdef uint64_t number = 0
    cdef int order
    if compare.target == COMPARE_VALUE:
        if row == NULL:
            return compare.relation == RELATION_NOT_EQUAL
        order = tree_compare(item_value(row), row.value_length, compare.value.bytes, compare.value.length)
    else:
        if row != NULL:
            if compare.target == COMPARE_MOD_REVISION:
                number = row.mod_revision
            elif compare.target == COMPARE_CREATE_REVISION:
                number = row.create_revision
            elif compare.target == COMPARE_VERSION:
                number = row.version
            else:
                number = row.session
        order = <int> (number > compare.operand) - <int> (number < compare.operand)
    if compare.relation == RELATION_EQUAL:
        return order == 0
    if compare.relation == RELATION_NOT_EQUAL:
        return order != 0
    return order < 0 if compare.relation == RELATION_LESS else order > 0


cdef uint32_t judge_part(
    StoreState *it, const command *what, const command_part *part, Growth *growth, uint64_t *number
) noexcept nogil:
    """The status that refuses a part of a transaction, or OK."""
    cdef tree_place at
    cdef int64_t total
    cdef uint8_t text[NUMBER_BYTES]
    cdef uint64_t owner = what.session if part.owned else 0
    cdef uint32_t status
    if part.operation != OPERATION_PUT and part.operation != OPERATION_INCREMENT:
        return OK
    forest_seek(it.trees, KEYS, part.key.bytes, part.key.length, &at)
    if part.operation == OPERATION_PUT:
        number[0] = judge_put(it, &at, part.key.length, part.value.length, owner, growth)
    else:
        status = judge_increment(&at, part.by, &total)
        if status:
            return status
        number[0] = judge_put(it, &at, part.key.length, format_number(text, total), owner, growth)
    return LIMIT if number[0] else OK


cdef inline bint fits(StoreState *it, const item *row) noexcept nogil:
    return it.body.length + item_cost(row) <= it.limits[<int> LIMIT_RESULT_BYTES]


cdef int do_range(StoreState *it, const command_part *part) except -1 nogil:
    """u8 whether it was cut (by the limit, or because the result may not be longer), u32 count, and the rows."""
    cdef tree_cursor cursor
    cdef const item *row
    cdef uint32_t count = 0
    cdef size_t head = it.body.length
    if sink_u8(&it.body, 0) < 0 or sink_u32(&it.body, 0) < 0:
        no_memory()
    tree_seek(&cursor, forest_root(it.trees, KEYS), part.key.bytes, part.key.length)
    while True:
        row = tree_at(&cursor)
        if row == NULL or (
            part.end.length and tree_compare(item_key(row), row.key_length, part.end.bytes, part.end.length) >= 0
        ):
            break
        if (part.limit and count == part.limit) or not fits(it, row):
            it.body.bytes[head] = 1
            break
        put_row(&it.body, row)
        count += 1
        tree_next(&cursor)
    store_le32(it.body.bytes + head + 1, count)
    return 0


cdef int do_part(StoreState *it, const command *what, const command_part *part, uint64_t *deletes_left) except -1 nogil:
    """Carries out one part, which has been judged, and writes its result: u8 operation and what belongs to it."""
    cdef tree_place at
    cdef uint8_t text[NUMBER_BYTES]
    cdef uint64_t owner = what.session if part.owned else 0
    cdef int64_t total = 0
    cdef uint64_t removed = 0
    cdef uint32_t more = 0
    if sink_u8(&it.body, part.operation) < 0:
        no_memory()
    if part.operation == OPERATION_RANGE:
        return do_range(it, part)
    if part.operation == OPERATION_DELETE_RANGE:
        removed = min(deletes_left[0], <uint64_t> part.limit) if part.limit else deletes_left[0]
        remove_range(it, part.key, part.end, removed, &removed, &more)
        deletes_left[0] -= removed
        if sink_u8(&it.body, <uint8_t> more) < 0 or sink_u64(&it.body, removed) < 0:
            no_memory()
        return 0
    forest_seek(it.trees, KEYS, part.key.bytes, part.key.length, &at)
    if part.operation == OPERATION_PUT:
        return put(it, &at, part.key, part.value.bytes, part.value.length, owner)
    if part.operation == OPERATION_DELETE:
        if sink_u8(&it.body, <uint8_t> (at.found != NULL)) < 0:
            no_memory()
        return remove(it, &at, EVENT_DELETE) if at.found != NULL else 0
    if part.operation == OPERATION_INCREMENT:
        judge_increment(&at, part.by, &total)
        if sink_u64(&it.body, <uint64_t> total) < 0:
            no_memory()
        return put(it, &at, part.key, text, format_number(text, total), owner)
    # A get: 0 not there, 1 and the row, 2 there, but the result may not be longer: read it by itself.
    if at.found == NULL or not fits(it, at.found):
        if sink_u8(&it.body, 0 if at.found == NULL else 2) < 0:
            no_memory()
        return 0
    if sink_u8(&it.body, 1) < 0:
        no_memory()
    return put_row(&it.body, at.found)


cdef int transaction(StoreState *it, const command *what, Outcome *out) except -1 nogil:
    cdef command_part part
    cdef Growth growth
    cdef uint32_t at = 0
    cdef uint32_t i
    cdef uint32_t first
    cdef uint32_t last
    cdef bint succeeded = True
    cdef uint64_t most = it.limits[<int> LIMIT_TRANSACTION_OPERATIONS]
    cdef uint64_t deletes_left = it.limits[<int> LIMIT_DELETE_RANGE_KEYS]
    if what.compares > most or what.thens > most or what.elses > most:
        out.status = LIMIT
        out.number = LIMIT_TRANSACTION_OPERATIONS
        return 0
    for i in range(what.compares):
        command_compare_next(what, &at, &part)
        if not holds(it, &part):
            succeeded = False
            break
    first = 0 if succeeded else what.thens
    last = what.thens if succeeded else what.thens + what.elses
    growth.keys = growth.bytes = growth.owned = 0
    at = 0
    for i in range(last):
        command_part_next(what, &at, &part)
        if i < first:
            continue
        out.status = judge_part(it, what, &part, &growth, &out.number)
        if out.status:
            return 0
    out.number = last - first
    if succeeded:
        out.flags |= SUCCEEDED
    at = 0
    for i in range(last):
        command_part_next(what, &at, &part)
        if i >= first:
            do_part(it, what, &part, &deletes_left)
    return 0


cdef int keys_apply(StoreState *it, const command *what, Outcome *out) except -1 nogil:
    cdef tree_place at
    cdef Growth growth
    cdef uint8_t text[NUMBER_BYTES]
    cdef uint64_t owner = what.session if what.flags & COMMAND_OWNED else 0
    cdef uint64_t most = it.limits[<int> LIMIT_DELETE_RANGE_KEYS]
    cdef int64_t total = 0
    cdef uint32_t more = 0
    if what.operation == OPERATION_TRANSACTION:
        return transaction(it, what, out)
    if what.operation == OPERATION_DELETE_RANGE:
        if what.limit and what.limit < most:
            most = what.limit
        remove_range(it, what.key, what.end, most, &out.number, &more)
        if more:
            out.flags |= MORE
        return 0
    growth.keys = growth.bytes = growth.owned = 0
    forest_seek(it.trees, KEYS, what.key.bytes, what.key.length, &at)
    if what.operation == OPERATION_DELETE:
        if at.found != NULL:
            out.number = 1
            remove(it, &at, EVENT_DELETE)
        return 0
    if what.operation == OPERATION_INCREMENT:
        out.status = judge_increment(&at, what.by, &total)
        if out.status:
            return 0
        out.number = judge_put(it, &at, what.key.length, format_number(text, total), owner, &growth)
        if out.number:
            out.status = LIMIT
            return 0
        out.number = <uint64_t> total
        return put(it, &at, what.key, text, format_number(text, total), owner)
    if what.operation == OPERATION_COMPARE_AND_SET:
        out.number = 0 if at.found == NULL else at.found.mod_revision
        if out.number != what.revision:
            out.status = COMPARE_FAILED
            return 0
    out.number = judge_put(it, &at, what.key.length, what.value.length, owner, &growth)
    if out.number:
        out.status = LIMIT
        return 0
    return put(it, &at, what.key, what.value.bytes, what.value.length, owner)


cdef int keys_end_session(StoreState *it, Session *session) except -1 nogil:
    cdef uint8_t prefix[8]
    cdef tree_cursor cursor
    cdef tree_place at
    cdef item *row
    store_be64(prefix, session.id)
    while session.keys:
        tree_seek(&cursor, forest_root(it.trees, OWNED), prefix, 8)
        row = item_retain(tree_at(&cursor))
        forest_seek(it.trees, KEYS, item_key(row) + 8, row.key_length - 8, &at)
        remove(it, &at, EVENT_EXPIRE)
        row_remove(it, OWNED, item_key(row), row.key_length)
        item_release(row)
        session.keys -= 1
    return 0


cdef int key_restore(StoreState *it, const item *row) except -1 nogil:
    if (
        row.create_revision == 0
        or row.create_revision > row.mod_revision
        or row.mod_revision > it.applied_index
        or row.version == 0
        or (row.session and session_of(it, row.session) == NULL)
    ):
        return 0
    if row.session:
        own(it, row.session, item_key(row), row.key_length)
    return 1
