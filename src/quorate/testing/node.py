"""One simulated node: carries out the duties of an `Update`, in the order and with the delays that real hardware could
show.

It stands where the runtime stands in production: it owns the core, a simulated disk, a clock and a state machine. It
decides nothing about the protocol. Times without a word are true microseconds (see :mod:`quorate.testing.clock`).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from quorate.errors import InvariantBroken
from quorate.raft import (
    COMMAND,
    CONFIGURATION,
    Applied,
    Compact,
    Persisted,
    Raft,
    RaftLog,
    Receive,
    SnapshotFailed,
    SnapshotPersisted,
    Tick,
    Unreachable,
)
from quorate.testing.checkers import Violation
from quorate.testing.clock import NEVER_DUE, Clock
from quorate.testing.disk import Disk, DiskMisuse, Snapshot
from quorate.testing.machine import StateMachine
from quorate.testing.transcript import Transcript

if TYPE_CHECKING:
    from quorate.testing.cluster import SimCluster

__all__ = ["RESULTS_KEPT", "SimNode"]

_Write: TypeAlias = "tuple[int, bool, Any, int, Any, Snapshot | None]"
"""Ticket, if it needs a sync, hard state, first index, entries; or a snapshot, as a file (index 0) or in the log."""
RESULTS_KEPT: Final = 4_096
"""How many results of its state machine a node remembers, for answers that come late."""


@final
class SimNode:
    """A process (or the lack of one), and the disk that survives it."""

    __slots__ = (
        "_batch",
        "_inbox",
        "_incoming",
        "_loaded",
        "_random",
        "_ready",
        "_snapshotting",
        "_stepping",
        "_tick_at",
        "_tick_for",
        "_todo",
        "_waiting",
        "_written",
        "applied",
        "clock",
        "cluster",
        "commit",
        "configuration",
        "deadline",
        "deserted",
        "disk",
        "disk_us",
        "fresh",
        "id",
        "incarnation",
        "leader",
        "life",
        "machine",
        "paused",
        "pending",
        "raft",
        "results",
        "role",
        "term",
        "transcript",
    )

    def __init__(self, cluster: SimCluster, id: int, incarnation: int, clock: Clock) -> None:
        self.cluster = cluster
        self.id = id
        self.incarnation = incarnation
        self.clock = clock
        self.disk = Disk()
        self.fresh = False
        """Came with an empty disk after the first bootstrap, so the first list of members is not for it."""
        self.disk_us = cluster.disk_us
        self.transcript = Transcript(f"node {id}", cluster.trace)
        self.life = 0
        """Counts the processes of this node; what belongs to an earlier one is ignored."""
        self.raft: Any = None
        self.paused = False
        self.machine: StateMachine = cluster.machine()
        self.configuration: Any = None
        self._random = random.Random(f"{cluster.seed}/node {id}/{incarnation}")
        self._forget()

    def _forget(self) -> None:
        """What a process has in memory is gone."""
        self.role, self.term, self.leader, self.commit, self.applied = "follower", 0, 0, 0, 0
        self.deserted = 0
        """How often in a row it was seen to lead while most voters had gone on."""
        self.deadline = NEVER_DUE
        self.pending: dict[int, list[tuple[int, Any]]] = {}
        """Index → (term, request) of proposals accepted here that wait for being applied."""
        self.results: dict[int, tuple[int, Any]] = {}
        self._todo: deque[Any] = deque()
        self._inbox: list[tuple[Callable[[Any], None], Any]] = []
        self._waiting: deque[tuple[int, list[Any]]] = deque()
        self._ready: list[_Write] = []  # handed to the disk, not begun
        self._batch: list[_Write] | None = None  # being written now
        self._written = 0
        self._incoming: tuple[int, int, bytearray] | None = None
        self._loaded = 0
        self._snapshotting = False
        self._stepping = False
        self._tick_at = self._tick_for = NEVER_DUE

    # -- life and death

    @property
    def up(self) -> bool:
        """Is there a process?"""
        return self.raft is not None

    def start(self, voters: Any = (), learners: Any = ()) -> None:
        """Start a process over what the disk holds; the given members serve only if it holds nothing."""
        cluster, disk = self.cluster, self.disk
        self.life += 1
        self._forget()
        self.machine = cluster.machine()
        snapshot = disk.snapshot
        log = RaftLog()
        if snapshot is not None:
            self.machine.restore(snapshot.data)
            self.applied = snapshot.index
            log = RaftLog(
                snapshot_index=snapshot.index,
                snapshot_term=snapshot.term,
                configuration=snapshot.configuration,
                entries=disk.entries,
            )
        elif disk.entries:
            log = RaftLog(entries=disk.entries)
        now = self.clock.now(cluster.now)
        arguments: dict[str, Any] = {} if cluster.mutation is None else {"mutation": cluster.mutation}
        self.raft = Raft(
            self.id,
            voters=voters,
            learners=learners,
            seed=self._random.getrandbits(63),
            now=now,
            config=cluster.raft_config,
            hard_state=disk.hard_state,
            log=log,
            applied=self.applied,
            incarnation=self.incarnation,
            **arguments,
        )
        self.commit = self.applied
        self.term = self.raft.term
        self.configuration = self.raft.configuration
        self.transcript.add(
            (
                cluster.now,
                f"starts process {self.life}: term {disk.term}, vote {disk.vote},"
                f" log ({disk.first}…{disk.last}), applied {self.applied}",
                None,
            )
        )
        if snapshot is not None:
            self.step(Compact(snapshot.index, len(snapshot.data), digest=snapshot.digest, now=now))
        if self.raft is not None:
            self.step(Tick(now))

    def crash(self) -> None:
        """The process dies, and the power with it: unsynced records are lost, but for a prefix."""
        if self.raft is None:
            return
        lost = self.disk.crash(self._random)
        self.transcript.add((self.cluster.now, f"crashes; {lost} unsynced records are lost", None))
        self._die()

    def _die(self) -> None:
        was_leader = self.role == "leader"
        self.raft = None
        self.paused = False
        self.life += 1
        self._forget()
        self.cluster.died(self, was_leader=was_leader)

    def pause(self) -> None:
        """The process is stopped: it handles nothing, and its clock goes on."""
        self.paused = True
        self.transcript.add((self.cluster.now, "is paused", None))

    def resume(self) -> None:
        """It goes on: first what came in meanwhile, in order, then the time."""
        if not self.paused:
            return
        self.paused = False
        self.transcript.add((self.cluster.now, f"goes on; {len(self._inbox)} things waited", None))
        inbox, self._inbox = self._inbox, []
        for handle, what in inbox:
            handle(what)
        if self.raft is not None:
            self._tick_at = self._tick_for = NEVER_DUE
            self._wake(self.life)

    # -- what comes in

    def receive(self, message: Any) -> None:
        """A message arrives."""
        if self.paused:
            self._inbox.append((self.receive, message))
        elif self.raft is not None:
            self.step(Receive(message, now=self.clock.now(self.cluster.now)))

    def feed(self, make: Callable[[int], Any]) -> None:
        """An event from outside, made with the local time at which the process sees it."""
        if self.paused:
            self._inbox.append((self.feed, make))
        elif self.raft is not None:
            self.step(make(self.clock.now(self.cluster.now)))

    def clock_changed(self) -> None:
        """The clock runs otherwise than before: see anew when the next tick is due."""
        if self.raft is not None and not self.paused:
            self._tick_at = self._tick_for = NEVER_DUE
            self._wake(self.life)

    def _wake(self, life: int) -> None:
        """A tick may be due."""
        if life != self.life or self.paused:
            return
        cluster = self.cluster
        if cluster.now < self._tick_at < NEVER_DUE:
            return  # an earlier plan, replaced since
        self._tick_at = self._tick_for = NEVER_DUE
        now = self.clock.now(cluster.now)
        if now >= self.deadline:
            self.step(Tick(now))
        else:
            self._plan_tick()

    def _plan_tick(self) -> None:
        deadline = self.deadline
        if deadline >= self._tick_for:
            return
        cluster = self.cluster
        at = self.clock.due(deadline, cluster.now)
        if at < self._tick_at:
            # A tick is never planned for this very moment: a core that asked for one again and again would stop the
            # time.
            self._tick_at = max(at, cluster.now + 1)
            self._tick_for = deadline
            cluster.at(self._tick_at, self._wake, self.life)

    # -- one step, and its duties

    def step(self, event: Any) -> None:
        """Feed one event, and all that follow from it at the same moment."""
        self._todo.append(event)
        if self._stepping:
            return
        self._stepping = True
        todo = self._todo
        cluster = self.cluster
        life = self.life
        while todo:
            event = todo.popleft()
            cluster.steps += 1
            try:
                update = self.raft.step(event)
            except InvariantBroken as error:
                self.transcript.add((cluster.now, event, None))
                raise Violation("invariant of the core", f"node {self.id}: {error}") from error
            self.transcript.add((cluster.now, event, update))
            self._carry_out(update)
            if life != self.life:
                return
        self._stepping = False
        if self.deadline < self._tick_for:
            self._plan_tick()

    def _carry_out(self, update: Any) -> None:
        cluster = self.cluster
        checkers = cluster.checkers
        entries = update.entries
        self.leader = update.leader
        term, role, commit = update.term, update.role, update.commit
        if role == "pre_candidate" and term > self.term:
            raise Violation("a pre-vote raises no term", f"node {self.id} went from term {self.term} to {term}")
        if role != self.role or term != self.term:
            if term < self.term:
                raise Violation("term grows", f"node {self.id} went from term {self.term} to {term}")
            self.term, self.role = term, role
            if role == "leader":
                checkers.became_leader(self, term)
                cluster.elections += 1
        if entries:
            checkers.wrote(self, update.first_index, entries)
        if commit > self.commit:
            checkers.advanced(self, self.commit, commit, term, leads=role == "leader")
            self.commit = commit
        elif commit < self.commit:
            raise Violation("commit grows", f"node {self.id} went from commit {self.commit} to {commit}")
        if entries and (
            update.first_index <= self.configuration.index or any(entry.kind == CONFIGURATION for entry in entries)
        ):
            if role == "leader":
                for entry in entries:
                    if entry.kind == CONFIGURATION and entry.term == term:
                        checkers.changed(self, entry.index, commit)
            self.configuration = self.raft.configuration

        ticket = update.ticket
        if ticket:
            self._ready.append((ticket, update.sync, update.hard_state, update.first_index, entries, None))
            self._written = ticket
            if self._batch is None:
                self._write_batch()
        if update.snapshot_chunk is not None:
            self._take_chunk(update.snapshot_chunk)
        for message in update.messages:
            self._send(message)
        after = update.messages_after_persistence
        if after:
            if self._batch is None:
                for message in after:
                    self._send(message)
            else:
                self._waiting.append((self._written, after))
        if update.apply:
            delay = cluster.apply_delay()
            if delay:
                cluster.after(delay, self._apply_later, (self.life, update.apply))
            else:
                self._apply(update.apply)
        for read in update.reads:
            cluster.read_answered(self, read)
        for proposal in update.proposals:
            cluster.proposal_answered(self, proposal)
        self.deadline = update.deadline

    def _send(self, message: Any) -> None:
        cluster = self.cluster
        kind = message.type
        if kind == "InstallSnapshot":
            snapshot = self.disk.snapshots.get(message.snapshot_index)
            if snapshot is None or snapshot.term != message.snapshot_term:
                index, peer = message.snapshot_index, message.receiver
                self.feed(lambda now: SnapshotFailed(index, peer=peer, now=now))
                return
            message = message.with_data(snapshot.data[message.offset : message.offset + message.length])
        elif kind == "RequestVoteResponse" or kind == "AppendEntriesResponse":
            cluster.checkers.released(self, message)
        cluster.send(self, message)

    def unreachable(self, peer: int) -> None:
        """The carrier reports that a peer cannot be reached."""
        self.feed(lambda now: Unreachable(peer, now=now))

    # -- the disk

    def _write_batch(self) -> None:
        """Start writing everything that waits: one sync for all of it."""
        self._batch, self._ready = self._ready, []
        disk = self.disk
        sync = False
        for _, needs_sync, hard_state, first_index, entries, snapshot in self._batch:
            sync = sync or needs_sync
            if snapshot is None:
                disk.write(hard_state, first_index, entries)
            elif first_index:
                disk.write_beginning(snapshot)
        low, high = self.disk_us
        took = low + int(self._random.random() * (high - low))
        if not sync:
            took //= 10
        self.cluster.after(took, self._batch_written, self.life)

    def _batch_written(self, life: int) -> None:
        if life != self.life:
            return
        if self.paused:
            self._inbox.append((self._batch_written, life))
            return
        batch = self._batch
        assert batch is not None
        cluster = self.cluster
        if self.id in cluster.failing_disks:
            # A failed sync is final for the process: nobody knows what of it is on the disk (FACTS §5, first line).
            cluster.failing_disks.discard(self.id)
            self.disk.crash(self._random)
            self.transcript.add((cluster.now, "cannot sync, and stops", None))
            self._die()
            return
        if any(write[1] for write in batch):
            try:
                self.disk.sync()
            except DiskMisuse as error:
                raise Violation("order of writes", f"node {self.id}: {error}") from error
        self._batch = None
        # Start the next batch first, as a disk thread does; what waits for this one leaves before the core hears of it,
        # or after: both are allowed, and which one it is must not matter.
        ticket = max(write[0] for write in batch)
        if self._ready:
            self._write_batch()
        first = self._random.random() < 0.5
        if first:
            self._release(ticket)
        if ticket:
            # One event for the whole batch, or one for each ticket in it: both are allowed.
            if len(batch) > 1 and self._random.random() < 0.3:
                for write in batch:
                    if write[0]:
                        self._persisted(write[0], write[4][-1] if write[4] else None)
            else:
                self._persisted(ticket, next((write[4][-1] for write in reversed(batch) if write[4]), None))
        if life == self.life and not first:
            self._release(ticket)
        for write in batch:
            if write[5] is not None and not write[3] and life == self.life:
                self._snapshot_durable(write[5])

    def _persisted(self, ticket: int, last: Any) -> None:
        index, term = (0, 0) if last is None else (last.index, last.term)
        self.step(Persisted(ticket, index, term, now=self.clock.now(self.cluster.now)))
        log = self.raft.log
        if log.first_index <= index <= log.last_index and log.term(index) != term:
            self.cluster.checkers.persisted(self)  # it was replaced while it was being written

    def _release(self, ticket: int) -> None:
        waiting = self._waiting
        while waiting and waiting[0][0] <= ticket:
            for message in waiting.popleft()[1]:
                self._send(message)

    # -- the state machine

    def _apply_later(self, what: tuple[int, list[Any]]) -> None:
        life, entries = what
        if life == self.life:
            if self.paused:
                self._inbox.append((self._apply_later, what))
            else:
                # A snapshot that was loaded meanwhile holds these already.
                entries = [entry for entry in entries if entry.index > self._loaded]
                if entries:
                    self._apply(entries)

    def _apply(self, entries: list[Any]) -> None:
        cluster = self.cluster
        checkers, machine, results = cluster.checkers, self.machine, self.results
        for entry in entries:
            index, term, kind, data = entry
            checkers.apply(self, index, term, kind, data)
            self.applied = index
            if kind == COMMAND:
                result = machine.apply(index, data)
                checkers.answered(self, index, result)
                results[index] = (term, result)
            else:
                result = None
            if self.pending:
                for proposed_in, request in self.pending.pop(index, ()):
                    cluster.proposal_applied(request, index, proposed_in == term, result)
        if len(results) > 2 * RESULTS_KEPT:
            for index in sorted(results)[:-RESULTS_KEPT]:
                del results[index]
        self.step(Applied(self.applied, now=self.clock.now(cluster.now)))
        self.maybe_snapshot()

    # -- snapshots

    def maybe_snapshot(self, force: bool = False) -> None:
        """Take a snapshot of the state machine if enough was applied since the last one."""
        cluster = self.cluster
        every = cluster.snapshot_every
        since = 0 if self.disk.snapshot is None else self.disk.snapshot.index
        if self.raft is None or self._snapshotting or self.applied <= since or not (force or every):
            return
        if not force and self.applied - since < every:
            return
        index = self.applied
        snapshot = Snapshot(
            index, self.raft.log.term(index), self.raft.configuration_at(index), self.machine.snapshot()
        )
        self._snapshotting = True
        low, high = self.disk_us
        cluster.after(5 * (low + int(self._random.random() * (high - low))), self._own_snapshot, (self.life, snapshot))

    def _own_snapshot(self, what: tuple[int, Snapshot]) -> None:
        life, snapshot = what
        if life != self.life:
            return
        if self.paused:
            self._inbox.append((self._own_snapshot, what))
            return
        disk = self.disk
        if disk.snapshot is not None and disk.snapshot.index >= snapshot.index:
            self._snapshotting = False
            return
        if not disk.holds(snapshot.index, snapshot.term):
            # A node may apply what its own disk does not hold yet; a snapshot waits for it (DESIGN §6). Its disk may
            # also hold a longer log that is about to be replaced: the term tells them apart.
            self.cluster.after(1_000, self._own_snapshot, what)
            return
        disk.save_own(snapshot)
        self._snapshotting = False
        self.cluster.snapshots += 1
        now = self.clock.now(self.cluster.now)
        self.step(Compact(snapshot.index, len(snapshot.data), digest=snapshot.digest, now=now))

    def _take_chunk(self, chunk: Any) -> None:
        """A piece of a leader's snapshot."""
        incoming = self._incoming
        if incoming is None or incoming[:2] != (chunk.index, chunk.term) or chunk.offset == 0:
            incoming = self._incoming = (chunk.index, chunk.term, bytearray())
        data = incoming[2]
        if chunk.offset > len(data):
            raise Violation("snapshot without holes", f"node {self.id} was given {chunk} after {len(data)} bytes")
        data[chunk.offset : chunk.offset + len(chunk.data)] = chunk.data
        if not chunk.done:
            return
        self._incoming = None
        snapshot = Snapshot(chunk.index, chunk.term, chunk.configuration, bytes(data))
        if len(data) != chunk.size or snapshot.digest != chunk.digest:
            raise Violation("snapshot arrives whole", f"node {self.id}: {len(data)} bytes of {chunk.size}, or altered")
        if self.cluster.install_fails():
            index = chunk.index
            self.transcript.add((self.cluster.now, f"cannot install the snapshot at {index}", None))
            self._todo.append(SnapshotFailed(index, now=self.clock.now(self.cluster.now)))
            return
        # A file of its own, renamed once all that was handed out before it is durable.
        self._ready.append((0, True, None, 0, (), snapshot))
        if self._batch is None:
            self._write_batch()

    def _snapshot_durable(self, snapshot: Snapshot) -> None:
        """A received snapshot is a durable file: name it in the log, load it, and tell the core, all at this moment.

        The log's record need not be durable: a start finds the file. But nothing may come between it and the core's
        step, or the core could write entries that the snapshot covers behind the record.
        """
        index, term = snapshot.index, snapshot.term
        self.disk.keep_received(snapshot)
        self._ready.append((0, True, None, index, (), snapshot))
        if self._batch is None:
            self._write_batch()
        self.transcript.add((self.cluster.now, f"loaded snapshot ({index}, {term})", None))
        self.cluster.checkers.restored(self, index, term)
        if index > self.applied:
            # Else the log caught up while the snapshot was being written: it is a file like an own one.
            self.machine.restore(snapshot.data)
            self.applied = self._loaded = index
        self.cluster.installs += 1
        for at in [at for at in self.pending if at <= index]:
            for _, request in self.pending.pop(at):
                self.cluster.proposal_unknown(request)
        self.step(SnapshotPersisted(index, term, now=self.clock.now(self.cluster.now)))
        if self.raft is not None:
            self.configuration = self.raft.configuration
            self.cluster.checkers.installed(self, snapshot)
