# distutils: language = c++
"""A small bounded queue from native threads to the one Python thread that runs callbacks: the leader became another, the
cluster cannot be reached, a lane was lost.

A notice says that something changed, and what it was at that time. If nobody fetches them, the oldest are dropped, and a
notice of its own says so: then one looks at everything. Nothing is kept before the first time that somebody waits.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport uint8_t, uint64_t
from libcpp.deque cimport deque

from quorate.runtime._notices cimport *
from quorate.runtime._structs cimport *
from quorate.runtime._threads cimport condition_init, seconds_from_now

cdef double SLICE_SECONDS = 0.2  # how long a signal may have to wait

cdef tuple STATES = ("suspended", "connected", "stopped")
cdef tuple LANES = ("opening", "open", "closing", "closed", "lost")


cdef Notices *notices_new() except NULL:
    cdef Notices *made = new Notices()
    pthread_mutex_init(&made.lock, NULL)
    condition_init(&made.changed)
    return made


cdef void notices_free(Notices *it) noexcept nogil:
    if it != NULL:
        pthread_cond_destroy(&it.changed)
        pthread_mutex_destroy(&it.lock)
        del it


cdef void notice(Notices *it, uint8_t kind, uint64_t a, uint64_t b) noexcept nogil:
    cdef Notice made
    if it == NULL:
        return
    made.kind = kind
    made.a = a
    made.b = b
    pthread_mutex_lock(&it.lock)
    if it.awaited:
        if it.waiting.size() >= NOTICES_MAX:
            it.waiting.pop_front()
            it.overflow = True
        it.waiting.push_back(made)
        pthread_cond_signal(&it.changed)
    pthread_mutex_unlock(&it.lock)


cdef void wait_some(Notices *it, double seconds, deque[Notice] *out, bint *overflow) noexcept nogil:
    cdef timespec until = seconds_from_now(seconds)
    pthread_mutex_lock(&it.lock)
    it.awaited = True
    while it.waiting.empty():
        if pthread_cond_timedwait(&it.changed, &it.lock, &until) != 0:
            break
    it.waiting.swap(out[0])
    overflow[0] = it.overflow
    it.overflow = False
    pthread_mutex_unlock(&it.lock)


cdef list notices_wait(Notices *it, double seconds, object name_of):
    cdef deque[Notice] found
    cdef bint overflow = False
    cdef double some
    cdef size_t i
    while True:
        some = max(min(seconds, SLICE_SECONDS), 0.0)
        with nogil:
            wait_some(it, some, &found, &overflow)
        PyErr_CheckSignals()
        seconds -= some
        if not found.empty() or seconds <= 0:
            break
    made = [("overflow",)] if overflow else []
    for i in range(found.size()):
        if found[i].kind == NOTICE_STATE:
            made.append(("state", STATES[found[i].a]))
        elif found[i].kind == NOTICE_LEADER:
            made.append(("leader", name_of(found[i].a), found[i].b))
        else:
            made.append(("lane", found[i].a, LANES[found[i].b]))
    return made
