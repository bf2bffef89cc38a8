# distutils: language = c
# distutils: sources = csrc/points.c csrc/xxh3.c
"""Lookups of whole buffers without a Python object a key: which buffers are taken, and the loop over them."""

import array
import sys

from cpython.buffer cimport (
    Py_buffer,
    PyBUF_C_CONTIGUOUS,
    PyBUF_FORMAT,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from libc.stdint cimport int32_t, uint8_t, uint64_t
from libc.string cimport memcpy

from quorate.ring._hash cimport xxh3_64, xxh3_64_of_number
from quorate.ring._points cimport POINTS_BATCH, c_points, points_find_many

from quorate.errors import InvalidArgument

# Byte orders of a format that are those of this machine.
cdef str NATIVE = "@=>!" if sys.byteorder == "big" else "@=<"


cdef int get_buffer(object it, Py_buffer *view, int flags, str what) except -1:
    try:
        PyObject_GetBuffer(it, view, flags)
    except (BufferError, ValueError) as error:  # numpy raises ValueError
        kind = "writable C-contiguous" if flags & PyBUF_WRITABLE else "C-contiguous"
        raise InvalidArgument(f"{what} must be a {kind} buffer: {error}") from None
    return 0


cdef Py_ssize_t width_of(Py_buffer *view, bint hashed) except -1:
    """Bytes a key of byte strings, or 0 for integers."""
    cdef str kind = "B" if view.format == NULL else view.format.decode()
    cdef str code = kind.lstrip(NATIVE)
    cdef Py_ssize_t width = 0
    if code in ("Q", "q", "L", "l", "N", "n") and view.itemsize == 8:
        return 0
    elif not hashed and code.strip("0123456789") == "s":
        width = view.itemsize
    elif not hashed and code in ("B", "b", "c") and view.ndim == 2:
        width = view.shape[1]
    if width == 0:
        wanted = "64-bit integers" if hashed else "64-bit integers or byte strings of one width"
        plural = "" if view.ndim == 1 else "s"
        raise TypeError(f"keys must be {wanted}, not items of format {kind!r} in {view.ndim} dimension{plural}")
    return width


cdef int check_out(Py_buffer *view, Py_ssize_t count) except -1:
    cdef str kind = "B" if view.format == NULL else view.format.decode()
    if view.itemsize != 4 or kind.lstrip(NATIVE) not in ("i", "l"):
        raise TypeError(f"out must have items of 32-bit int, not of format {kind!r}")
    if view.len != 4 * count:
        raise InvalidArgument(f"out must have {count} items, one a key, not {view.len // 4}")
    return 0


cdef object index_buffer(const c_points *it, object keys, object out, uint64_t seed, bint hashed):
    """Owners of all keys into `out`, which is made if None; what Ring.index_many says."""
    cdef Py_buffer source, target
    cdef Py_ssize_t width, count
    get_buffer(keys, &source, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS, "keys")
    try:
        width = width_of(&source, hashed)
        count = source.len // (width or 8)
        if out is None:
            out = array.array("i", bytes(4 * count))
        get_buffer(out, &target, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE, "out")
        try:
            check_out(&target, count)
            # The caller of this holds the ring, and the two views hold the memory.
            with nogil:
                index_all(it, <const uint8_t *>source.buf, width, count, seed, hashed, <int32_t *>target.buf)
        finally:
            PyBuffer_Release(&target)
    finally:
        PyBuffer_Release(&source)
    return out


cdef void index_all(const c_points *it, const uint8_t *at, Py_ssize_t width, Py_ssize_t count, uint64_t seed, bint hashed,
                    int32_t *out) noexcept nogil:
    cdef uint64_t hashes[POINTS_BATCH]
    cdef Py_ssize_t i, size, done = 0
    while done < count:
        size = min(count - done, <Py_ssize_t>POINTS_BATCH)
        if width:
            for i in range(size):
                hashes[i] = xxh3_64(at + width * (done + i), <size_t>width, seed)
        else:
            memcpy(hashes, at + 8 * done, size * 8)
            if not hashed:
                for i in range(size):
                    hashes[i] = xxh3_64_of_number(hashes[i], seed)
        points_find_many(it, hashes, out + done, <size_t>size)
        done += size
