# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""The handle for Python around one node's state: construction, ``step``, and looking at it.

The rules live in the other modules of this folder; native callers use ``raft_step`` on the struct itself.
"""

cimport cython
from cython.operator cimport dereference, postincrement
from libc.stdint cimport uint64_t
from libcpp.map cimport map as ordered_map

from quorate.raft._configuration cimport (
    bind_incarnation,
    configuration_object,
    configuration_valid,
)
from quorate.raft._core cimport configuration_of, draw, next_deadline, reset_election_deadline
from quorate.raft._events cimport Event
from quorate.raft._invariants cimport broken_deeply, broken_invariant, remember
from quorate.raft._log cimport (
    RaftLog,
    log_check,
    log_clear,
    log_configuration,
    log_entries,
    log_length,
    log_term,
)
from quorate.raft._snapshots cimport recently_heard
from quorate.raft._step cimport raft_step
from quorate.raft._types cimport (
    MEMBER_PLACE_MAX,
    PROBE,
    QUORATE_BUILD_NAME,
    READ_TOKEN_REUSED,
    REJECTIONS,
    SNAPSHOT,
    Configuration,
    Core,
    Log,
    Progress,
    Settings,
    quorate_enter,
    quorate_leave,
)
from quorate.raft._update cimport Update

from quorate.config import RaftConfig
from quorate.errors import ConfigError, InvalidArgument, InvariantBroken
from quorate.raft._update import ROLE_NAMES
from quorate.raft.mutations import MUTATIONS
from quorate.raft.types import ProgressState, RaftState


BUILD = QUORATE_BUILD_NAME.decode()
"""How this module was compiled: "release", "debug", "sanitize", "thread" or "coverage"."""

PROGRESS_NAMES = ("probe", "replicate", "snapshot")
REJECTION_NAMES = ("group", "receiver", "sender", "type", "term", "index", "incarnation", "stale", "limit", "event",
                   "snapshot")  # fmt: skip


def mutations():
    """Names of the known bugs that ``Raft(mutation=...)`` can put back; none in a release build."""
    return () if BUILD == "release" else tuple(MUTATIONS)


cdef int take_settings(object config, Settings *it) except -1:
    it.heartbeat = config.heartbeat_ms * 1000
    it.election_timeout_min = config.election_timeout_min_ms * 1000
    it.election_timeout_max = config.election_timeout_max_ms * 1000
    it.lease = int(config.election_timeout_min_ms * 1000 * (1 - config.lease_margin))
    it.disk_stall = config.disk_stall_ms * 1000
    it.hint_delay_max = config.hint_delay_max_ms * 1000
    it.pre_vote = config.pre_vote
    it.check_quorum = config.check_quorum
    it.lease_reads = config.lease_reads
    it.forward = config.forward
    it.max_message_bytes = config.max_message_bytes
    it.max_inflight_messages = config.max_inflight_messages
    it.max_inflight_bytes = config.max_inflight_bytes
    it.max_uncommitted_bytes = config.max_uncommitted_bytes
    it.max_apply_bytes = config.max_apply_bytes
    it.snapshot_chunk_bytes = config.snapshot_chunk_bytes
    it.compaction_tail = config.compaction_tail
    it.compaction_tail_bytes = config.compaction_tail_bytes
    it.max_pending_reads = config.max_pending_reads
    return 0


cdef int add_members(object source, bint learners, Configuration *it) except -1:
    """From ids, or from a mapping of ids to incarnations."""
    cdef uint64_t id
    for id in sorted(source):
        if learners:
            it.learners.push_back(id)
        else:
            it.incoming.push_back(id)
        if hasattr(source, "keys"):
            bind_incarnation(it, id, source[id])
    return 0


cdef int take_log(Log *into, Log *source) except -1:
    into.snapshot_index = source.snapshot_index
    into.snapshot_term = source.snapshot_term
    into.last_index = source.last_index
    into.last_term = source.last_term
    into.payload_bytes = source.payload_bytes
    into.base = source.base
    into.blocks.swap(source.blocks)
    into.configurations = source.configurations
    source.last_index = source.snapshot_index
    source.last_term = source.snapshot_term
    source.payload_bytes = 0
    source.base = source.snapshot_index + 1
    return 0


@cython.final
cdef class Raft:
    """One node of one Raft group, as a pure state machine: ``step(event) -> Update``.

    It has no clock, disk, socket or thread. Time and chance come in (``now`` in microseconds of a monotonic clock, ``seed``),
    duties go out, and the same inputs give the same outputs on any machine.

    * ``id``: of this node, at least 1.
    * ``voters``, ``learners``: who decides, for the first bootstrap only: ids, or a mapping of ids to incarnations. A
      configuration in ``log`` rules over them. A node that joins a running group starts with ``voters=()``.
    * ``seed``: of the node's own generator. Must differ for each start of a process.
    * ``hard_state``, ``log``, ``applied``: what an earlier life left, so that a restart is a constructor call. ``log`` is a
      :class:`RaftLog`, which is taken over; ``applied`` is the index that the state machine already contains.
    * ``incarnation``: of this node's memory (its data directory); 0 if identities are not used.
    * ``places``: a mapping of ids to bytes that a leader puts into the configuration for members of which it says nothing.

    Raises :class:`~quorate.errors.InvalidArgument` for members or state that cannot be.

    Source: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm (Extended Version)", 2014; Ongaro,
    "Consensus: Bridging Theory and Practice", 2014.

    >>> from quorate.raft import Campaign, Persisted
    >>> raft = Raft(1, voters=[1], seed=7)
    >>> update = raft.step(Campaign(now=0))
    >>> update.role, update.hard_state
    ('candidate', HardState(term=1, vote=1, commit=0))
    >>> update = raft.step(Persisted(update.ticket, now=120))
    >>> update.role, [entry.kind for entry in update.entries]
    ('leader', [1])
    >>> update = raft.step(Persisted(update.ticket, index=1, term=1, now=240))
    >>> update.commit, [entry.index for entry in update.apply]
    (1, [1])
    """

    def __cinit__(self, uint64_t id, *, voters, learners=(), uint64_t seed, uint64_t now=0, uint64_t group=0, config=None,
                  hard_state=None, RaftLog log=None, uint64_t applied=0, uint64_t incarnation=0, places=None,
                  mutation=None):
        cdef Core *core = new Core()
        cdef Configuration *bootstrap
        self.core = core
        self.busy = 0
        self.failure = None
        self.config = RaftConfig() if config is None else config
        if not isinstance(self.config, RaftConfig):
            raise InvalidArgument(f"config must be a RaftConfig, not {self.config!r}")
        if id == 0:
            raise InvalidArgument("an id is at least 1; 0 means nobody")
        if mutation is not None:
            if BUILD == "release":
                raise ConfigError("mutation= needs a debug build (QUORATE_BUILD=debug); a release build has no known bugs")
            if mutation not in MUTATIONS:
                raise ConfigError(f"mutation {mutation!r} is not known; there are {', '.join(MUTATIONS)}")
            core.mutation = MUTATIONS[mutation]
        take_settings(self.config, &core.settings)
        core.id = id
        core.group = group
        core.incarnation = incarnation
        core.random = seed
        core.now = now
        if log is None:
            log = RaftLog()
        if log.taken:
            raise InvalidArgument("this log belongs to another running Raft")
        # Everything that can be refused is refused before the log is taken over.
        term, vote, commit = (0, 0, 0) if hard_state is None else hard_state
        if log.log.last_term > term:
            raise InvalidArgument(f"the log holds term {log.log.last_term}, but the hard state only {term}: "
                                  "term and vote of the last life are missing")
        if vote and not term:
            raise InvalidArgument("a vote without a term")
        if commit > log.log.last_index:
            raise InvalidArgument(f"commit index {commit} is beyond the log, which ends at {log.log.last_index}: "
                                  "a part of the log is missing")
        applied = max(applied, log.log.snapshot_index)
        if applied > log.log.last_index:
            raise InvalidArgument(f"the state machine has index {applied}, beyond the log's {log.log.last_index}")
        bootstrap = &log.log.configurations.front().second
        if log.log.snapshot_index == 0 and bootstrap.incoming.empty():
            add_members(voters, False, bootstrap)
            add_members(learners, True, bootstrap)
            if not configuration_valid(bootstrap):
                raise InvalidArgument(f"voters={sorted(voters)} and learners={sorted(learners)} are no configuration: ids "
                                      "are at least 1 and named once, learners are no voters, and somebody must decide")
        for each, place in ({} if places is None else places).items():
            if not 0 < len(place) <= MEMBER_PLACE_MAX:
                raise InvalidArgument(f"a place has 1 to {MEMBER_PLACE_MAX} bytes, not {len(place)}")
            core.known_places[each] = place
        take_log(&core.log, &log.log)
        log.taken = True
        core.current_term = term
        core.voted_for = vote
        core.commit_index = max(commit, applied)
        core.last_applied = core.applying = applied
        core.persisted_index = core.handed_index = core.log.last_index
        core.handed_hard_state.term = term
        core.handed_hard_state.vote = vote
        core.handed_hard_state.commit = core.commit_index
        core.configuration_index = core.log.configurations.back().first
        core.last_leader_contact = now  # with leases: a promise of the last life may still bind us
        core.read_token = 0 if core.mutation == READ_TOKEN_REUSED else draw(core, <uint64_t>1 << 62) ^ now
        reset_election_deadline(core)
        remember(core)
        if broken_invariant(core) != NULL or broken_deeply(core) != NULL:
            raise InvalidArgument("log and hard state contradict each other: " + (
                broken_invariant(core) or broken_deeply(core)).decode())

    def __dealloc__(self):
        if self.core != NULL:
            log_clear(&self.core.log)
            del self.core

    cdef int enter(self) except -1:
        if quorate_enter(&self.busy):
            raise InvalidArgument("another thread is in this Raft; calls to one node come one after the other")
        return 0

    def step(self, Event event not None, /):
        """Take ``event`` in and return the :class:`Update` that follows from it.

        The GIL is released meanwhile. One thread at a time: a second one gets InvalidArgument. Raises InvariantBroken if
        the protocol's own conditions do not hold; the node has failed then, and each further step raises it again.
        """
        cdef Update update = Update.__new__(Update)
        cdef int failed
        self.enter()
        try:
            with nogil:
                failed = raft_step(self.core, &event.native, &update.native)
        finally:
            quorate_leave(&self.busy)
        if failed:
            self.fail(event)
        return update

    cdef int fail(self, object event) except -1:
        if self.failure is None:
            words = broken_invariant(self.core)
            if words == NULL:
                words = broken_deeply(self.core)
            reason = words.decode() if words != NULL else "a step was left half done"
            self.failure = f"node {self.core.id}: {reason}. After {event!r}. State: {self.copy_state()!r}"
        raise InvariantBroken(self.failure)

    @property
    def id(self):
        """Of this node."""
        return self.core.id

    @property
    def group(self):
        """The Raft group that it belongs to."""
        return self.core.group

    @property
    def incarnation(self):
        """Of this node's memory; 0 if identities are not used."""
        return self.core.incarnation

    @property
    def role(self):
        """"follower", "pre_candidate", "candidate" or "leader"."""
        return ROLE_NAMES[self.core.role]

    @property
    def term(self):
        """Current term."""
        return self.core.current_term

    @property
    def leader(self):
        """Id of this term's leader, 0 if not known."""
        return self.core.leader

    @property
    def commit(self):
        """Commit index."""
        return self.core.commit_index

    @property
    def applied(self):
        """Index up to which the state machine reported to have applied."""
        return self.core.last_applied

    @property
    def deadline(self):
        """When the next Tick has something to do, in microseconds."""
        return next_deadline(self.core)

    @property
    def log(self):
        """A view of the log for reading."""
        cdef LogView view = LogView.__new__(LogView)
        view.raft = self
        return view

    @property
    def configuration(self):
        """The :class:`Configuration` in force: the newest in the log, committed or not (Raft §6)."""
        self.enter()
        try:
            return configuration_object(self.core.configuration_index, configuration_of(self.core))
        finally:
            quorate_leave(&self.busy)

    def configuration_at(self, uint64_t index, /):
        """The :class:`Configuration` in force at ``index``, for a snapshot that ends there."""
        cdef uint64_t at
        cdef Configuration *found
        self.enter()
        try:
            log_check(&self.core.log, index, True)
            found = log_configuration(&self.core.log, index, &at)
            return configuration_object(at, found)
        finally:
            quorate_leave(&self.busy)

    def state(self):
        """A readable copy of everything that an operator would ask for."""
        self.enter()
        try:
            return self.copy_state()
        finally:
            quorate_leave(&self.busy)

    cdef object copy_state(self):
        cdef Core *core = self.core
        cdef ordered_map[uint64_t, Progress].iterator at = core.progress.begin()
        cdef Progress *peer
        cdef int i
        progress = {}
        while at != core.progress.end():
            peer = &dereference(at).second
            paused = peer.snapshot_waiting if peer.mode == SNAPSHOT else peer.paused if peer.mode == PROBE else (
                peer.flights.size() >= core.settings.max_inflight_messages
                or peer.flight_bytes >= core.settings.max_inflight_bytes
            )
            progress[dereference(at).first] = ProgressState(
                PROGRESS_NAMES[peer.mode], peer.match_index, peer.next_index, peer.flights.size(), peer.flight_bytes,
                bool(paused), bool(recently_heard(core, peer)), peer.learner, peer.snapshot_index, peer.snapshot_offset,
            )
            postincrement(at)
        return RaftState(
            core.id, ROLE_NAMES[core.role], core.current_term, core.voted_for, core.leader, core.commit_index,
            core.last_applied, core.log.snapshot_index + 1, core.log.last_index, core.log.snapshot_index,
            core.persisted_index, configuration_object(core.configuration_index, configuration_of(core)), progress, core.transfer_target,
            {REJECTION_NAMES[i]: core.rejected[i] for i in range(REJECTIONS) if core.rejected[i]},
            core.lease_until, next_deadline(core), core.uncommitted_bytes, core.failed,
        )

    def __repr__(self):
        return (f"<Raft {self.core.id} {self.role} term {self.core.current_term} leader {self.core.leader} "
                f"commit {self.core.commit_index} last {self.core.log.last_index}>")


