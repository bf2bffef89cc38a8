# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""Messages between nodes, as Python sees them: one class over the struct that the protocol works on.

A message knows its type, who sends it to whom in which term, and the fields that belong to its type.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t
from libcpp.utility cimport move
from libcpp.vector cimport vector

from quorate.raft._configuration cimport configuration_from_object, configuration_object
from quorate.raft._log cimport entry_from_data, entry_object
from quorate.raft._types cimport (
    ENTRY_KINDS,
    INSTALL_SNAPSHOT,
    MESSAGE_TYPES,
    EntryRef,
    entry,
    entry_bytes,
)
from quorate.raft._types cimport Message as NativeMessage

from quorate.errors import InvalidArgument
from quorate.raft.types import Entry


cdef enum:
    F_INDEX = 1
    F_LOG_TERM
    F_COMMIT
    F_ROUND
    F_ID
    F_REJECT_INDEX
    F_HINT_INDEX
    F_HINT_TERM
    F_OFFSET
    F_LENGTH
    F_SIZE
    F_DIGEST
    F_CONFIGURATION_INDEX
    F_LEADER
    F_PRE_VOTE
    F_TRANSFER
    F_SUCCESS
    F_STATUS
    F_CONFIGURATION
    F_ENTRIES
    F_FORWARDED
    F_DATA


STATUS_NAMES = (
    "accepted", "forwarded", "no_leader", "not_leader", "overloaded", "transferring", "change_in_flight",
    "no_commit_in_term", "invalid", "disk_stalled", "not_voter", "leader_changed", "no_room",
)  # fmt: skip

TYPE_NAMES = (
    "", "RequestVote", "RequestVoteResponse", "AppendEntries", "AppendEntriesResponse", "Heartbeat", "HeartbeatResponse",
    "InstallSnapshot", "InstallSnapshotResponse", "TimeoutNow", "ForwardProposal", "ForwardProposalResponse",
    "ForwardRead", "ForwardReadResponse",
)  # fmt: skip

# The fields of each type under the names of Figure 2, and where the struct has them.
FIELDS = {
    "RequestVote": {
        "last_log_index": F_INDEX, "last_log_term": F_LOG_TERM, "pre_vote": F_PRE_VOTE, "transfer": F_TRANSFER,
        "configuration_index": F_CONFIGURATION_INDEX,
    },
    "RequestVoteResponse": {"granted": F_SUCCESS, "pre_vote": F_PRE_VOTE},
    "AppendEntries": {
        "prev_log_index": F_INDEX, "prev_log_term": F_LOG_TERM, "entries": F_ENTRIES, "leader_commit": F_COMMIT,
        "round": F_ROUND,
    },
    "AppendEntriesResponse": {
        "success": F_SUCCESS, "match_index": F_INDEX, "reject_index": F_REJECT_INDEX, "hint_index": F_HINT_INDEX,
        "hint_term": F_HINT_TERM, "round": F_ROUND,
    },
    "Heartbeat": {"leader_commit": F_COMMIT, "round": F_ROUND},
    "HeartbeatResponse": {"round": F_ROUND},
    "InstallSnapshot": {
        "snapshot_index": F_INDEX, "snapshot_term": F_LOG_TERM, "configuration": F_CONFIGURATION, "offset": F_OFFSET,
        "length": F_LENGTH, "size": F_SIZE, "digest": F_DIGEST, "data": F_DATA, "round": F_ROUND,
    },
    "InstallSnapshotResponse": {
        "success": F_SUCCESS, "snapshot_index": F_INDEX, "snapshot_term": F_LOG_TERM, "offset": F_OFFSET,
        "round": F_ROUND,
    },
    "TimeoutNow": {},
    "ForwardProposal": {"id": F_ID, "entries": F_FORWARDED},
    "ForwardProposalResponse": {"id": F_ID, "status": F_STATUS, "index": F_INDEX, "leader": F_LEADER},
    "ForwardRead": {"id": F_ID},
    "ForwardReadResponse": {"id": F_ID, "index": F_INDEX, "status": F_STATUS},
}  # fmt: skip
FIELDS_BY_NUMBER = [FIELDS.get(name, {}) for name in TYPE_NAMES]
ANY_FIELD = {name: code for fields in FIELDS.values() for name, code in fields.items()}
COMMON = ("group", "sender", "receiver", "term", "incarnation")


cdef list list_entries(uint64_t first_index, const vector[EntryRef] *entries):
    cdef size_t i
    cdef list found = []
    for i in range(entries.size()):
        found.append(entry_object(first_index + i, <const entry *>&entries[0][i]))
    return found


