# Connections of a client to nodes; see _links.pyx.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from quorate.client._structs cimport Engine
from quorate.runtime._structs cimport frame

# Microseconds without any leader after which what is older, or only a guess, is tried too.
cdef enum:
    LEADERLESS = 500000

cdef enum:
    OUTPUT_MAX = 8388608    # bytes queued on one link, plus one ask

# The slot of the open link to a node, or -1.
cdef int node_link(Engine *it, uint64_t node) noexcept nogil
cdef int open_links(Engine *it) noexcept nogil
# The leader or its term became another, as far as this is news. 1 if it was.
cdef int office_news(Engine *it, uint64_t leader, uint64_t term, uint64_t teller, uint64_t now) except -1 nogil
# Connects to whom it is time to; when to look again.
cdef uint64_t links_tick(Engine *it, uint64_t now) except? 0 nogil
# What a ready link holds: reads it. Answers the slot, or -1 if the event was for an earlier user of it.
cdef int links_ready(Engine *it, uint64_t token, uint32_t ready, uint64_t now) except -2 nogil
# The next answer that is whole: 1, or 0 if there is none.
cdef int links_next(Engine *it, uint32_t slot, uint64_t now, frame *found) except -1 nogil
cdef int link_queue(Engine *it, uint32_t slot) except -1 nogil
cdef int links_flush(Engine *it, uint64_t now) except -1 nogil
# Ends a link whose asks were seen to, and notes why.
cdef int link_close(Engine *it, uint32_t slot, uint8_t trouble, int32_t detail, uint64_t now) except -1 nogil
cdef void links_close(Engine *it) noexcept nogil
