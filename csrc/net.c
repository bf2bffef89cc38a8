#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

int net_address_ip(net_address *it, const char *host, uint16_t port, uint32_t scope) {
    memset(it, 0, sizeof *it);
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = scope};
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        memcpy(&it->storage, &v4, sizeof v4);
        it->length = sizeof v4;
    } else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        memcpy(&it->storage, &v6, sizeof v6);
        it->length = sizeof v6;
    } else {
        return EINVAL;
    }
    return 0;
}

int net_address_unix(net_address *it, const char *path, size_t length) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memset(it, 0, sizeof *it);
    if (length >= sizeof address.sun_path) return ENAMETOOLONG;
    memcpy(address.sun_path, path, length);
    memcpy(&it->storage, &address, sizeof address);
    it->length = (uint32_t)sizeof address;
    return 0;
}

static int prepare(int descriptor, int family) {
    int on = 1;
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) || fcntl(descriptor, F_SETFD, FD_CLOEXEC)) return errno;
#ifdef SO_NOSIGPIPE
    setsockopt(descriptor, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
    if (family != AF_UNIX) {
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        /* A host that vanished says nothing: after a silence the system asks it, so that its connections end. */
        setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
#if defined(TCP_KEEPIDLE) && defined(TCP_KEEPINTVL) && defined(TCP_KEEPCNT)
        int idle = NET_SILENCE_SECONDS / 2, between = NET_SILENCE_SECONDS / 6, count = 3;
        setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
        setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
        setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
#endif
    }
    return 0;
}

int net_connect(const net_address *to) {
    int family = to->storage.ss_family;
#ifdef SOCK_CLOEXEC
    int made = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
#else
    int made = socket(family, SOCK_STREAM, 0);
#endif
    if (made < 0) return -errno;
    int reason = prepare(made, family);
    if (!reason && connect(made, (const struct sockaddr *)&to->storage, to->length) && errno != EINPROGRESS) reason = errno;
    if (!reason) return made;
    close(made);
    return -reason;
}

int net_connected(int descriptor) {
    int reason = 0;
    socklen_t size = sizeof reason;
    if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &reason, &size)) return errno;
    return reason;
}

int net_accept(int listener) {
    struct sockaddr_storage from;
    socklen_t size = sizeof from;
    int made;
    do {
#ifdef SOCK_CLOEXEC
        made = accept4(listener, (struct sockaddr *)&from, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
#else
        made = accept(listener, (struct sockaddr *)&from, &size);
#endif
    } while (made < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (made < 0) return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    int reason = prepare(made, from.ss_family);
    if (!reason) return made;
    close(made);
    return -reason;
}

int64_t net_read(int descriptor, void *into, size_t size) {
    ssize_t done;
    do done = recv(descriptor, into, size, 0);
    while (done < 0 && errno == EINTR);
    if (done > 0) return done;
    if (done == 0) return -EPIPE;
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
}

int64_t net_write(int descriptor, const void *from, size_t size) {
    ssize_t done;
    do done = send(descriptor, from, size, MSG_NOSIGNAL);
    while (done < 0 && errno == EINTR);
    if (done >= 0) return done;
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
}

void net_close(int descriptor) { close(descriptor); }
