/* The lookup: numbers and names that need no server, names that cannot be, and lookups that are given up at every moment. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include "../lookup.h"

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

static void done(void *context) {
    sem_post(context);
}

static int find(const char *host, uint16_t port, net_address *found, int *reason) {
    sem_t over;
    sem_init(&over, 0, 0);
    lookup *it = lookup_start(host, port, done, &over);
    CHECK(it);
    while (sem_wait(&over)) {}
    int count = lookup_take(it, found, LOOKUP_FOUND_MAX, reason);
    CHECK(count != LOOKUP_PENDING);
    CHECK(lookup_take(it, found, LOOKUP_FOUND_MAX, reason) == count);
    lookup_free(it);
    sem_destroy(&over);
    return count;
}

int main(void) {
    net_address found[LOOKUP_FOUND_MAX];
    int reason = -1;
    CHECK(find("127.0.0.1", 7401, found, &reason) == 1 && reason == 0);
    CHECK(found[0].storage.ss_family == AF_INET && found[0].length == sizeof(struct sockaddr_in));
    struct sockaddr_in v4;
    memcpy(&v4, &found[0].storage, sizeof v4);
    CHECK(ntohs(v4.sin_port) == 7401 && ntohl(v4.sin_addr.s_addr) == INADDR_LOOPBACK);
    CHECK(find("::1", 65535, found, &reason) == 1 && found[0].storage.ss_family == AF_INET6);
    CHECK(find("not a host name", 1, found, &reason) == 0 && reason != 0 && lookup_text(reason)[0]);

    char longest[LOOKUP_HOST_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[LOOKUP_HOST_MAX + 1] = 0;
    CHECK(!lookup_start(longest, 1, done, NULL));
    CHECK(!lookup_start("", 1, done, NULL));

    /* Given up before, while and after the thread is at it: `done` is either called before lookup_free, or never. */
    sem_t over;
    sem_init(&over, 0, 0);
    for (int i = 0; i < 200; i++) {
        lookup *it = lookup_start("127.0.0.1", 1, done, &over);
        CHECK(it);
        if (i % 3 == 0) while (sem_wait(&over)) {}
        lookup_free(it);
        int called = 0;
        sem_getvalue(&over, &called);
        CHECK(called == 0 || i % 3);
        while (sem_trywait(&over) == 0) {}
    }
    lookup_free(NULL);
    sem_destroy(&over);
    return 0;
}
