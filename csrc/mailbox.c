#include "mailbox.h"

#include <stdlib.h>

typedef struct cell {
    size_t turn; /* = place: free for the producer of that place; = place + 1: filled for the consumer of it */
    void *item;
} cell;

struct mailbox {
    /* Producers and the consumer write to different cache lines, so that they do not slow each other. */
    _Alignas(64) size_t head;  /* next place to be filled; producers, by compare and swap */
    _Alignas(64) size_t tail;  /* next place to be taken; the consumer alone */
    _Alignas(64) int asleep;   /* set by the consumer, cleared by whoever wakes it */
    int closed;
    size_t mask;
    cell *cells;
};

mailbox *mailbox_new(size_t capacity) {
    if (capacity < 2 || capacity > (size_t)1 << 20 || (capacity & (capacity - 1))) return NULL;
    mailbox *it = aligned_alloc(64, sizeof(mailbox));
    if (!it) return NULL;
    memset(it, 0, sizeof *it);
    it->cells = malloc(capacity * sizeof(cell));
    if (!it->cells) {
        free(it);
        return NULL;
    }
    it->mask = capacity - 1;
    for (size_t i = 0; i < capacity; i++) it->cells[i] = (cell){i, NULL};
    return it;
}

void mailbox_free(mailbox *it) {
    if (it) free(it->cells);
    free(it);
}

enum mailbox_result mailbox_put(mailbox *it, void *item) {
    size_t place = __atomic_load_n(&it->head, __ATOMIC_RELAXED);
    cell *at;
    for (;;) {
        if (__atomic_load_n(&it->closed, __ATOMIC_ACQUIRE)) return MAILBOX_CLOSED;
        at = &it->cells[place & it->mask];
        size_t turn = __atomic_load_n(&at->turn, __ATOMIC_ACQUIRE);
        if (turn == place) {
            if (__atomic_compare_exchange_n(&it->head, &place, place + 1, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) break;
        } else if ((intptr_t)(turn - place) < 0) {
            return MAILBOX_FULL; /* the cell still holds what was put one round ago */
        } else {
            place = __atomic_load_n(&it->head, __ATOMIC_RELAXED);
        }
    }
    at->item = item;
    /* Sequentially consistent here and in mailbox_sleeps: this stores the turn and then looks at `asleep`, the consumer stores
     * `asleep` and then looks at the turn, and one of the two has to see the other. */
    __atomic_store_n(&at->turn, place + 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&it->asleep, __ATOMIC_SEQ_CST) && __atomic_exchange_n(&it->asleep, 0, __ATOMIC_ACQ_REL)) return MAILBOX_WAKE;
    return MAILBOX_PUT;
}

void *mailbox_take(mailbox *it) {
    cell *at = &it->cells[it->tail & it->mask];
    if (__atomic_load_n(&at->turn, __ATOMIC_SEQ_CST) != it->tail + 1) return NULL;
    void *item = at->item;
    __atomic_store_n(&at->turn, it->tail + it->mask + 1, __ATOMIC_RELEASE);
    __atomic_store_n(&it->tail, it->tail + 1, __ATOMIC_RELAXED);
    return item;
}

int mailbox_sleeps(mailbox *it) {
    __atomic_store_n(&it->asleep, 1, __ATOMIC_SEQ_CST);
    const cell *at = &it->cells[it->tail & it->mask];
    if (__atomic_load_n(&at->turn, __ATOMIC_SEQ_CST) != it->tail + 1) return 1;
    mailbox_awake(it);
    return 0;
}

void mailbox_awake(mailbox *it) { __atomic_store_n(&it->asleep, 0, __ATOMIC_RELAXED); }

/* Sequentially consistent, as the store of a turn in mailbox_put: of a producer that puts and then looks whether it is closed,
 * and a consumer that closes and then looks for items, one sees the other. */
void mailbox_close(mailbox *it) { __atomic_store_n(&it->closed, 1, __ATOMIC_SEQ_CST); }

int mailbox_closed(const mailbox *it) { return __atomic_load_n(&it->closed, __ATOMIC_SEQ_CST); }

size_t mailbox_size(const mailbox *it) {
    size_t head = __atomic_load_n(&it->head, __ATOMIC_ACQUIRE), tail = __atomic_load_n(&it->tail, __ATOMIC_ACQUIRE);
    return head - tail;
}

int mailbox_crowded(const mailbox *it) { return mailbox_size(it) > it->mask - (it->mask >> 3); }
