#include "buffer.h"

#include <stdlib.h>

buffer *buffer_new(uint32_t length) {
    buffer *it = (buffer *)malloc(sizeof(buffer) + (size_t)length);
    if (!it) return NULL;
    it->references = 1;
    it->length = length;
    return it;
}

buffer *buffer_from(const void *bytes, uint32_t length) {
    buffer *it = buffer_new(length);
    if (it && length) memcpy(it->bytes, bytes, length);
    return it;
}

void buffer_free(buffer *it) { free(it); }
