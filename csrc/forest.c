/* The writing half of tree.h: changes to the working trees, publication, pins, holds, reclamation. */
#include "tree.h"

#include <stdlib.h>

uint64_t tree_head(const uint8_t *key, uint32_t length, uint32_t skip);
uint32_t tree_leaf_find(const tree_node *it, const uint8_t *key, uint32_t length, int *found);
uint32_t tree_child_find(const tree_node *it, const uint8_t *key, uint32_t length);

/* Something that has left the working tree. The lowest bit of `what` is set for an item. */
typedef struct retired {
    uintptr_t what;
    uint64_t birth;
    uint64_t at;
} retired;

/* A queue in blocks, because one array that grows would be copied at once, and a million entries take milliseconds. */
enum { BLOCK_ENTRIES = 1020 };

typedef struct retired_block {
    struct retired_block *next;
    uint32_t first, end; /* what is left lies in [first, end) */
    retired all[BLOCK_ENTRIES];
} retired_block;

typedef struct retired_queue {
    retired_block *head, *tail; /* NULL if nothing was ever pushed */
    uint64_t count;
} retired_queue;

struct forest_hold {
    forest *owner;
    tree_version *version; /* NULL if this place is free */
    uint32_t dropped;      /* set by any thread, read by the writer */
    retired_queue waiting; /* what only this hold still sees; of the writer */
};

/* One line each, so that readers on different cores do not disturb each other. */
typedef struct pin_slot {
    uint64_t announced; /* 0 if free, else the revision seen before loading the version, + 1 */
    uint64_t apart[7];
} pin_slot;

/* Freed items of up to 512 bytes are kept, some of each step: an allocator would join them with their neighbours, and touch
 * memory that nobody has touched for long. */
enum { SPARE_STEPS = 33, SPARE_ITEMS = 256 };

enum { SPARE_NODES = 2048, RECLAIM_BUDGET = 2048, NODE_SIZE = sizeof(tree_node), INNER_SIZE = sizeof(tree_inner) };

struct forest {
    tree_version *published; /* atomic: stored by the writer, loaded by readers */
    uint64_t published_at;   /* atomic: its revision */
    pin_slot pins[TREE_PINS];
    /* From here on of the writer alone. */
    tree_version working;
    uint64_t writing; /* index that is being applied */
    uint64_t live_nodes, live_bytes;
    uint64_t taken; /* retired since the last publication: what it must at least free to keep up */
    retired_queue queue;
    tree_node *doomed; /* roots of trees that nobody sees any more, and what hangs on them; chained through `birth` */
    forest_hold holds[TREE_HOLDS];
    tree_node *spare[2]; /* freed leaves and inner nodes, chained through slots[0].child */
    uint32_t spares[2];
    item *spare_items[SPARE_STEPS]; /* by step, chained through create_revision's place */
    uint32_t spare_counts[SPARE_STEPS];
};

QUORATE_STATIC_ASSERT(sizeof(item *) <= sizeof(uint64_t), "a chain fits into a field");

/* ---- retired things ----------------------------------------------------------------------------------------------- */

static int queue_push(retired_queue *it, retired one) {
    retired_block *tail = it->tail;
    if (!tail || tail->end == BLOCK_ENTRIES) {
        retired_block *block = (retired_block *)malloc(sizeof *block);
        if (!block) return -1;
        block->next = NULL;
        block->first = block->end = 0;
        if (tail) tail->next = block;
        else it->head = block;
        it->tail = tail = block;
    }
    tail->all[tail->end++] = one;
    it->count++;
    return 0;
}

static retired queue_pop(retired_queue *it) {
    retired_block *head = it->head;
    retired one = head->all[head->first++];
    it->count--;
    if (head->first == head->end) { /* the last block is used again from its start */
        if (head == it->tail) {
            head->first = head->end = 0;
        } else {
            it->head = head->next;
            free(head);
        }
    }
    return one;
}

static void queue_free(retired_queue *it) {
    while (it->head) {
        retired_block *next = it->head->next;
        free(it->head);
        it->head = next;
    }
    it->tail = NULL;
}

