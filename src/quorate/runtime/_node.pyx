# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/command.c csrc/mailbox.c csrc/net.c csrc/poller.c
"""One run of a node, from what storage found to the end of its thread: builds the parts, starts the loop, hands questions in.

What lives here and who frees it: the core belongs to the Raft object, the store to a Replica that readers share and that
outlives the run, the log to the storage, the rest to the loop. They are freed when the thread has ended, in that order.

Knows nothing of addresses as people write them, and nothing of retries: node.py does.
"""

import os
import secrets
import weakref

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from libcpp.string cimport string

from quorate.raft._configuration cimport configuration_decode
from quorate.raft._invariants cimport broken_deeply, broken_invariant
from quorate.raft._log cimport RaftLog, log_append, log_append_configuration
from quorate.raft._raft cimport Raft
from quorate.raft._types cimport (
    ENTRY_BYTES_MAX,
    ENTRY_CONFIGURATION,
    MEMBERS_MAX,
    Configuration,
    buffer,
    buffer_from,
    entry,
    entry_bytes,
    entry_retained,
)
from quorate.runtime._clients cimport clients_prepare
from quorate.runtime._lane cimport lane_error, lane_open
from quorate.runtime._lane_structs cimport Lanes
from quorate.runtime._lanes cimport lanes_free, lanes_new
from quorate.runtime._loop cimport *
from quorate.runtime._notices cimport Notices, notices_free, notices_new, notices_wait
from quorate.runtime._peers cimport INCOMING_MAX, peers_close
from quorate.runtime._requests cimport Pending, ask, door_of
from quorate.runtime._roster cimport roster_follow
from quorate.runtime._session_structs cimport PROCESSES_MAX
from quorate.runtime._snapshots cimport snapshots_open, snapshots_status
from quorate.runtime._structs cimport *
from quorate.runtime._threads cimport failure_forget, failure_of, seconds_from_now
from quorate.storage._log cimport Log
from quorate.storage._replay cimport Replay
from quorate.storage._wal cimport Wal
from quorate.store._csrc cimport COMMAND_VERSION, command, command_decode
from quorate.store._reader cimport reader_new
from quorate.store._snapshot cimport SnapshotReader, restore_begin, restore_feed, restore_finish, restore_free
from quorate.store._state cimport StoreState, store_free, store_new

from quorate.errors import (
    ConnectionLost,
    Indeterminate,
    InvalidArgument,
    InvariantBroken,
    LimitExceeded,
    NodeFailed,
    NoQuorum,
    NotHappened,
    NotLeader,
    Overloaded,
    Rejected,
    RequestTimeout,
    StorageError,
)
from quorate.raft._configuration import decode_configuration
from quorate.runtime._processes import own_birth
from quorate.runtime.membership import Membership


cdef extern from "<unistd.h>" nogil:
    int getpid()
    int c_close "close"(int fd)

cdef enum:
    MAILBOX_ITEMS = 32768
    MAILBOX_URGENT = 8192
    PAYLOAD_SPARE = 2097152  # what the heads of a message's entries may add to their payload

STANDING_WORDS = {
    STANDING_JOINING: "this node is no member of the cluster yet; add it with add_member on one that is",
    STANDING_REMOVED: "this node was removed from the cluster; to come back it has to be added again, with an empty directory",
    STANDING_REFUSED: "the others know this node with other data than it has (a wiped or another directory, or a lost "
    "memory); remove it on one of them, and add it again with an empty directory",
}
STANDINGS = ("voter", "learner", "joining", "removed", "refused")
ROLES = ("follower", "pre_candidate", "candidate", "leader")
COUNTER_NAMES = tuple([counter_name(counter).decode() for counter in range(COUNTERS)])

_running = weakref.WeakSet()  # handles whose thread runs, for the end of the interpreter and for forked children


def poller_kind():
    """What this build waits with: "epoll" or "poll"."""
    return poller_name().decode()


@cython.final
cdef class Replica:
    """Owns the replicated store, for the loop's time and for as long as somebody reads."""

    cdef StoreState *store

    def __dealloc__(self):
        store_free(self.store)


