/* Ordered copy-on-write tables: a forest of B+trees that one thread changes while any number of threads read.
 *
 * One writer (the apply thread) changes its working trees and publishes them, all at once, as an immutable *version*. A
 * reader pins, reads the published version, retains the items that it wants and unpins; the writer never waits for it. A
 * *hold* keeps one exact version for long (a snapshot).
 *
 * Reclamation. Time is the log index. Each node and item knows its birth, the index at which it was made; when it leaves the
 * working tree it is retired with the current index. A version published at V sees exactly what has birth <= V < retired.
 *   - What was born after the last publication was never visible: it is changed in place and freed at once.
 *   - A pin announces the last published index P that its reader saw before it loaded the version; what was retired at or
 *     before the least P is out of every reader's sight.
 *   - A hold names its version exactly, so what is older or younger than it is freed while it lasts; what it sees waits in
 *     its own list and is freed in small portions after it is dropped.
 *
 * A node keeps, for each of its keys, the eight bytes after the prefix that all its keys share, so that a search touches a
 * key only to confirm it. */
#ifndef QUORATE_TREE_H
#define QUORATE_TREE_H

#include "item.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TREE_FANOUT = 62,     /* a leaf is just below 1 KiB, the largest block that malloc's fast path serves */
    TREE_HEIGHT_MAX = 16, /* 2^16 leaves at the least possible fill; the fill in practice gives height 4 at a million */
    TREE_TABLES = 10,
    TREE_HOLDS = 8,
    TREE_PINS = 64,
    TREE_KEY_MAX = 8192 /* longest key of any table, 16 bits with room */
};

typedef struct tree_separator {
    uint64_t birth;
    uint32_t length;
    uint8_t bytes[];
} tree_separator;

typedef struct tree_node {
    uint64_t birth;
    uint16_t count; /* items of a leaf, children of an inner node */
    uint16_t skip;  /* bytes that all keys of this node share */
    uint16_t level; /* 0 for a leaf */
    uint16_t spare;
    uint64_t heads[TREE_FANOUT]; /* big-endian bytes [skip, skip + 8) of each key; of an inner node from [1] on */
    union tree_slot {
        item *item;
        struct tree_node *child;
    } slots[TREE_FANOUT];
} tree_node;

/* An inner node: children[i] holds the keys >= keys[i]; keys[0] is not used. */
typedef struct tree_inner {
    tree_node node;
    tree_separator *keys[TREE_FANOUT];
} tree_inner;

/* All tables as they were at one log index. */
typedef struct tree_version {
    uint64_t revision;
    uint64_t bytes; /* of all items, by item_cost */
    uint64_t counts[TREE_TABLES];
    tree_node *roots[TREE_TABLES]; /* NULL if empty */
} tree_version;

typedef struct forest forest;
typedef struct forest_hold forest_hold;

/* Where a key is, or would be, in the writer's working tree. Good until the next change of that table. */
typedef struct tree_place {
    uint32_t table;
    int32_t height; /* nodes on the path; 0 in an empty tree */
    item *found;    /* borrowed; NULL if the key is not there */
    const uint8_t *key;
    uint32_t key_length;
    uint16_t at[TREE_HEIGHT_MAX];
    tree_node *nodes[TREE_HEIGHT_MAX];
} tree_place;

typedef struct tree_cursor {
    int32_t height; /* 0 at the end */
    uint16_t at[TREE_HEIGHT_MAX];
    const tree_node *nodes[TREE_HEIGHT_MAX];
} tree_cursor;

typedef struct forest_figures {
    uint64_t nodes;   /* live and retired */
    uint64_t retired; /* things that wait for a reader or a hold */
    uint64_t node_bytes;
} forest_figures;

/* ---- the writer ------------------------------------------------------------------------------------------------- */

forest *forest_new(void); /* NULL if memory is short */
void forest_free(forest *it); /* nobody may have it pinned or held */

/* Looks a key up in the working tree. Changes nothing. `key` must stay until the place is used. */
void forest_seek(const forest *it, uint32_t table, const void *key, uint32_t length, tree_place *out);
/* For batches: brings what a later forest_seek of this key will touch near to the core, in two steps, so that the misses of
 * many keys overlap. First the leaf, then, when it has come, the item in it. Nothing may be changed between the two. */
const tree_node *forest_near_leaf(const forest *it, uint32_t table, const void *key, uint32_t length);
void forest_near_item(const tree_node *leaf, const void *key, uint32_t length);
item *forest_get(const forest *it, uint32_t table, const void *key, uint32_t length); /* borrowed, or NULL */

/* item_new from the memory of items that were freed here; for the writer. */
item *forest_item(forest *it, const void *key, uint16_t key_length, uint32_t value_length);
/* Puts an item at the place that was sought with its key; takes over one reference. Its mod_revision is the index being
 * applied. 0, or -1 if memory is short; after -1 the forest may only be freed. */
int forest_set(forest *it, tree_place *at, item *row);
/* Removes the item that was found at this place. */
int forest_remove(forest *it, tree_place *at);
/* Makes everything up to `index` visible at once, and frees what nobody can see any more. Index grows strictly. */
int forest_publish(forest *it, uint64_t index);
/* Replaces all tables by those of `from`, a forest without readers that was filled by restoring, and publishes them at
 * `index`. `from` is left empty. */
int forest_adopt(forest *it, forest *from, uint64_t index);
/* Frees about `budget` things that waited; returns how many still wait (a whole tree counts as one). For idle times. */
uint64_t forest_reclaim(forest *it, uint32_t budget);
/* The index that retired things carry: that of the entry being applied. */
void forest_write_at(forest *it, uint64_t index);
const tree_node *forest_root(const forest *it, uint32_t table); /* of the working tree, for a cursor */
uint64_t forest_count(const forest *it, uint32_t table);
uint64_t forest_bytes(const forest *it);
forest_figures forest_measure(const forest *it);

/* Keeps the published version; NULL if TREE_HOLDS exist already. On the writer's thread. */
forest_hold *forest_keep(forest *it);
const tree_version *forest_held(const forest_hold *it);
/* Gives the version back; from any thread. */
void forest_drop(forest_hold *it);

/* ---- readers, any thread ------------------------------------------------------------------------------------------ */

/* The published version, safe until forest_unpin with the same ticket. Waits only while TREE_PINS other readers are
 * pinned. Keep it short: what the writer retires meanwhile is not freed. */
const tree_version *forest_pin(forest *it, uint32_t *ticket);
void forest_unpin(forest *it, uint32_t ticket);

const item *tree_get(const tree_node *root, const void *key, uint32_t length); /* borrowed, or NULL */
/* The first item with a key >= `key`. */
void tree_seek(tree_cursor *it, const tree_node *root, const void *key, uint32_t length);
void tree_next(tree_cursor *it);
static inline const item *tree_at(const tree_cursor *it) {
    return it->height ? it->nodes[it->height - 1]->slots[it->at[it->height - 1]].item : NULL;
}
/* How many items have start <= key < end; `end` NULL for all that follow. Counts whole leaves without touching them. */
uint64_t tree_count(const tree_node *root, const void *start, uint32_t start_length, const void *end, uint32_t end_length);
int tree_compare(const void *a, uint32_t a_length, const void *b, uint32_t b_length);

#ifdef __cplusplus
}
#endif
#endif