static tree_node *node_new(forest *it, uint32_t level) {
    uint32_t kind = level ? 1u : 0u;
    tree_node *node = it->spare[kind];
    if (node) {
        it->spare[kind] = node->slots[0].child;
        it->spares[kind]--;
    } else {
        node = (tree_node *)malloc(level ? (size_t)INNER_SIZE : (size_t)NODE_SIZE);
        if (!node) return NULL;
        it->live_nodes++;
        it->live_bytes += level ? (uint64_t)INNER_SIZE : (uint64_t)NODE_SIZE;
    }
    node->birth = it->writing;
    node->count = node->skip = node->spare = 0;
    node->level = (uint16_t)level;
    return node;
}

static void node_free(forest *it, tree_node *node) {
    uint32_t kind = node->level ? 1u : 0u;
    if (it->spares[kind] < SPARE_NODES) {
        node->slots[0].child = it->spare[kind];
        it->spare[kind] = node;
        it->spares[kind]++;
        return;
    }
    it->live_nodes--;
    it->live_bytes -= kind ? (uint64_t)INNER_SIZE : (uint64_t)NODE_SIZE;
    free(node);
}

item *forest_item(forest *it, const void *key, uint16_t key_length, uint32_t value_length) {
    uint32_t step = item_step((uint32_t)ITEM_FIXED + key_length + value_length);
    item *spare = step < SPARE_STEPS ? it->spare_items[step] : NULL;
    if (!spare) return item_new(key, key_length, value_length);
    it->spare_items[step] = (item *)(uintptr_t)spare->create_revision;
    it->spare_counts[step]--;
    return item_begin(spare, key, key_length, value_length);
}

/* Gives a reference back; the memory stays here if it was the last one. */
static void item_give_back(forest *it, item *row) {
    uint32_t step = item_step(row->length);
    if (step >= SPARE_STEPS || it->spare_counts[step] == SPARE_ITEMS) {
        item_release(row);
    } else if (__atomic_fetch_sub(&row->references, 1u, __ATOMIC_ACQ_REL) == 1) {
        row->create_revision = (uintptr_t)it->spare_items[step];
        it->spare_items[step] = row;
        it->spare_counts[step]++;
    }
}

enum { WHAT_NODE = 0, WHAT_ITEM = 1, WHAT_PLAIN = 2, WHAT_TREE = 3, WHAT_MASK = 3 };

/* A whole tree is freed node by node, in portions (see reclaim): a million items at once take a tenth of a second. */
static void doom(forest *it, tree_node *node) {
    node->birth = (uintptr_t)it->doomed;
    it->doomed = node;
}

static void free_below(tree_node *node);

static void what_free(forest *it, uintptr_t what) {
    void *thing = (void *)(what & ~(uintptr_t)WHAT_MASK);
    switch (what & WHAT_MASK) {
    case WHAT_NODE: node_free(it, (tree_node *)thing); break;
    case WHAT_ITEM: item_give_back(it, (item *)thing); break;
    case WHAT_TREE: doom(it, (tree_node *)thing); break;
    default: free(thing);
    }
}

static int retire(forest *it, void *thing, uintptr_t kind, uint64_t birth) {
    retired one = {(uintptr_t)thing | kind, birth, it->writing};
    if (birth > it->published_at) { /* no version ever showed it */
        what_free(it, one.what);
        return 0;
    }
    it->taken++;
    return queue_push(&it->queue, one);
}

/* Out of every pin's sight: frees it, or leaves it with a hold that still sees it. */
static int settle_retired(forest *it, retired one) {
    for (uint32_t i = 0; i < TREE_HOLDS; i++) {
        forest_hold *hold = &it->holds[i];
        if (!hold->version || __atomic_load_n(&hold->dropped, __ATOMIC_ACQUIRE)) continue;
        if (one.birth <= hold->version->revision && hold->version->revision < one.at)
            return queue_push(&hold->waiting, one);
    }
    what_free(it, one.what);
    return 0;
}

