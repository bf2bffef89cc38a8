/* Reference-counted immutable bytes, shared without a copy by log, disk, sockets and apply.
 *
 * The maker fills `bytes` before any other thread can see the buffer; from then on it never changes. Each holder has one
 * reference and gives it back with buffer_release, from any thread; the last one frees the memory. */
#ifndef QUORATE_BUFFER_H
#define QUORATE_BUFFER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct buffer {
    uint32_t references; /* only through the functions below; never 0 while somebody holds it */
    uint32_t length;     /* bytes that follow */
    uint8_t bytes[];
} buffer;

/* A buffer of `length` bytes with one reference and undefined content; NULL if memory is short. */
buffer *buffer_new(uint32_t length);

/* The same, filled from `bytes`. */
buffer *buffer_from(const void *bytes, uint32_t length);

/* Frees the memory; called by buffer_release alone. */
void buffer_free(buffer *it);

static inline buffer *buffer_retain(buffer *it) {
    if (it) __atomic_fetch_add(&it->references, 1u, __ATOMIC_RELAXED);
    return it;
}

static inline void buffer_release(buffer *it) {
    /* Release order hands all reads of this holder to the one that frees; acquire order lets the last holder see them. */
    if (it && __atomic_fetch_sub(&it->references, 1u, __ATOMIC_ACQ_REL) == 1) buffer_free(it);
}

static inline uint32_t buffer_references(const buffer *it) {
    return __atomic_load_n(&it->references, __ATOMIC_ACQUIRE);
}

#ifdef __cplusplus
}
#endif
#endif
