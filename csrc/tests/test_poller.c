/* The poller of this build, and (compiled again with POLLER_USE_POLL) the other one: readiness, interest, closing, tokens,
 * bounds, deadlines, wake-ups from another thread. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef POLLER_USE_POLL
#include "../poller.c"
#else
#include "../poller.h"
#endif

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

static void *wake_soon(void *it) {
    poller_wake(it);
    return NULL;
}

int main(void) {
    poller_event events[4];
    int a[2], b[2], c[2];
    char text[8];
    CHECK(poller_new(0) == NULL && errno == EINVAL);
    poller *it = poller_new(2);
    CHECK(it && poller_name()[0]);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, a) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, b) == 0 && pipe(c) == 0);

    CHECK(poller_add(it, a[0], POLLER_READ, 11) == 0 && poller_add(it, a[0], POLLER_READ, 11) == EEXIST);
    CHECK(poller_add(it, b[0], POLLER_READ | POLLER_WRITE, 1ull << 63) == 0);
    CHECK(poller_add(it, c[0], POLLER_READ, 13) == ENOSPC && poller_add(it, -1, POLLER_READ, 1) == EBADF);
    CHECK(poller_change(it, c[0], POLLER_READ) == ENOENT && poller_remove(it, c[0]) == ENOENT);

    CHECK(poller_wait(it, events, 4, 0) == 1 && events[0].token == 1ull << 63 && events[0].ready == POLLER_WRITE);
    CHECK(poller_change(it, b[0], POLLER_READ) == 0 && poller_wait(it, events, 4, 0) == 0);
    CHECK(write(a[1], "hello", 5) == 5);
    for (int i = 0; i < 2; i++) { /* level-triggered: told until it is read */
        CHECK(poller_wait(it, events, 4, UINT64_MAX) == 1 && events[0].token == 11 && events[0].ready == POLLER_READ);
    }
    CHECK(read(a[0], text, sizeof text) == 5 && poller_wait(it, events, 4, 0) == 0);

    /* Two are ready and there is room for one: nobody is starved. */
    CHECK(write(a[1], "x", 1) == 1 && write(b[1], "x", 1) == 1);
    int seen_a = 0, seen_b = 0;
    for (int i = 0; i < 16 && !(seen_a && seen_b); i++) {
        CHECK(poller_wait(it, events, 1, 0) <= 1);
        seen_a |= events[0].token == 11;
        seen_b |= events[0].token == 1ull << 63;
    }
    CHECK(poller_wait(it, events, 4, 0) == 2);
    CHECK(read(a[0], text, sizeof text) == 1 && read(b[0], text, sizeof text) == 1);

    close(a[1]);
    CHECK(poller_wait(it, events, 4, UINT64_MAX) == 1 && events[0].token == 11 && (events[0].ready & POLLER_CLOSED));
    CHECK(poller_remove(it, a[0]) == 0 && poller_wait(it, events, 4, 0) == 0);
    CHECK(poller_add(it, c[0], POLLER_READ, 13) == 0 && write(c[1], "x", 1) == 1);
    CHECK(poller_wait(it, events, 4, UINT64_MAX) == 1 && events[0].token == 13);
    CHECK(read(c[0], text, sizeof text) == 1);

    uint64_t begin = clock_microseconds();
    CHECK(poller_wait(it, events, 4, begin + 3000) == 0 && clock_microseconds() >= begin + 3000);
    poller_wake(it); /* before the wait */
    CHECK(poller_wait(it, events, 4, UINT64_MAX) == 0 && poller_wait(it, events, 4, 0) == 0);
    for (int i = 0; i < 100000; i++) poller_wake(it); /* more than the pipe holds */
    CHECK(poller_wait(it, events, 4, UINT64_MAX) == 0 && poller_wait(it, events, 4, 0) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, wake_soon, it) == 0);
    CHECK(poller_wait(it, events, 4, UINT64_MAX) == 0); /* hangs for ever if the wake-up is lost */
    CHECK(pthread_join(thread, NULL) == 0);

    poller_free(it);
    poller_free(NULL);
    close(a[0]), close(b[0]), close(b[1]), close(c[0]), close(c[1]);
    return 0;
}
