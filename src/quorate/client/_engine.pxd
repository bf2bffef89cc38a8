# The native thread of a client; see _engine.pyx.

from quorate.client._structs cimport Engine

cdef int engine_prepare(Engine *it) except -1
cdef int engine_start(Engine *it) except -1
cdef void engine_stop(Engine *it) noexcept nogil
# Gives back what an engine that does not run holds.
cdef void engine_clear(Engine *it) noexcept nogil
