# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/tree.c csrc/forest.c csrc/xxh3.c
"""Parked questions: where they wait, and how the events of a batch find those that they concern.

Watches of one key and of a prefix lie in one index by hash, as do awaited acquisitions; watches of other ranges in a list, each
of which is held against every event, so there are not many of them. Knows nothing of answers.
"""

from cython.operator cimport dereference, postincrement
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp
from libcpp.map cimport map as ordered_map
from libcpp.map cimport multimap
from libcpp.unordered_map cimport unordered_map
from libcpp.utility cimport pair

from quorate.runtime._parking cimport *
from quorate.runtime._structs cimport *
from quorate.store._csrc cimport item_key, tree_compare
from quorate.store._state cimport EVENT_GRANT
from quorate.store._state cimport Event as StoreEvent
from quorate.store._watch cimport WATCH_KEYS, WATCH_PERMITS


cdef extern from "xxh3.h" nogil:
    uint64_t xxh3_64(const void *bytes, size_t length, uint64_t seed)

ctypedef unordered_map[uint64_t, Parked *].iterator index_iterator
ctypedef ordered_map[uint32_t, uint32_t].iterator prefix_iterator

cdef uint64_t POINT = 0, PREFIX = 0x9e3779b97f4a7c15, ACQUISITION = 0xc2b2ae3d27d4eb4f  # kept apart in one index


cdef void ring_append(Questions *it, Parked *one) noexcept nogil:
    one.behind = NULL
    one.before = it.last
    if it.last != NULL:
        it.last.behind = one
    else:
        it.first = one
    it.last = one


cdef void ring_remove(Questions *it, Parked *one) noexcept nogil:
    if one.before != NULL:
        one.before.behind = one.behind
    else:
        it.first = one.behind
    if one.behind != NULL:
        one.behind.before = one.before
    else:
        it.last = one.before


cdef void ring_turn(Questions *it) noexcept nogil:
    cdef Parked *one = it.first
    ring_remove(it, one)
    ring_append(it, one)


cdef int index_add(Questions *it, Parked *one, uint64_t hash) except -1 nogil:
    cdef Parked **head = &it.index[hash]
    one.hash = hash
    one.indexed = True
    one.previous = NULL
    one.next = head[0]
    if head[0] != NULL:
        head[0].previous = one
    head[0] = one
    return 0


cdef void index_remove(Questions *it, Parked *one) noexcept nogil:
    cdef index_iterator found
    cdef prefix_iterator counted
    if one.odd:
        it.odd_ones -= 1
    if one.next != NULL:
        one.next.previous = one.previous
    if one.previous != NULL:
        one.previous.next = one.next
    elif one.odd:
        it.odd = one.next
    else:
        found = it.index.find(one.hash)
        if one.next != NULL:
            dereference(found).second = one.next
        else:
            it.index.erase(found)
    if one.prefix:
        counted = it.prefixes.find(one.start_length)
        dereference(counted).second -= 1
        if dereference(counted).second == 0:
            it.prefixes.erase(counted)
    one.indexed = one.odd = one.prefix = False


cdef bint is_prefix(const Parked *watch) noexcept nogil:
    """Whether the range is that of all names that begin with `start`."""
    cdef uint32_t length = watch.start_length
    if length == 0 or watch.end_length == 0:
        return length == 0 and watch.end_length == 0
    while length and watch.start[length - 1] == 255:
        length -= 1
    return (
        length > 0 and watch.end_length == length and memcmp(watch.start, watch.end, length - 1) == 0
        and watch.end[length - 1] == watch.start[length - 1] + 1
    )


cdef int index_watch(Questions *it, Parked *watch) except -1 nogil:
    if (
        watch.end_length == watch.start_length + 1 and watch.end[watch.start_length] == 0
        and memcmp(watch.start, watch.end, watch.start_length) == 0
    ):
        index_add(it, watch, xxh3_64(watch.start, watch.start_length, it.seed ^ POINT))
        return 1
    if is_prefix(watch):
        it.prefixes[watch.start_length] += 1
        watch.prefix = True
        index_add(it, watch, xxh3_64(watch.start, watch.start_length, it.seed ^ PREFIX))
        return 1
    if it.odd_ones >= ODD_MAX:
        return 0
    it.odd_ones += 1
    watch.odd = watch.indexed = True
    watch.previous = NULL
    watch.next = it.odd
    if it.odd != NULL:
        it.odd.previous = watch
    it.odd = watch
    return 1


