# The store as a Python object, for tests and tools; a native runtime uses _apply on the struct.

cimport cython

from quorate.store._reader cimport Reader
from quorate.store._snapshot cimport SnapshotWriter
from quorate.store._state cimport StoreState
from quorate.store._watch cimport Watcher


cdef class Store:
    cdef StoreState *store          # owned
    cdef cython.pymutex lock        # over everything but reading
    cdef readonly object known_version


cdef class Watch:
    cdef Store owner
    cdef Watcher *watcher           # owned; used under the owner's lock


cdef class Snapshot:
    cdef Store owner                # the forest must outlive the hold
    cdef SnapshotWriter *writer     # owned; NULL when closed
    cdef cython.pymutex lock
