# What must hold after every step.

from quorate.raft._types cimport Core


cdef void remember(Core *core) noexcept nogil
cdef const char *broken_invariant(Core *core) noexcept nogil
cdef const char *broken_deeply(Core *core) noexcept nogil