cdef int index_acquisition(Questions *it, Parked *one) except -1 nogil:
    return index_add(it, one, acquisition_hash(it, one.session, one.acquisition))


cdef uint64_t acquisition_hash(const Questions *it, uint64_t session, uint64_t acquisition) noexcept nogil:
    cdef uint64_t[2] both
    both[0] = session
    both[1] = acquisition
    return xxh3_64(both, 16, it.seed ^ ACQUISITION)


cdef int park(Loop *it, Parked *one) except -1 nogil:
    """It is not pending any more, for its time is bounded by itself."""
    cdef Questions *all = &it.questions
    cdef pair[uint64_t, Parked *] entry
    it.pending -= 1
    all.parked += 1
    ring_append(all, one)
    entry.first = one.request.expires_at
    entry.second = one
    one.by_deadline = all.by_deadline.insert(entry)
    return 0


cdef int park_for_revision(Loop *it, Parked *one, uint64_t revision) except -1 nogil:
    cdef pair[uint64_t, Parked *] entry
    entry.first = revision
    entry.second = one
    one.by_revision = it.questions.by_revision.insert(entry)
    one.waits_for_revision = True
    return park(it, one)


cdef void unpark(Loop *it, Parked *one) noexcept nogil:
    """Out of everything; the request is pending again, and `one` still the caller's to free."""
    cdef Questions *all = &it.questions
    it.pending += 1
    all.parked -= 1
    ring_remove(all, one)
    all.by_deadline.erase(one.by_deadline)
    if one.waits_for_revision:
        all.by_revision.erase(one.by_revision)
        one.waits_for_revision = False
    if one.indexed:
        index_remove(all, one)


cdef bint wants(const Parked *watch, const StoreEvent *event) noexcept nogil:
    cdef uint32_t space = WATCH_PERMITS if event.kind >= EVENT_GRANT else WATCH_KEYS
    if not watch.spaces & space or event.revision <= watch.after:
        return False
    if tree_compare(item_key(event.row), event.row.key_length, watch.start, watch.start_length) < 0:
        return False
    return watch.end_length == 0 or tree_compare(
        item_key(event.row), event.row.key_length, watch.end, watch.end_length
    ) < 0


cdef int mark(Questions *it, Parked *one) except -1 nogil:
    if not one.is_due:
        one.is_due = True
        it.due.push_back(one)
    return 0


cdef int mark_watches(Questions *it, Parked *one, const StoreEvent *event, uint64_t place) except -1 nogil:
    """Those of a chain that want the event. Another thing with the same hash does not: it has no spaces, or another name."""
    while one != NULL:
        if wants(one, event):
            one.places.push_back(place)
            mark(it, one)
        one = one.next
    return 0


cdef int mark_event(Questions *it, const StoreEvent *event, uint64_t place) except -1 nogil:
    cdef const uint8_t *key = item_key(event.row)
    cdef index_iterator found = it.index.find(xxh3_64(key, event.row.key_length, it.seed ^ POINT))
    cdef prefix_iterator length = it.prefixes.begin()
    cdef Parked *one
    if found != it.index.end():
        mark_watches(it, dereference(found).second, event, place)
    while length != it.prefixes.end() and dereference(length).first <= event.row.key_length:
        found = it.index.find(xxh3_64(key, dereference(length).first, it.seed ^ PREFIX))
        if found != it.index.end():
            mark_watches(it, dereference(found).second, event, place)
        postincrement(length)
    mark_watches(it, it.odd, event, place)
    if event.acquisition:
        found = it.index.find(acquisition_hash(it, event.session, event.acquisition))
        one = dereference(found).second if found != it.index.end() else NULL
        while one != NULL:
            if one.session == event.session and one.acquisition == event.acquisition and one.spaces == 0:
                mark(it, one)
            one = one.next
    return 0
