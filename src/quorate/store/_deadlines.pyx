# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/tree.c csrc/forest.c csrc/command.c
"""The leader's bookkeeping of when sessions expire: outside of the replicated state, and gone with the office.

A renewal costs one look-up: it moves the deadline, and the heap keeps the earlier time until that comes up. Time comes in
with the calls. Knows nothing of how decisions reach the log.
"""

cimport cython
from cython.operator cimport dereference
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libcpp.pair cimport pair
from libcpp.queue cimport priority_queue
from libcpp.unordered_map cimport unordered_map

from quorate.store._deadlines cimport *
from quorate.store._state cimport *
from quorate.store._store cimport Store as StoreHandle

ctypedef pair[int64_t, uint64_t] Due


cdef Deadlines *deadlines_new() except NULL nogil:
    cdef Deadlines *it = <Deadlines *> calloc(1, sizeof(Deadlines))
    if it == NULL:
        no_memory()
    with gil:
        it.all = new unordered_map[uint64_t, Deadline]()
        it.heap = new priority_queue[pair[int64_t, uint64_t]]()
    return it


cdef void deadlines_free(Deadlines *it) noexcept nogil:
    if it != NULL:
        del it.all
        del it.heap
        free(it)


cdef int start(Deadlines *it, uint64_t session, uint32_t ttl_ms, uint64_t now_ms) except -1 nogil:
    cdef Deadline deadline
    deadline.at_ms = now_ms + ttl_ms
    deadline.ttl_ms = ttl_ms
    deadline.proposed = 0
    it.all[0][session] = deadline
    it.heap.push(Due(-<int64_t> deadline.at_ms, session))
    return 0


cdef void deadlines_follow(Deadlines *it) noexcept nogil:
    it.leading = False
    it.all.clear()
    while not it.heap.empty():
        it.heap.pop()


cdef int deadlines_lead(Deadlines *it, StoreState *store, uint64_t now_ms) except -1 nogil:
    deadlines_follow(it)
    it.leading = True
    store.changes.clear()
    for entry in store.sessions[0]: # in any order: nothing replicated comes of it
        start(it, entry.first, entry.second.ttl_ms, now_ms)
    return 0


cdef int deadlines_take(Deadlines *it, StoreState *store, uint64_t now_ms) except -1 nogil:
    cdef size_t i
    cdef SessionChange *change
    if it.leading:
        for i in range(store.changes.size()):
            change = &store.changes[0][i]
            if change.ttl_ms:
                start(it, change.id, change.ttl_ms, now_ms)
            else:
                it.all.erase(change.id)
    store.changes.clear()
    return 0


cdef int deadlines_renew(Deadlines *it, uint64_t session, uint64_t now_ms) noexcept nogil:
    cdef Deadline *deadline
    found = it.all.find(session)
    if found == it.all.end():
        return UNKNOWN
    deadline = &dereference(found).second
    if deadline.proposed:
        return EXPIRY_PROPOSED
    if now_ms + deadline.ttl_ms > deadline.at_ms:
        deadline.at_ms = now_ms + deadline.ttl_ms
    return RENEWED


cdef int deadlines_due(Deadlines *it, uint64_t now_ms, uint64_t *sessions, int most) except -1 nogil:
    cdef int count = 0
    cdef Due top
    cdef Deadline *deadline
    while count < most and not it.heap.empty():
        top = it.heap.top()
        if -top.first > <int64_t> now_ms:
            break
        it.heap.pop()
        found = it.all.find(top.second)
        if found == it.all.end() or dereference(found).second.proposed:
            continue
        deadline = &dereference(found).second
        if deadline.at_ms > now_ms: # it was renewed meanwhile
            it.heap.push(Due(-<int64_t> deadline.at_ms, top.second))
            continue
        deadline.proposed = 1
        sessions[count] = top.second
        count += 1
    return count


cdef int deadlines_retry(Deadlines *it, uint64_t session) except -1 nogil:
    found = it.all.find(session)
    if found != it.all.end() and dereference(found).second.proposed:
        dereference(found).second.proposed = 0
        it.heap.push(Due(-<int64_t> dereference(found).second.at_ms, session))
    return 0


cdef uint64_t deadlines_next(const Deadlines *it) noexcept nogil:
    if it.heap.empty():
        return 0
    return <uint64_t> -it.heap.top().first


@cython.final
cdef class SessionDeadlines:
    """The deadlines of a store's sessions, for tests. Times are milliseconds of any monotonic clock.

    >>> from quorate.store import Store
    >>> from quorate.store._deadlines import SessionDeadlines
    >>> deadlines = SessionDeadlines(Store())
    >>> deadlines.lead(1000)
    >>> deadlines.due(60_000)
    []
    """

    cdef Deadlines *deadlines
    cdef StoreState *store
    cdef object owner

    def __cinit__(self, object store not None):
        self.deadlines = deadlines_new()
        self.owner = store
        self.store = (<StoreHandle?> store).store

    def __dealloc__(self):
        deadlines_free(self.deadlines)

    def lead(self, uint64_t now_ms) -> None:
        """This node became leader: every session gets its full time."""
        deadlines_lead(self.deadlines, self.store, now_ms)

    def follow(self) -> None:
        """This node is no longer leader."""
        deadlines_follow(self.deadlines)

    def take(self, uint64_t now_ms) -> None:
        """Takes in the sessions that entries opened or ended since the last call."""
        deadlines_take(self.deadlines, self.store, now_ms)

    def renew(self, uint64_t session, uint64_t now_ms) -> str:
        """``"renewed"``, ``"unknown"`` or ``"expiry proposed"``."""
        return ("renewed", "unknown", "expiry proposed")[deadlines_renew(self.deadlines, session, now_ms)]

    def due(self, uint64_t now_ms, int most=64) -> list[int]:
        """The sessions to expire, each once."""
        cdef uint64_t[64] sessions
        cdef int count = deadlines_due(self.deadlines, now_ms, sessions, min(most, 64))
        return [sessions[i] for i in range(count)]

    def retry(self, uint64_t session) -> None:
        """The proposal to expire it was refused."""
        deadlines_retry(self.deadlines, session)

    def next(self) -> int | None:
        """The earliest time at which a session may be due."""
        return deadlines_next(self.deadlines) or None
