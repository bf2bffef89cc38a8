/* Looks a host's name up in a thread of its own, because the system's resolver blocks, for many seconds if a name server is
 * silent. Names are looked up anew each time, so that a host may move.
 *
 * A lookup that nobody waits for any more is abandoned: its thread frees it when the resolver comes back. Knows nothing of
 * what is done with addresses. */
#ifndef QUORATE_LOOKUP_H
#define QUORATE_LOOKUP_H

#include "net.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LOOKUP_HOST_MAX = 255, LOOKUP_FOUND_MAX = 8, LOOKUP_PENDING = -1 };

typedef struct lookup lookup;

/* Begins. `done` is called once, from the other thread and under a lock that lookup_free takes too: it may wake somebody, and
 * do no more. NULL if the name is too long, memory is short or the system has no thread to give. */
lookup *lookup_start(const char *host, uint16_t port, void (*done)(void *context), void *context);

/* What was found: how many of `found` were filled, 0 if nothing, and then `*reason` says why (for lookup_text);
 * LOOKUP_PENDING if it is not over. */
int lookup_take(lookup *it, net_address *found, size_t most, int *reason);

/* Over: frees it, or leaves that to its thread. `done` is not called any more once this has returned. */
void lookup_free(lookup *it);

/* A reason in words. */
const char *lookup_text(int reason);

#ifdef __cplusplus
}
#endif
#endif
