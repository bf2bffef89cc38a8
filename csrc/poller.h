/* Waiting for descriptors: epoll on Linux, poll(2) elsewhere or with POLLER_USE_POLL, one interface; a wake-up from other
 * threads; and the clock by which a node lives. Knows nothing of protocols and owns no descriptor but its own. */
#ifndef QUORATE_POLLER_H
#define QUORATE_POLLER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    POLLER_READ = 1,
    POLLER_WRITE = 2,
    POLLER_CLOSED = 4 /* the other side is gone, or there is an error: read it out, then close */
};

typedef struct poller poller;

typedef struct poller_event {
    uint64_t token; /* as given to poller_add */
    uint32_t ready; /* POLLER_READ, POLLER_WRITE, POLLER_CLOSED */
} poller_event;

/* Which of the two this build uses: "epoll" or "poll". */
const char *poller_name(void);

/* For at most `capacity` descriptors at a time. NULL with errno if the system refuses. All descriptors are close-on-exec. */
poller *poller_new(size_t capacity);
void poller_free(poller *it);

/* Watch `descriptor` for `interest` (level-triggered), under a token of the caller's. 0, or an errno: EEXIST, ENOENT, ENOSPC
 * for one too many. A descriptor must be removed before it is closed. */
int poller_add(poller *it, int descriptor, uint32_t interest, uint64_t token);
int poller_change(poller *it, int descriptor, uint32_t interest);
int poller_remove(poller *it, int descriptor);

/* Wait until something is ready, poller_wake was called, or clock_microseconds() reaches `deadline` (0: do not wait,
 * UINT64_MAX: no deadline). Returns how many of `events` were filled, or -1 with errno. An interrupting signal ends the wait
 * with 0. Wakes up not before the deadline, so that what is due then is due. */
int poller_wait(poller *it, poller_event *events, size_t most, uint64_t deadline);

/* From any thread, and from a signal handler: end the current wait, or the next one at once. */
void poller_wake(poller *it);

/* Microseconds of a clock that never goes back and, where the system has one, counts the time that the machine was
 * suspended: a lease must run out while its holder sleeps. */
uint64_t clock_microseconds(void);

#ifdef __cplusplus
}
#endif
#endif
