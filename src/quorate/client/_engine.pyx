# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/poller.c csrc/mailbox.c
"""The native thread of a client. One turn: wait, decode, answer, take what was asked, connect, send, look at the time.

Everything of the engine belongs to this thread but the mailbox, a few flags and what it tells. It blocks all signals, and
takes the GIL in its first and last instant alone, as the node's loop does (runtime/_loop.pyx says why).

Knows nothing of Python's callers, and of what questions say.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from quorate.client._asks cimport *
from quorate.client._engine cimport *
from quorate.client._links cimport *
from quorate.client._places cimport LINKS, PLACES_MAX
from quorate.client._structs cimport *
from quorate.runtime._lanes cimport lanes_free, lanes_new
from quorate.runtime._notices cimport (
    ENGINE_CONNECTED,
    ENGINE_STOPPED,
    ENGINE_SUSPENDED,
    NOTICE_LEADER,
    NOTICE_STATE,
    notice,
    notices_free,
    notices_new,
)
from quorate.runtime._structs cimport (
    clock_microseconds,
    flag_get,
    flag_set,
    frame,
    mailbox_awake,
    mailbox_close,
    mailbox_sleeps,
    poller_event,
    poller_wait,
    poller_wake,
    pthread_cond_broadcast,
    pthread_cond_destroy,
    pthread_join,
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_unlock,
)
from quorate.runtime._threads cimport condition_init, failure_keep, thread_start

from quorate.errors import NodeFailed


cdef extern from "Python.h" nogil:
    ctypedef struct PyThreadState:
        pass
    ctypedef int PyGILState_STATE
    PyGILState_STATE PyGILState_Ensure()
    void PyGILState_Release(PyGILState_STATE state)
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *state)

cdef enum:
    EVENTS = 32     # ready descriptors looked at in one turn


# One turn ----------------------------------------------------------------------------------------------------------------


cdef int end_if_broken(Engine *it, uint32_t slot, uint64_t now) except -1 nogil:
    cdef Link *link = &it.links[slot]
    if link.state != LINK_OPEN or not link.broken:
        return 0
    asks_lost(it, slot, now)
    return link_close(
        it, slot, TROUBLE_LOST if link.broken > 0 else it.places[link.place].trouble.kind, max(link.broken, 0), now)


cdef int receive_from(Engine *it, uint32_t slot, uint64_t now) except -1 nogil:
    """What came is looked at before a link is ended, whatever ended it."""
    cdef uint64_t leader = it.leader
    cdef frame found
    # As far as it was read, which has a bound; nothing would come back for what is left.
    while links_next(it, slot, now, &found) != 0:
        ask_answered(it, slot, &found, now)
        if it.links[slot].broken == -1:
            break
    if it.leader != leader:
        asks_moved(it, leader, now)
    return end_if_broken(it, slot, now)


cdef int turn(Engine *it) except -1 nogil:
    cdef poller_event[EVENTS] events
    cdef uint64_t now = clock_microseconds()
    cdef uint64_t due = min(min(asks_deadline(it, now), it.due), lanes_due(it))
    cdef int count, i, slot
    cdef bint busy = asks_wanted(it) and not mailbox_sleeps(it.mail)
    count = poller_wait(it.poll, events, EVENTS, 0 if busy or flag_get(&it.stopping) else due)
    mailbox_awake(it.mail)
    if count < 0:
        with gil:
            raise NodeFailed("the system refuses to wait for descriptors")
    now = clock_microseconds()
    for i in range(count):
        slot = links_ready(it, events[i].token, events[i].ready, now)
        if slot >= 0:
            receive_from(it, slot, now)
    asks_take(it, now)
    asks_expire(it, now)
    due = asks_watch(it, now)  # before it is settled which node is near: it may have found out that one is not
    it.due = min(due, links_tick(it, now))
    asks_pump(it, now)
    lanes_turn(it, now)
    links_flush(it, now)
    return publish(it)


cdef int publish(Engine *it) except -1 nogil:
    """What others may see of the engine."""
    cdef EngineTold *told = &it.told
    cdef uint64_t leader, term
    cdef bint connected
    cdef int i
    it.figures.turns += 1
    it.figures.links = 0
    it.figures.output_bytes = 0
    for i in range(LINKS):
        if it.links[i].state == LINK_OPEN:
            it.figures.links += 1
            it.figures.output_bytes += it.links[i].out.size() - it.links[i].sent
    it.figures.lanes = it.lanes.all.size()
    it.figures.lane_commands = it.lanes.queued
    it.figures.lane_sent = it.lanes.sent
    it.figures.lane_again = it.lanes.again
    it.figures.lanes_lost = it.lanes.lost
    it.figures.lanes_renewed = it.lanes.renewed
    connected = it.leader != 0 and it.figures.links > 0 and not it.doubted
    pthread_mutex_lock(&it.lock)
    told.figures = it.figures
    told.seen = it.seen
    leader = told.leader
    term = told.term
    if it.news or connected != told.connected:
        it.news = False
        tell(it, connected)
        pthread_cond_broadcast(&it.changed)
    pthread_mutex_unlock(&it.lock)
    if it.leader != leader or it.term != term:
        notice(it.notices, NOTICE_LEADER, it.leader, it.term)
    if connected != it.was_connected:
        it.was_connected = connected
        notice(it.notices, NOTICE_STATE, ENGINE_CONNECTED if connected else ENGINE_SUSPENDED, 0)
    return 0


cdef int tell(Engine *it, bint connected) except -1 nogil:
    cdef EngineTold *told = &it.told
    cdef size_t i
    told.leader = it.leader
    told.term = it.term
    told.connected = connected
    told.cluster_known = it.cluster_known
    memcpy(told.cluster, it.cluster, 16)
    told.members = it.members
    told.linked.clear()
    for i in range(LINKS):
        if it.links[i].state == LINK_OPEN:
            told.linked.push_back(it.links[i].node)
    told.places.clear()
    for i in range(it.places.size()):
        if it.places[i].used:
            told.places.push_back(it.places[i])
            told.places.back().looking = NULL
    return 0


# The thread ----------------------------------------------------------------------------------------------------------------


cdef int live(Engine *it) except -1 nogil:
    while not flag_get(&it.stopping):
        turn(it)
    return 0


ctypedef int (*body_function)(Engine *) noexcept nogil


cdef void *run(void *context) noexcept nogil:
    cdef Engine *it = <Engine *>context
    # By a type that cannot fail, so that a pending exception stays where it is: in this thread's state.
    cdef body_function body = <body_function>live
    cdef PyGILState_STATE held = PyGILState_Ensure()
    cdef PyThreadState *state = PyEval_SaveThread()
    if body(it) < 0:
        failure_keep(it)
        flag_set(&it.failed)
    # Nobody puts anything any more after this; what is inside is answered, and what came at the last instant too, by the
    # asker itself, who sees that the engine has ended.
    mailbox_close(it.mail)
    asks_stopped(it)
    links_close(it)
    notice(it.notices, NOTICE_STATE, ENGINE_STOPPED, 0)
    pthread_mutex_lock(&it.lock)
    it.told.connected = False
    it.told.linked.clear()
    flag_set(&it.ended)
    pthread_cond_broadcast(&it.changed)
    pthread_mutex_unlock(&it.lock)
    PyEval_RestoreThread(state)
    PyGILState_Release(held)
    return NULL


cdef int engine_prepare(Engine *it) except -1:
    """The engine's own parts; the rest is the caller's to fill in."""
    it.links.resize(LINKS)
    it.places.reserve(PLACES_MAX)
    it.notices = notices_new()
    it.lanes = lanes_new(it.notices, it.random)
    pthread_mutex_init(&it.lock, NULL)
    condition_init(&it.changed)
    return 0


cdef int engine_start(Engine *it) except -1:
    thread_start(&it.thread, run, it, b"quorate-client")
    it.running = True
    return 0


cdef void engine_stop(Engine *it) noexcept nogil:
    """Ends the thread; answers everything first. Call it without the GIL: the thread may want it."""
    if not it.running:
        return
    flag_set(&it.stopping)
    poller_wake(it.poll)
    pthread_join(it.thread, NULL)
    it.running = False


cdef void engine_clear(Engine *it) noexcept nogil:
    links_close(it)
    lanes_free(it.lanes)
    notices_free(it.notices)
    pthread_cond_destroy(&it.changed)
    pthread_mutex_destroy(&it.lock)
