/* A bounded queue from many threads to one: how Python's threads hand requests to a native thread.
 *
 * Putting and taking are a few atomic operations and no lock (after Vyukov's bounded queue: each cell has a turn number that
 * says whose it is). A full mailbox refuses, so that pressure reaches the producer. The consumer says when it goes to sleep;
 * the put that finds it asleep is told to wake it, so that a busy consumer costs no system call.
 *
 * Items are pointers that the mailbox only carries; ownership goes with them. Knows nothing of what they point to. */
#ifndef QUORATE_MAILBOX_H
#define QUORATE_MAILBOX_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mailbox mailbox;

enum mailbox_result {
    MAILBOX_FULL = -1,    /* nothing was put; try later */
    MAILBOX_CLOSED = -2,  /* nothing was put, and nothing will be */
    MAILBOX_PUT = 0,      /* put; the consumer is awake or was told already */
    MAILBOX_WAKE = 1      /* put; the consumer sleeps, and this producer has to wake it */
};

/* For `capacity` items, a power of two from 2 to 2^20; NULL for another number or if memory is short. */
mailbox *mailbox_new(size_t capacity);

/* Nobody may use it any more. Items still inside are the caller's to take out before. */
void mailbox_free(mailbox *it);

/* From any thread. */
enum mailbox_result mailbox_put(mailbox *it, void *item);

/* From the consumer alone: the oldest item, or NULL if there is none. */
void *mailbox_take(mailbox *it);

/* From the consumer alone: says that it will sleep. False if something came meanwhile: then it must not sleep. */
int mailbox_sleeps(mailbox *it);

/* From the consumer alone: it is awake again, for whatever reason. */
void mailbox_awake(mailbox *it);

/* From any thread: later puts are refused. Items inside stay to be taken. A put at the same instant may come in behind the
 * consumer's last look: a producer that finds the mailbox closed after its put knows that it may have been that one. */
void mailbox_close(mailbox *it);
int mailbox_closed(const mailbox *it);

/* About how many items are inside; exact when nobody puts or takes. */
size_t mailbox_size(const mailbox *it);

/* Whether only the last eighth of the places is free: for who keeps it for what must not be refused. As of some instant. */
int mailbox_crowded(const mailbox *it);

#ifdef __cplusplus
}
#endif
#endif
