/* Any bytes as an address: a name that comes out is short enough, has no end inside, and comes with a port. */
#include <stdlib.h>

#include "../address.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    net_address it;
    char host[ADDRESS_HOST_MAX + 1];
    uint16_t port = 0;
    address_kind kind = address_parse((const char *)bytes, size, &it, host, &port);
    if (kind == ADDRESS_NAME && (port == 0 || host[0] == 0 || strlen(host) > ADDRESS_HOST_MAX)) abort();
    if (kind == ADDRESS_NUMBER && (it.length == 0 || it.length > sizeof it.storage)) abort();
    return 0;
}