/* Frees the node on top of the doomed and puts what hangs on it there; returns how many items went. */
static uint32_t free_doomed(forest *it) {
    tree_node *node = it->doomed;
    uint32_t items = 0;
    it->doomed = (tree_node *)(uintptr_t)node->birth;
    for (uint32_t i = 0; i < node->count; i++) {
        if (!node->level) {
            item_give_back(it, node->slots[i].item);
            items++;
            continue;
        }
        doom(it, node->slots[i].child);
        if (i) free(((tree_inner *)(void *)node)->keys[i]);
    }
    node_free(it, node);
    return items;
}

static int reclaim(forest *it, uint64_t budget) {
    uint64_t least = it->published_at;
    for (uint32_t i = 0; i < TREE_PINS; i++) {
        uint64_t seen = __atomic_load_n(&it->pins[i].announced, __ATOMIC_SEQ_CST);
        if (seen && seen - 1 < least) least = seen - 1;
    }
    while (budget && it->doomed) {
        uint64_t freed = free_doomed(it) + 1u;
        budget = budget > freed ? budget - freed : 0;
    }
    while (budget && it->queue.count && it->queue.head->all[it->queue.head->first].at <= least) {
        if (settle_retired(it, queue_pop(&it->queue)) < 0) return -1;
        budget--;
    }
    for (uint32_t i = 0; i < TREE_HOLDS; i++) {
        forest_hold *hold = &it->holds[i];
        if (!hold->version || !__atomic_load_n(&hold->dropped, __ATOMIC_ACQUIRE)) continue;
        while (budget && hold->waiting.count) {
            if (settle_retired(it, queue_pop(&hold->waiting)) < 0) return -1;
            budget--;
        }
        if (!hold->waiting.count) {
            queue_free(&hold->waiting);
            free(hold->version); /* a copy of its own, see forest_keep */
            memset(hold, 0, sizeof *hold);
        }
    }
    return 0;
}

uint64_t forest_reclaim(forest *it, uint32_t budget) {
    uint64_t waiting;
    reclaim(it, budget);
    waiting = it->queue.count + (it->doomed ? 1u : 0u);
    for (uint32_t i = 0; i < TREE_HOLDS; i++) waiting += it->holds[i].waiting.count;
    return waiting;
}

/* ---- birth and death ---------------------------------------------------------------------------------------------- */

forest *forest_new(void) {
    forest *it = (forest *)calloc(1, sizeof *it);
    if (!it) return NULL;
    it->published = (tree_version *)calloc(1, sizeof *it->published);
    if (!it->published) {
        free(it);
        return NULL;
    }
    it->writing = 1;
    return it;
}

/* Frees a whole tree, of which nothing is shared, when the forest itself goes. */
static void free_below(tree_node *node) {
    if (!node) return;
    for (uint32_t i = 0; i < node->count; i++) {
        if (!node->level) {
            item_release(node->slots[i].item);
            continue;
        }
        free_below(node->slots[i].child);
        if (i) free(((tree_inner *)(void *)node)->keys[i]);
    }
    free(node);
}

void forest_free(forest *it) {
    if (!it) return;
    for (uint32_t i = 0; i < TREE_HOLDS; i++) {
        while (it->holds[i].waiting.count) what_free(it, queue_pop(&it->holds[i].waiting).what);
        queue_free(&it->holds[i].waiting);
        free(it->holds[i].version);
    }
    while (it->queue.count) what_free(it, queue_pop(&it->queue).what);
    queue_free(&it->queue);
    while (it->doomed) free_doomed(it);
    for (uint32_t i = 0; i < TREE_TABLES; i++) free_below(it->working.roots[i]);
    for (uint32_t kind = 0; kind < 2; kind++) {
        while (it->spare[kind]) {
            tree_node *next = it->spare[kind]->slots[0].child;
            free(it->spare[kind]);
            it->spare[kind] = next;
        }
    }
    for (uint32_t step = 0; step < SPARE_STEPS; step++) {
        while (it->spare_items[step]) {
            item *next = (item *)(uintptr_t)it->spare_items[step]->create_revision;
            free(it->spare_items[step]);
            it->spare_items[step] = next;
        }
    }
    free(it->published);
    free(it);
}

