"""The handle of a log; native code takes `wal` and `recovered` from it. See _log.pyx."""

from quorate.storage._io cimport Faults
from quorate.storage._replay cimport Replayed
from quorate.storage._wal cimport Wal

cdef class Log:
    cdef Wal *wal                    # valid until close(); native threads must have stopped using it by then
    cdef readonly Replayed recovered # None with durability="memory"
    cdef readonly object report      # a list of sentences: what opening found and did
    cdef readonly object directory   # the DataDirectory, or None
    cdef readonly object identity
    cdef Faults faults
    cdef bint closed_
