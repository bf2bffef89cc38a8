"""A cluster of Raft cores in one hand: the test decides what is delivered, what becomes durable and what time it is.

Knows the public face of ``quorate.raft`` and nothing of storage, threads or sockets. Nothing moves by itself: messages
wait in ``flying`` until they are delivered, a slow disk holds its writes until ``persist``, and the clock stands until
it is moved. What can be seen of the Raft paper's safety properties (Figure 3) is checked after every step.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from quorate.raft import (
    COMMAND,
    AddLearner,
    AddVoter,
    Applied,
    Campaign,
    Compact,
    Configuration,
    DiskStalled,
    Entry,
    ForgetLeader,
    HardState,
    LeaderConnectionClosed,
    Message,
    Persisted,
    Propose,
    ProposeChange,
    Raft,
    RaftConfig,
    RaftLog,
    ReadIndex,
    Receive,
    RemoveMember,
    SnapshotFailed,
    SnapshotPersisted,
    Tick,
    TransferLeadership,
    Unreachable,
    Update,
)

MESSAGES_MAX = 5_000
"""A delivery that needs more than this is a storm, and a bug."""


@dataclass
class Snapshot:
    """What one snapshot file holds."""

    index: int
    term: int
    configuration: Configuration | None
    data: bytes


@dataclass
class Disk:
    """What survives a crash of one server."""

    hard_state: HardState | None = None
    snapshot: Snapshot | None = None
    entries: dict[int, Entry] = field(default_factory=dict)
    partial: bytearray = field(default_factory=bytearray)
    partial_of: tuple[int, int] = (0, 0)

    def write_entries(self, first_index: int, entries: Iterable[Entry]) -> None:
        """An index that is already there is overwritten, and everything after it is dropped."""
        for index in [known for known in self.entries if known >= first_index]:
            del self.entries[index]
        for entry in entries:
            self.entries[entry.index] = entry

    def install(self, snapshot: Snapshot) -> None:
        """Keep what follows the snapshot only if the log agrees with it (Raft Figure 13, rules 6 and 7)."""
        same = self.entries.get(snapshot.index)
        if same is None or same.term != snapshot.term:
            self.entries.clear()
        self.cut(snapshot.index)
        self.snapshot = snapshot

    def cut(self, index: int) -> None:
        for known in [known for known in self.entries if known <= index]:
            del self.entries[known]


@dataclass
class Write:
    """One update on its way to the disk, with the messages that wait for it."""

    update: Update
    messages: list[Message]


class Server:
    """One core with its disk and its state machine: the list of commands that it applied."""

    def __init__(self, id: int) -> None:
        self.id = id
        self.raft: Raft | None = None
        self.disk = Disk()
        self.writes: deque[Write] = deque()
        self.slow_disk = False
        self.slow_apply = False
        self.to_apply: deque[Entry] = deque()
        self.snapshots: dict[int, Snapshot] = {}
        self.machine: list[tuple[int, bytes]] = []
        self.applied = 0
        self.update: Update | None = None
        self.reads: list[Any] = []
        self.proposals: list[Any] = []

    @property
    def core(self) -> Raft:
        assert self.raft is not None, f"server {self.id} is down"
        return self.raft

    @property
    def state(self) -> Any:
        return self.core.state()

    @property
    def commands(self) -> list[bytes]:
        """The commands that the state machine contains, in order."""
        return [data for _, data in self.machine]

    @property
    def log(self) -> list[tuple[int, int]]:
        """(index, term) of each entry in the core's log."""
        log = self.core.log
        return [(index, log.term(index)) for index in range(log.first_index, log.last_index + 1)]

    @property
    def terms(self) -> list[int]:
        return [term for _, term in self.log]


def encode_machine(machine: list[tuple[int, bytes]]) -> bytes:
    return b"".join(b"%d %d\n%s\n" % (index, len(data), data) for index, data in machine)


def decode_machine(text: bytes) -> list[tuple[int, bytes]]:
    machine = []
    at = 0
    while at < len(text):
        end = text.index(b"\n", at)
        index, length = map(int, text[at:end].split())
        machine.append((index, text[end + 1 : end + 1 + length]))
        at = end + length + 2
    return machine


