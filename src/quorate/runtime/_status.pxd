# The status of a node as bytes; see _status.pyx.

from quorate.runtime._structs cimport Loop
from quorate.store._csrc cimport sink

# Appends the answer to STATUS.
cdef int status_write(Loop *it, sink *out) except -1 nogil
