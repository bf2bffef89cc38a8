/* Every form of an address, and what only looks like one. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "../address.h"

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

static net_address it;
static char host[ADDRESS_HOST_MAX + 1];
static uint16_t port;

static address_kind parse(const char *text) {
    return address_parse(text, strlen(text), &it, host, &port);
}

int main(void) {
    CHECK(parse("127.0.0.1:7401") == ADDRESS_NUMBER && it.storage.ss_family == AF_INET);
    CHECK(((struct sockaddr_in *)(void *)&it.storage)->sin_port == htons(7401));
    CHECK(parse("[::1]:1") == ADDRESS_NUMBER && it.storage.ss_family == AF_INET6);
    CHECK(parse("unix:/run/q.sock") == ADDRESS_NUMBER && it.storage.ss_family == AF_UNIX);
    CHECK(!strcmp(((struct sockaddr_un *)(void *)&it.storage)->sun_path, "/run/q.sock"));
    CHECK(parse("unix:///run/q.sock") == ADDRESS_NUMBER);
    CHECK(!strcmp(((struct sockaddr_un *)(void *)&it.storage)->sun_path, "/run/q.sock"));
    CHECK(parse("db-1.example:65535") == ADDRESS_NAME && !strcmp(host, "db-1.example") && port == 65535);
    CHECK(parse("[fe80::1%eth0]:7") == ADDRESS_NAME && !strcmp(host, "fe80::1%eth0") && port == 7);
    static const char *const wrong[] = {"", ":", ":1", "a", "a:", "a:0", "a:65536", "a:123456", "a:1x", "::1:7401",
                                        "[]:1", "unix:", "unix://", "a:-1", "a: 1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) CHECK(parse(wrong[i]) == ADDRESS_NONE);
    CHECK(address_parse("a\0b:1", 5, &it, host, &port) == ADDRESS_NONE);
    char longer[400];
    memset(longer, 'a', sizeof longer);
    memcpy(longer + 255, ":1", 3);
    CHECK(parse(longer) == ADDRESS_NAME && strlen(host) == 255);
    memset(longer, 'a', 300);
    memcpy(longer + 256, ":1", 3);
    CHECK(parse(longer) == ADDRESS_NONE);
    memcpy(longer, "unix:", 5);
    memset(longer + 5, 'p', 300);
    CHECK(address_parse(longer, 305, &it, host, &port) == ADDRESS_NONE);
    return 0;
}