cdef Replica restored(object storage):
    """The store as the newest snapshot says it, or an empty one."""
    cdef Replica made = Replica.__new__(Replica)
    cdef SnapshotReader *reader
    cdef const uint8_t *at
    cdef size_t length
    cdef bytes chunk
    if storage.restart.snapshot is None:
        made.store = store_new(COMMAND_VERSION)
        return made
    reader = restore_begin(COMMAND_VERSION)
    try:
        for chunk in storage.content():
            at = <const uint8_t *>PyBytes_AS_STRING(chunk)
            length = PyBytes_GET_SIZE(chunk)
            with nogil:
                restore_feed(reader, at, length)
        made.store = restore_finish(reader)
    finally:
        restore_free(reader)
    return made


cdef RaftLog recovered_log(object storage):
    """The log that the files hold, sharing their payloads; it begins behind the snapshot that the store was made from."""
    cdef RaftLog made
    cdef Log log = storage.log
    cdef Replay *replay
    cdef entry one
    cdef Configuration configuration
    cdef uint64_t index
    cdef size_t i
    meta = storage.restart.snapshot
    if meta is None:
        made = RaftLog()
    else:
        term, index = storage.restart.base
        if index > meta.index or index < meta.configuration_index:
            # Which configuration was in force where the log begins is not known: without the tail, then.
            term, index = meta.term, meta.index
        made = RaftLog(
            snapshot_index=index, snapshot_term=term,
            configuration=decode_configuration(meta.configuration, meta.configuration_index),
        )
    if log.recovered is None:
        return made
    replay = log.recovered.replay
    for i in range(replay.entries.size()):
        index = replay.start.index + 1 + i
        if index <= made.log.snapshot_index:
            continue
        if index != made.log.last_index + 1:
            raise StorageError(f"the log goes on at entry {index}, behind entry {made.log.last_index}",
                               file=storage.directory.log_path)
        one = entry_retained(<const entry *>&replay.entries[i])
        log_append(&made.log, &one)
        if one.kind == ENTRY_CONFIGURATION:
            if configuration_decode(entry_bytes(&one), one.length, &configuration) != <Py_ssize_t>one.length:
                raise StorageError(f"entry {index} is no configuration", file=storage.directory.log_path)
            log_append_configuration(&made.log, index, &configuration)
    return made


