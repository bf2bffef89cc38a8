# distutils: language = c
# distutils: sources = csrc/xxh3.c csrc/crc32c.c
"""Hashes of keys: XXH3-64, XXH64 and CRC32C of a str or of bytes.

A key is a ``str`` (its UTF-8 form is hashed) or a bytes-like object; both give the same hash for the same bytes. Nothing
else is a key, so that no ``repr`` of an object is ever hashed by mistake.
"""

from cpython.buffer cimport (
    Py_buffer,
    PyBUF_FULL_RO,
    PyBuffer_IsContiguous,
    PyBuffer_Release,
    PyBuffer_ToContiguous,
    PyObject_CheckBuffer,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport uint32_t, uint64_t

from quorate.errors import InvalidArgument

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object it, Py_ssize_t *size) except NULL

cdef extern from "xxh3.h":
    uint64_t c_xxh64 "xxh64"(const void *bytes, size_t length, uint64_t seed) noexcept nogil

cdef extern from "crc32c.h":
    uint32_t c_crc32c "crc32c"(uint32_t crc, const void *bytes, size_t length) noexcept nogil

cdef object ZERO = 0

ctypedef uint64_t (*hasher)(const void *bytes, size_t length, uint64_t seed) noexcept nogil


cdef uint64_t _crc32c(const void *at, size_t length, uint64_t crc) noexcept nogil:
    return c_crc32c(<uint32_t>crc, at, length)


cdef uint64_t _xxh3(const void *at, size_t length, uint64_t seed) noexcept nogil:
    return xxh3_64(at, length, seed)


cdef uint64_t hash_with(hasher function, object key, uint64_t seed) except? 0xffffffffffffffff:
    cdef const char *text
    cdef Py_ssize_t size = 0
    cdef Py_buffer view
    cdef bytes copy
    if PyUnicode_Check(key):
        try:
            text = PyUnicode_AsUTF8AndSize(key, &size)
        except UnicodeEncodeError as error:
            raise InvalidArgument(
                f"a key must have a UTF-8 form, and this str has a lone surrogate at index {error.start}; "
                "encode it yourself and pass bytes"
            ) from None
        return function(text, <size_t>size, seed)
    if not PyObject_CheckBuffer(key):
        raise TypeError(f"a key must be str or bytes-like, not {type(key).__name__}")
    PyObject_GetBuffer(key, &view, PyBUF_FULL_RO)
    try:
        if view.itemsize != 1:
            # An array of numbers, or a numpy scalar, is more likely a mistake than a key; its bytes depend on the machine.
            raise TypeError(
                f"a bytes-like key must have items of one byte, and this {type(key).__name__} has items of "
                f"{view.itemsize}; pass its bytes if they are meant"
            )
        if PyBuffer_IsContiguous(&view, b"C"):
            return function(view.buf, <size_t>view.len, seed)
        copy = PyBytes_FromStringAndSize(NULL, view.len)
        PyBuffer_ToContiguous(<char *>copy, &view, view.len, b"C")
        return function(<char *>copy, <size_t>view.len, seed)
    finally:
        PyBuffer_Release(&view)


cdef uint64_t hash_other_key(object key, uint64_t seed) except? 0xffffffffffffffff:
    return hash_with(_xxh3, key, seed)


cdef uint64_t unsigned(object value, str name, uint64_t most) except? 0xffffffffffffffff:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not 0 <= value <= most:
        raise InvalidArgument(f"{name} must be from 0 to {most}, not {value}")
    return value


def hash64(key, seed=0):
    """XXH3-64 of a key, as ``xxhash.xxh3_64_intdigest`` gives it: an int from 0 to 2**64 - 1.

    ``key`` is a str (hashed as UTF-8) or bytes-like; anything else is a TypeError. A str without a UTF-8 form and a seed
    outside of 64 bits are an InvalidArgument.

    Source: the xxHash specification, XXH3 with 64-bit output and default secret.

    >>> hex(hash64("quorate"))
    '0x5a1cae77224bc7ff'
    >>> hash64("quorate") == hash64(b"quorate")
    True
    """
    # Most callers give no seed, and the check of a Python int costs more than the hash.
    return hash_key(key, 0 if seed is ZERO else unsigned(seed, "seed", 0xffffffffffffffff))


def xxh64(key, seed=0):
    """XXH64 of a key, as ``xxhash.xxh64_intdigest`` gives it; keys and errors as for :func:`hash64`.

    >>> hex(xxh64(b""))
    '0xef46db3751d8e999'
    """
    return hash_with(c_xxh64, key, unsigned(seed, "seed", 0xffffffffffffffff))


def crc32c(data, crc=0):
    """CRC32C (RFC 3720) of a str or bytes-like, carried on from ``crc``: ``crc32c(b, crc32c(a)) == crc32c(a + b)``.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    return <uint32_t>hash_with(_crc32c, data, unsigned(crc, "crc", 0xffffffff))
