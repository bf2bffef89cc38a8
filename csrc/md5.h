/* MD5 (RFC 1321), because the ketama dialects are defined by it. It places keys; it protects nothing.
 *
 * Knows nothing of rings. Short texts are what matters: a text of at most 55 bytes is one block and is never copied
 * twice. */
#ifndef QUORATE_MD5_H
#define QUORATE_MD5_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The digest of `length` bytes, as four words: word i is the little-endian number in digest bytes 4i … 4i+3, which is
 * what the ketama dialects take as a point. */
void md5_words(const void *bytes, size_t length, uint32_t words[4]);

#ifdef __cplusplus
}
#endif
#endif
