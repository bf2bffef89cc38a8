# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/command.c csrc/mailbox.c csrc/poller.c csrc/lookup.c
"""The handle of a client's engine: what Python sees of a cluster that it reaches over sockets.

The same methods as the handle of a node in this process, so that what stands on an engine need not know which one it is.
Here live the checks of arguments, the words for what went wrong, and the end: of the interpreter, and in a forked child.
"""

import os
import weakref

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from libcpp.vector cimport vector

from quorate.client._engine cimport *
from quorate.client._places cimport place_add
from quorate.client._structs cimport *
from quorate.raft._types cimport ENTRY_BYTES_MAX, buffer, buffer_from
from quorate.runtime._lane cimport lane_error, lane_open
from quorate.runtime._notices cimport notices_wait
from quorate.runtime._requests cimport Pending, ask, door_of
from quorate.runtime._structs cimport (
    OUTCOME_CONNECTION_LOST,
    OUTCOME_DISK_FULL,
    OUTCOME_EXPIRED,
    OUTCOME_MALFORMED,
    OUTCOME_NO_LEADER,
    OUTCOME_NOT_LEADER,
    OUTCOME_OVERLOADED,
    OUTCOME_REPLACED,
    OUTCOME_STALLED,
    OUTCOME_STOPPED_AFTER,
    OUTCOME_STOPPED_BEFORE,
    OUTCOME_TRANSFERRING,
    OUTCOME_UNREACHABLE,
    REQUEST_PROPOSE,
    REQUEST_READ,
    REQUEST_TRANSFER,
    TURNED_CLUSTER,
    TURNED_VERSION,
    clock_microseconds,
    flag_get,
    mailbox_free,
    mailbox_new,
    mailbox_size,
    poller_free,
    poller_new,
    pthread_cond_timedwait,
    pthread_mutex_lock,
    pthread_mutex_unlock,
    timespec,
)
from quorate.runtime._threads cimport failure_forget, failure_of, seconds_from_now
from quorate.runtime._wire cimport CLIENT_VERSION
from quorate.store._csrc cimport COMMAND_VERSION, command, command_decode

from quorate import limits
from quorate.errors import (
    ConfigError,
    ConnectionLost,
    Indeterminate,
    InvalidArgument,
    LimitExceeded,
    NodeFailed,
    NoQuorum,
    NotHappened,
    NotLeader,
    Overloaded,
    Rejected,
    RequestTimeout,
)
from quorate.runtime.addresses import parse_address
from quorate.runtime._processes import own_birth


cdef extern from "<unistd.h>" nogil:
    int getpid()
    int c_close "close"(int fd)

cdef enum:
    MAILBOX_ITEMS = 32768
    DESCRIPTORS = 32

cdef double LATE_SECONDS = 1.0  # the engine answers in time; this is for a process that was paused

_running = weakref.WeakSet()  # handles whose thread runs, for the end of the interpreter and for forked children


cdef bint hopeless(const Trouble *trouble) noexcept nogil:
    """Whether it is wrong in a way that trying again does not cure."""
    if trouble.kind == TROUBLE_REFUSED:
        return trouble.detail == TURNED_CLUSTER or trouble.detail == TURNED_VERSION
    return trouble.kind in (TROUBLE_STRANGER, TROUBLE_NEWER, TROUBLE_CLUSTER)


cdef str words_of(const Place *place):
    """What is wrong with a place, as one would say it."""
    cdef uint8_t kind = place.trouble.kind
    if kind == TROUBLE_LOOKUP:
        return f"the host is not known: {lookup_text(place.trouble.detail).decode(errors='replace')}"
    if kind == TROUBLE_ADDRESS:
        return "this is no address"
    if kind == TROUBLE_CONNECT:
        return os.strerror(place.trouble.detail).lower()
    if kind == TROUBLE_SLOW:
        return "no connection within 2 s; is the host up, and does a firewall let it through?"
    if kind == TROUBLE_SILENT:
        return "it takes the connection, but does not answer as a node of Quorate"
    if kind == TROUBLE_STRANGER:
        return "it speaks another protocol; is this the port of a node?"
    if kind == TROUBLE_NEWER:
        return "it speaks a newer version of the protocol; upgrade this program"
    if kind == TROUBLE_DAMAGED:
        return "it sends damaged bytes"
    if kind == TROUBLE_CLUSTER:
        return "it belongs to another cluster"
    if kind == TROUBLE_REFUSED:
        return f"it refuses: {place.trouble.text.decode(errors='replace')}"
    if kind == TROUBLE_LOST:
        return "it ended the connection" if place.trouble.detail == 32 else os.strerror(place.trouble.detail).lower()
    if kind == TROUBLE_HUNG:
        return "it stopped answering"
    return "connecting" if kind == TROUBLE_UNTRIED else "no trouble"


