#include "address.h"

static address_kind parse_path(const char *path, size_t length, net_address *it) {
    if (length >= 2 && path[0] == '/' && path[1] == '/') path += 2, length -= 2;
    if (length == 0 || memchr(path, 0, length)) return ADDRESS_NONE;
    return net_address_unix(it, path, length) ? ADDRESS_NONE : ADDRESS_NUMBER;
}

address_kind address_parse(const char *text, size_t length, net_address *it, char host[ADDRESS_HOST_MAX + 1], uint16_t *port) {
    static const char scheme[] = "unix:";
    const size_t front = sizeof scheme - 1;
    if (length >= front && !memcmp(text, scheme, front)) return parse_path(text + front, length - front, it);
    size_t colon = length;
    while (colon > 0 && text[colon - 1] != ':') colon--;
    if (colon < 2 || length - colon < 1 || length - colon > 5) return ADDRESS_NONE;
    uint32_t number = 0;
    for (size_t i = colon; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return ADDRESS_NONE;
        number = number * 10 + (uint32_t)(text[i] - '0');
    }
    if (number == 0 || number > 65535) return ADDRESS_NONE;
    const char *begin = text;
    size_t size = colon - 1;
    if (size >= 2 && begin[0] == '[' && begin[size - 1] == ']') {
        begin++, size -= 2;
    } else if (memchr(begin, ':', size)) {
        return ADDRESS_NONE;
    }
    if (size == 0 || size > ADDRESS_HOST_MAX || memchr(begin, 0, size)) return ADDRESS_NONE;
    memcpy(host, begin, size);
    host[size] = 0;
    *port = (uint16_t)number;
    return net_address_ip(it, host, *port, 0) ? ADDRESS_NAME : ADDRESS_NUMBER;
}
