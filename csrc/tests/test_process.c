/* Processes of this machine: a mark that stays, a descriptor that tells of an exit, and who may be at the other end. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../process.h"

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

static int ended(int descriptor, int patience_ms) {
    struct pollfd watched = {descriptor, POLLIN, 0};
    return poll(&watched, 1, patience_ms) == 1;
}

int main(void) {
    uint32_t own = (uint32_t)getpid();
    uint64_t birth = process_birth(own);
    int ends[2];
    CHECK(process_birth(0) == 0);
    CHECK(process_watch(0, 1) < 0 && process_watch(own, 0) < 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK(!process_nearby(ends[0], 0) && !process_nearby(-1, own));
    CHECK(!process_nearby(ends[0], own + 1));
    if (!birth) {
        puts("this system does not tell who a process is");
        return 0;
    }
    CHECK(process_nearby(ends[0], own));
    CHECK(process_birth(own) == birth);
    CHECK(process_watch(own, birth + 1) == -ESRCH);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(ends[0]);
        char byte;
        ssize_t count = read(ends[1], &byte, 1);
        _exit(count == 1 ? 0 : 1);
    }
    uint64_t theirs = process_birth((uint32_t)child);
    CHECK(theirs != 0);
    int descriptor = process_watch((uint32_t)child, theirs);
    if (descriptor == -ENOSYS || descriptor == -EPERM) {
        kill(child, SIGKILL);
        puts("this system does not tell of exits");
        return 0;
    }
    CHECK(descriptor >= 0);
    CHECK(!ended(descriptor, 0));
    CHECK(kill(child, SIGKILL) == 0);
    CHECK(ended(descriptor, 20000));
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(process_watch((uint32_t)child, theirs) == -ESRCH);
    return 0;
}
