/* The reading half of tree.h: search in a node, look-up, cursors. Never changes a node. */
#include "tree.h"

uint64_t tree_head(const uint8_t *key, uint32_t length, uint32_t skip);
uint32_t tree_leaf_find(const tree_node *it, const uint8_t *key, uint32_t length, int *found);
uint32_t tree_child_find(const tree_node *it, const uint8_t *key, uint32_t length);

int tree_compare(const void *a, uint32_t a_length, const void *b, uint32_t b_length) {
    uint32_t shorter = a_length < b_length ? a_length : b_length;
    int order = shorter ? memcmp(a, b, shorter) : 0;
    if (order) return order;
    return (a_length > b_length) - (a_length < b_length);
}

/* Big-endian, so that heads order as their keys do; a short key is filled with zeros, and a tie is settled by the keys. */
uint64_t tree_head(const uint8_t *key, uint32_t length, uint32_t skip) {
    if (QUORATE_LIKELY(length >= skip + 8)) return load_be64(key + skip);
    uint64_t head = 0;
    for (uint32_t i = skip; i < length; i++) head |= (uint64_t)key[i] << (56 - 8 * (i - skip));
    return head;
}

/* The first place in [from, count) whose head is not less than `head`. No branch depends on the data. */
static inline uint32_t lower_head(const uint64_t *heads, uint32_t from, uint32_t count, uint64_t head) {
    uint32_t length = count - from, base = from;
    while (length > 0) {
        uint32_t half = length >> 1;
        int less = heads[base + half] < head;
        base = less ? base + half + 1 : base;
        length = less ? length - half - 1 : half;
    }
    return base;
}

/* How `key` stands to all keys that share the first `skip` bytes of `sample`: before (-1), after (1) or among them (0). */
static inline int prefix_order(const uint8_t *key, uint32_t length, const uint8_t *sample, uint32_t skip) {
    uint32_t shorter = length < skip ? length : skip;
    int order = shorter ? memcmp(key, sample, shorter) : 0;
    if (order) return order < 0 ? -1 : 1;
    return length < skip ? -1 : 0;
}

