# distutils: language = c
"""The place of a sticky lock's holder: one atomic state that decides between taking again and being recalled.

A grant that is kept has one seat. Whoever uses it sits in it; nobody else does at that time. ::

    TAKEN ──leave──► IDLE ──take──► TAKEN        somebody is inside; nobody is
      │                │
    recall           recall                      somebody else waits for the lock
      ▼                ▼
    RECALLED ─leave─► GIVEN_UP                   inside for the last time; to be released, and never taken again

    any ──lose──► LOST                           the lease is over, or an operator took it away

Every arrow is one compare-and-swap, so that of a take and a recall that meet, one comes first for everybody: either the
recall finds the seat taken, and who is inside gives it up on leaving, or the take finds that there is nothing to take. Nothing
relies on the GIL. GIVEN_UP and LOST are final; the next grant gets another seat.

Knows nothing of locks, of sessions and of the cluster: whether the lease holds is asked of a function.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t


cdef extern from *:
    """
    #include <stdbool.h>
    static inline uint32_t seat_look(const uint32_t *at) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
    static inline bool seat_move(uint32_t *at, uint32_t from, uint32_t to) {
        return __atomic_compare_exchange_n(at, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    static inline void owner_put(uint64_t *at, uint64_t owner) { __atomic_store_n(at, owner, __ATOMIC_RELEASE); }
    static inline uint64_t owner_look(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    """
    uint32_t seat_look(const uint32_t *at) noexcept nogil
    bint seat_move(uint32_t *at, uint32_t before, uint32_t after) noexcept nogil
    void owner_put(uint64_t *at, uint64_t owner) noexcept nogil
    uint64_t owner_look(const uint64_t *at) noexcept nogil

cdef enum:
    TAKEN = 0
    IDLE = 1
    RECALLED = 2
    GIVEN_UP = 3
    LOST = 4

STATES = ("taken", "idle", "recalled", "given up", "lost")


@cython.final
cdef class Seat:
    """Made taken, by the one who was granted the lock. All methods may be called from any thread, and none waits.

    ``lease`` says whether what was granted is certainly held still, by the local clock. ``owner`` is a number for who
    sits there, as of a thread, and not 0.

    >>> seat = Seat(lambda: True, 7)
    >>> seat.leave(7), seat.take(8), seat.owner
    ('idle', True, 8)
    >>> seat.recall(), seat.leave(8), seat.take(8)
    (False, 'given up', False)
    """

    cdef uint32_t now
    cdef uint64_t who
    cdef object lease

    def __init__(self, lease, uint64_t owner):
        self.lease = lease
        owner_put(&self.who, owner)

    def take(self, uint64_t owner):
        """Sits down again, if nobody does, nobody else was let in, and the lease holds."""
        if not seat_move(&self.now, IDLE, TAKEN):
            return False
        owner_put(&self.who, owner)
        if self.lease():
            return True
        self.lose()
        return False

    def rest(self, uint64_t owner):
        """Gets up if that is all there is to do: the caller sits there, nobody waits, and the lease holds. False: nothing
        was done, and :meth:`leave` says what there is."""
        return owner_look(&self.who) == owner and self.lease() and seat_move(&self.now, TAKEN, IDLE)

    def leave(self, uint64_t owner):
        """Gets up; the state afterwards. "given up": the caller has to release the lock now. "lost": it was lost while
        the caller sat there. "not taken": the caller does not sit there, and nothing was done."""
        if owner_look(&self.who) != owner:
            return "not taken"
        if not self.lease():
            self.lose()
        if seat_move(&self.now, TAKEN, IDLE):
            return "idle"
        if seat_move(&self.now, RECALLED, GIVEN_UP):
            return "given up"
        return "lost" if seat_look(&self.now) == LOST else "not taken"

    def recall(self):
        """Somebody waits. True: nobody sits there, nobody will, and the caller has to release the lock now. False: who
        sits there will on leaving; or it is over already."""
        while True:
            if seat_move(&self.now, IDLE, GIVEN_UP):
                return True
            if seat_move(&self.now, TAKEN, RECALLED) or seat_look(&self.now) >= RECALLED:
                return False

    def lose(self):
        """It is not held any more; gives whether somebody sat there. Of several calls one is told so."""
        cdef uint32_t before = seat_look(&self.now)
        while before != GIVEN_UP and before != LOST:
            if seat_move(&self.now, before, LOST):
                return before != IDLE
            before = seat_look(&self.now)
        return False

    @property
    def owner(self) -> int:
        """Who sits there, or did last."""
        return owner_look(&self.who)

    @property
    def taken(self) -> bool:
        """Whether somebody sits there; perhaps not any more by now."""
        cdef uint32_t now = seat_look(&self.now)
        return now == TAKEN or now == RECALLED

    @property
    def state(self) -> str:
        """"taken", "idle", "recalled", "given up" or "lost"; perhaps another one by now."""
        return STATES[seat_look(&self.now)]

    def __repr__(self):
        return f"<Seat {self.state}>"
