/* tree.h against a sorted array: every operation, holds on old versions, keys with long shared prefixes and zero bytes;
 * and readers on other threads that must see each version whole. */
#include "../tree.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s (seed %llu)\n", __FILE__, __LINE__, #condition, (unsigned long long)seed); \
            exit(1); \
        } \
    } while (0)

static uint64_t seed = 1;

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

enum { MODEL_MAX = 4096 };

typedef struct row {
    uint8_t key[64];
    uint32_t length;
    uint64_t value;
} row;

typedef struct model {
    row rows[MODEL_MAX];
    uint32_t count;
} model;

static uint32_t model_find(const model *it, const uint8_t *key, uint32_t length, int *found) {
    uint32_t i = 0;
    *found = 0;
    for (; i < it->count; i++) {
        int order = tree_compare(it->rows[i].key, it->rows[i].length, key, length);
        if (order >= 0) {
            *found = order == 0;
            break;
        }
    }
    return i;
}

static void same(const tree_node *root, const model *it) {
    tree_cursor cursor;
    tree_seek(&cursor, root, "", 0);
    for (uint32_t i = 0; i < it->count; i++, tree_next(&cursor)) {
        const item *at = tree_at(&cursor);
        CHECK(at);
        CHECK(tree_compare(item_key(at), at->key_length, it->rows[i].key, it->rows[i].length) == 0);
        CHECK(load_le64(item_value(at)) == it->rows[i].value);
        CHECK(tree_get(root, it->rows[i].key, it->rows[i].length) == at);
    }
    CHECK(!tree_at(&cursor));
}

static uint32_t some_key(uint64_t *state, uint8_t *out, uint32_t variety) {
    static const char *const prefixes[] = {"", "a/", "a/long/shared/prefix/of/keys/", "b"};
    const char *prefix = prefixes[next_random(state) % 4];
    uint32_t length = (uint32_t)strlen(prefix);
    memcpy(out, prefix, length);
    uint64_t number = next_random(state) % variety;
    uint32_t digits = (uint32_t)(1 + next_random(state) % 4);
    for (uint32_t i = 0; i < digits; i++) out[length++] = (uint8_t)((number >> (8 * (digits - i - 1))) & 0xFF);
    if (next_random(state) % 8 == 0) out[length++] = 0;
    return length;
}

static int put(forest *trees, uint32_t table, const uint8_t *key, uint32_t length, uint64_t value, uint64_t index) {
    tree_place at;
    item *made = forest_item(trees, key, (uint16_t)length, 8);
    CHECK(made);
    made->mod_revision = index;
    store_le64(item_value_to_fill(made), value);
    forest_seek(trees, table, key, length, &at);
    return forest_set(trees, &at, made);
}

static void against_model(uint64_t from, uint32_t steps, uint32_t variety, uint32_t delete_share) {
    uint64_t state = seed = from, index = 0;
    forest *trees = forest_new();
    model *now = calloc(1, sizeof *now), *kept[3] = {0};
    forest_hold *holds[3] = {0};
    CHECK(trees && now);
    for (uint32_t step = 0; step < steps; step++) {
        uint8_t key[64];
        int found;
        forest_write_at(trees, ++index);
        for (uint32_t n = (uint32_t)(next_random(&state) % 4); n < 4; n++) {
            uint32_t length = some_key(&state, key, variety);
            uint32_t at = model_find(now, key, length, &found);
            tree_place place;
            forest_seek(trees, 3, key, length, &place);
            CHECK((place.found != NULL) == found);
            if (next_random(&state) % 100 < delete_share) {
                if (!found) continue;
                CHECK(forest_remove(trees, &place) == 0);
                memmove(now->rows + at, now->rows + at + 1, (now->count - at - 1) * sizeof *now->rows);
                now->count--;
            } else {
                if (!found && now->count == MODEL_MAX) continue;
                CHECK(put(trees, 3, key, length, index, index) == 0);
                if (!found) {
                    memmove(now->rows + at + 1, now->rows + at, (now->count - at) * sizeof *now->rows);
                    memcpy(now->rows[at].key, key, length);
                    now->rows[at].length = length;
                    now->count++;
                }
                now->rows[at].value = index;
            }
        }
        CHECK(forest_count(trees, 3) == now->count);
        if (next_random(&state) % 3 == 0) {
            CHECK(forest_publish(trees, index) == 0);
            uint32_t which = (uint32_t)(next_random(&state) % 40);
            if (which < 3) {
                if (holds[which]) {
                    same(forest_held(holds[which])->roots[3], kept[which]);
                    forest_drop(holds[which]);
                    holds[which] = NULL;
                } else if ((holds[which] = forest_keep(trees)) != NULL) {
                    if (!kept[which]) kept[which] = malloc(sizeof *now);
                    *kept[which] = *now;
                }
            }
        }
        if (step % 256 == 0) {
            uint8_t end[64];
            uint32_t a = some_key(&state, key, variety), b = some_key(&state, end, variety), expected = 0;
            same(forest_root(trees, 3), now);
            for (uint32_t i = 0; i < now->count; i++)
                expected += tree_compare(now->rows[i].key, now->rows[i].length, key, a) >= 0 &&
                            tree_compare(now->rows[i].key, now->rows[i].length, end, b) < 0;
            CHECK(tree_count(forest_root(trees, 3), key, a, end, b) == expected);
            CHECK(tree_count(forest_root(trees, 3), "", 0, NULL, 0) == now->count);
        }
    }
    for (uint32_t i = 0; i < 3; i++) {
        if (!holds[i]) continue;
        same(forest_held(holds[i])->roots[3], kept[i]);
        forest_drop(holds[i]);
    }
    while (now->count) { /* down to nothing, and the tree with it */
        tree_place place;
        uint32_t at = (uint32_t)(next_random(&state) % now->count);
        forest_write_at(trees, ++index);
        forest_seek(trees, 3, now->rows[at].key, now->rows[at].length, &place);
        CHECK(place.found && forest_remove(trees, &place) == 0);
        memmove(now->rows + at, now->rows + at + 1, (now->count - at - 1) * sizeof *now->rows);
        now->count--;
        if (index % 64 == 0) same(forest_root(trees, 3), now);
    }
    CHECK(forest_publish(trees, ++index) == 0);
    CHECK(!forest_root(trees, 3) && forest_bytes(trees) == 0);
    while (forest_reclaim(trees, 100000)) {}
    CHECK(forest_measure(trees).retired == 0);
    forest_free(trees);
    for (uint32_t i = 0; i < 3; i++) free(kept[i]);
    free(now);
}

