# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""What a step asks its caller to do, as Python sees it."""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libcpp.vector cimport vector

from quorate.raft._configuration cimport configuration_object
from quorate.raft._messages cimport Message, list_entries, message_from
from quorate.raft._types cimport Message as NativeMessage
from quorate.raft._types cimport SnapshotChunk as NativeChunk
from quorate.raft._types cimport entry, entry_bytes

from quorate.raft._messages import STATUS_NAMES
from quorate.raft.types import HardState, ProposalResult, ReadResult, SnapshotChunk


ROLE_NAMES = ("follower", "pre_candidate", "candidate", "leader")


cdef list take_messages(vector[NativeMessage] *source):
    cdef size_t i
    cdef list found = []
    for i in range(source.size()):
        found.append(message_from(&source[0][i]))
    return found


@cython.final
cdef class Update:
    """What one step asks its caller to do. The duties, in order:

    1. Write ``hard_state``, ``entries`` and ``snapshot_chunk``. If ``sync`` is true they must reach the disk; then feed
       ``Persisted(ticket, index, term)`` with the last entry's place. Writes become durable in the order of their tickets.
    2. Send ``messages`` at once, beside the disk.
    3. Send ``messages_after_persistence`` when everything handed out up to and including this update is durable: they
       promise it.
    4. Apply ``apply`` in order and feed ``Applied(last index)``.
    5. Answer ``reads`` and ``proposals``.
    6. Feed ``Tick`` at ``deadline`` (microseconds), if nothing else happens before.
    """

    def __init__(self):
        raise TypeError("updates are made by Raft.step")

    @property
    def ticket(self):
        """Names this update's writes for ``Persisted``; 0 if there is nothing to write."""
        return self.native.ticket

    @property
    def hard_state(self):
        """:class:`HardState` to write, or None."""
        if not self.native.has_hard_state:
            return None
        return HardState(self.native.hard_state.term, self.native.hard_state.vote, self.native.hard_state.commit)

    @property
    def sync(self):
        """Whether the writes must be made durable; a commit index alone need not be."""
        return self.native.sync

    @property
    def first_index(self):
        """Index of the first of ``entries``; what storage holds from there on is replaced. 0 if there are none."""
        return self.native.first_index

    @property
    def entries(self):
        """Entries to write, as a list of :class:`Entry`."""
        return list_entries(self.native.first_index, &self.native.entries)

    @property
    def snapshot_chunk(self):
        """A :class:`SnapshotChunk` to write down, or None."""
        cdef NativeChunk *chunk = &self.native.chunk
        if not self.native.has_chunk:
            return None
        return SnapshotChunk(
            chunk.index, chunk.term, chunk.offset,
            PyBytes_FromStringAndSize(<const char *>entry_bytes(<const entry *>&chunk.data), chunk.data.length),
            chunk.size, chunk.digest, chunk.done, configuration_object(chunk.configuration_index, &chunk.configuration),
        )

    @property
    def messages(self):
        """Messages that may leave at once."""
        if self.cached_messages is None:
            self.cached_messages = take_messages(&self.native.messages)
        return self.cached_messages

    @property
    def messages_after_persistence(self):
        """Messages that leave only when everything handed out up to this update is durable."""
        if self.cached_after is None:
            self.cached_after = take_messages(&self.native.messages_after)
        return self.cached_after

    @property
    def apply(self):
        """Committed entries for the state machine, in order; no-ops and configurations are among them."""
        return list_entries(self.native.apply_index, &self.native.apply)

    @property
    def reads(self):
        """Reads that are safe now, or refused: a list of :class:`ReadResult`."""
        return [ReadResult(self.native.reads[i].id, self.native.reads[i].index, STATUS_NAMES[self.native.reads[i].status])
                for i in range(self.native.reads.size())]

    @property
    def proposals(self):
        """What became of proposals: a list of :class:`ProposalResult`."""
        return [ProposalResult(self.native.proposals[i].id, STATUS_NAMES[self.native.proposals[i].status],
                               self.native.proposals[i].index, self.native.proposals[i].term,
                               self.native.proposals[i].leader)
                for i in range(self.native.proposals.size())]

    @property
    def deadline(self):
        """When the next Tick has something to do, in microseconds."""
        return self.native.deadline

    @property
    def role(self):
        return ROLE_NAMES[self.native.role]

    @property
    def term(self):
        return self.native.term

    @property
    def leader(self):
        """Id of the leader of this term, 0 if not known."""
        return self.native.leader

    @property
    def commit(self):
        return self.native.commit

    cdef tuple as_tuple(self):
        return (self.ticket, self.hard_state, self.sync, self.first_index, self.entries, self.snapshot_chunk,
                self.messages, self.messages_after_persistence, self.apply, self.reads, self.proposals, self.deadline,
                self.role, self.term, self.leader, self.commit)

    def __eq__(self, other):
        if type(other) is not Update:
            return NotImplemented
        return self.as_tuple() == (<Update>other).as_tuple()

    def __hash__(self):
        return hash((self.native.ticket, self.native.term, self.native.commit, self.native.deadline))

    def __reduce__(self):
        from quorate.raft._codec import decode, encode
        return decode, (encode(self),)

    def __repr__(self):
        parts = [f"{self.role} term {self.term} leader {self.leader} commit {self.commit}"]
        if self.native.ticket:
            parts.append(f"ticket {self.native.ticket}")
        if self.native.has_hard_state:
            parts.append(f"{self.hard_state}")
        for name in ("entries", "messages", "messages_after_persistence", "apply", "reads", "proposals"):
            value = getattr(self, name)
            if value:
                if name in ("entries", "apply"):
                    value = [f"{entry.index}@{entry.term}" for entry in value]
                parts.append(f"{name} {value}")
        if self.native.has_chunk:
            parts.append(f"snapshot {self.native.chunk.index} at {self.native.chunk.offset}")
        return f"<Update {'; '.join(parts)}>"
