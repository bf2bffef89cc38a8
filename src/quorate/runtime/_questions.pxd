# Questions that the loop answers from its store, at once or when something changes; see _questions.pyx.

from libc.stdint cimport uint64_t

from quorate.runtime._structs cimport Loop, Request, step_function

cdef enum:
    QUESTION_TAKEN = 0  # answered, parked or handed on
    QUESTION_READ = 1   # to be given to question_read behind a quorum round

# A request of any kind but REQUEST_PROPOSE and REQUEST_READ, counted as pending. New kinds hook in here.
cdef int question_taken(Loop *it, Request *request, step_function step) except -1 nogil
# What is applied is new enough: answers.
cdef int question_read(Loop *it, Request *request) except -1 nogil
# After each batch of entries, and after a snapshot was installed: answers the parked ones that it concerns.
cdef int questions_applied(Loop *it) except -1 nogil
# Those that an earlier turn left; at the beginning of each turn.
cdef int questions_go_on(Loop *it) except -1 nogil
# Whether there are some.
cdef bint questions_busy(Loop *it) noexcept nogil
cdef uint64_t questions_deadline(Loop *it) noexcept nogil
cdef int questions_tick(Loop *it, uint64_t now) except -1 nogil
# The loop has ended: answers everything that is parked.
cdef void questions_stopped(Loop *it) noexcept nogil
cdef void questions_clear(Loop *it) noexcept nogil
