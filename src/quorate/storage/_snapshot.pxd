"""The handles of snapshots; native code takes `it` from them. See _snapshot.pyx."""

from quorate.storage._chunks cimport Reader, Writer
from quorate.storage._io cimport Faults

cdef class SnapshotWriter:
    cdef Writer *it
    cdef readonly object path
    cdef readonly object meta
    cdef Faults faults
    cdef object owner

cdef class SnapshotReader:
    cdef Reader *it
    cdef readonly object path
    cdef readonly object meta
    cdef Faults faults