/* ---- search --------------------------------------------------------------------------------------------------------- */

void forest_seek(const forest *it, uint32_t table, const void *key, uint32_t length, tree_place *out) {
    tree_node *node = it->working.roots[table];
    int32_t depth = 0;
    int found;
    out->table = table;
    out->key = (const uint8_t *)key;
    out->key_length = length;
    out->found = NULL;
    out->height = 0;
    if (!node) return;
    while (node->level) {
        uint32_t child = tree_child_find(node, out->key, length);
        out->nodes[depth] = node;
        out->at[depth++] = (uint16_t)child;
        node = node->slots[child].child;
    }
    out->nodes[depth] = node;
    out->at[depth] = (uint16_t)tree_leaf_find(node, out->key, length, &found);
    out->height = depth + 1;
    if (found) out->found = node->slots[out->at[depth]].item;
}

const tree_node *forest_near_leaf(const forest *it, uint32_t table, const void *key, uint32_t length) {
    const tree_node *node = it->working.roots[table];
    if (!node || !node->level) return node;
    while (node->level > 1) node = node->slots[tree_child_find(node, (const uint8_t *)key, length)].child;
    node = node->slots[tree_child_find(node, (const uint8_t *)key, length)].child;
    for (uint32_t line = 0; line < sizeof *node / 64; line++) __builtin_prefetch((const uint8_t *)node + 64 * line);
    return node;
}

void forest_near_item(const tree_node *leaf, const void *key, uint32_t length) {
    if (!leaf || length < leaf->skip) return;
    uint64_t head = tree_head((const uint8_t *)key, length, leaf->skip);
    uint32_t low = 0, count = leaf->count;
    while (count) {
        uint32_t half = count >> 1;
        int less = leaf->heads[low + half] < head;
        low = less ? low + half + 1 : low;
        count = less ? count - half - 1 : half;
    }
    if (low < leaf->count) {
        __builtin_prefetch(leaf->slots[low].item, 1);
        __builtin_prefetch((const uint8_t *)leaf->slots[low].item + 64);
    }
}

item *forest_get(const forest *it, uint32_t table, const void *key, uint32_t length) {
    return (item *)(uintptr_t)tree_get(it->working.roots[table], key, length);
}

/* ---- change --------------------------------------------------------------------------------------------------------- */

static inline const uint8_t *node_key(const tree_node *node, uint32_t at, uint32_t *length) {
    if (node->level) {
        const tree_separator *key = ((const tree_inner *)(const void *)node)->keys[at];
        *length = key->length;
        return key->bytes;
    }
    *length = node->slots[at].item->key_length;
    return item_key(node->slots[at].item);
}

static uint32_t shared_prefix(const uint8_t *a, uint32_t a_length, const uint8_t *b, uint32_t b_length) {
    uint32_t shorter = a_length < b_length ? a_length : b_length, i = 0;
    while (i < shorter && a[i] == b[i]) i++;
    return i;
}

/* Skip and heads anew, after keys came that the old skip does not fit, or half of them left. */
static void node_refresh(tree_node *node) {
    uint32_t first = node->level ? 1u : 0u, a_length, b_length, skip;
    if (node->count <= first) {
        node->skip = 0;
        return;
    }
    const uint8_t *a = node_key(node, first, &a_length), *b = node_key(node, node->count - 1u, &b_length);
    skip = shared_prefix(a, a_length, b, b_length);
    if (skip == node->skip) return;
    node->skip = (uint16_t)skip;
    for (uint32_t i = first; i < node->count; i++) {
        a = node_key(node, i, &a_length);
        node->heads[i] = tree_head(a, a_length, skip);
    }
}

