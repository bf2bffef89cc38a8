# Where a member is found; see _reach.pyx.

from libc.stdint cimport uint64_t

from quorate.runtime._structs cimport Peer, net_address, poller

# 1: `to` is where to connect to next; 0: its name is being looked up, or it is nowhere. The poller is woken once it is.
cdef int reach_next(Peer *it, poller *poll, net_address *to) except -1 nogil
# The connection stands: the address is the right one, and its name is looked up anew when it is lost.
cdef int reach_made(Peer *it) except -1 nogil
# From the beginning, because the addresses are others, or because it is forgotten.
cdef int reach_reset(Peer *it) except -1 nogil
