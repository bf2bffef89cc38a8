# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""What can happen to a node: one small class an event, each with the time at which it happened.

``now`` is in microseconds of a monotonic clock. Events are values: they can be compared, printed, stored and fed again.
"""

cimport cython
from libc.stdint cimport uint64_t

from quorate.raft._messages cimport Message, fill_entries, list_entries
from quorate.raft._types cimport (
    ADD_LEARNER,
    ADD_VOTER,
    APPLIED,
    CAMPAIGN,
    COMPACT,
    DISK_STALLED,
    FORGET_LEADER,
    LEADER_CONNECTION_CLOSED,
    MEMBER_PLACE_MAX,
    MOVE_MEMBER,
    PERSISTED,
    PROPOSE,
    PROPOSE_CHANGE,
    READ_INDEX,
    RECEIVE,
    REMOVE_MEMBER,
    SNAPSHOT_FAILED,
    SNAPSHOT_PERSISTED,
    TICK,
    TRANSFER_LEADERSHIP,
    UNREACHABLE,
    Change,
)

from quorate.errors import InvalidArgument
from quorate.raft.types import AddLearner, AddVoter, MoveMember, RemoveMember


CHANGE_NUMBER = {AddVoter: ADD_VOTER, AddLearner: ADD_LEARNER, RemoveMember: REMOVE_MEMBER,
                 MoveMember: MOVE_MEMBER}
JOINT_NAMES = ("auto", "explicit", "leave")


cdef class Event:
    """Base of all events; ``now`` is when it happened, in microseconds of a monotonic clock."""

    fields = ()

    @property
    def now(self):
        return self.native.now

    def __eq__(self, other):
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in (*self.fields, "now"))

    def __hash__(self):
        return hash((type(self), self.native.now, self.native.id, self.native.index))

    def __reduce__(self):
        from quorate.raft._codec import decode, encode
        return decode, (encode(self),)

    def __repr__(self):
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in (*self.fields, "now"))
        return f"{type(self).__name__}({inside})"


@cython.final
cdef class Tick(Event):
    """Time has passed: timers that are due fire. Only here, so that a process that was paused first takes in what waits."""

    def __init__(self, uint64_t now):
        self.native.type = TICK
        self.native.now = now


@cython.final
cdef class Receive(Event):
    """A message came."""

    fields = ("message",)

    def __init__(self, Message message not None, uint64_t now):
        self.native.type = RECEIVE
        self.native.now = now
        self.native.message = &message.native
        self.message = message


@cython.final
cdef class Propose(Event):
    """A client wants ``data`` in the log: bytes for one entry, or a list of bytes for one entry each.

    The outcome is in ``Update.proposals`` under ``id``; several entries lie one behind the other from its ``index`` on.
    ``frees`` says that it only gives something back, so that it is taken in while disks are full.
    """

    fields = ("data", "id")

    def __init__(self, data, uint64_t id=0, *, frees=False, uint64_t now):
        self.native.type = PROPOSE
        self.native.now = now
        self.native.id = id
        self.native.mode = 1 if frees else 0
        fill_entries(data if isinstance(data, (list, tuple)) else (data,), &self.native.entries)
        if self.native.entries.empty():
            raise InvalidArgument("a proposal has at least one entry")

    @property
    def data(self):
        return [entry.data for entry in list_entries(0, &self.native.entries)]

    @property
    def id(self):
        return self.native.id

    @property
    def frees(self):
        return self.native.mode == 1


@cython.final
cdef class ProposeChange(Event):
    """Change who the members are: a sequence of AddVoter, AddLearner, RemoveMember, MoveMember (Raft §6;
    dissertation §4).

    ``joint="auto"``: one voter more or less is a simple change, anything else goes through a joint configuration, which the
    leader leaves by itself. ``"explicit"``: joint in any case, and left only by ``ProposeChange(joint="leave")``.
    """

    fields = ("changes", "id", "joint")

    def __init__(self, changes=(), uint64_t id=0, joint="auto", *, uint64_t now):
        cdef Change change
        self.native.type = PROPOSE_CHANGE
        self.native.now = now
        self.native.id = id
        if joint not in JOINT_NAMES:
            raise InvalidArgument(f"joint={joint!r} is not known; there are {', '.join(JOINT_NAMES)}")
        self.native.mode = <unsigned char>JOINT_NAMES.index(joint)
        for each in changes:
            if type(each) not in CHANGE_NUMBER:
                raise InvalidArgument(f"{each!r} is no change; there are AddVoter, AddLearner, RemoveMember and "
                                      "MoveMember")
            change.type = CHANGE_NUMBER[type(each)]
            change.id = each.id
            change.incarnation = getattr(each, "incarnation", 0)
            change.place = getattr(each, "place", b"")
            if change.place.size() > MEMBER_PLACE_MAX:
                raise InvalidArgument(f"a place has at most {MEMBER_PLACE_MAX} bytes, not {change.place.size()}")
            self.native.changes.push_back(change)

    @property
    def changes(self):
        found = []
        for i in range(self.native.changes.size()):
            if self.native.changes[i].type == REMOVE_MEMBER:
                found.append(RemoveMember(self.native.changes[i].id))
            elif self.native.changes[i].type == MOVE_MEMBER:
                found.append(MoveMember(self.native.changes[i].id, self.native.changes[i].place))
            else:
                kind = AddVoter if self.native.changes[i].type == ADD_VOTER else AddLearner
                found.append(kind(self.native.changes[i].id, self.native.changes[i].incarnation,
                                  self.native.changes[i].place))
        return tuple(found)

    @property
    def id(self):
        return self.native.id

    @property
    def joint(self):
        return JOINT_NAMES[self.native.mode]


@cython.final
cdef class Persisted(Event):
    """Everything of the updates up to ``ticket`` is durable; the last entry of it was (``index``, ``term``), or 0, 0."""

    fields = ("ticket", "index", "term")

    def __init__(self, uint64_t ticket, uint64_t index=0, uint64_t term=0, *, uint64_t now):
        self.native.type = PERSISTED
        self.native.now = now
        self.native.ticket = ticket
        self.native.index = index
        self.native.term = term

    @property
    def ticket(self):
        return self.native.ticket

    @property
    def index(self):
        return self.native.index

    @property
    def term(self):
        return self.native.term


@cython.final
cdef class Applied(Event):
    """The state machine has applied everything up to ``index``."""

    fields = ("index",)

    def __init__(self, uint64_t index, uint64_t now):
        self.native.type = APPLIED
        self.native.now = now
        self.native.index = index

    @property
    def index(self):
        return self.native.index


@cython.final
cdef class SnapshotPersisted(Event):
    """The snapshot that arrived from the leader is durable, and the state machine was replaced by it."""

    fields = ("index", "term")

    def __init__(self, uint64_t index, uint64_t term, uint64_t now):
        self.native.type = SNAPSHOT_PERSISTED
        self.native.now = now
        self.native.index = index
        self.native.term = term

    @property
    def index(self):
        return self.native.index

    @property
    def term(self):
        return self.native.term


@cython.final
cdef class SnapshotFailed(Event):
    """The snapshot at ``index`` could not be sent to ``peer``, or (``peer`` 0) could not be installed here."""

    fields = ("index", "peer")

    def __init__(self, uint64_t index, uint64_t peer=0, *, uint64_t now):
        self.native.type = SNAPSHOT_FAILED
        self.native.now = now
        self.native.index = index
        self.native.id = peer

    @property
    def index(self):
        return self.native.index

    @property
    def peer(self):
        return self.native.id


@cython.final
cdef class ReadIndex(Event):
    """A linearizable read is wanted (dissertation §6.4). The outcome is in ``Update.reads`` under ``id``."""

    fields = ("id",)

    def __init__(self, uint64_t id, uint64_t now):
        self.native.type = READ_INDEX
        self.native.now = now
        self.native.id = id

    @property
    def id(self):
        return self.native.id


@cython.final
cdef class TransferLeadership(Event):
    """Let ``target`` become leader (dissertation §3.10). Whether it was begun is in ``Update.proposals`` under ``id``."""

    fields = ("target", "id")

    def __init__(self, uint64_t target, uint64_t id=0, *, uint64_t now):
        self.native.type = TRANSFER_LEADERSHIP
        self.native.now = now
        self.native.id = target
        self.native.ticket = id

    @property
    def target(self):
        return self.native.id

    @property
    def id(self):
        return self.native.ticket


@cython.final
cdef class Campaign(Event):
    """Try to become leader now, without waiting for the election timeout."""

    def __init__(self, uint64_t now):
        self.native.type = CAMPAIGN
        self.native.now = now


@cython.final
cdef class ForgetLeader(Event):
    """Do as if the leader had been silent: be ready to vote for another. A promise of a lease is kept."""

    def __init__(self, uint64_t now):
        self.native.type = FORGET_LEADER
        self.native.now = now


@cython.final
cdef class Compact(Event):
    """A snapshot at ``index`` (applied and durable) of ``size`` bytes is durable here; the log below it may go (Raft §7).

    ``digest`` tells two snapshots of the same index apart, so that a transfer resumes only with the very same bytes.
    """

    fields = ("index", "size", "digest")

    def __init__(self, uint64_t index, uint64_t size, uint64_t digest=0, *, uint64_t now):
        self.native.type = COMPACT
        self.native.now = now
        self.native.index = index
        self.native.size = size
        self.native.digest = digest

    @property
    def index(self):
        return self.native.index

    @property
    def size(self):
        return self.native.size

    @property
    def digest(self):
        return self.native.digest


@cython.final
cdef class Unreachable(Event):
    """Messages to ``peer`` cannot be delivered; what was sent ahead is probably lost."""

    fields = ("peer",)

    def __init__(self, uint64_t peer, uint64_t now):
        self.native.type = UNREACHABLE
        self.native.now = now
        self.native.id = peer

    @property
    def peer(self):
        return self.native.id


@cython.final
cdef class LeaderConnectionClosed(Event):
    """The connection from the leader ended: a hint that it is gone, which starts a pre-vote after a small random delay."""

    def __init__(self, uint64_t now):
        self.native.type = LEADER_CONNECTION_CLOSED
        self.native.now = now


@cython.final
cdef class DiskStalled(Event):
    """The disk does not answer (``stalled``), has no room (``full``), or is well again.

    A stalled node neither leads nor campaigns. A full one does not campaign; as leader it hands over to a voter that has
    room, and until there is one it takes in only proposals that free something.
    """

    fields = ("stalled", "full")

    def __init__(self, stalled=None, *, full=False, uint64_t now):
        self.native.type = DISK_STALLED
        self.native.now = now
        self.native.mode = 2 if full else 1 if stalled is None or stalled else 0

    @property
    def stalled(self):
        return self.native.mode == 1

    @property
    def full(self):
        return self.native.mode == 2