/* Makes room at `at` and fills it. The node is the writer's own and not full. */
static void node_insert(tree_node *node, uint32_t at, const uint8_t *key, uint32_t length, void *slot,
                        tree_separator *separator) {
    uint32_t first = node->level ? 1u : 0u, behind = node->count - at, other_length;
    memmove(node->heads + at + 1, node->heads + at, behind * sizeof *node->heads);
    memmove(node->slots + at + 1, node->slots + at, behind * sizeof *node->slots);
    if (node->level) {
        tree_inner *inner = (tree_inner *)(void *)node;
        memmove(inner->keys + at + 1, inner->keys + at, behind * sizeof *inner->keys);
        inner->keys[at] = separator;
        node->slots[at].child = (tree_node *)slot;
    } else {
        node->slots[at].item = (item *)slot;
    }
    node->count++;
    if (node->count == first + 1u) {
        node->skip = (uint16_t)length;
        node->heads[at] = 0;
        return;
    }
    /* Only a neighbour is compared: if it shares the prefix, all do. */
    uint32_t neighbour = at > first ? at - 1 : at + 1;
    const uint8_t *other = node_key(node, neighbour, &other_length);
    uint32_t shared = shared_prefix(key, length, other, other_length);
    if (shared >= node->skip) {
        node->heads[at] = tree_head(key, length, node->skip);
        return;
    }
    node->skip = (uint16_t)shared;
    for (uint32_t i = first; i < node->count; i++) {
        key = node_key(node, i, &length);
        node->heads[i] = tree_head(key, length, shared);
    }
}

/* A copy that the writer may change, put in the place of `node` (its parent is the writer's own already). */
static tree_node *node_own(forest *it, tree_place *at, int32_t depth) {
    tree_node *node = at->nodes[depth], *copy;
    if (node->birth > it->published_at) return node;
    copy = node_new(it, node->level);
    if (!copy) return NULL;
    copy->count = node->count;
    copy->skip = node->skip;
    memcpy(copy->heads, node->heads, node->count * sizeof *node->heads);
    memcpy(copy->slots, node->slots, node->count * sizeof *node->slots);
    if (node->level)
        memcpy(((tree_inner *)(void *)copy)->keys, ((tree_inner *)(void *)node)->keys,
               node->count * sizeof(tree_separator *));
    if (depth == 0) it->working.roots[at->table] = copy;
    else at->nodes[depth - 1]->slots[at->at[depth - 1]].child = copy;
    at->nodes[depth] = copy;
    if (retire(it, node, WHAT_NODE, node->birth) < 0) return NULL;
    return copy;
}

static int own_path(forest *it, tree_place *at) {
    for (int32_t depth = 0; depth < at->height; depth++)
        if (!node_own(it, at, depth)) return -1;
    return 0;
}

/* The shortest bytes that are above `left` and not above `right`. */
static tree_separator *separator_between(forest *it, const tree_node *left, const tree_node *right) {
    uint32_t a_length, b_length, length;
    const uint8_t *a = node_key(left, left->count - 1u, &a_length), *b = node_key(right, 0, &b_length);
    length = shared_prefix(a, a_length, b, b_length) + 1;
    tree_separator *made = (tree_separator *)malloc(sizeof *made + length);
    if (!made) return NULL;
    made->birth = it->writing;
    made->length = length;
    memcpy(made->bytes, b, length);
    return made;
}

/* Moves what lies from `from` on into a new right sibling. */
static tree_node *split_off(forest *it, tree_node *left, uint32_t from) {
    tree_node *right = node_new(it, left->level);
    if (!right) return NULL;
    uint32_t count = left->count - from;
    right->count = (uint16_t)count;
    right->skip = left->skip;
    memcpy(right->heads, left->heads + from, count * sizeof *left->heads);
    memcpy(right->slots, left->slots + from, count * sizeof *left->slots);
    if (left->level)
        memcpy(((tree_inner *)(void *)right)->keys, ((tree_inner *)(void *)left)->keys + from,
               count * sizeof(tree_separator *));
    left->count = (uint16_t)from;
    return right;
}

