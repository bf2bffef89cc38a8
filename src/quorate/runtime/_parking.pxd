# Parked questions and their indexes; see _parking.pyx.

from libc.stdint cimport uint64_t

from quorate.runtime._structs cimport Loop, Parked, Questions
from quorate.store._state cimport Event, StoreState

cdef enum:
    ODD_MAX = 4096  # watches of ranges that are neither one key nor a prefix

cdef inline Event *event_at(StoreState *it, uint64_t place) noexcept nogil:
    return &it.history.all[place & (it.history.size - 1)]


# Whether an event is one that a watch is to get.
cdef bint wants(const Parked *watch, const Event *event) noexcept nogil
# 0 if there are as many of its kind as there may be.
cdef int index_watch(Questions *it, Parked *watch) except -1 nogil
cdef int index_acquisition(Questions *it, Parked *one) except -1 nogil
# Until its time is over. It does not count as pending meanwhile.
cdef int park(Loop *it, Parked *one) except -1 nogil
cdef int park_for_revision(Loop *it, Parked *one, uint64_t revision) except -1 nogil
# Out of everything; its request is pending again, and `one` the caller's to free.
cdef void unpark(Loop *it, Parked *one) noexcept nogil
# The one that was looked at longest ago becomes the one that was looked at last.
cdef void ring_turn(Questions *it) noexcept nogil
# Into Questions::due, once.
cdef int mark(Questions *it, Parked *one) except -1 nogil
# Those that the event at this place concerns.
cdef int mark_event(Questions *it, const Event *event, uint64_t place) except -1 nogil
