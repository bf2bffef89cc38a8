# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/poller.c csrc/process.c csrc/net.c csrc/xxh3.c
"""Processes of this machine that hold sessions: watched as long as they have a connection or a session; when one ends, so do its
sessions, wherever the leader is.

A client's hello tells its process, and so does a member's; the system tells of its exit by a descriptor, where it has them. The
sessions of a client are bound to its process as it opens and renews them. Those that were opened in a member's process bear its
mark, because whoever leads does not see which of the member's renewals are its own. A connection that ends proves nothing. A process that has ended is kept for a while, for sessions that its last requests open.

Knows nothing of renewals and deadlines, and proposes nothing: it says which sessions are to end.
"""

from cython.operator cimport dereference, postincrement
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t
from libcpp.set cimport set as ordered_set
from libcpp.unordered_map cimport unordered_map
from libcpp.vector cimport vector

from quorate.runtime._processes cimport *
from quorate.runtime._session_structs cimport *
from quorate.runtime._structs cimport *
from quorate.store._state cimport Session, StoreState, session_of


cdef extern from "process.h" nogil:
    uint64_t process_birth(uint32_t number)
    int process_nearby(int socket, uint32_t number)
    int process_watch(uint32_t number, uint64_t birth)

cdef extern from "<unistd.h>" nogil:
    int c_getpid "getpid"()

ctypedef ordered_set[uint64_t].iterator id_iterator
ctypedef unordered_map[uint64_t, uint32_t].iterator owner_iterator
ctypedef unordered_map[uint64_t, Session*].iterator session_iterator

# Microseconds.
cdef uint64_t END_AGAIN = 250000
cdef uint64_t FORGET = 60000000        # a process that has ended; longer than any of its requests waits


def own_birth():
    """What tells this process from every other one on this machine; a client says it in its hello. 0: not known here."""
    return process_birth(<uint32_t>c_getpid())


cdef inline uint32_t handle_of(const Process *process, uint32_t place) noexcept nogil:
    return (process.generation << 12) | (place + 1)


cdef Process *process_of(Loop *it, uint32_t handle, uint32_t *place) noexcept nogil:
    cdef Sessions *own = sessions_of(it)
    place[0] = (handle & 0xFFF) - 1
    if handle == 0 or place[0] >= own.processes.size():
        return NULL
    if not own.processes[place[0]].used or handle_of(&own.processes[place[0]], place[0]) != handle:
        return NULL
    return &own.processes[place[0]]


# Forgetting --------------------------------------------------------------------------------------------------------------


cdef void stop_watching(Loop *it, Process *process) noexcept nogil:
    cdef int fd = process.fd
    if fd >= 0:
        poller_remove(it.poll, fd)
        process.fd = -1
        net_close(fd)


cdef int forget(Loop *it, Process *process) except -1 nogil:
    stop_watching(it, process)
    if process.exited:
        sessions_of(it).exited -= 1
    else:
        sessions_of(it).watched -= 1
    process.used = process.exited = process.member = False
    process.sessions.clear()
    return 0


cdef int forget_unused(Loop *it, uint32_t place) except -1 nogil:
    """Who has neither a connection nor a session is nothing to watch."""
    cdef Process *process = &sessions_of(it).processes[place]
    if process.used and not process.exited and not process.member and process.connections == 0 and process.sessions.empty():
        return forget(it, process)
    return 0


cdef int session_gone(Loop *it, uint64_t session) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    cdef owner_iterator found = own.owners.find(session)
    cdef uint32_t place
    if found == own.owners.end():
        return 0
    place = dereference(found).second
    own.processes[place].sessions.erase(session)
    own.owners.erase(found)
    return forget_unused(it, place)


cdef int forget_ended(Loop *it) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    cdef owner_iterator at = own.owners.begin()
    cdef uint64_t session
    while at != own.owners.end():
        session = dereference(at).first
        postincrement(at)
        if session_of(<StoreState *>it.store, session) == NULL:
            session_gone(it, session)
    return 0


cdef int processes_forget(Loop *it, uint64_t now) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    cdef size_t i
    for i in range(own.processes.size()):
        if own.processes[i].used and own.processes[i].exited and own.processes[i].forget_at <= now:
            forget(it, &own.processes[i])
    return 0


cdef void processes_close(Loop *it) noexcept nogil:
    cdef Sessions *own = sessions_of(it)
    cdef size_t i
    for i in range(own.processes.size()):
        if own.processes[i].fd >= 0:
            net_close(own.processes[i].fd)


# Watching ----------------------------------------------------------------------------------------------------------------


