# The line of one session: numbers, marks, gaps, sending again; see _lane_line.pyx.

from libc.stdint cimport uint8_t, uint64_t

from quorate.runtime._lane_structs cimport Lanes, NativeLane, Sending
from quorate.runtime._structs cimport Request

# A request of the kinds COMMAND and MANY, to which there are no objections.
cdef int line_take(Lanes *it, NativeLane *lane, Request *request) except -1 nogil
# Answers a request that never came into a line.
cdef void line_refuse(Request *request, uint8_t outcome) noexcept nogil
# Makes the command at the cursor ready: numbered, in bytes that nobody else reads. 0: there is none, or not now.
cdef int line_next(Lanes *it, NativeLane *lane) except -1 nogil
# The driver took it.
cdef void line_sent(NativeLane *lane) noexcept nogil
# What a sending came to. Says LOSS_NONE, or why the session is lost: then numbers from `unapplied` on were not applied.
cdef int line_answered(Lanes *it, NativeLane *lane, Sending *by, uint64_t *unapplied) except -1 nogil
# Everything from this number on is to be sent again.
cdef void line_again(Lanes *it, NativeLane *lane, uint64_t number) noexcept nogil
# How long to wait before the next try; longer each time, until there is progress.
cdef void line_pause(NativeLane *lane, uint8_t outcome) noexcept nogil
# Answers askers whose time is over.
cdef int line_expire(Lanes *it, NativeLane *lane, uint64_t now) except -1 nogil
# The end of the line: what is pending gets the outcome `before` if it is proven not to have been applied, else `after`.
# Numbers from `unapplied` on were not, because they are applied in order.
cdef void line_end(Lanes *it, NativeLane *lane, uint8_t before, uint8_t after, uint64_t unapplied) noexcept nogil