/* Two keys change together in each version; a reader that sees them differ has seen half of an entry. */
enum { READERS = 3, KEYS = 3000, ROUNDS = 6000 };

typedef struct shared {
    forest *trees;
    int stop;
} shared;

static void *reader(void *argument) {
    shared *it = argument;
    uint64_t state = 88172645463325252ull ^ (uint64_t)(uintptr_t)&state, last = 0;
    while (!__atomic_load_n(&it->stop, __ATOMIC_ACQUIRE)) {
        uint8_t a[8], b[8];
        uint32_t ticket;
        uint64_t number = next_random(&state) % KEYS;
        store_le64(a, number);
        store_le64(b, number + 1000000);
        const tree_version *version = forest_pin(it->trees, &ticket);
        const item *one = tree_get(version->roots[0], a, 8), *other = tree_get(version->roots[1], b, 8);
        CHECK((one == NULL) == (other == NULL));
        uint64_t revision = version->revision;
        if (one) {
            item_retain(one);
            item_retain(other);
        }
        forest_unpin(it->trees, ticket);
        CHECK(revision >= last);
        last = revision;
        if (one) {
            CHECK(load_le64(item_value(one)) == load_le64(item_value(other)));
            CHECK(one->mod_revision <= revision);
            item_release(one);
            item_release(other);
        }
    }
    return NULL;
}

static void with_readers(void) {
    shared it = {forest_new(), 0};
    pthread_t threads[READERS];
    uint64_t state = 42;
    forest_hold *hold = NULL;
    CHECK(it.trees);
    for (uint32_t i = 0; i < READERS; i++) CHECK(pthread_create(&threads[i], NULL, reader, &it) == 0);
    for (uint64_t index = 1; index <= ROUNDS; index++) {
        forest_write_at(it.trees, index);
        for (uint32_t n = 0; n < 8; n++) {
            uint8_t a[8], b[8];
            uint64_t number = next_random(&state) % KEYS;
            tree_place place;
            store_le64(a, number);
            store_le64(b, number + 1000000);
            forest_seek(it.trees, 0, a, 8, &place);
            if (place.found && next_random(&state) % 4 == 0) {
                CHECK(forest_remove(it.trees, &place) == 0);
                forest_seek(it.trees, 1, b, 8, &place);
                CHECK(place.found && forest_remove(it.trees, &place) == 0);
            } else {
                CHECK(put(it.trees, 0, a, 8, index, index) == 0);
                CHECK(put(it.trees, 1, b, 8, index, index) == 0);
            }
        }
        CHECK(forest_publish(it.trees, index) == 0);
        if (index % 1000 == 500) hold = forest_keep(it.trees);
        if (index % 1000 == 900 && hold) forest_drop(hold);
    }
    __atomic_store_n(&it.stop, 1, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < READERS; i++) pthread_join(threads[i], NULL);
    while (forest_reclaim(it.trees, 100000)) {}
    forest_free(it.trees);
}

int main(void) {
    for (uint64_t from = 1; from <= 4; from++) against_model(from, 6000, 700, 40);
    against_model(11, 4000, 60000, 20);
    against_model(12, 6000, 300, 60);
    seed = 0;
    with_readers();
    return 0;
}