@cython.final
cdef class Remote:
    """A cluster, reached over sockets. The thread starts at once; connections come and go by themselves.

    * ``addresses``: of some nodes, as ``host:port``, ``[IPv6]:port`` or ``unix:/path``; the others are learned from them.
    * ``cluster``: 16 bytes; nodes of another one are refused. None: of the one that answers first.
    * ``label``: for the nodes' status and logs, at most 255 bytes.
    * ``near``: whether to keep a connection to a node that does not lead, for local reads and news.
    * ``follow``: whether to go to members that are not among ``addresses``; without, those alone are asked.

    Raises ConfigError for addresses that cannot be, InvalidArgument for the rest. May be used from any thread. A forked
    child has none.
    """

    cdef Engine *it
    cdef object failure
    cdef cython.pymutex closing
    cdef bint closed
    cdef bint forked
    cdef object __weakref__
    cdef readonly tuple addresses
    cdef readonly str label

    def __cinit__(self, addresses, *, cluster=None, label="", bint near=True, bint follow=True):
        cdef Engine *it
        cdef bytes text
        given = (addresses,) if isinstance(addresses, str) else tuple(addresses)
        if not given:
            raise ConfigError("a client needs the address of at least one node: host:port, [IPv6]:port or unix:/path")
        if len(given) > limits.MEMBERS_MAX:
            raise ConfigError(f"a client is given at most {limits.MEMBERS_MAX} addresses, not {len(given)}; a few are enough")
        parsed = [parse_address(each) for each in given]
        encoded = os.fsencode(label) if isinstance(label, str) else bytes(label)
        if len(encoded) > limits.LABEL_BYTES_MAX:
            raise InvalidArgument(f"a label has at most {limits.LABEL_BYTES_MAX} bytes, not {len(encoded)}")
        if cluster is not None and (not isinstance(cluster, bytes) or len(cluster) != 16):
            raise InvalidArgument(f"a cluster id has 16 bytes, not {cluster!r}")
        self.addresses = tuple(str(each) for each in parsed)
        self.label = encoded.decode(errors="replace")
        nonce = os.urandom(16)
        self.it = it = new Engine()
        it.random = int.from_bytes(nonce[:8], "little") | 1
        engine_prepare(it)
        it.pid = getpid()
        it.near_wanted = near
        it.follow = follow
        hello = (bytes([CLIENT_VERSION]) + (cluster or bytes(16)) + nonce + os.getpid().to_bytes(4, "little")
                 + own_birth().to_bytes(8, "little") + bytes([len(encoded)]) + encoded)
        it.hello.resize(len(hello))
        memcpy(it.hello.data(), <const char *>(<bytes>hello), len(hello))
        if cluster is not None:
            memcpy(it.cluster, <const char *>(<bytes>cluster), 16)
            it.cluster_known = True
        # Each client begins somewhere else.
        first = int.from_bytes(nonce[8:], "little") % len(given)
        for each in self.addresses[first:] + self.addresses[:first]:
            text = os.fsencode(each)
            if place_add(it, text, len(text), True) < 0 or it.places.back().trouble.kind == TROUBLE_ADDRESS:
                raise ConfigError(f"{each} is no address that can be connected to: too long, or without a port")
        it.mail = mailbox_new(MAILBOX_ITEMS)
        it.poll = poller_new(DESCRIPTORS)
        if it.mail == NULL or it.poll == NULL:
            raise MemoryError("no memory for the client's mailbox, or no descriptor for its poller")
        engine_start(it)
        _running.add(self)

    def __dealloc__(self):
        if self.it == NULL:
            return
        if self.forked or self.it.pid != getpid():
            return  # the thread is the parent's; what it was in the middle of cannot be taken apart here
        with nogil:
            engine_stop(self.it)
            engine_clear(self.it)
        failure_forget(self.it)
        if self.it.mail != NULL:
            mailbox_free(self.it.mail)
        poller_free(self.it.poll)
        del self.it

    cdef int mine(self) except -1:
        if self.forked or self.it.pid != getpid():
            raise NodeFailed(
                f"this client belongs to process {self.it.pid}; a forked child has none. Connect after the fork",
                outcome=NotHappened("nothing was asked"))
        return 0

    # Life

    def start(self):
        """Does nothing: the thread runs from the beginning. For what holds an engine of either kind."""
        self.mine()
        return self

    def close(self):
        """Ends the thread and its connections. Whoever waits gets an answer. Does nothing the second time."""
        if self.forked or self.it.pid != getpid():
            return
        with self.closing:
            if self.closed:
                return
            with nogil:
                engine_stop(self.it)
            self.end()
            self.closed = True
            _running.discard(self)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    cdef int end(self) except -1:
        if self.failure is None and flag_get(&self.it.failed):
            found = failure_of(self.it)
            self.failure = found if isinstance(found, NodeFailed) else NodeFailed(f"the client stopped: {found!r}")
        return 0

    def abandon(self):
        """In a forked child: closes the sockets that it inherited, so that they end with the parent."""
        cdef size_t i
        self.forked = True
        for i in range(self.it.links.size()):
            if self.it.links[i].fd >= 0:
                c_close(self.it.links[i].fd)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return not self.forked and not self.closed and not flag_get(&self.it.ended)

    @property
    def failed(self):
        """The exception that ended the engine by itself, or None."""
        if not self.forked:
            self.end()
        return self.failure

    # Words

    cdef str name_of(self, uint64_t node):
        """As the members are called; its id if that is not known, None for no node."""
        cdef vector[KnownMember] members
        cdef size_t i
        pthread_mutex_lock(&self.it.lock)
        members = self.it.told.members
        pthread_mutex_unlock(&self.it.lock)
        for i in range(members.size()):
            if members[i].id == node and not members[i].name.empty():
                return members[i].name.decode(errors="replace")
        return str(node) if node else None

    def known(self, uint64_t node):
        """A member's name; its id if that is not known, None for 0."""
        return self.name_of(node)

    cdef list troubles(self):
        """[(address, whether that will hardly change, words)] of each place that is not connected."""
        cdef vector[Place] places
        cdef size_t i
        cdef list found = []
        pthread_mutex_lock(&self.it.lock)
        places = self.it.told.places
        pthread_mutex_unlock(&self.it.lock)
        for i in range(places.size()):
            if places[i].trouble.kind != TROUBLE_NONE:
                found.append((os.fsdecode(places[i].text), hopeless(&places[i].trouble), words_of(&places[i])))
        return found

    cdef str unreachable(self):
        found = "; ".join(f"{address} ({words})" for address, _, words in sorted(self.troubles()))
        return f"no node reachable: {found or ', '.join(self.addresses)}"

    def describe(self, uint8_t outcome, uint64_t leader):
        """An outcome as the exception that it means."""
        name = self.name_of(leader)
        if outcome == OUTCOME_UNREACHABLE:
            return NoQuorum(self.unreachable())
        if outcome == OUTCOME_NO_LEADER:
            bad = "; ".join(f"{address} ({words})" for address, _, words in sorted(self.troubles()))
            return NoQuorum("no leader is known, or it left meanwhile; a majority of the members must run and reach each other"
                            + (f". From here: {bad}" if bad else ""))
        if outcome == OUTCOME_NOT_LEADER:
            return NotLeader(leader=name)
        if outcome == OUTCOME_TRANSFERRING:
            return NotLeader("the leader is handing over its office", leader=name)
        if outcome == OUTCOME_REPLACED:
            return NotLeader("the leader that took this in lost its office before a majority had it", leader=name)
        if outcome == OUTCOME_OVERLOADED:
            return Overloaded("there is as much in flight as is taken; try again after a pause")
        if outcome == OUTCOME_DISK_FULL:
            return Overloaded("the disk of the node that was asked has no room for the log; make room, it goes on by itself")
        if outcome == OUTCOME_STALLED:
            return Overloaded("the leader's disk does not finish its writes; try again after a pause")
        if outcome == OUTCOME_CONNECTION_LOST:
            return ConnectionLost("the connection ended, or the leader was lost, before it answered")
        if outcome == OUTCOME_EXPIRED:
            return RequestTimeout("no answer came in time")
        if outcome == OUTCOME_STOPPED_BEFORE or outcome == OUTCOME_STOPPED_AFTER:
            became = NotHappened("the client was closed before") if outcome == OUTCOME_STOPPED_BEFORE else Indeterminate(
                "the client was closed before the outcome was known")
            cause = self.failed
            made = NodeFailed("the client is closed" if cause is None else f"the client failed: {cause}", outcome=became)
            made.__cause__ = cause
            return made
        if outcome == OUTCOME_MALFORMED:
            return InvalidArgument("the node does not understand the question")
        return lane_error(outcome) or Rejected("the node refused the request")

    # Questions

    cdef Pending asked(self, uint8_t kind, buffer *body, double timeout):
        cdef Engine *it = self.it
        cdef Pending made
        made = ask(self, it.mail, it.poll, &it.ended, self.describe, kind, body, timeout)
        made.grace = LATE_SECONDS
        return made

    def propose(self, bytes data not None, double timeout):
        """Hands an encoded command in. Raises InvalidArgument if it is none; else a :class:`Pending`."""
        cdef command what
        cdef int newer = 0
        cdef const char *wrong
        wrong = command_decode(<const char *>data, len(data), COMMAND_VERSION, &what, &newer)
        if newer:
            raise InvalidArgument("the command is of a newer version than this program knows")
        if wrong != NULL:
            raise InvalidArgument(f"the command is malformed: {wrong.decode()}")
        return self.ask(REQUEST_PROPOSE, data, timeout)

    def barrier(self, double timeout):
        """Asks for an index up to which a node must have applied to read linearizably (dissertation §6.4)."""
        return self.ask(REQUEST_READ, b"", timeout)

    def ask(self, uint8_t kind, bytes body not None, double timeout):
        """Hands a question in (docs/internals/wire.md has the kinds and bodies): a :class:`Pending`."""
        cdef buffer *copy = NULL
        self.mine()
        if not 0 <= timeout < 1e9:
            raise InvalidArgument(f"a timeout is a finite number of seconds, at least 0, not {timeout!r}")
        if kind < REQUEST_PROPOSE or kind > REQUEST_TRANSFER:
            raise InvalidArgument(f"{kind} is no kind of question")
        if len(body) > ENTRY_BYTES_MAX:
            raise LimitExceeded(f"a question has at most {ENTRY_BYTES_MAX} bytes, not {len(body)}")
        if len(body):
            copy = buffer_from(<const char *>body, len(body))
            if copy == NULL:
                raise MemoryError
        return self.asked(kind, copy, timeout)

    def lane(self, double ttl, *, bytes label not None=b"", margin=None, double timeout=5.0):
        """Opens a session whose commands are applied exactly once and in order: a :class:`~quorate.runtime._lane.Lane`.

        Returns at once; its ``opening`` tells. It is taken for lost ``margin`` seconds before the cluster may end it
        (None: a tenth of the ttl). Raises InvalidArgument, Overloaded.
        """
        cdef Engine *it = self.it
        self.mine()
        return lane_open(self, it.mail, it.poll, &it.ended, self.describe, ttl, label, margin, timeout, 0)

    def door(self):
        """The way in for native code that puts questions in by itself: a :class:`~quorate.runtime._requests.Door`."""
        self.mine()
        return door_of(self, self.it.mail, self.it.poll, &self.it.ended)

    def notices(self, double timeout):
        """What changed since the last call, or, if nothing has, within ``timeout`` seconds; for one thread.

        ``("state", "connected" | "suspended" | "stopped")``: whether a leader can be asked; ``("leader", name or None,
        term)``; ``("lane", id, state)``; ``("overflow",)`` if some were dropped, because nobody asked for long.
        """
        self.mine()
        return notices_wait(self.it.notices, timeout, self.known)

    # What is known

    def office(self):
        """(0, term, leader): what :meth:`wait_change` waits for to become another. The leader is 0 while none is known."""
        self.mine()
        pthread_mutex_lock(&self.it.lock)
        found = (0, self.it.told.term, self.it.told.leader if self.it.told.connected else 0)
        pthread_mutex_unlock(&self.it.lock)
        return found

    cdef bint office_is(self, uint64_t term, uint64_t leader) noexcept nogil:
        return (self.it.told.term == term and (self.it.told.leader if self.it.told.connected else 0) == leader
                and not flag_get(&self.it.ended))

    def wait_change(self, tuple seen, double timeout):
        """Waits until the office is not ``seen`` any more, the engine ended, or ``timeout`` seconds are over."""
        cdef uint64_t term, leader
        cdef timespec until
        cdef double some
        cdef bint same = True
        _, term, leader = seen
        self.mine()
        while timeout > 0 and same and not flag_get(&self.it.ended):
            some = min(timeout, 0.05)
            with nogil:
                until = seconds_from_now(some)
                pthread_mutex_lock(&self.it.lock)
                same = self.office_is(term, leader)
                if same:
                    pthread_cond_timedwait(&self.it.changed, &self.it.lock, &until)
                    same = self.office_is(term, leader)
                pthread_mutex_unlock(&self.it.lock)
            PyErr_CheckSignals()
            timeout -= some

    @property
    def connected(self) -> bool:
        """Whether a node is connected that knows of a leader."""
        cdef bint found
        if self.forked:
            return False
        pthread_mutex_lock(&self.it.lock)
        found = self.it.told.connected
        pthread_mutex_unlock(&self.it.lock)
        return found

    def wait_connected(self, double timeout):
        """Waits until a node is connected that knows of a leader.

        Raises ConfigError if no address can be right (another protocol, version or cluster) as soon as each was tried, NoQuorum after
        ``timeout`` seconds, NodeFailed if the client is closed.
        """
        cdef uint64_t deadline = clock_microseconds() + <uint64_t>(timeout * 1e6)
        cdef uint64_t now
        while True:
            self.mine()
            if self.closed or flag_get(&self.it.ended):
                raise self.describe(OUTCOME_STOPPED_BEFORE, 0)
            seen = self.office()
            if self.connected:
                return
            found = self.troubles()
            if len(found) >= len(self.addresses) and all(lasting for _, lasting, _ in found):
                raise ConfigError(self.unreachable())
            now = clock_microseconds()
            if now >= deadline:
                raise self.describe(OUTCOME_UNREACHABLE if not self.status()["connections"]["open"] else OUTCOME_NO_LEADER, 0)
            self.wait_change(seen, min(0.05, (deadline - now) / 1e6))

    @property
    def cluster(self):
        """The cluster's 16 bytes, or None until a node told them."""
        self.mine()
        pthread_mutex_lock(&self.it.lock)
        found = (<const char *>self.it.told.cluster)[:16] if self.it.told.cluster_known else None
        pthread_mutex_unlock(&self.it.lock)
        return found

    def members(self):
        """[(id, name, address, voter)] as nodes told last, without asking anybody."""
        cdef vector[KnownMember] members
        cdef size_t i
        self.mine()
        pthread_mutex_lock(&self.it.lock)
        members = self.it.told.members
        pthread_mutex_unlock(&self.it.lock)
        return [
            (members[i].id, members[i].name.decode(errors="replace"), os.fsdecode(members[i].address), bool(members[i].flags & 1))
            for i in range(members.size())
        ]

    def status(self):
        """Figures of the engine as of its last turn, and what is wrong with which address."""
        cdef EngineFigures seen
        cdef uint64_t term, leader, revision
        cdef vector[uint64_t] linked
        cdef bint connected
        cdef size_t i
        self.mine()
        pthread_mutex_lock(&self.it.lock)
        seen = self.it.told.figures
        term = self.it.told.term
        leader = self.it.told.leader
        revision = self.it.told.seen
        connected = self.it.told.connected
        linked = self.it.told.linked
        pthread_mutex_unlock(&self.it.lock)
        return {
            "running": self.alive,
            "connected": connected,
            "term": term,
            "leader": self.name_of(leader),
            "revision": revision,
            "connections": {
                "open": linked.size(), "nodes": [self.name_of(linked[i]) for i in range(linked.size())],
                "made": seen.connected, "attempts": seen.attempts, "lost": seen.lost, "leader_changes": seen.leader_changes,
                "bytes_sent": seen.bytes_sent, "bytes_received": seen.bytes_received,
            },
            "queues": {"requests": mailbox_size(self.it.mail), "in_flight": seen.in_flight, "parked": seen.parked,
                       "output_bytes": seen.output_bytes},
            "asked": seen.asked, "answered": seen.answered, "asked_again": seen.asked_again, "expired": seen.expired,
            "lanes": {"open": seen.lanes, "commands": seen.lane_commands, "sent": seen.lane_sent,
                      "sent_again": seen.lane_again, "lost": seen.lanes_lost, "renewed": seen.lanes_renewed},
            "troubles": {address: words for address, _, words in self.troubles()},
            "turns": seen.turns,
        }

    def __repr__(self):
        if not self.alive:
            return f"<Remote {', '.join(self.addresses)}: closed>"
        leader = self.status()["leader"]
        return f"<Remote {', '.join(self.addresses)}: {'leader ' + str(leader) if self.connected else 'not connected'}>"


def stop_all():
    """Ends every client of this process: at the end of the interpreter, before the threads' world is taken down."""
    for each in list(_running):
        each.close()


def abandon_all():
    """In a forked child: no client is its own."""
    for each in list(_running):
        each.abandon()
    _running.clear()
