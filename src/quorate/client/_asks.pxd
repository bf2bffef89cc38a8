# What a client asks of nodes; see _asks.pyx.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from quorate.client._structs cimport Engine
from quorate.runtime._structs cimport Request, frame

cdef enum:
    ASKS_MAX = 65536        # taken in and not answered; beyond, requests stay in the mailbox
    LINK_ASKS_MAX = 4096    # in flight on one link

# Takes a request in; the loop's reference goes with it.
cdef int ask_begin(Engine *it, Request *request) except -1 nogil
cdef bint asks_wanted(Engine *it) noexcept nogil
cdef int asks_take(Engine *it, uint64_t now) except -1 nogil
# Sends what waits and can go.
cdef int asks_pump(Engine *it, uint64_t now) except -1 nogil
# Lanes: tells them where the leader is, and lets them send.
cdef int lanes_turn(Engine *it, uint64_t now) except -1 nogil
# When lanes have something to do; at once if they wait for nothing.
cdef uint64_t lanes_due(Engine *it) noexcept nogil
cdef int ask_answered(Engine *it, uint32_t slot, const frame *found, uint64_t now) except -1 nogil
# The link ended: what its asks become.
cdef int asks_lost(Engine *it, uint32_t slot, uint64_t now) except -1 nogil
# Another leads now: what the old one has may never be answered.
cdef int asks_moved(Engine *it, uint64_t old_leader, uint64_t now) except -1 nogil
# Asks a node that owes an answer whether it is there; ends links to those that do not say so. When to look again.
cdef uint64_t asks_watch(Engine *it, uint64_t now) except? 0 nogil
cdef uint64_t asks_deadline(Engine *it, uint64_t now) noexcept nogil
cdef int asks_expire(Engine *it, uint64_t now) except -1 nogil
cdef void asks_stopped(Engine *it) noexcept nogil
