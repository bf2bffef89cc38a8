/* CRC32C (Castagnoli, polynomial 0x1EDC6F41 reflected; RFC 3720 §12.1) of bytes in memory. Knows nothing of records or files.
 *
 * Incremental: crc32c(crc32c(0, a), b) is crc32c(0, a + b). The first call starts from 0, and each result is final, so a
 * caller may stop anywhere. Uses the instruction of SSE4.2 or ARMv8 where the processor has it, else tables. */
#ifndef QUORATE_CRC32C_H
#define QUORATE_CRC32C_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Carries `crc` on over `length` bytes; `bytes` may be NULL if `length` is 0. Never fails. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t length);

/* The same by tables alone, for processors without the instruction and for tests. */
uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t length);

#ifdef __cplusplus
}
#endif
#endif
