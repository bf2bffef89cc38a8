#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "lookup.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct lookup {
    pthread_mutex_t lock;
    void (*done)(void *context);
    void *context;
    int over;      /* the thread will not touch it any more once it has let go of the lock */
    int abandoned; /* the thread has to free it */
    int reason;
    int count;
    net_address found[LOOKUP_FOUND_MAX];
    char port[8];
    char host[LOOKUP_HOST_MAX + 1];
};

static void destroy(lookup *it) {
    pthread_mutex_destroy(&it->lock);
    free(it);
}

static void *run(void *context) {
    lookup *it = context;
#ifdef __linux__
    pthread_setname_np(pthread_self(), "quorate-lookup");
#endif
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int reason = getaddrinfo(it->host, it->port, &hints, &list);
    int count = 0;
    net_address found[LOOKUP_FOUND_MAX];
    for (struct addrinfo *at = reason ? NULL : list; at && count < LOOKUP_FOUND_MAX; at = at->ai_next) {
        if (at->ai_addrlen > sizeof found->storage) continue;
        memset(&found[count], 0, sizeof *found);
        memcpy(&found[count].storage, at->ai_addr, at->ai_addrlen);
        found[count++].length = (uint32_t)at->ai_addrlen;
    }
    if (list) freeaddrinfo(list);
    pthread_mutex_lock(&it->lock);
    int abandoned = it->abandoned;
    if (!abandoned) {
        memcpy(it->found, found, (size_t)count * sizeof *found);
        it->count = count;
        it->reason = reason ? reason : count ? 0 : EAI_NONAME;
        it->over = 1;
        it->done(it->context);
    }
    pthread_mutex_unlock(&it->lock);
    if (abandoned) destroy(it);
    return NULL;
}

lookup *lookup_start(const char *host, uint16_t port, void (*done)(void *context), void *context) {
    size_t length = strlen(host);
    if (length == 0 || length > LOOKUP_HOST_MAX) return NULL;
    lookup *it = calloc(1, sizeof *it);
    if (!it) return NULL;
    memcpy(it->host, host, length + 1);
    snprintf(it->port, sizeof it->port, "%u", (unsigned)port);
    it->done = done;
    it->context = context;
    pthread_mutex_init(&it->lock, NULL);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int failed = pthread_create(&thread, &attributes, run, it);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (failed) {
        destroy(it);
        return NULL;
    }
    return it;
}

int lookup_take(lookup *it, net_address *found, size_t most, int *reason) {
    pthread_mutex_lock(&it->lock);
    int result = LOOKUP_PENDING;
    if (it->over) {
        result = it->count < (int)most ? it->count : (int)most;
        memcpy(found, it->found, (size_t)result * sizeof *found);
        *reason = it->reason;
    }
    pthread_mutex_unlock(&it->lock);
    return result;
}

void lookup_free(lookup *it) {
    if (!it) return;
    pthread_mutex_lock(&it->lock);
    int over = it->over;
    it->abandoned = 1;
    pthread_mutex_unlock(&it->lock);
    if (over) destroy(it);
}

const char *lookup_text(int reason) {
    return gai_strerror(reason);
}