@cython.final
cdef class LogView:
    """The log of a running :class:`Raft`, for reading; only the protocol changes it."""

    @property
    def first_index(self):
        """Index of the first entry kept."""
        return self.raft.core.log.snapshot_index + 1

    @property
    def last_index(self):
        """Index of the last entry, or of the snapshot if there is none."""
        return self.raft.core.log.last_index

    @property
    def snapshot_index(self):
        """Index of the last entry that was compacted away."""
        return self.raft.core.log.snapshot_index

    @property
    def snapshot_term(self):
        """Term of the entry at ``snapshot_index``."""
        return self.raft.core.log.snapshot_term

    @property
    def payload_bytes(self):
        """Payload of all entries kept, in bytes."""
        return self.raft.core.log.payload_bytes

    def __len__(self):
        return log_length(&self.raft.core.log)

    def term(self, uint64_t index, /):
        """The term at ``index``. Raises Compacted below the log, InvalidArgument behind it."""
        cdef uint64_t term
        self.raft.enter()
        try:
            log_check(&self.raft.core.log, index, True)
            log_term(&self.raft.core.log, index, &term)
            return term
        finally:
            quorate_leave(&self.raft.busy)

    def entries(self, uint64_t lo, uint64_t hi, /):
        """The entries from ``lo`` to below ``hi``. Raises Compacted or InvalidArgument outside of the log."""
        self.raft.enter()
        try:
            return log_entries(&self.raft.core.log, lo, hi)
        finally:
            quorate_leave(&self.raft.busy)

    def __repr__(self):
        return f"<log of node {self.raft.core.id}: {self.first_index}..{self.last_index}>"