class Cluster:
    """Servers, the messages between them, and the clock.

    ``voters`` start with each other's ids; ``logs`` gives a server a history before its first start, as a list
    of terms. ``config`` holds fields of RaftConfig, for all servers.
    """

    def __init__(
        self,
        *voters: int,
        learners: Iterable[int] = (),
        logs: Mapping[int, list[int]] | None = None,
        hard_states: Mapping[int, HardState] | None = None,
        incarnations: Mapping[int, int] | None = None,
        seed: int = 1,
        start: bool = True,
        mutation: str | None = None,
        **config: Any,
    ) -> None:
        self.voters = voters
        self.learners = tuple(learners)
        self.incarnations = dict(incarnations or {})
        self.seed = seed
        self.mutation = mutation
        self.config = RaftConfig(**{"compaction_tail": 0, **config})
        self.now = 0
        self.servers: dict[int, Server] = {}
        self.flying: list[Message] = []
        self.blocked: set[tuple[int, int]] = set()
        self.trace: Callable[[str], None] = lambda line: None
        self.starts = 0
        self.leaders: dict[int, int] = {}
        self.history: dict[int, tuple[int, int, bytes]] = {}
        self.hold_snapshots = False
        self.held_installs: list[tuple[int, Snapshot]] = []
        for id in (*voters, *self.learners):
            server = self.servers[id] = Server(id)
            for index, term in enumerate((logs or {}).get(id, ()), 1):
                server.disk.entries[index] = Entry(index=index, term=term, kind=COMMAND, data=b"%d@%d" % (index, term))
            if id in (hard_states or {}):
                server.disk.hard_state = hard_states[id]  # type: ignore[index]
            elif server.disk.entries:
                server.disk.hard_state = HardState(term=max(logs[id]))  # type: ignore[index]
        if start:
            for id in self.servers:
                self.start(id)

    def __getitem__(self, id: int) -> Server:
        return self.servers[id]

    # Lives of servers

    def members(self, ids: Iterable[int]) -> Any:
        ids = tuple(ids)
        return {id: self.incarnations.get(id, 0) for id in ids} if self.incarnations else ids

    def start(self, id: int) -> None:
        """Start, or start again, from what the disk holds."""
        server = self.servers[id]
        disk = server.disk
        snapshot = disk.snapshot
        base = snapshot.index if snapshot else 0
        log = RaftLog(
            snapshot_index=base,
            snapshot_term=snapshot.term if snapshot else 0,
            configuration=snapshot.configuration if snapshot else None,
            entries=[disk.entries[index] for index in sorted(disk.entries) if index > base],
        )
        self.starts += 1
        founder = id in self.voters or id in self.learners
        options: dict[str, Any] = {} if self.mutation is None else {"mutation": self.mutation}
        server.machine = decode_machine(snapshot.data) if snapshot else []
        server.applied = base
        server.raft = Raft(
            id,
            voters=self.members(self.voters) if founder else (),
            learners=self.members(self.learners) if founder else (),
            seed=self.seed * 1_000 + self.starts,
            now=self.now,
            config=self.config,
            hard_state=disk.hard_state,
            log=log,
            applied=base,
            incarnation=self.incarnations.get(id, 0),
            **options,
        )
        if snapshot is not None:
            # The core knows of no files: it is told which snapshot slow followers can get.
            self.step(id, self.compact_event(snapshot))

    def compact_event(self, snapshot: Snapshot) -> Compact:
        return Compact(index=snapshot.index, size=len(snapshot.data), digest=zlib.crc32(snapshot.data), now=self.now)

    def join(self, id: int) -> None:
        """A new server with an empty disk and no configuration of its own."""
        self.servers[id] = Server(id)
        self.start(id)

    def crash(self, id: int) -> None:
        """Lose everything that was not durable."""
        server = self.servers[id]
        server.raft = None
        server.writes.clear()
        server.to_apply.clear()

    def wipe(self, id: int) -> None:
        """A crash that takes the disk with it."""
        self.crash(id)
        self.servers[id].disk = Disk()

    # One step

    def step(self, id: int, event: Any) -> Update:
        server = self.servers[id]
        core = server.core
        before = (core.role, core.term, core.leader)
        rejected = dict(core.state().rejected)
        update = core.step(event)
        server.update = update
        after = (core.role, core.term, core.leader)
        if before != after:
            role = f"{before[0]} → {core.role}" if before[0] != core.role else core.role
            self.trace(f"{id}: {role}, term {core.term}" + (f", leader {core.leader}" if core.leader else ""))
        for reason, count in sorted(core.state().rejected.items()):
            if count != rejected.get(reason, 0):
                self.trace(f"{id}: rejected: {reason}")
        self.carry_out(server, update)
        self.check(server)
        return update

    def carry_out(self, server: Server, update: Update) -> None:
        """The duties of an update, in their order."""
        id = server.id
        for message in update.messages:
            self.send(message, "")
        waiting = list(update.messages_after_persistence)
        if update.ticket or server.writes:
            if update.ticket:
                self.trace(f"{id}: writes {describe_write(update)}")
            for message in waiting if server.slow_disk else ():
                self.trace(f"{id}: keeps until durable: {tell(message)}")
            if update.ticket or waiting:
                server.writes.append(Write(update, waiting))
        else:
            for message in waiting:
                self.send(message, "")
        for result in update.proposals:
            server.proposals.append(result)
            self.trace(f"{id}: proposal {result.id} {describe_proposal(result)}")
        for read in update.reads:
            server.reads.append(read)
            self.trace(f"{id}: read {read.id} " + (f"at {read.index}" if read.index else f"refused: {read.status}"))
        server.to_apply.extend(update.apply)
        if not server.slow_disk:
            while server.writes and server.raft is not None:
                self.persist(id)
        if not server.slow_apply:
            self.apply(id)

    def send(self, message: Message, note: str) -> None:
        if message.type == "InstallSnapshot":
            snapshot = self.servers[message.sender].snapshots[message.snapshot_index]
            message = message.with_data(snapshot.data[message.offset : message.offset + message.length])
        self.trace(f"{message.sender}: sends {tell(message)}{note}")
        self.flying.append(message)

    def persist(self, id: int, count: int = 1) -> None:
        """Make the oldest ``count`` writes durable, release what waited for them, and tell the core."""
        server = self.servers[id]
        for _ in range(count):
            if not server.writes:
                break  # a disk that became fast has done them all meanwhile
            write = server.writes.popleft()
            update, disk = write.update, server.disk
            if update.hard_state is not None:
                disk.hard_state = update.hard_state
            if update.entries:
                disk.write_entries(update.first_index, update.entries)
            chunk = update.snapshot_chunk
            if chunk is not None:
                if chunk.offset == 0 or disk.partial_of != (chunk.index, chunk.term):
                    disk.partial = bytearray()
                    disk.partial_of = (chunk.index, chunk.term)
                assert chunk.offset == len(disk.partial), "chunks come in order and without a gap"
                disk.partial += chunk.data
            for message in write.messages:
                self.send(message, "")
            if update.ticket:
                index, term = update.entries[-1][:2] if update.entries else (0, 0)
                self.step(id, Persisted(ticket=update.ticket, index=index, term=term, now=self.now))
            if chunk is not None and chunk.done:
                self.receive_snapshot(server, chunk)

    def receive_snapshot(self, server: Server, chunk: Any) -> None:
        data = bytes(server.disk.partial)
        server.disk.partial = bytearray()
        if len(data) != chunk.size or zlib.crc32(data) != chunk.digest:
            self.trace(f"{server.id}: snapshot {chunk.index} is damaged")
            self.step(server.id, SnapshotFailed(index=chunk.index, now=self.now))
            return
        snapshot = Snapshot(chunk.index, chunk.term, chunk.configuration, data)
        if self.hold_snapshots:
            self.held_installs.append((server.id, snapshot))
            return
        self.install_snapshot(server.id, snapshot)

    def install_snapshot(self, id: int, snapshot: Snapshot) -> None:
        server = self.servers[id]
        server.disk.install(snapshot)
        server.snapshots[snapshot.index] = snapshot
        if snapshot.index > server.applied:
            server.machine = decode_machine(snapshot.data)
            server.applied = snapshot.index
        self.trace(f"{id}: installs snapshot {snapshot.index}@{snapshot.term}")
        self.step(id, SnapshotPersisted(index=snapshot.index, term=snapshot.term, now=self.now))

    def apply(self, id: int, count: int | None = None) -> None:
        """Apply the oldest ``count`` committed entries (all by default), and tell the core of the last."""
        server = self.servers[id]
        last = 0
        while server.to_apply and count != 0:
            entry = server.to_apply.popleft()
            if entry.index <= server.applied:
                continue
            assert entry.index == server.applied + 1, f"server {id} applies {entry.index} after {server.applied}"
            server.applied = last = entry.index
            if entry.kind == COMMAND:
                server.machine.append((entry.index, bytes(entry.data)))
            mine = (entry.term, entry.kind, bytes(entry.data))
            known = self.history.setdefault(entry.index, mine)
            assert known == mine, f"state machine safety: at {entry.index} server {id} applies {mine}, another {known}"
            self.trace(f"{id}: applies {describe_entry(entry)}")
            count = None if count is None else count - 1
        if last and server.raft is not None:
            self.step(id, Applied(index=last, now=self.now))

    # The network

    def deliver(
        self,
        sender: int | None = None,
        receiver: int | None = None,
        type: str | None = None,
        count: int | None = None,
        once: bool = False,
    ) -> int:
        """Deliver what flies, in order, until nothing that fits is left (or, with ``once``, only what flies now)."""
        delivered = 0
        budget = len(self.flying) if once else MESSAGES_MAX
        kept: list[Message] = []
        while self.flying and budget > 0 and count != delivered:
            message = self.flying.pop(0)
            budget -= 1
            if not self.fits(message, sender, receiver, type):
                kept.append(message)
                continue
            self.hand_over(message)
            delivered += 1
        assert budget > 0 or once, "the messages never end"
        self.flying = kept + self.flying
        return delivered

    @staticmethod
    def fits(message: Message, sender: int | None, receiver: int | None, type: str | None) -> bool:
        return (
            (sender is None or message.sender == sender)
            and (receiver is None or message.receiver == receiver)
            and (type is None or message.type == type)
        )

    def hand_over(self, message: Message) -> None:
        receiver = self.servers.get(message.receiver)
        if receiver is None or receiver.raft is None or (message.sender, message.receiver) in self.blocked:
            self.trace(f"lost: {tell(message)}")
            return
        self.step(message.receiver, Receive(message=message, now=self.now))

    def take(self, sender: int | None = None, receiver: int | None = None, type: str | None = None) -> list[Message]:
        """Take messages out of the air, to lose them or to deliver them later by hand."""
        taken = [message for message in self.flying if self.fits(message, sender, receiver, type)]
        self.flying = [message for message in self.flying if not self.fits(message, sender, receiver, type)]
        return taken

    def cut(self, *ids: int) -> None:
        """Separate ``ids`` from all others, in both directions."""
        for a in ids:
            for b in self.servers:
                if b not in ids:
                    self.blocked |= {(a, b), (b, a)}

    def heal(self) -> None:
        self.blocked.clear()

    # Time

    def tick(self, *ids: int) -> None:
        for id in ids or [id for id, server in self.servers.items() if server.raft is not None]:
            self.step(id, Tick(now=self.now))

    def pass_ms(self, ms: float) -> None:
        """Move the clock without telling anyone."""
        self.now += int(ms * 1000)

    def advance(self, ms: float) -> None:
        """Move the clock and tick every server whose deadline came."""
        self.pass_ms(ms)
        for id, server in self.servers.items():
            if server.raft is not None and (server.update is None or server.update.deadline <= self.now):
                self.step(id, Tick(now=self.now))

    def run(self, ms: int, step: int = 1) -> None:
        """Let everybody's time pass, ``step`` milliseconds at once, and deliver everything meanwhile."""
        for _ in range(0, ms, step):
            self.advance(step)
            self.deliver()

    def until(self, type: str, sender: int, receiver: int) -> None:
        """Let time pass and deliver hop by hop, until such a message flies."""
        for _ in range(200):
            if any(self.fits(message, sender, receiver, type) for message in self.flying):
                return
            if not self.flying:
                self.advance(5)
            self.deliver(once=True)
        raise AssertionError(f"{sender} never sends {type} to {receiver}")

    def heartbeat(self, id: int) -> None:
        """One heartbeat interval of the leader ``id``; nobody else's timer runs."""
        self.pass_ms(self.config.heartbeat_ms)
        self.step(id, Tick(now=self.now))

    def timeout(self, id: int) -> None:
        """Let the election timer of ``id`` run out; nobody else's timer runs."""
        for _ in range(50):
            self.now = max(self.now + 1_000, self[id].update.deadline if self[id].update else 0)  # type: ignore[union-attr]
            update = self.step(id, Tick(now=self.now))
            sent = [*update.messages, *update.messages_after_persistence]
            if any(message.type == "RequestVote" for message in sent) or update.role == "leader":
                return
        raise AssertionError(f"the election timer of {id} never ran out")

    # What users ask for

    def elect(self, id: int) -> None:
        """Make ``id`` the leader, after everybody's promise to the old leader has run out."""
        if self[id].core.role == "leader":
            return
        self.pass_ms(2 * self.config.election_timeout_max_ms)
        self.step(id, Campaign(now=self.now))
        self.settle()
        assert self[id].core.role == "leader", f"{id} is {self[id].core.role}"

    def settle(self) -> None:
        """Deliver everything, and let the leaders tell everybody what is committed."""
        self.deliver()
        for id, server in self.servers.items():
            if server.raft is not None and server.raft.role == "leader":
                self.heartbeat(id)
        self.deliver()

    def propose(self, id: int, *data: bytes, request: int = 0) -> Any:
        before = len(self[id].proposals)
        self.step(id, Propose(list(data) if len(data) != 1 else data[0], id=request, now=self.now))
        results = self[id].proposals[before:]
        return results[-1] if results else None

    def change(self, id: int, *changes: Any, request: int = 0, joint: str = "auto") -> Any:
        before = len(self[id].proposals)
        self.step(id, ProposeChange(changes=changes, id=request, joint=joint, now=self.now))
        results = self[id].proposals[before:]
        return results[-1] if results else None

    def compact(self, id: int, index: int | None = None) -> None:
        """Write a snapshot at ``index`` (what is applied, by default), then let the core cut its log."""
        server = self.servers[id]
        index = server.applied if index is None else index
        log = server.core.log
        machine = [(at, data) for at, data in server.machine if at <= index]
        snapshot = Snapshot(index, log.term(index), server.core.configuration_at(index), encode_machine(machine))
        if not server.core.configuration_at(index).incoming:
            # A server that joined and does not know who its members were there: the core refuses, nothing is kept.
            self.step(id, self.compact_event(snapshot))
            return
        server.snapshots[index] = server.disk.snapshot = snapshot
        self.step(id, self.compact_event(snapshot))
        server.disk.cut(index - self.config.compaction_tail)

    def read(self, id: int, request: int) -> None:
        self.step(id, ReadIndex(id=request, now=self.now))

    def transfer(self, id: int, target: int, request: int = 0) -> Any:
        before = len(self[id].proposals)
        self.step(id, TransferLeadership(target=target, id=request, now=self.now))
        results = self[id].proposals[before:]
        return results[-1] if results else None

    def campaign(self, id: int) -> None:
        self.step(id, Campaign(now=self.now))

    def forget(self, id: int) -> None:
        self.step(id, ForgetLeader(now=self.now))

    def unreachable(self, id: int, peer: int) -> None:
        self.step(id, Unreachable(peer=peer, now=self.now))

    def connection_closed(self, id: int) -> None:
        self.step(id, LeaderConnectionClosed(now=self.now))

    def stall(self, id: int, stalled: bool = True) -> None:
        self.step(id, DiskStalled(stalled=stalled, now=self.now))

    def receive(self, id: int, type: str, **fields: Any) -> Update:
        """A forged message."""
        return self.step(id, Receive(message=Message.make(type, receiver=id, **fields), now=self.now))

    # What must hold whatever happens

    def check(self, server: Server) -> None:
        core = server.raft
        if core is None:
            return
        if core.role == "leader":
            known = self.leaders.setdefault(core.term, server.id)
            assert known == server.id, f"election safety: {known} and {server.id} both lead term {core.term}"
        assert server.applied <= core.commit or server.applied == core.log.snapshot_index

    @property
    def leader(self) -> int:
        """The leader of the highest term, 0 if there is none."""
        leading = [server.raft for server in self.servers.values() if server.raft and server.raft.role == "leader"]
        return max(leading, key=lambda core: core.term).id if leading else 0