cdef uint32_t watch_process(Loop *it, int socket, uint32_t told, uint64_t birth) except? 0xFFFFFFFF nogil:
    cdef Sessions *own = sessions_of(it)
    cdef Process *process
    cdef size_t i, place = own.processes.size()
    cdef int fd
    if told == 0 or birth == 0 or told == <uint32_t>c_getpid() or not process_nearby(socket, told):
        return 0
    for i in range(own.processes.size()):
        process = &own.processes[i]
        if not process.used:
            place = min(place, i)
        elif process.number == told and process.birth == birth and not process.exited:
            process.connections += 1
            return handle_of(process, <uint32_t>i)
    if place >= PROCESSES_MAX:
        # A snapshot may have replaced the store, and nobody said which sessions are gone: look again.
        forget_ended(it)
        return 0
    fd = process_watch(told, birth)
    if fd < 0:
        return 0
    if place == own.processes.size():
        own.processes.resize(place + 1)
    process = &own.processes[place]
    process.generation += 1
    if poller_add(it.poll, fd, POLLER_READ, (<uint64_t>handle_of(process, <uint32_t>place) << 32) | TOKEN_PROCESS):
        net_close(fd)
        return 0
    process.used = True
    process.exited = process.member = False
    process.fd = fd
    process.number = told
    process.birth = birth
    process.connections = 1
    own.watched += 1
    process.sessions.clear()
    return handle_of(process, <uint32_t>place)


cdef int members_near(Loop *it) except -1 nogil:
    cdef size_t i
    cdef uint32_t place, handle
    cdef Neighbour *told
    cdef Connection *connection
    cdef Process *process
    for i in range(it.peers.near.size()):
        told = &it.peers.near[i]
        connection = &it.peers.connections[told.slot]
        if connection.generation != told.generation or connection.fd < 0:
            continue
        handle = watch_process(it, connection.fd, told.process, told.started)
        process = process_of(it, handle, &place)
        if process != NULL:
            process.member = True
            process.connections -= 1
    it.peers.near.clear()
    return 0


cdef inline uint64_t mark_of(const Session *session) noexcept nogil:
    return load_le64(session.nonce + 8)


cdef int session_new(Loop *it, uint64_t session) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    cdef Session *found
    cdef size_t i
    if own.exited == 0:
        return 0
    found = session_of(<StoreState *>it.store, session)
    for i in range(own.processes.size()):
        if found != NULL and own.processes[i].exited and own.processes[i].member and own.processes[i].birth == mark_of(found):
            own.ending.insert(session)
            own.end_at = 0
    return 0


cdef int end_marked(Loop *it, uint64_t mark) except -1 nogil:
    """Every session that was opened in a process."""
    cdef StoreState *store = <StoreState *>it.store
    cdef session_iterator at = store.sessions.begin()
    while at != store.sessions.end():
        if mark_of(dereference(at).second) == mark:
            sessions_of(it).ending.insert(dereference(at).first)
        postincrement(at)
    return 0


cdef int leave_process(Loop *it, uint32_t handle) except -1 nogil:
    cdef uint32_t place
    cdef Process *process = process_of(it, handle, &place)
    if process == NULL or process.connections == 0:
        return 0
    process.connections -= 1
    return forget_unused(it, place)


cdef int bind_session(Loop *it, uint32_t handle, uint64_t session) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    cdef uint32_t place
    cdef Process *process = process_of(it, handle, &place)
    cdef owner_iterator found
    if process == NULL or session_of(<StoreState *>it.store, session) == NULL:
        return 0
    if process.exited:
        own.ending.insert(session)
        own.end_at = 0
        return 0
    found = own.owners.find(session)
    if found != own.owners.end():
        if dereference(found).second == place:
            return 0
        own.processes[dereference(found).second].sessions.erase(session)
        forget_unused(it, dereference(found).second)
    own.owners[session] = place
    process.sessions.insert(session)
    return 0


# Ends --------------------------------------------------------------------------------------------------------------------


cdef int process_ended(Loop *it, uint64_t token) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    cdef uint32_t place
    cdef Process *process = process_of(it, <uint32_t>(token >> 32), &place)
    cdef id_iterator at
    if process == NULL or process.exited:
        return 0
    stop_watching(it, process)
    process.exited = True
    process.forget_at = clock_microseconds() + FORGET
    own.exited += 1
    own.watched -= 1
    own.exits += 1
    at = process.sessions.begin()
    while at != process.sessions.end():
        own.ending.insert(dereference(at))
        own.owners.erase(dereference(at))
        postincrement(at)
    process.sessions.clear()
    if process.member:
        end_marked(it, process.birth)
    own.end_at = 0
    return 0


cdef int processes_ending(Loop *it, uint64_t now, size_t most, vector[uint64_t] *sessions) except -1 nogil:
    cdef Sessions *own = sessions_of(it)
    cdef id_iterator at = own.ending.begin()
    if now < own.end_at:
        return 0
    own.end_at = now + END_AGAIN
    while at != own.ending.end() and sessions.size() < most:
        if session_of(<StoreState *>it.store, dereference(at)) == NULL:
            own.ending.erase(postincrement(at))
            continue
        sessions.push_back(dereference(at))
        postincrement(at)
    return 0
