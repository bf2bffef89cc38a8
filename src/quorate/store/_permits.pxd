# Permits: the one queue that mutex, semaphore, read-write lock and election are made of.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from quorate.store._csrc cimport command, item, view
from quorate.store._state cimport Outcome, Session, StoreState

cdef enum:
    WAITING = 2  # states order the queue's rows: holders first
    HELD = 1
    TAKEN_AWAY = 3

    PERMIT_FIXED = 66   # bytes of a row before the reason
    QUEUE_FIXED = 44    # before the holder's value
    ACQUIRED_FIXED = 24 # before the permit's name
    REVOKED_FIXED = 17  # before the reason, then the name
    QUEUE_KEY = 25      # permit, state, token or place in the queue, place in the queue

# A row of PERMITS. Invariants: held <= capacity; idle_since != 0 exactly if there is neither holder nor waiter; the waiter
# at the head does not fit into capacity - held.
cdef struct Permit:
    uint64_t id          # log index at which the name was defined
    uint64_t idle_since  # log index, 0 while in use
    uint64_t token       # of the latest grant
    uint64_t forced_at   # log index of the latest forced release, or 0
    uint64_t forced_token
    uint64_t forced_ms
    uint32_t capacity
    uint32_t held        # units
    uint32_t holders
    uint32_t waiters
    uint8_t kind
    uint8_t reason_length
    uint8_t reason[255]

# A row of QUEUE.
cdef struct Place:
    uint64_t session
    uint64_t acquisition
    uint64_t token      # log index of the grant, 0 for a waiter
    uint64_t since_ms   # granted, or queued
    uint64_t queued_at  # log index
    uint32_t units

cdef void permit_load(const item *row, Permit *out) noexcept nogil
cdef void place_load(const item *row, Place *out) noexcept nogil
cdef void acquired_key(uint8_t *out, uint64_t session, uint64_t acquisition) noexcept nogil
cdef void queue_key(uint8_t *out, uint64_t permit, uint8_t state, uint64_t first, uint64_t second) noexcept nogil

cdef bint permit_fence(StoreState *it, view name, uint64_t token) noexcept nogil
cdef int permits_apply(StoreState *it, const command *what, Outcome *out) except -1 nogil
# Withdraws and releases all that a session has, then hands over what became free.
cdef int permits_end_session(StoreState *it, Session *session) except -1 nogil
# For a restored store: what is made from PERMITS and QUEUE. The row's permit is named by `name`.
cdef int permit_index_idle(StoreState *it, const item *row) except -1 nogil
cdef int permit_index_place(StoreState *it, const item *row, uint64_t permit, view name) except -1 nogil
