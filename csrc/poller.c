#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "poller.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__) && !defined(POLLER_USE_POLL)
#define POLLER_EPOLL 1
#include <sys/epoll.h>
#else
#define POLLER_EPOLL 0
#endif

/* One watched descriptor. Found by number: descriptors are small and dense. */
typedef struct watched {
    uint64_t token;
    uint32_t interest;
    int place; /* poll: where in the array; -1 if not watched */
} watched;

struct poller {
    int wake_read, wake_write;
    size_t count, capacity;
    watched *by_descriptor;
    size_t descriptors; /* length of by_descriptor */
#if POLLER_EPOLL
    int epoll;
    struct epoll_event *ready;
#else
    struct pollfd *polled; /* the wake-up pipe first */
    size_t next;           /* where the next report begins, so that a busy low descriptor starves nobody */
#endif
};

const char *poller_name(void) { return POLLER_EPOLL ? "epoll" : "poll"; }

uint64_t clock_microseconds(void) {
    struct timespec t;
#ifdef CLOCK_BOOTTIME
    clock_gettime(CLOCK_BOOTTIME, &t);
#else
    clock_gettime(CLOCK_MONOTONIC, &t);
#endif
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static int nonblocking_pipe(int ends[2]) {
#ifdef __linux__
    return pipe2(ends, O_CLOEXEC | O_NONBLOCK);
#else
    if (pipe(ends)) return -1;
    for (int i = 0; i < 2; i++)
        if (fcntl(ends[i], F_SETFD, FD_CLOEXEC) || fcntl(ends[i], F_SETFL, O_NONBLOCK)) return -1;
    return 0;
#endif
}

poller *poller_new(size_t capacity) {
    if (capacity == 0 || capacity > 1u << 20) {
        errno = EINVAL;
        return NULL;
    }
    poller *it = calloc(1, sizeof(poller));
    if (!it) return NULL;
    int ends[2] = {-1, -1};
    it->capacity = capacity;
    it->wake_read = it->wake_write = -1;
#if POLLER_EPOLL
    it->epoll = -1;
#endif
    if (nonblocking_pipe(ends)) goto failed;
    it->wake_read = ends[0];
    it->wake_write = ends[1];
#if POLLER_EPOLL
    struct epoll_event wake = {.events = EPOLLIN, .data.fd = it->wake_read};
    if ((it->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0) goto failed;
    if (!(it->ready = calloc(capacity + 1, sizeof *it->ready))) goto failed;
    if (epoll_ctl(it->epoll, EPOLL_CTL_ADD, it->wake_read, &wake)) goto failed;
#else
    if (!(it->polled = calloc(capacity + 1, sizeof *it->polled))) goto failed;
    it->polled[0] = (struct pollfd){it->wake_read, POLLIN, 0};
#endif
    return it;
failed:;
    int reason = errno;
    poller_free(it);
    errno = reason;
    return NULL;
}

void poller_free(poller *it) {
    if (!it) return;
    if (it->wake_read >= 0) close(it->wake_read);
    if (it->wake_write >= 0) close(it->wake_write);
#if POLLER_EPOLL
    if (it->epoll >= 0) close(it->epoll);
    free(it->ready);
#else
    free(it->polled);
#endif
    free(it->by_descriptor);
    free(it);
}

static watched *find(poller *it, int descriptor) {
    if (descriptor < 0 || (size_t)descriptor >= it->descriptors) return NULL;
    watched *found = &it->by_descriptor[descriptor];
    return found->place < 0 ? NULL : found;
}

static int make_room(poller *it, int descriptor) {
    if ((size_t)descriptor < it->descriptors) return 0;
    size_t larger = it->descriptors ? it->descriptors : 64;
    while (larger <= (size_t)descriptor) larger *= 2;
    watched *grown = realloc(it->by_descriptor, larger * sizeof *grown);
    if (!grown) return ENOMEM;
    for (size_t i = it->descriptors; i < larger; i++) grown[i] = (watched){0, 0, -1};
    it->by_descriptor = grown;
    it->descriptors = larger;
    return 0;
}

#if POLLER_EPOLL
static uint32_t to_system(uint32_t interest) {
    return (interest & POLLER_READ ? EPOLLIN | EPOLLRDHUP : 0u) | (interest & POLLER_WRITE ? EPOLLOUT : 0u);
}

static int tell_system(poller *it, int operation, int descriptor, uint32_t interest) {
    struct epoll_event event = {.events = to_system(interest), .data.fd = descriptor};
    return epoll_ctl(it->epoll, operation, descriptor, &event) ? errno : 0;
}
#else
static short to_system(uint32_t interest) {
    return (short)((interest & POLLER_READ ? POLLIN : 0) | (interest & POLLER_WRITE ? POLLOUT : 0));
}
#endif

int poller_add(poller *it, int descriptor, uint32_t interest, uint64_t token) {
    if (descriptor < 0) return EBADF;
    if (find(it, descriptor)) return EEXIST;
    if (it->count == it->capacity) return ENOSPC;
    int reason = make_room(it, descriptor);
    if (reason) return reason;
#if POLLER_EPOLL
    if ((reason = tell_system(it, EPOLL_CTL_ADD, descriptor, interest))) return reason;
    it->by_descriptor[descriptor] = (watched){token, interest, 0};
    it->count++;
#else
    it->count++;
    it->by_descriptor[descriptor] = (watched){token, interest, (int)it->count};
    it->polled[it->count] = (struct pollfd){descriptor, to_system(interest), 0};
#endif
    return 0;
}

int poller_change(poller *it, int descriptor, uint32_t interest) {
    watched *found = find(it, descriptor);
    if (!found) return ENOENT;
    if (found->interest == interest) return 0;
#if POLLER_EPOLL
    int reason = tell_system(it, EPOLL_CTL_MOD, descriptor, interest);
    if (reason) return reason;
#else
    it->polled[found->place].events = to_system(interest);
#endif
    found->interest = interest;
    return 0;
}

int poller_remove(poller *it, int descriptor) {
    watched *found = find(it, descriptor);
    if (!found) return ENOENT;
#if POLLER_EPOLL
    int reason = tell_system(it, EPOLL_CTL_DEL, descriptor, 0);
    if (reason) return reason;
#else
    /* The last one takes its place. */
    it->polled[found->place] = it->polled[it->count];
    it->by_descriptor[it->polled[found->place].fd].place = found->place;
#endif
    *found = (watched){0, 0, -1};
    it->count--;
    return 0;
}

/* Milliseconds until the deadline, rounded up: waking too early would only mean waiting again. */
static int patience(uint64_t deadline) {
    if (deadline == UINT64_MAX) return -1;
    if (deadline == 0) return 0;
    uint64_t now = clock_microseconds();
    if (deadline <= now) return 0;
    uint64_t left = (deadline - now + 999u) / 1000u;
    return left > INT_MAX ? INT_MAX : (int)left;
}

static void drain(const poller *it) {
    char nothing[64];
    while (read(it->wake_read, nothing, sizeof nothing) == (ssize_t)sizeof nothing) {}
}

int poller_wait(poller *it, poller_event *events, size_t most, uint64_t deadline) {
    int filled = 0;
#if POLLER_EPOLL
    size_t room = most < it->capacity ? most : it->capacity;
    int count = epoll_wait(it->epoll, it->ready, (int)room + 1, patience(deadline));
    if (count < 0) return errno == EINTR ? 0 : -1;
    for (int i = 0; i < count; i++) {
        int descriptor = it->ready[i].data.fd;
        uint32_t seen = it->ready[i].events;
        if (descriptor == it->wake_read) {
            drain(it);
            continue;
        }
        const watched *found = find(it, descriptor);
        if (!found || (size_t)filled == most) continue; /* level-triggered: what does not fit is reported again */
        events[filled++] = (poller_event){found->token, (seen & EPOLLIN ? POLLER_READ : 0u) |
                                                            (seen & EPOLLOUT ? POLLER_WRITE : 0u) |
                                                            (seen & (EPOLLHUP | EPOLLRDHUP | EPOLLERR) ? POLLER_CLOSED : 0u)};
    }
#else
    int count = poll(it->polled, (nfds_t)(it->count + 1), patience(deadline));
    if (count < 0) return errno == EINTR ? 0 : -1;
    if (it->polled[0].revents) drain(it);
    for (size_t i = 0; i < it->count && (size_t)filled < most; i++) {
        struct pollfd *at = &it->polled[1 + (it->next + i) % it->count];
        if (!at->revents) continue;
        uint32_t ready = (at->revents & POLLIN ? POLLER_READ : 0u) | (at->revents & POLLOUT ? POLLER_WRITE : 0u) |
                         (at->revents & (POLLHUP | POLLERR | POLLNVAL) ? POLLER_CLOSED : 0u);
        events[filled++] = (poller_event){it->by_descriptor[at->fd].token, ready};
    }
    it->next++;
#endif
    return filled;
}

void poller_wake(poller *it) {
    int reason = errno; /* a signal handler must not change what it interrupts */
    ssize_t ignored = write(it->wake_write, "", 1); /* a full pipe wakes as well */
    (void)ignored;
    errno = reason;
}
