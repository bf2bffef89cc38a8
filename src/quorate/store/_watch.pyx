# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/tree.c csrc/forest.c csrc/command.c
"""Watches: what a watcher wants, how far it is, and the events that come next.

The history itself is filled by the operations (`_state.event_add`). It is not replicated, only its bounds and its floor are:
a node that restored a snapshot has no events from before it, and says `Compacted` rather than leave any out.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from quorate.store._csrc cimport *
from quorate.store._state cimport *
from quorate.store._watch cimport *


cdef uint64_t watch_first_available(const StoreState *it) noexcept nogil:
    return max(it.history.since, it.history_floor)


cdef Watcher *watcher_open(StoreState *it, view start, view end, uint32_t spaces, uint64_t after) except NULL nogil:
    # The names lie behind the watcher in one allocation.
    cdef Watcher *watcher = <Watcher *> calloc(1, sizeof(Watcher) + start.length + end.length)
    cdef uint64_t low = it.history.first
    cdef uint64_t high = it.history.end
    cdef uint64_t middle
    if watcher == NULL:
        no_memory()
    watcher.start = <uint8_t *> watcher + sizeof(Watcher)
    memcpy(watcher.start, start.bytes, start.length)
    memcpy(watcher.start + start.length, end.bytes, end.length)
    watcher.start_length = start.length
    watcher.end_length = end.length
    watcher.spaces = spaces
    watcher.after = watcher.complete = after
    while low < high: # the first event above `after`
        middle = low + (high - low) // 2
        if it.history.all[middle & (it.history.size - 1)].revision <= after:
            low = middle + 1
        else:
            high = middle
    watcher.next = low
    return watcher


cdef void watcher_free(Watcher *it) noexcept nogil:
    free(it)


cdef inline bint wants(const Watcher *it, const Event *event) noexcept nogil:
    cdef uint32_t space = WATCH_PERMITS if event.kind >= EVENT_GRANT else WATCH_KEYS
    if not it.spaces & space or event.revision <= it.after:
        return False
    if tree_compare(item_key(event.row), event.row.key_length, it.start, it.start_length) < 0:
        return False
    return it.end_length == 0 or tree_compare(
        item_key(event.row), event.row.key_length, it.start + it.start_length, it.end_length
    ) < 0


cdef int watch_collect(StoreState *it, Watcher *watcher, Event *out, int most, uint64_t bytes_most) noexcept nogil:
    cdef History *history = &it.history
    cdef const Event *event
    cdef int count = 0
    cdef uint64_t total = 0
    if watcher.complete < watch_first_available(it):
        return WATCH_COMPACTED
    watcher.next = max(watcher.next, history.first) # what was dropped had been collected
    while watcher.next < history.end:
        event = &history.all[watcher.next & (history.size - 1)]
        if wants(watcher, event):
            if count == most or (count and total + item_cost(event.row) > bytes_most):
                if count and out[count - 1].revision == event.revision:
                    out[count - 1].last_of_revision = 0
                return count
            out[count] = event[0]
            out[count].last_of_revision = 1
            item_retain(event.row)
            total += item_cost(event.row)
            # Whether an event is the last of its revision that this watcher gets is known when the next one comes.
            if count and out[count - 1].revision == event.revision:
                out[count - 1].last_of_revision = 0
            count += 1
        watcher.next += 1
        if event.last_of_revision and event.revision > watcher.complete:
            watcher.complete = event.revision
    if it.applied_index > watcher.complete:
        watcher.complete = it.applied_index
    return count
