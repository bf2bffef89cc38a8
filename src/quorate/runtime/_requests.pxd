# What Python threads ask of the loop, and how they wait for the answer; see _requests.pyx.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from quorate.raft._types cimport buffer
from quorate.runtime._completions cimport Asked
from quorate.runtime._structs cimport Loop, Request, mailbox, poller

# Whether it ends, releases or renews something: what is admitted when ordinary questions are refused.
cdef bint request_frees(const Request *it) noexcept nogil
# What the core's refusal of a proposal or a read means to a caller.
cdef uint8_t outcome_of(uint8_t status) noexcept nogil
cdef Request *request_new(uint8_t kind, buffer *command, uint64_t expires_at) except NULL nogil
# For a struct that begins with a request, and that somebody will wait for.
cdef void request_prepare(Request *made, uint8_t kind, buffer *command, uint64_t expires_at) noexcept nogil
# The outcome, or PENDING when the time is over.
cdef uint8_t request_wait(Request *it, double seconds) noexcept nogil
# From the loop, once: says what became of it, wakes the asker, and gives the loop's reference back. Takes over `result`.
cdef void request_answer(
    Request *it, uint8_t outcome, uint64_t index, uint64_t term, uint64_t leader, buffer *result
) noexcept nogil
# Hands the loop's reference over: 0, or the outcome that says why not, with that reference given back. `ended` is set once
# the loop has answered everything that it took.
cdef uint8_t request_put(mailbox *mail, poller *poll, const int *ended, Request *it) noexcept nogil
# The same from a thread of Python, which may hold back wake-ups: see Cork.
cdef uint8_t request_hand_in(object engine, mailbox *mail, poller *poll, const int *ended, Request *it)
# The same, for a request that the loop counts as pending.
cdef void loop_answer(Loop *it, Request *request, uint8_t outcome, uint64_t index, buffer *result) noexcept nogil
# Whether nobody is left who takes the answer.
cdef bint request_unwanted(Request *it) noexcept nogil
# Waits with the GIL released: the outcome, EXPIRED when the time is over, or KeyboardInterrupt.
cdef uint8_t request_await(Request *it, double seconds) except? 255


cdef class Pending(Asked):
    cdef const int *ended       # of the engine's loop
    cdef readonly double timeout
    cdef double grace           # seconds for the loop, which sees itself that the time is over


cdef class Cork:
    cdef object engine          # to be woken; keeps its poller alive
    cdef poller *poll
    cdef bint told              # whether somebody will flush

    cdef void note(self, object engine, poller *poll)


# Where questions are put in, for native askers that hold many of them.
cdef class Door:
    cdef object engine          # keeps mailbox and poller alive
    cdef mailbox *mail
    cdef poller *poll
    cdef const int *ended


cdef Door door_of(object engine, mailbox *mail, poller *poll, const int *ended)
# For any loop with a mailbox.
cdef Pending ask(
    object engine, mailbox *mail, poller *poll, const int *ended, object describe, uint8_t kind, buffer *command,
    double timeout,
)
