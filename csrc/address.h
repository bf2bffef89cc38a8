/* Addresses as people write them: "host:port", "[IPv6]:port", "unix:/path". Tells numbers, which can be connected to at once,
 * from names, which have to be looked up. Looks nothing up, opens nothing. */
#ifndef QUORATE_ADDRESS_H
#define QUORATE_ADDRESS_H

#include "net.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { ADDRESS_HOST_MAX = 255 };

typedef enum address_kind {
    ADDRESS_NONE = 0, /* it is none */
    ADDRESS_NUMBER,   /* `it` is filled: numbers, or the path of a Unix socket */
    ADDRESS_NAME      /* `host` and `port` are filled */
} address_kind;

address_kind address_parse(const char *text, size_t length, net_address *it, char host[ADDRESS_HOST_MAX + 1], uint16_t *port);

#ifdef __cplusplus
}
#endif
#endif