def tell(message: Message) -> str:
    """A message as a line of a story."""
    return repr(message).strip("<>")


def describe_entry(entry: Entry) -> str:
    kind = ("", " no-op", " configuration")[entry.kind]
    text = f" {bytes(entry.data).decode('utf-8', 'backslashreplace')}" if entry.kind == COMMAND and entry.data else ""
    return f"{entry.index}@{entry.term}{kind}{text}"


def describe_write(update: Update) -> str:
    parts = []
    if update.hard_state is not None:
        state = update.hard_state
        vital = f"term {state.term} vote {state.vote} " if update.sync else ""
        parts.append(f"{vital}commit {state.commit}")
    if update.entries:
        parts.append("entries " + ", ".join(describe_entry(entry) for entry in update.entries))
    chunk = update.snapshot_chunk
    if chunk is not None:
        end = chunk.offset + len(chunk.data)
        parts.append(f"snapshot {chunk.index}@{chunk.term} bytes {chunk.offset}..{end} of {chunk.size}")
    return "; ".join(parts) + ("" if update.sync else " (no sync)")


def describe_proposal(result: Any) -> str:
    where = f" at {result.index}@{result.term}" if result.index else ""
    who = f", leader {result.leader}" if result.leader and result.status not in ("accepted",) else ""
    return f"{result.status}{where}{who}"


__all__ = ["AddLearner", "AddVoter", "Cluster", "RemoveMember", "Server", "Snapshot"]
