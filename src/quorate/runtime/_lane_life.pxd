# The life of one session: opened, renewed, limited, closed, lost; see _lane_life.pyx.

from libc.stdint cimport uint8_t, uint64_t

from quorate.raft._types cimport buffer
from quorate.runtime._lane_structs cimport Lanes, NativeLane, Sending
from quorate.runtime._structs cimport Request

cdef void lane_release(NativeLane *it) noexcept nogil
# Tells of another state, and nothing else.
cdef void lane_becomes(Lanes *it, NativeLane *lane, uint8_t state) noexcept nogil
# The end, once: what is pending gets the outcome `before` if it is proven not to have been applied, else `after`. Numbers
# from `unapplied` on were not, because they are applied in order.
cdef void lane_finish(
    Lanes *it, NativeLane *lane, uint8_t state, uint8_t loss, uint8_t before, uint8_t after, uint64_t unapplied
) noexcept nogil
cdef void lane_lose(Lanes *it, NativeLane *lane, uint8_t loss, uint64_t unapplied) noexcept nogil
cdef void lane_closed(Lanes *it, NativeLane *lane) noexcept nogil

# The command that opens a session, and the one that ends it; one reference.
cdef buffer *lane_opening(NativeLane *lane) except NULL nogil
cdef buffer *lane_goodbye(NativeLane *lane) except NULL nogil
# What they came to.
cdef void lane_opened(Lanes *it, NativeLane *lane, Sending *by) noexcept nogil
cdef void lane_ended(Lanes *it, NativeLane *lane, Sending *by) noexcept nogil
# There is a session. Unless so much time went by that it may have ended again: then another one is opened.
cdef int lane_declare(Lanes *it, NativeLane *lane, uint64_t now) except -1 nogil

# What a renewal that was sent then says of it: 0 renewed, 1 unknown, else neither.
cdef void lane_renewed(Lanes *it, NativeLane *lane, uint8_t said, uint64_t sent_at) noexcept nogil
# Its holder gave it another limit.
cdef void lane_limited(Lanes *it, NativeLane *lane, uint64_t now) noexcept nogil
# A request to close it, taken over.
cdef void lane_close(Lanes *it, NativeLane *lane, Request *request, uint64_t now) noexcept nogil

# What the time means to it.
cdef int lane_due(Lanes *it, NativeLane *lane, uint64_t now) except -1 nogil
# When to look at the time again. Never at once: whoever goes through the timers that are due would not come to an end.
cdef void lane_schedule(Lanes *it, NativeLane *lane, uint64_t now) noexcept nogil