/* Hangs `right` behind the node at `depth`, splitting upwards as needed. Takes over the separator. */
static int hang(forest *it, tree_place *at, int32_t depth, tree_node *right, tree_separator *separator) {
    while (1) {
        if (depth == 0) {
            tree_node *left = at->nodes[0], *root = node_new(it, left->level + 1u);
            if (!root || root->level >= TREE_HEIGHT_MAX) return -1;
            root->slots[0].child = left;
            root->heads[0] = 0;
            ((tree_inner *)(void *)root)->keys[0] = NULL;
            root->count = 1;
            node_insert(root, 1, separator->bytes, separator->length, right, separator);
            it->working.roots[at->table] = root;
            return 0;
        }
        tree_node *parent = at->nodes[--depth];
        uint32_t place = at->at[depth] + 1u;
        if (parent->count < TREE_FANOUT) {
            node_insert(parent, place, separator->bytes, separator->length, right, separator);
            return 0;
        }
        /* The separator in the middle moves up; behind the last child nothing but the new one moves. */
        uint32_t middle = place == TREE_FANOUT ? TREE_FANOUT : TREE_FANOUT / 2;
        tree_node *beside;
        tree_separator *up;
        if (middle == TREE_FANOUT) {
            beside = node_new(it, parent->level);
            if (!beside) return -1;
            beside->count = 1;
            beside->heads[0] = 0;
            beside->slots[0].child = right;
            ((tree_inner *)(void *)beside)->keys[0] = NULL;
            up = separator;
        } else {
            beside = split_off(it, parent, middle);
            if (!beside) return -1;
            up = ((tree_inner *)(void *)beside)->keys[0];
            ((tree_inner *)(void *)beside)->keys[0] = NULL;
            beside->heads[0] = 0;
            node_refresh(parent);
            node_refresh(beside);
            if (place <= middle)
                node_insert(parent, place, separator->bytes, separator->length, right, separator);
            else
                node_insert(beside, place - middle, separator->bytes, separator->length, right, separator);
        }
        right = beside;
        separator = up;
    }
}

int forest_set(forest *it, tree_place *at, item *row) {
    int32_t last = at->height - 1;
    it->working.bytes += item_cost(row);
    if (at->height == 0) {
        tree_node *leaf = node_new(it, 0);
        if (!leaf) return -1;
        it->working.roots[at->table] = leaf;
        node_insert(leaf, 0, item_key(row), row->key_length, row, NULL);
        it->working.counts[at->table]++;
        return 0;
    }
    if (own_path(it, at) < 0) return -1;
    tree_node *leaf = at->nodes[last];
    uint32_t place = at->at[last];
    if (at->found) {
        leaf->slots[place].item = row;
        it->working.bytes -= item_cost(at->found);
        return retire(it, at->found, WHAT_ITEM, at->found->mod_revision);
    }
    it->working.counts[at->table]++;
    if (leaf->count < TREE_FANOUT) {
        node_insert(leaf, place, item_key(row), row->key_length, row, NULL);
        return 0;
    }
    /* Keys that come in order fill their leaves: behind the last one only the new item moves. */
    tree_node *right;
    if (place == TREE_FANOUT) {
        right = node_new(it, 0);
        if (!right) return -1;
        node_insert(right, 0, item_key(row), row->key_length, row, NULL);
    } else {
        right = split_off(it, leaf, TREE_FANOUT / 2);
        if (!right) return -1;
        if (place <= TREE_FANOUT / 2) node_insert(leaf, place, item_key(row), row->key_length, row, NULL);
        else node_insert(right, place - TREE_FANOUT / 2, item_key(row), row->key_length, row, NULL);
        node_refresh(leaf);
        node_refresh(right);
    }
    tree_separator *separator = separator_between(it, leaf, right);
    if (!separator) return -1;
    return hang(it, at, last, right, separator);
}

