# What Python threads ask of the loop, and how they wait for the answer; see _requests.pyx.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from quorate.raft._types cimport buffer
from quorate.runtime._structs cimport Request, mailbox, poller

cdef Request *request_new(uint8_t kind, buffer *command, uint64_t expires_at) except NULL
cdef void request_release(Request *it) noexcept nogil
# From the loop, once: says what became of it, wakes the asker, and gives the loop's reference back. Takes over `result`.
cdef void request_answer(
    Request *it, uint8_t outcome, uint64_t index, uint64_t term, uint64_t leader, buffer *result
) noexcept nogil


cdef class Pending:
    cdef Request *it
    cdef object engine          # a node or a client; keeps its loop alive
    cdef const int *ended       # of that loop
    cdef object describe        # of the engine: makes an exception of an outcome
    cdef readonly double timeout


# For any loop with a mailbox: `ended` is set once it has answered everything that it took.
cdef Pending ask(
    object engine, mailbox *mail, poller *poll, const int *ended, object describe, uint8_t kind, buffer *command,
    double timeout,
)
