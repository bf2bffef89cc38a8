/* Stream sockets that never block, over IPv4, IPv6 and Unix addresses. All are close-on-exec, TCP ones without delay and
 * with keepalive, and none raises SIGPIPE. Knows nothing of frames and of who may talk to whom; names are resolved before
 * they come here. */
#ifndef QUORATE_NET_H
#define QUORATE_NET_H

#include "base.h"

#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { NET_SILENCE_SECONDS = 60 }; /* a host that does not even say so is gone: its connections end */

typedef struct net_address {
    uint32_t length; /* of what follows; 0: no address */
    struct sockaddr_storage storage;
} net_address;

/* 0, or EINVAL if `host` is no numeric IPv4 or IPv6 address. `scope` is that of a link-local IPv6 address, else 0. */
int net_address_ip(net_address *it, const char *host, uint16_t port, uint32_t scope);

/* 0, or ENAMETOOLONG. */
int net_address_unix(net_address *it, const char *path, size_t length);

/* A connection that is made or being made: a descriptor, or -errno. It is made when it becomes writable. */
int net_connect(const net_address *to);

/* 0 if the connection was made, else the errno that it failed with. */
int net_connected(int descriptor);

/* The next connection of a listener, or -errno; -EAGAIN if there is none. */
int net_accept(int listener);

/* How many bytes were moved; 0 if it would block; -errno for a failure, -EPIPE when the other side has ended. */
int64_t net_read(int descriptor, void *into, size_t size);
int64_t net_write(int descriptor, const void *from, size_t size);

void net_close(int descriptor);

#ifdef __cplusplus
}
#endif
#endif
