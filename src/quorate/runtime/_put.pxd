# Numbers and texts at the end of a string, as answers and frames about members have them. Inline, because each is a line.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libcpp.string cimport string

from quorate.runtime._structs cimport store_le16, store_le32, store_le64


cdef inline int put8(string *out, uint8_t x) except -1 nogil:
    out.append(<const char *>&x, 1)
    return 0


cdef inline int put16(string *out, uint16_t x) except -1 nogil:
    cdef uint8_t[2] bytes
    store_le16(bytes, x)
    out.append(<const char *>bytes, 2)
    return 0


cdef inline int put32(string *out, uint32_t x) except -1 nogil:
    cdef uint8_t[4] bytes
    store_le32(bytes, x)
    out.append(<const char *>bytes, 4)
    return 0


cdef inline int put64(string *out, uint64_t x) except -1 nogil:
    cdef uint8_t[8] bytes
    store_le64(bytes, x)
    out.append(<const char *>bytes, 8)
    return 0


cdef inline int put_text(string *out, const string *text) except -1 nogil:
    """A u8 with its length, and its bytes."""
    put8(out, <uint8_t>text.size())
    out.append(text[0])
    return 0
