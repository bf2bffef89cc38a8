# Names from Python: str as UTF-8, bytes as they are, without a copy.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t

from quorate.store._csrc cimport view

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


cdef inline int view_of(object name, view *out) except -1:
    """Borrows: the bytes live as long as `name`."""
    cdef Py_ssize_t size
    if PyBytes_CheckExact(name):
        out.bytes = <const uint8_t *> PyBytes_AS_STRING(name)
        size = PyBytes_GET_SIZE(name)
    elif isinstance(name, str):
        out.bytes = <const uint8_t *> PyUnicode_AsUTF8AndSize(name, &size)
    elif isinstance(name, bytes):
        out.bytes = <const uint8_t *> PyBytes_AS_STRING(name)
        size = PyBytes_GET_SIZE(name)
    else:
        raise TypeError(f"a name or value is str or bytes, not {type(name).__name__}")
    if size > 0x7FFFFFFF:
        raise ValueError("longer than 2 GiB")
    out.length = <uint32_t> size
    return 0
