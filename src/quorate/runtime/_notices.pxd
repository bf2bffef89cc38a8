# What native threads tell the one Python thread that runs callbacks; see _notices.pyx.

from libc.stdint cimport uint8_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.deque cimport deque

from quorate.runtime._structs cimport pthread_cond_t, pthread_mutex_t


cdef extern from "quorate/runtime/notices.hpp" namespace "quorate" nogil:
    const uint8_t NOTICE_STATE
    const uint8_t NOTICE_LEADER
    const uint8_t NOTICE_LANE
    const uint8_t NOTICE_OVERFLOW
    const uint8_t ENGINE_SUSPENDED
    const uint8_t ENGINE_CONNECTED
    const uint8_t ENGINE_STOPPED
    const size_t NOTICES_MAX

    cdef cppclass Notice:
        uint8_t kind
        uint64_t a
        uint64_t b

    cdef cppclass Notices:
        pthread_mutex_t lock
        pthread_cond_t changed
        deque[Notice] waiting
        cbool overflow
        cbool awaited
        Notices()


cdef Notices *notices_new() except NULL
cdef void notices_free(Notices *it) noexcept nogil
# From any thread.
cdef void notice(Notices *it, uint8_t kind, uint64_t a, uint64_t b) noexcept nogil
# Waits for some, with the GIL released; [(kind, a, b)], empty when the time is over. `name_of`: a member's name by its id.
cdef list notices_wait(Notices *it, double seconds, object name_of)