cdef int fill_entries(object source, vector[EntryRef] *entries) except -1:
    """From :class:`Entry` tuples, or from plain bytes as commands."""
    cdef EntryRef made
    entries.clear()
    for item in source:
        if isinstance(item, Entry):
            if not 0 <= item.kind < ENTRY_KINDS:
                raise InvalidArgument(f"kind {item.kind} is not known; there are COMMAND, NOOP and CONFIGURATION")
            entry_from_data(item.data, item.term, item.kind, &made)
        else:
            entry_from_data(item, 0, 0, &made)
        entries.push_back(made)
    return 0


cdef Message message_from(NativeMessage *source):
    """A handle that takes over what ``source`` holds."""
    cdef Message made = Message.__new__(Message)
    made.native = move(source[0])
    return made


@cython.final
cdef class Message:
    """One message of the protocol. Messages are made by the core; :meth:`make` builds any for tests and tools.

    All have ``type``, ``group``, ``sender``, ``receiver``, ``term`` and the sender's ``incarnation``; the other attributes
    depend on the type, and one of another type reads as 0 or empty.

    >>> Message.make("Heartbeat", sender=1, receiver=2, term=3, leader_commit=7)
    <Heartbeat 1→2 term 3 leader_commit 7>
    """

    def __init__(self):
        raise TypeError("messages are made by the core, or by Message.make(type, ...)")

    @staticmethod
    def make(str type, **fields):
        """A message of ``type`` with ``fields``; InvalidArgument if a field is not one of that type."""
        cdef Message made = Message.__new__(Message)
        if type not in FIELDS:
            raise InvalidArgument(f"{type!r} is no message type; there are {', '.join(FIELDS)}")
        made.native.type = <uint8_t>TYPE_NAMES.index(type)
        known = FIELDS[type]
        for name, value in fields.items():
            if name == "group":
                made.native.group = value
            elif name == "sender":
                made.native.sender = value
            elif name == "receiver":
                made.native.receiver = value
            elif name == "term":
                made.native.term = value
            elif name == "incarnation":
                made.native.incarnation = value
            elif name in known:
                made.set_field(known[name], value)
            else:
                raise InvalidArgument(f"{type} has no field {name!r}; it has {', '.join((*COMMON, *known))}")
        return made

    @property
    def type(self):
        """Name of the RPC, as in Figure 2 of the paper."""
        return TYPE_NAMES[self.native.type] if self.native.type < MESSAGE_TYPES else ""

    @property
    def group(self):
        """Which Raft group it belongs to."""
        return self.native.group

    @property
    def sender(self):
        """Id of the node that sends it."""
        return self.native.sender

    @property
    def receiver(self):
        """Id of the node that it is for."""
        return self.native.receiver

    @property
    def term(self):
        """The sender's term; of a pre-vote, the term that it asks about."""
        return self.native.term

    @property
    def incarnation(self):
        """The sender's incarnation; 0 if identities are not in use."""
        return self.native.incarnation

    cdef object field(self, int code):
        cdef NativeMessage *it = &self.native
        if code == F_INDEX:
            return it.index
        if code == F_LOG_TERM:
            return it.log_term
        if code == F_COMMIT:
            return it.commit
        if code == F_ROUND:
            return it.round
        if code == F_ID:
            return it.id
        if code == F_REJECT_INDEX:
            return it.reject_index
        if code == F_HINT_INDEX:
            return it.hint_index
        if code == F_HINT_TERM:
            return it.hint_term
        if code == F_OFFSET:
            return it.offset
        if code == F_LENGTH:
            return it.length
        if code == F_SIZE:
            return it.size
        if code == F_DIGEST:
            return it.digest
        if code == F_CONFIGURATION_INDEX:
            return it.configuration_index
        if code == F_LEADER:
            return it.leader
        if code == F_PRE_VOTE:
            return it.pre_vote
        if code == F_TRANSFER:
            return it.transfer
        if code == F_SUCCESS:
            return it.success
        if code == F_STATUS:
            return STATUS_NAMES[it.status] if it.status < len(STATUS_NAMES) else f"unknown {it.status}"
        if code == F_CONFIGURATION:
            return configuration_object(it.configuration_index, &it.configuration)
        if code == F_ENTRIES:
            return list_entries(it.index + 1, &it.entries)
        if code == F_FORWARDED:
            return list_entries(0, &it.entries)
        return PyBytes_FromStringAndSize(<const char *>entry_bytes(<const entry *>&it.data), it.data.length)

    cdef int set_field(self, int code, object value) except -1:
        cdef NativeMessage *it = &self.native
        if code == F_INDEX:
            it.index = value
        elif code == F_LOG_TERM:
            it.log_term = value
        elif code == F_COMMIT:
            it.commit = value
        elif code == F_ROUND:
            it.round = value
        elif code == F_ID:
            it.id = value
        elif code == F_REJECT_INDEX:
            it.reject_index = value
        elif code == F_HINT_INDEX:
            it.hint_index = value
        elif code == F_HINT_TERM:
            it.hint_term = value
        elif code == F_OFFSET:
            it.offset = value
        elif code == F_LENGTH:
            it.length = value
        elif code == F_SIZE:
            it.size = value
        elif code == F_DIGEST:
            it.digest = value
        elif code == F_CONFIGURATION_INDEX:
            it.configuration_index = value
        elif code == F_LEADER:
            it.leader = value
        elif code == F_PRE_VOTE:
            it.pre_vote = bool(value)
        elif code == F_TRANSFER:
            it.transfer = bool(value)
        elif code == F_SUCCESS:
            it.success = bool(value)
        elif code == F_STATUS:
            it.status = <uint8_t>STATUS_NAMES.index(value)
        elif code == F_CONFIGURATION:
            configuration_from_object(value, &it.configuration)
            it.configuration_index = value.index
        elif code == F_ENTRIES or code == F_FORWARDED:
            fill_entries(value, &it.entries)
        else:
            entry_from_data(value, 0, 0, &it.data)
        return 0

    def __getattr__(self, name):
        cdef dict known = FIELDS_BY_NUMBER[self.native.type]
        code = known.get(name)
        if code is not None:
            return self.field(code)
        if name not in ANY_FIELD:
            raise AttributeError(f"{self.type} has no attribute {name!r}")
        code = ANY_FIELD[name]
        if code in (F_ENTRIES, F_FORWARDED):
            return []
        if code == F_DATA:
            return b""
        if code == F_STATUS:
            return ""
        if code in (F_PRE_VOTE, F_TRANSFER, F_SUCCESS):
            return False
        return None if code == F_CONFIGURATION else 0

    def with_data(self, data):
        """A copy of an InstallSnapshot whose carrier put the chunk in; InvalidArgument if its length is not as asked."""
        cdef Message made
        if self.native.type != INSTALL_SNAPSHOT:
            raise InvalidArgument(f"{self.type} carries no snapshot data")
        if len(data) != self.native.length:
            raise InvalidArgument(f"the chunk has {len(data)} bytes, and {self.native.length} were asked for")
        made = Message.__new__(Message)
        made.native = self.native
        entry_from_data(data, 0, 0, &made.native.data)
        return made

    def __eq__(self, other):
        cdef Message that
        if type(other) is not Message:
            return NotImplemented
        that = other
        if (self.native.type != that.native.type or self.native.group != that.native.group
                or self.native.sender != that.native.sender or self.native.receiver != that.native.receiver
                or self.native.term != that.native.term or self.native.incarnation != that.native.incarnation):
            return False
        for code in FIELDS_BY_NUMBER[self.native.type].values():
            if self.field(code) != that.field(code):
                return False
        return True

    def __hash__(self):
        return hash((self.native.type, self.native.sender, self.native.receiver, self.native.term, self.native.index))

    def __reduce__(self):
        from quorate.raft._codec import decode, encode
        return decode, (encode(self),)

    def __repr__(self):
        parts = [f"{self.type} {self.native.sender}→{self.native.receiver} term {self.native.term}"]
        for name, code in FIELDS_BY_NUMBER[self.native.type].items():
            value = self.field(code)
            if code == F_DATA:
                if value:
                    parts.append(f"{len(value)} B")
            elif code in (F_ENTRIES, F_FORWARDED):
                parts.append("entries [" + ", ".join(f"{entry.index}@{entry.term}" for entry in value) + "]")
            elif code in (F_PRE_VOTE, F_TRANSFER):
                if value:
                    parts.append(name)
            elif code == F_SUCCESS:
                parts.append(name if value else "rejected")
            elif code == F_CONFIGURATION:
                parts.append(f"configuration {list(value.incoming)}")
            elif value or code == F_INDEX:
                parts.append(f"{name} {value}")
        if self.native.group:
            parts.append(f"group {self.native.group}")
        return f"<{' '.join(parts)}>"
