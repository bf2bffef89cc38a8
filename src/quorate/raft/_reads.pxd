# Linearizable reads without a log entry.

from libc.stdint cimport uint8_t, uint64_t

from quorate.raft._types cimport Core, Message, Update


cdef int read_asked(Core *core, Update *update, uint64_t id, uint64_t asker, bint fresh) except -1 nogil
cdef int read_forward(Core *core, Update *update, uint64_t id) except -1 nogil
cdef int read_forward_answered(Core *core, Update *update, const Message *message) except -1 nogil
cdef int reads_after_first_commit(Core *core, Update *update) except -1 nogil
cdef int rounds_confirmed(Core *core, Update *update) except -1 nogil
cdef int reads_refused(Core *core, Update *update, uint8_t status) except -1 nogil
cdef int forwarded_refused(Core *core, Update *update, uint8_t status, bint expired_only) except -1 nogil
