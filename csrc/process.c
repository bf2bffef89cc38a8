#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "xxh3.h"

#if defined(__linux__)
#include <sys/syscall.h>
#if !defined(SYS_pidfd_open)
#define SYS_pidfd_open 434 /* the same on all architectures that have it */
#endif
#endif

#if defined(__linux__)
static size_t read_start(const char *path, char *into, size_t size) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t count = read(file, into, size - 1);
    close(file);
    if (count <= 0) return 0;
    into[count] = 0;
    return (size_t)count;
}

/* The 22nd field of /proc/NUMBER/stat, in ticks since the boot. The second is the program's name in brackets, which may hold
 * anything, so that fields are counted from the last bracket on. */
static uint64_t started_at(uint32_t number) {
    char path[32], text[1024];
    snprintf(path, sizeof path, "/proc/%u/stat", (unsigned)number);
    if (!read_start(path, text, sizeof text)) return 0;
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
    return at ? strtoull(at + 1, NULL, 10) : 0;
}
#endif

uint64_t process_birth(uint32_t number) {
#if defined(__linux__)
    char boot[64];
    uint8_t mark[64] = {0};
    struct stat space;
    uint64_t start = number ? started_at(number) : 0;
    size_t length = read_start("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    if (!start || length < 36 || stat("/proc/self/ns/pid", &space)) return 0;
    memcpy(mark, boot, 36);
    store_le64(mark + 40, (uint64_t)space.st_ino);
    store_le64(mark + 48, start);
    uint64_t birth = xxh3_64(mark, sizeof mark, 0);
    return birth ? birth : 1;
#else
    (void)number;
    return 0;
#endif
}

static int on_loopback(const struct sockaddr_storage *address) {
    if (address->ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    }
    if (address->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) || (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) && v6.sin6_addr.s6_addr[12] == 127);
    }
    return 0;
}

int process_nearby(int socket, uint32_t number) {
    struct sockaddr_storage here, there;
    socklen_t size = sizeof here;
    memset(&here, 0, sizeof here);
    memset(&there, 0, sizeof there);
    if (!number || getsockname(socket, (struct sockaddr *)&here, &size)) return 0;
#if defined(SO_PEERCRED) && defined(__linux__)
    if (here.ss_family == AF_UNIX) {
        struct ucred who;
        size = sizeof who;
        return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.pid > 0 && (uint32_t)who.pid == number;
    }
#endif
    size = sizeof there;
    return getpeername(socket, (struct sockaddr *)&there, &size) == 0 && on_loopback(&here) && on_loopback(&there);
}

int process_watch(uint32_t number, uint64_t birth) {
#if defined(__linux__)
    if (!number || !birth) return -ESRCH;
    long made = syscall(SYS_pidfd_open, (pid_t)number, 0);
    if (made < 0) return -errno;
    /* Looked at when the descriptor is there: from now on the number cannot become another process's unnoticed. */
    if (process_birth(number) == birth) return (int)made;
    close((int)made);
    return -ESRCH;
#else
    (void)number;
    (void)birth;
    return -ENOSYS;
#endif
}
