# Watches: events of the bounded history, in order, from a revision on.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from quorate.store._csrc cimport view
from quorate.store._state cimport Event, StoreState

cdef enum WatchSpace:
    WATCH_KEYS = 1
    WATCH_PERMITS = 2

# What one watcher wants and how far it is. Owned by the apply thread; freed by watcher_free.
cdef struct Watcher:
    uint64_t next      # place in the history
    uint64_t after     # revision that the watcher has seen already
    uint64_t complete  # every event up to this revision has been collected: where to resume
    uint8_t *start     # first name, and the end behind it; part of the watcher's own allocation
    uint32_t start_length
    uint32_t end_length  # 0: to the last
    uint32_t spaces

cdef enum:
    WATCH_COMPACTED = -2

# Events after revision `after` of names in [start, end); an empty end is past the last.
cdef Watcher *watcher_open(StoreState *it, view start, view end, uint32_t spaces, uint64_t after) except NULL nogil
cdef void watcher_free(Watcher *it) noexcept nogil
# Up to `most` events, or fewer once their rows pass `bytes_most`; each row has a reference that the caller releases. Or
# WATCH_COMPACTED: the history that is needed next is gone, and the watcher must read anew. An event that is not
# last_of_revision is followed by another of the same revision, and no place to resume.
cdef int watch_collect(StoreState *it, Watcher *watcher, Event *out, int most, uint64_t bytes_most) noexcept nogil
# The oldest revision that a watch may resume from.
cdef uint64_t watch_first_available(const StoreState *it) noexcept nogil