/* Takes the child at `place` out of an inner node; its separator, or for the first child the one behind, is retired. */
static int drop_child(forest *it, tree_node *parent, uint32_t place) {
    tree_inner *inner = (tree_inner *)(void *)parent;
    uint32_t gone = place ? place : 1u;
    if (parent->count > 1) {
        if (retire(it, inner->keys[gone], WHAT_PLAIN, inner->keys[gone]->birth) < 0) return -1;
        uint32_t behind = parent->count - gone - 1u;
        memmove(inner->keys + gone, inner->keys + gone + 1, behind * sizeof *inner->keys);
        memmove(parent->heads + gone, parent->heads + gone + 1, behind * sizeof *parent->heads);
    }
    memmove(parent->slots + place, parent->slots + place + 1, (parent->count - place - 1u) * sizeof *parent->slots);
    parent->count--;
    return 0;
}

/* Joins the node at `depth` with a neighbour under the same parent if both are thin enough. */
static int maybe_merge(forest *it, tree_place *at, int32_t depth) {
    tree_node *parent = at->nodes[depth - 1], *node = at->nodes[depth], *left, *right;
    uint32_t place = at->at[depth - 1], kept;
    if (node->count >= TREE_FANOUT / 4 || parent->count < 2) return 0;
    if (place == 0) place = 1;
    left = parent->slots[place - 1].child;
    right = parent->slots[place].child;
    if (left->count + right->count > TREE_FANOUT * 3 / 4) return 0;
    /* The left one must be the writer's own; the right one is only read. */
    if (left->birth <= it->published_at) {
        tree_place beside = *at;
        beside.nodes[depth] = left;
        beside.at[depth - 1] = (uint16_t)(place - 1);
        left = node_own(it, &beside, depth);
        if (!left) return -1;
    }
    kept = left->count;
    memcpy(left->heads + kept, right->heads, right->count * sizeof *left->heads);
    memcpy(left->slots + kept, right->slots, right->count * sizeof *left->slots);
    left->count = (uint16_t)(kept + right->count);
    if (left->level) {
        tree_inner *a = (tree_inner *)(void *)left, *b = (tree_inner *)(void *)right;
        const tree_separator *between = ((tree_inner *)(void *)parent)->keys[place];
        memcpy(a->keys + kept, b->keys, right->count * sizeof *a->keys);
        /* A copy of the parent's separator, because the parent retires its own. */
        tree_separator *copy = (tree_separator *)malloc(sizeof *copy + between->length);
        if (!copy) return -1;
        copy->birth = it->writing;
        copy->length = between->length;
        memcpy(copy->bytes, between->bytes, between->length);
        a->keys[kept] = copy;
    }
    left->skip = UINT16_MAX; /* so that node_refresh makes all heads anew */
    node_refresh(left);
    if (retire(it, right, WHAT_NODE, right->birth) < 0) return -1;
    return drop_child(it, parent, place);
}

int forest_remove(forest *it, tree_place *at) {
    int32_t depth = at->height - 1;
    if (!at->found || own_path(it, at) < 0) return -1;
    tree_node *leaf = at->nodes[depth];
    uint32_t place = at->at[depth], behind = leaf->count - place - 1u;
    memmove(leaf->heads + place, leaf->heads + place + 1, behind * sizeof *leaf->heads);
    memmove(leaf->slots + place, leaf->slots + place + 1, behind * sizeof *leaf->slots);
    leaf->count--;
    it->working.counts[at->table]--;
    it->working.bytes -= item_cost(at->found);
    if (retire(it, at->found, WHAT_ITEM, at->found->mod_revision) < 0) return -1;
    while (depth > 0) {
        tree_node *node = at->nodes[depth];
        if (node->count == 0) {
            if (drop_child(it, at->nodes[depth - 1], at->at[depth - 1]) < 0) return -1;
            if (retire(it, node, WHAT_NODE, node->birth) < 0) return -1;
        } else if (maybe_merge(it, at, depth) < 0) {
            return -1;
        }
        depth--;
    }
    tree_node *root = it->working.roots[at->table];
    while (root->level ? root->count <= 1 : root->count == 0) {
        tree_node *below = root->level && root->count ? root->slots[0].child : NULL;
        if (retire(it, root, WHAT_NODE, root->birth) < 0) return -1;
        it->working.roots[at->table] = root = below;
        if (!root) break;
    }
    return 0;
}