@cython.final
cdef class Running:
    """One run of a node. Made with everything open; :meth:`start` once, :meth:`stop` as often as one likes.

    ``voters``: of the first bootstrap; none for a node that joins. ``places``: what is known of members at the start, by id
    (see membership.py). ``listener``: descriptor of a listening socket that does not block, or -1; the run owns it. ``storage`` is closed at the end. ``notify``: (reading end,
    writing end) of what the storage's log writes; the run owns both.
    """

    cdef Loop *loop
    cdef Replica replica
    cdef Raft raft
    cdef Log log
    cdef object storage
    cdef tuple seen_names  # version of the roster, and the names in it by id
    cdef object failure
    cdef cython.pymutex closing
    cdef bint closed
    cdef bint forked
    cdef object __weakref__
    cdef readonly object reader

    def __cinit__(self, *, uint64_t id, storage, voters, dict places, int listener, config, uint64_t seed,
                  tuple notify, uint64_t payload_max, dict texts, uint32_t clients_most=4096):
        cdef Loop *loop = new Loop()
        self.loop = loop
        loop_prepare(loop)
        loop.pid = getpid()
        self.closed = False
        self.forked = False
        self.storage = storage
        self.seen_names = (0, {})
        self.log = storage.log
        identity = storage.identity
        self.replica = restored(storage)
        self.reader = reader_new(self.replica.store.trees, self.replica)
        self.raft = Raft(
            id, voters=voters, seed=seed, now=clock_microseconds(), config=config, hard_state=storage.restart.hard_state,
            log=recovered_log(storage), applied=self.replica.store.applied_index, incarnation=identity.incarnation,
            places=places,
        )
        loop.core = self.raft.core
        loop.wal = self.log.wal
        loop.store = self.replica.store
        loop.applied = self.replica.store.applied_index
        snapshots_open(loop, storage, config, seed)
        # What a former life asked others must not be taken for this one's when they answer late.
        loop.next_id = secrets.randbits(62) | 1
        loop.written_commit = storage.restart.hard_state[2]
        loop.term = loop.core.current_term
        loop.notices = notices_new()
        loop.lanes = lanes_new(<Notices *>loop.notices, seed)
        loop.mail = mailbox_new(MAILBOX_ITEMS)
        loop.urgent = mailbox_new(MAILBOX_URGENT)
        loop.poll = poller_new(4 * MEMBERS_MAX + INCOMING_MAX + PROCESSES_MAX + clients_most + 16)
        if loop.mail == NULL or loop.urgent == NULL or loop.poll == NULL:
            raise MemoryError("no memory for the node's mailbox, or no descriptor for its poller")
        loop.questions.seed = seed
        loop.questions.started_at = clock_microseconds()
        pairs = [what.encode()[:255] for pair in texts.items() for what in pair]
        encoded = b"".join([bytes([len(each)]) + each for each in pairs])
        loop.questions.texts = buffer_from(<const char *>encoded, len(encoded))
        loop.questions.texts_count = len(texts)
        clients_prepare(loop, clients_most)
        loop.peers.poll = loop.poll
        loop.peers.id = id
        loop.peers.incarnation = identity.incarnation
        loop.peers.process = os.getpid()
        loop.peers.started = own_birth()
        loop.peers.random = seed | 1
        loop.peers.payload_max = min(max(<uint64_t>ENTRY_BYTES_MAX, payload_max), <uint64_t>1 << 30) + PAYLOAD_SPARE
        memcpy(loop.peers.cluster, <const char *>(<bytes>identity.cluster), 16)
        for other, place in places.items():
            loop.members.given[other] = place
        loop.peers.connections.resize(4 * MEMBERS_MAX + INCOMING_MAX + 8)
        roster_follow(loop)
        # Last, when nothing can fail any more: until here they are the caller's.
        loop.disk_fd, loop.disk_write_fd = notify
        loop.peers.listener = listener

    def __dealloc__(self):
        if self.loop == NULL:
            return
        if self.forked or self.loop.pid != getpid():
            return  # the thread is the parent's; what it was in the middle of cannot be taken apart here
        with nogil:
            loop_stop(self.loop)
            loop_clear(self.loop)
        failure_forget(self.loop)
        if self.loop.disk_fd >= 0:
            c_close(self.loop.disk_fd)
            if self.loop.disk_write_fd != self.loop.disk_fd:
                c_close(self.loop.disk_write_fd)
        if self.loop.mail != NULL:
            mailbox_free(self.loop.mail)
        if self.loop.urgent != NULL:
            mailbox_free(self.loop.urgent)
        poller_free(self.loop.poll)
        lanes_free(<Lanes *>self.loop.lanes)
        notices_free(<Notices *>self.loop.notices)
        del self.loop

    cdef int mine(self) except -1:
        if self.forked or self.loop.pid != getpid():
            raise NodeFailed(
                f"this node belongs to process {self.loop.pid}; a forked child has no node. Connect to the parent's, or "
                "start the node after the fork", outcome=NotHappened("nothing was handed to the node"))
        return 0

    def start(self, name):
        """Starts the thread, named after the node."""
        self.mine()
        loop_start(self.loop, ("quorate-" + name).encode("ascii", "replace")[:15])
        _running.add(self)

    def stop(self):
        """Ends the thread and closes the storage. Whoever waits gets an answer. Does nothing the second time."""
        if self.forked or self.loop.pid != getpid():
            return
        with self.closing:
            if self.closed:
                return
            with nogil:
                loop_stop(self.loop)
            self.end()
            peers_close(&self.loop.peers)
            self.storage.close()
            self.closed = True
            _running.discard(self)

    cdef int end(self) except -1:
        """Finds out what ended the loop, if it was not asked to."""
        cdef const char *words
        if self.failure is not None or not flag_get(&self.loop.failed):
            return 0
        found = failure_of(self.loop)
        if self.loop.failure == FAILURE_DISK:
            found = self.log.failed or found
        elif self.loop.failure == FAILURE_INVARIANT:
            words = broken_invariant(self.loop.core)
            if words == NULL:
                words = broken_deeply(self.loop.core)
            found = InvariantBroken(f"{words.decode() if words != NULL else 'a step was left half done'}. {self.raft.state()!r}")
        self.failure = found if isinstance(found, NodeFailed) else NodeFailed(f"the node stopped: {found!r}")
        return 0

    def abandon(self):
        """In a forked child: closes the sockets that it inherited, so that they end with the parent."""
        cdef size_t i
        self.forked = True
        if self.loop.peers.listener >= 0:
            c_close(self.loop.peers.listener)
        for i in range(self.loop.peers.connections.size()):
            if self.loop.peers.connections[i].fd >= 0:
                c_close(self.loop.peers.connections[i].fd)
        for i in range(self.loop.clients.slots.size()):
            if self.loop.clients.slots[i] != NULL and self.loop.clients.slots[i].connection.fd >= 0:
                c_close(self.loop.clients.slots[i].connection.fd)

    @property
    def alive(self):
        """Whether the thread runs."""
        return not self.forked and not self.closed and not flag_get(&self.loop.ended)

    @property
    def failed(self):
        """The exception that ended the node by itself, or None."""
        if not self.forked:
            self.end()
        return self.failure

    def describe(self, uint8_t outcome, uint64_t leader):
        """An outcome as the exception that it means."""
        name = self.names().get(leader)
        if outcome == OUTCOME_NO_LEADER:
            if self.loop.members.standing >= STANDING_JOINING:
                return NoQuorum(STANDING_WORDS[self.loop.members.standing])
            return NoQuorum("no leader is known, or it left meanwhile; a majority of the members must run and reach each other")
        if outcome == OUTCOME_NOT_LEADER:
            return NotLeader(leader=name)
        if outcome == OUTCOME_TRANSFERRING:
            return NotLeader("the leader is handing over its office", leader=name)
        if outcome == OUTCOME_REPLACED:
            return NotLeader("the leader that took this in lost its office before a majority had it", leader=name)
        if outcome == OUTCOME_OVERLOADED:
            return Overloaded("the leader has as much uncommitted as it takes; try again after a pause")
        if outcome == OUTCOME_DISK_FULL:
            return Overloaded("this node's disk has no room for the log; make room, it goes on by itself")
        if outcome == OUTCOME_STALLED:
            return Overloaded("the leader's disk does not finish its writes; try again after a pause")
        if outcome == OUTCOME_CONNECTION_LOST:
            return ConnectionLost("the leader was lost before it answered")
        if outcome == OUTCOME_EXPIRED:
            return RequestTimeout("no answer came in time")
        if outcome == OUTCOME_MALFORMED:
            return InvalidArgument("this node does not understand the question")
        if outcome == OUTCOME_STOPPED_BEFORE or outcome == OUTCOME_STOPPED_AFTER:
            became = NotHappened("the node stopped before") if outcome == OUTCOME_STOPPED_BEFORE else Indeterminate(
                "the node stopped before the outcome was known")
            cause = self.failed
            made = NodeFailed("the node is stopped" if cause is None else f"the node failed: {cause}", outcome=became)
            made.__cause__ = cause
            return made
        return lane_error(outcome) or Rejected("the leader refused the request")

    cdef Pending asked(self, uint8_t kind, buffer *command, double timeout):
        cdef Loop *loop = self.loop
        return ask(self, loop.urgent if kind == REQUEST_RENEW else loop.mail, loop.poll, &loop.ended, self.describe, kind,
                   command, timeout)

    def propose(self, bytes data not None, double timeout):
        """Hands an encoded command in. Raises InvalidArgument if it is none; else a :class:`Pending`."""
        cdef command what
        cdef int newer = 0
        cdef const char *wrong
        cdef buffer *copy
        self.mine()
        if len(data) > ENTRY_BYTES_MAX:
            raise LimitExceeded(f"a command has at most {ENTRY_BYTES_MAX} bytes, not {len(data)}")
        wrong = command_decode(<const char *>data, len(data), COMMAND_VERSION, &what, &newer)
        if newer:
            raise InvalidArgument("the command is of a newer version than this program knows")
        if wrong != NULL:
            raise InvalidArgument(f"the command is malformed: {wrong.decode()}")
        copy = buffer_from(<const char *>data, len(data))
        if copy == NULL:
            raise MemoryError
        return self.asked(REQUEST_PROPOSE, copy, timeout)

    def barrier(self, double timeout):
        """Asks for an index up to which this node must have applied to read linearizably (dissertation §6.4)."""
        self.mine()
        return self.asked(REQUEST_READ, NULL, timeout)

    def ask(self, uint8_t kind, bytes body not None, double timeout):
        """Puts a question of any kind, by the numbers and with the bodies of docs/internals/wire.md. A :class:`Pending`.

        What is answered when something changes (WATCH, AWAIT) is answered after ``timeout`` seconds in any case.
        """
        cdef buffer *copy
        if kind == REQUEST_PROPOSE:
            return self.propose(body, timeout)
        if kind == REQUEST_READ:
            return self.barrier(timeout)
        self.mine()
        if len(body) > ENTRY_BYTES_MAX:
            raise LimitExceeded(f"a question has at most {ENTRY_BYTES_MAX} bytes, not {len(body)}")
        copy = buffer_from(<const char *>body, len(body))
        if copy == NULL:
            raise MemoryError
        return self.asked(kind, copy, timeout)

    def lane(self, double ttl, *, bytes label not None=b"", margin=None, double timeout=5.0):
        """Opens a session whose commands are applied exactly once and in order: a :class:`~quorate.runtime._lane.Lane`.

        Returns at once; its ``opening`` tells. It is taken for lost ``margin`` seconds before the cluster may end it
        (None: a tenth of the ttl). Raises InvalidArgument, Overloaded.
        """
        cdef Loop *loop = self.loop
        self.mine()
        return lane_open(self, loop.mail, loop.poll, &loop.ended, self.describe, ttl, label, margin, timeout, loop.peers.started)

    def door(self):
        """The way in for native code that puts questions in by itself: a :class:`~quorate.runtime._requests.Door`."""
        self.mine()
        return door_of(self, self.loop.mail, self.loop.poll, &self.loop.ended)

    def notices(self, double timeout):
        """What changed since the last call, or, if nothing has, within ``timeout`` seconds; for one thread.

        ``("state", "connected" | "suspended" | "stopped")``: whether a leader is known; ``("leader", name or None,
        term)``; ``("lane", id, state)``; ``("overflow",)`` if some were dropped, because nobody asked for long.
        """
        self.mine()
        return notices_wait(<Notices *>self.loop.notices, timeout, self.name_of)

    def roster(self):
        """The members as this node knows them, in the bytes of an answer to REQUEST_MEMBERS (docs/internals/wire.md)."""
        cdef string copy
        pthread_mutex_lock(&self.loop.lock)
        copy = self.loop.members.roster
        pthread_mutex_unlock(&self.loop.lock)
        return <bytes>copy

    def name_of(self, uint64_t id):
        """The name of a member, or None."""
        return self.names().get(id)

    cdef dict names(self):
        """Names of members by id, as of the newest configuration."""
        cdef uint64_t version
        pthread_mutex_lock(&self.loop.lock)
        version = self.loop.members.version
        pthread_mutex_unlock(&self.loop.lock)
        if self.seen_names[0] != version:
            # Written as one: another thread sees both or neither.
            self.seen_names = (version, {each.id: each.name for each in Membership.decode(self.roster()).members})
        return <dict>self.seen_names[1]

    def office(self):
        """(role, term, leader): what :meth:`wait_change` waits for to become another."""
        self.mine()
        pthread_mutex_lock(&self.loop.lock)
        found = (self.loop.status.role, self.loop.status.term, self.loop.status.leader)
        pthread_mutex_unlock(&self.loop.lock)
        return found

    def wait_change(self, tuple seen, double timeout):
        """Waits until the office is not ``seen`` any more, the node ended, or ``timeout`` seconds are over."""
        cdef timespec until
        cdef uint64_t role, term, leader
        cdef double some
        cdef bint changed = False
        role, term, leader = seen
        self.mine()
        while timeout > 0 and not changed and not flag_get(&self.loop.ended):
            some = min(timeout, 0.05)
            with nogil:
                until = seconds_from_now(some)
                pthread_mutex_lock(&self.loop.lock)
                changed = not same_office(self.loop, role, term, leader)
                if not changed:
                    pthread_cond_timedwait(&self.loop.changed, &self.loop.lock, &until)
                    changed = not same_office(self.loop, role, term, leader)
                pthread_mutex_unlock(&self.loop.lock)
            PyErr_CheckSignals()
            timeout -= some

    def status(self):
        """Figures of the loop as of its last turn."""
        cdef Figures seen
        cdef uint32_t each
        cdef int i
        self.mine()
        pthread_mutex_lock(&self.loop.lock)
        seen = self.loop.status
        seen_standing = self.loop.members.standing
        pthread_mutex_unlock(&self.loop.lock)
        now = clock_microseconds()
        names = self.names()
        return {
            "running": self.alive,
            "role": ROLES[seen.role],
            "term": seen.term,
            "leader": names.get(seen.leader) if seen.leader else None,
            "standing": STANDINGS[seen_standing],
            "commit": seen.commit,
            "applied": seen.applied,
            "last_index": seen.last_index,
            "durable_index": seen.durable_index,
            "elections": seen.elections,
            "leader_changes": seen.leader_changes,
            "connections": {"members": seen.connected, "strangers": seen.strangers,
                            **{COUNTER_NAMES[i]: seen.counters[i] for i in range(COUNTERS)}},
            "clients": {"connected": seen.clients, **{
                client_counter_name(i).decode(): seen.client_counters[i] for i in range(CLIENT_COUNTERS)
            }},
            "queues": {"requests": mailbox_size(self.loop.mail), "pending": seen.pending, "writes": seen.writes,
                       "held": seen.held, "backlog": seen.backlog, "parked": seen.parked,
                       "output_bytes": seen.output_bytes},
            "questions": seen.questions,
            "disk": {"durable": self.log.durable, "full": bool(seen.disk_full), **self.log.statistics},
            "followers": {
                names.get(seen.followers[each].id, str(seen.followers[each].id)): {
                    "match": seen.followers[each].match_index,
                    "lag": seen.last_index - min(seen.followers[each].match_index, seen.last_index),
                    "silent": (now - seen.followers[each].heard_at) / 1e6 if seen.followers[each].heard_at else None,
                    "learner": bool(seen.followers[each].learner),
                }
                for each in range(seen.followers_count)
            },
            "sessions": seen.sessions,
            "renewals": {"renewed": seen.renewed, "rounds": seen.renewal_rounds, "expired": seen.expired,
                         "process_exits": seen.process_exits, "processes": seen.processes, "pauses": seen.pauses},
            "snapshot": snapshots_status(self.loop),
            "memory": {"resident": resident_bytes(), "log_bytes": seen.log_bytes, "log_entries": seen.log_entries},
            "turns": seen.turns,
            "steps": seen.steps,
        }


def resident_bytes():
    """Memory that this process occupies, or None where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return None


cdef inline bint same_office(Loop *it, uint64_t role, uint64_t term, uint64_t leader) noexcept nogil:
    return it.status.role == role and it.status.term == term and it.status.leader == leader and not flag_get(&it.ended)


def stop_all():
    """Stops every node of this process: at the end of the interpreter, before the threads' world is taken down."""
    for each in list(_running):
        each.stop()


def abandon_all():
    """In a forked child: no node is its own."""
    for each in list(_running):
        each.abandon()
    _running.clear()