/* The first place in [low, high), all of equal heads, whose key is not less. */
static uint32_t among_equals(const tree_node *it, uint32_t low, uint32_t high, const uint8_t *key, uint32_t length,
                             int *found) {
    while (low < high) {
        uint32_t middle = (low + high) >> 1;
        const item *row = it->slots[middle].item;
        int order = tree_compare(item_key(row), row->key_length, key, length);
        if (order == 0) {
            *found = 1;
            return middle;
        }
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return low;
}

uint32_t tree_leaf_find(const tree_node *it, const uint8_t *key, uint32_t length, int *found) {
    uint32_t count = it->count, skip = it->skip;
    *found = 0;
    if (count == 0) return 0;
    if (QUORATE_LIKELY(length >= skip)) {
        uint64_t head = tree_head(key, length, skip);
        uint32_t low = lower_head(it->heads, 0, count, head), high = low;
        while (high < count && it->heads[high] == head) high++;
        if (high > low) low = among_equals(it, low, high, key, length, found);
        if (*found) return low; /* the whole key agreed, so its prefix did */
        if (skip == 0) return low;
        const item *first = it->slots[0].item;
        int order = prefix_order(key, length, item_key(first), skip);
        return order < 0 ? 0 : order > 0 ? count : low;
    }
    return prefix_order(key, length, item_key(it->slots[0].item), skip) < 0 ? 0 : count;
}

uint32_t tree_child_find(const tree_node *it, const uint8_t *key, uint32_t length) {
    const tree_inner *inner = (const tree_inner *)(const void *)it;
    uint32_t count = it->count, skip = it->skip;
    if (count <= 1) return 0;
    if (skip) {
        int order = prefix_order(key, length, inner->keys[1]->bytes, skip);
        if (order) return order < 0 ? 0 : count - 1;
    }
    uint64_t head = tree_head(key, length, skip);
    uint32_t low = lower_head(it->heads, 1, count, head), high = low;
    while (high < count && it->heads[high] == head) high++;
    while (low < high) { /* among equal heads: the first separator above the key */
        uint32_t middle = (low + high) >> 1;
        if (tree_compare(inner->keys[middle]->bytes, inner->keys[middle]->length, key, length) <= 0) low = middle + 1;
        else high = middle;
    }
    return low - 1;
}

const item *tree_get(const tree_node *root, const void *key, uint32_t length) {
    const tree_node *node = root;
    if (!node) return NULL;
    while (node->level) node = node->slots[tree_child_find(node, (const uint8_t *)key, length)].child;
    /* The leaf is seldom near: all of its lines are asked for at once, not one after the other as the search goes. */
    for (uint32_t line = 0; line < sizeof *node / 64; line++) __builtin_prefetch((const uint8_t *)node + 64 * line);
    /* As tree_leaf_find, without the place of a key that is not there: its prefix need not be compared. */
    if (length < node->skip) return NULL;
    uint64_t head = tree_head((const uint8_t *)key, length, node->skip);
    uint32_t low = lower_head(node->heads, 0, node->count, head), high = low;
    int found = 0;
    while (high < node->count && node->heads[high] == head) high++;
    low = among_equals(node, low, high, (const uint8_t *)key, length, &found);
    return found ? node->slots[low].item : NULL;
}

/* Moves from a place behind the last of a node to the first item that follows. */
static void settle(tree_cursor *it) {
    int32_t depth = it->height - 1;
    while (depth >= 0 && it->at[depth] >= it->nodes[depth]->count) {
        depth--;
        if (depth >= 0) it->at[depth]++;
    }
    if (depth < 0) {
        it->height = 0;
        return;
    }
    while (it->nodes[depth]->level) {
        const tree_node *child = it->nodes[depth]->slots[it->at[depth]].child;
        it->nodes[++depth] = child;
        it->at[depth] = 0;
    }
    it->height = depth + 1;
}

void tree_seek(tree_cursor *it, const tree_node *root, const void *key, uint32_t length) {
    int32_t depth = 0;
    const tree_node *node = root;
    int found;
    it->height = 0;
    if (!root) return;
    while (node->level) {
        uint32_t child = tree_child_find(node, (const uint8_t *)key, length);
        it->nodes[depth] = node;
        it->at[depth++] = (uint16_t)child;
        node = node->slots[child].child;
    }
    it->nodes[depth] = node;
    it->at[depth] = (uint16_t)tree_leaf_find(node, (const uint8_t *)key, length, &found);
    it->height = depth + 1;
    settle(it);
}

void tree_next(tree_cursor *it) {
    if (!it->height) return;
    const tree_node *leaf = it->nodes[it->height - 1];
    uint32_t at = ++it->at[it->height - 1];
    if (at + 6 < leaf->count) __builtin_prefetch(leaf->slots[at + 6].item);
    if (QUORATE_UNLIKELY(at >= leaf->count)) settle(it);
}

uint64_t tree_count(const tree_node *root, const void *start, uint32_t start_length, const void *end,
                    uint32_t end_length) {
    tree_cursor from, to;
    uint64_t total = 0;
    tree_seek(&from, root, start, start_length);
    if (!from.height) return 0;
    to.height = 0;
    if (end) {
        if (tree_compare(start, start_length, end, end_length) >= 0) return 0;
        tree_seek(&to, root, end, end_length);
    }
    const tree_node *last = to.height ? to.nodes[to.height - 1] : NULL;
    while (from.height) {
        const tree_node *leaf = from.nodes[from.height - 1];
        uint16_t *at = &from.at[from.height - 1];
        if (leaf == last) return total + to.at[to.height - 1] - *at;
        total += (uint64_t)leaf->count - *at;
        *at = leaf->count;
        settle(&from);
    }
    return total;
}
