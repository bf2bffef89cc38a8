/* A connection of the loopback: nobody blocks, TCP is without delay and with keepalive, and the end is noticed. */
#undef NDEBUG
#include "../net.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

static int option(int descriptor, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    assert(getsockopt(descriptor, level, name, &value, &size) == 0);
    return value;
}

static void ready(int descriptor, short what) {
    struct pollfd one = {.fd = descriptor, .events = what};
    assert(poll(&one, 1, 20000) == 1);
}

int main(void) {
    net_address address;
    assert(net_address_ip(&address, "no number", 1, 0) == EINVAL);
    assert(net_address_ip(&address, "127.0.0.1", 0, 0) == 0);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t size = sizeof address.storage;
    assert(bind(listener, (struct sockaddr *)&address.storage, address.length) == 0 && listen(listener, 4) == 0);
    assert(fcntl(listener, F_SETFL, O_NONBLOCK) == 0);
    assert(net_accept(listener) == -EAGAIN);
    assert(getsockname(listener, (struct sockaddr *)&address.storage, &size) == 0);

    int one = net_connect(&address);
    assert(one >= 0);
    ready(listener, POLLIN);
    int other = net_accept(listener);
    ready(one, POLLOUT);
    assert(other >= 0 && net_connected(one) == 0);
    int both[2] = {one, other};
    for (int i = 0; i < 2; i++) {
        assert(option(both[i], SOL_SOCKET, SO_KEEPALIVE) && option(both[i], IPPROTO_TCP, TCP_NODELAY));
#ifdef TCP_KEEPIDLE
        assert(option(both[i], IPPROTO_TCP, TCP_KEEPIDLE) == NET_SILENCE_SECONDS / 2);
#endif
        assert(fcntl(both[i], F_GETFL) & O_NONBLOCK && fcntl(both[i], F_GETFD) & FD_CLOEXEC);
    }
    char bytes[8];
    assert(net_read(other, bytes, sizeof bytes) == 0 && net_write(one, "word", 4) == 4);
    ready(other, POLLIN);
    assert(net_read(other, bytes, sizeof bytes) == 4 && memcmp(bytes, "word", 4) == 0);
    net_close(one);
    ready(other, POLLIN);
    assert(net_read(other, bytes, sizeof bytes) == -EPIPE);
    net_close(other);
    net_close(listener);
    return 0;
}
