/* The mailbox: order, bounds, closing; and four producers against a consumer that sleeps whenever it may, where nothing is
 * lost, doubled or out of its producer's order, and no wake-up is missed. */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include "../mailbox.h"

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

enum { PRODUCERS = 4, EACH = 50000 };

typedef struct shared {
    mailbox *box;
    sem_t wake; /* stands for the event descriptor of the poller */
} shared;

typedef struct producer {
    shared *with;
    uintptr_t number;
    size_t refused;
} producer;

static void *produce(void *argument) {
    producer *it = argument;
    for (uintptr_t i = 1; i <= EACH;) {
        switch (mailbox_put(it->with->box, (void *)(it->number << 32 | i))) {
        case MAILBOX_WAKE: CHECK(sem_post(&it->with->wake) == 0); i++; break;
        case MAILBOX_PUT: i++; break;
        case MAILBOX_FULL: it->refused++; sched_yield(); break;
        default: CHECK(0);
        }
    }
    return NULL;
}

static void many_to_one(size_t capacity) {
    shared with;
    producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    uintptr_t last[PRODUCERS] = {0};
    CHECK((with.box = mailbox_new(capacity)) && sem_init(&with.wake, 0, 0) == 0);
    for (uintptr_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (producer){&with, i, 0};
        CHECK(pthread_create(&threads[i], NULL, produce, &producers[i]) == 0);
    }
    for (size_t seen = 0; seen < (size_t)PRODUCERS * EACH;) {
        uintptr_t item = (uintptr_t)mailbox_take(with.box);
        if (item) {
            CHECK((item & 0xFFFFFFFFu) == ++last[item >> 32]);
            seen++;
        } else if (mailbox_sleeps(with.box)) {
            CHECK(sem_wait(&with.wake) == 0); /* hangs for ever if a wake-up is missed */
            mailbox_awake(with.box);
        }
    }
    for (int i = 0; i < PRODUCERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(mailbox_take(with.box) == NULL && mailbox_size(with.box) == 0);
    sem_destroy(&with.wake);
    mailbox_free(with.box);
}

int main(void) {
    int items[9];
    CHECK(mailbox_new(0) == NULL && mailbox_new(3) == NULL && mailbox_new((size_t)1 << 21) == NULL);
    mailbox *it = mailbox_new(8);
    CHECK(it && mailbox_take(it) == NULL);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 8; i++) {
            CHECK(mailbox_crowded(it) == 0);
            CHECK(mailbox_put(it, &items[i]) == MAILBOX_PUT);
        }
        CHECK(mailbox_crowded(it));
        CHECK(mailbox_size(it) == 8 && mailbox_put(it, &items[8]) == MAILBOX_FULL);
        for (int i = 0; i < 8; i++) CHECK(mailbox_take(it) == &items[i]);
        CHECK(mailbox_take(it) == NULL);
    }
    CHECK(mailbox_sleeps(it) == 1);
    CHECK(mailbox_put(it, &items[0]) == MAILBOX_WAKE); /* one waker is enough */
    CHECK(mailbox_put(it, &items[1]) == MAILBOX_PUT);
    CHECK(mailbox_sleeps(it) == 0);                    /* something is there */
    CHECK(mailbox_put(it, &items[2]) == MAILBOX_PUT);
    mailbox_close(it);
    CHECK(mailbox_put(it, &items[3]) == MAILBOX_CLOSED);
    for (int i = 0; i < 3; i++) CHECK(mailbox_take(it) == &items[i]);
    CHECK(mailbox_take(it) == NULL);
    mailbox_free(it);
    mailbox_free(NULL);
    many_to_one(2);
    many_to_one(1024);
    return 0;
}
