# Many answers to one Python thread, which is woken once for all that wait; see _completions.pyx.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from quorate.runtime._structs cimport Answered, Request


cdef void request_release(Request *it) noexcept nogil
# What a request holds, without the struct itself: for `freed`.
cdef void request_clear(Request *it) noexcept nogil
# Says what became of a request, wakes its asker, and gives the loop's reference back. Takes over `result`.
cdef void request_finish(Request *it) noexcept nogil


# What a Python thread holds of a question on its way.
cdef class Asked:
    cdef Request *it
    cdef object engine      # a node or a client; keeps its loop alive
    cdef object describe    # of the engine: makes an exception of an outcome
    cdef object attached    # what the asker wants to see again
    cdef object convert     # makes what the asker wants of what came, or None

    # What came; only of a request whose outcome is DONE.
    cdef object value(self)
    # Why it came to something else.
    cdef object error(self)


cdef class Completions:
    cdef Answered *it
    cdef set held
    cdef object __weakref__

    cdef int take(self, Asked asked, object attached, object convert) except -1
    cdef Request *begin(self) noexcept