/* ---- versions --------------------------------------------------------------------------------------------------------- */

void forest_write_at(forest *it, uint64_t index) { it->writing = index; }
const tree_node *forest_root(const forest *it, uint32_t table) { return it->working.roots[table]; }
uint64_t forest_count(const forest *it, uint32_t table) { return it->working.counts[table]; }
uint64_t forest_bytes(const forest *it) { return it->working.bytes; }

int forest_publish(forest *it, uint64_t index) {
    tree_version *fresh = (tree_version *)malloc(sizeof *fresh), *old = it->published;
    if (!fresh) return -1;
    uint64_t budget = RECLAIM_BUDGET + 2 * it->taken;
    *fresh = it->working;
    fresh->revision = index;
    __atomic_store_n(&it->published, fresh, __ATOMIC_SEQ_CST);
    it->writing = index;
    /* The old version was visible until now, whatever its revision says of it; a hold has a copy of its own. */
    retired gone = {(uintptr_t)old | WHAT_PLAIN, UINT64_MAX, index};
    if (queue_push(&it->queue, gone) < 0) return -1;
    __atomic_store_n(&it->published_at, index, __ATOMIC_SEQ_CST);
    it->taken = 0;
    return reclaim(it, budget);
}

int forest_adopt(forest *it, forest *from, uint64_t index) {
    it->writing = index;
    for (uint32_t i = 0; i < TREE_TABLES; i++) {
        /* A tree is retired whole; whatever version shows it, it was born before. */
        if (it->working.roots[i] && retire(it, it->working.roots[i], WHAT_TREE, 0) < 0) return -1;
    }
    it->working = from->working;
    it->live_nodes += from->live_nodes;
    it->live_bytes += from->live_bytes;
    memset(&from->working, 0, sizeof from->working);
    return forest_publish(it, index);
}

forest_hold *forest_keep(forest *it) {
    if (reclaim(it, RECLAIM_BUDGET) < 0) return NULL; /* so that places of dropped holds are free */
    for (uint32_t i = 0; i < TREE_HOLDS; i++) {
        forest_hold *hold = &it->holds[i];
        if (hold->version) continue;
        hold->version = (tree_version *)malloc(sizeof *hold->version);
        if (!hold->version) return NULL;
        *hold->version = *it->published;
        hold->owner = it;
        hold->dropped = 0;
        return hold;
    }
    return NULL;
}

const tree_version *forest_held(const forest_hold *it) { return it->version; }
void forest_drop(forest_hold *it) { __atomic_store_n(&it->dropped, 1u, __ATOMIC_RELEASE); }

const tree_version *forest_pin(forest *it, uint32_t *ticket) {
    /* Where this thread's stack lies spreads threads over the slots without a thread-local variable. */
    uint32_t slot = (uint32_t)(((uintptr_t)ticket >> 14) * 0x9E3779B1u) >> 26;
    for (;; slot = (slot + 1) % TREE_PINS) {
        uint64_t empty = 0, seen = __atomic_load_n(&it->published_at, __ATOMIC_ACQUIRE) + 1;
        /* The announcement is ordered before the load below: a writer whose scan missed it had published before. */
        if (__atomic_compare_exchange_n(&it->pins[slot].announced, &empty, seen, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            break;
    }
    *ticket = slot;
    return __atomic_load_n(&it->published, __ATOMIC_SEQ_CST);
}

void forest_unpin(forest *it, uint32_t ticket) { __atomic_store_n(&it->pins[ticket].announced, 0, __ATOMIC_RELEASE); }

forest_figures forest_measure(const forest *it) {
    forest_figures out = {it->live_nodes, it->queue.count, it->live_bytes};
    for (uint32_t i = 0; i < TREE_HOLDS; i++) out.retired += it->holds[i].waiting.count;
    return out;
}
