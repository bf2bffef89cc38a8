"""How a key becomes a 64-bit hash: the fast paths, inlined into each compiled placement. Knows nothing of nodes or rings."""

from libc.stdint cimport uint64_t

cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object it) noexcept
    bint PyUnicode_IS_COMPACT_ASCII(object it) noexcept
    void *PyUnicode_DATA(object it) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(object it) noexcept
    bint PyBytes_CheckExact(object it) noexcept
    char *PyBytes_AS_STRING(object it) noexcept
    Py_ssize_t PyBytes_GET_SIZE(object it) noexcept

cdef extern from "xxh3.h":
    uint64_t xxh3_64(const void *bytes, size_t length, uint64_t seed) noexcept nogil
    uint64_t xxh3_64_of_number(uint64_t number, uint64_t seed) noexcept nogil

# Any key that the fast paths leave over: a str that is not ASCII, a subclass, a buffer. Raises TypeError for what is no key.
cdef uint64_t hash_other_key(object key, uint64_t seed) except? 0xffffffffffffffff

cdef inline uint64_t hash_key(object key, uint64_t seed) except? 0xffffffffffffffff:
    """XXH3-64 under `seed` of the key's bytes: of its UTF-8 form for a str."""
    if PyUnicode_CheckExact(key) and PyUnicode_IS_COMPACT_ASCII(key):
        return xxh3_64(PyUnicode_DATA(key), <size_t>PyUnicode_GET_LENGTH(key), seed)
    if PyBytes_CheckExact(key):
        return xxh3_64(PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key), seed)
    return hash_other_key(key, seed)
