"""SimCluster: a cluster of production cores in simulated time, driven by one seed.

Everything that is random comes from generators that are seeded by the one seed, and everything that happens goes
through one queue, ordered by time and then by the order of planning: the same arguments give the same run, on any
machine. This file holds the queue and the ways between the parts; each part is a file of its own.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, final

from quorate.errors import InvalidArgument
from quorate.raft import (
    LeaderConnectionClosed,
    Propose,
    RaftConfig,
    SnapshotFailed,
    TransferLeadership,
    decode,
    encode,
)
from quorate.testing.checkers import Checkers, Violation
from quorate.testing.clients import Clients, Request
from quorate.testing.clock import Clock
from quorate.testing.failure import SimulationFailed
from quorate.testing.faults import Faults
from quorate.testing.history import History
from quorate.testing.linearizability import check
from quorate.testing.machine import WRITE, Registers, StateMachine
from quorate.testing.membership import Membership
from quorate.testing.network import Network
from quorate.testing.node import SimNode
from quorate.testing.profiles import Profile, drawn_profile, drawn_settings
from quorate.testing.transcript import moment

__all__ = ["SECOND", "SimCluster"]

SECOND: Final = 1_000_000
HEAL_SECONDS: Final = 30.0
"""Simulated seconds within which a healed cluster must have a leader, commit a write, and agree."""


class _Proposal(Request):
    """What :meth:`SimCluster.propose` waits for."""

    __slots__ = ("outcome", "result")

    def __init__(self, id: int, node: int) -> None:
        super().__init__(id, node)
        self.outcome = ""
        self.result: Any = None

    def on_done(self, result: Any) -> None:
        self.outcome, self.result = "done", result

    def on_refused(self, status: str) -> None:
        self.outcome = status or "refused"

    def on_unknown(self) -> None:
        self.outcome = "unknown"


class _Quiet(Request):
    """A proposal of the background load of a user's state machine: nobody waits for it."""

    __slots__ = ()

    def on_done(self, result: Any) -> None: ...

    def on_refused(self, status: str) -> None: ...

    def on_unknown(self) -> None: ...


@final
class SimCluster:
    """A simulated cluster.

    Args:
        machine: makes one state machine; called at each start of a node. The default, :class:`Registers`, comes with
            simulated clients whose history is checked for linearizability.
        nodes: how many voters there are at first.
        seed: decides everything that is random.
        profile: a :class:`Profile` or the name of one; ``mixed`` draws one by the seed.
        config: settings of :class:`quorate.raft.RaftConfig` that the seed must not choose.
        mutation: a known bug to put back (debug builds only).
        trace: how many steps of each node a transcript holds.

    >>> cluster = SimCluster(nodes=3, seed=1, profile="calm")
    >>> cluster.run(2).heal().check()
    >>> cluster.leader() in {1, 2, 3}
    True
    """

    def __init__(
        self,
        machine: Callable[[], StateMachine] = Registers,
        *,
        nodes: int = 3,
        seed: int,
        profile: str | Profile = "mixed",
        config: Mapping[str, Any] | None = None,
        mutation: str | None = None,
        trace: int = 40,
    ) -> None:
        if not 1 <= nodes <= 15:
            raise InvalidArgument(f"nodes={nodes!r}; a simulated cluster begins with 1 to 15 voters")
        draw = random.Random(f"{seed}/draw")
        self.seed = seed
        self.machine = machine
        self.size = nodes
        self.profile = profile = drawn_profile(profile, random.Random(f"{seed}/profile"))
        self.mutation = mutation
        self.trace = trace
        self.now = 0
        self._heap: list[tuple[int, int, Callable[[Any], None], Any]] = []
        self._planned = 0
        self.replay = ""
        """The command that repeats this run, if it is not `quorate sim`."""
        self._asked = 0.0  # seconds that `run` was called with, for the replay
        self._requests = 0
        self._random = random.Random(f"{seed}/cluster")
        self.requests: dict[int, Request] = {}
        """Proposals and reads whose outcome is open, by id."""
        self.acknowledged = 0
        """The highest index whose effect was told to a client."""
        self.steps = self.elections = self.snapshots = self.installs = 0

        self.settings = drawn_settings(profile, draw, config or {})
        self.raft_config = RaftConfig(**self.settings)
        self.disk_us = profile.disk_us
        self.failing_disks: set[int] = set()
        self.snapshot_every = profile.snapshot_every
        if self.snapshot_every and profile.vary_config:
            self.snapshot_every = max(5, int(self.snapshot_every * draw.uniform(0.5, 2)))
        # A log may keep its tail, what is applied between two snapshots and what is applied while one is being written,
        # which on a slow disk is seconds of load.
        self.log_bound = (
            (self.settings["compaction_tail"] + 2 * self.snapshot_every + 40 * int(profile.rate) + 2_000)
            if self.snapshot_every
            else 1 << 60
        )
        self._slow_apply = draw.random() < profile.slow_apply
        self._install_error = profile.install_error
        self._through_codec = draw.random() < profile.codec
        self.bound = draw.random() < 0.8
        """Are members bound to their incarnations from the start?"""

        self.checkers = Checkers(self.settings)
        self.network = Network(f"{seed}/network", self.after, self._deliver)
        self.calm_weather()
        self.nodes: dict[int, SimNode] = {}
        for id in range(1, nodes + 1):
            self.nodes[id] = self.make_node(id)
        self.first_members = {id: node.incarnation if self.bound else 0 for id, node in self.nodes.items()}
        self.membership = Membership(self)
        self.faults = Faults(self, profile, draw)
        self.history = History()
        self.clients: Clients | None = None
        for node in self.nodes.values():
            node.start(self.first_members)
        if machine is Registers:
            self.clients = Clients(
                self,
                self.history,
                count=profile.clients,
                rate=profile.rate,
                keys=profile.keys,
                reads=profile.reads,
                padding=profile.padding,
            )
        self._loads: list[tuple[Callable[[random.Random], bytes], float, random.Random]] = []
        self.after(SECOND, self._sample, None)

    def __repr__(self) -> str:
        roles = ", ".join(
            f"{node.id}: {'down' if not node.up else node.role}"
            for node in sorted(self.nodes.values(), key=lambda n: n.id)
        )
        return f"<SimCluster seed {self.seed}, {self.profile.name}, at {moment(self.now)} s, {roles}>"

    # -- the queue

    def at(self, true: int, handle: Callable[[Any], None], what: Any) -> None:
        """Plan ``handle(what)`` at a true time."""
        self._planned = planned = self._planned + 1
        heapq.heappush(self._heap, (true, planned, handle, what))

    def after(self, delay: int, handle: Callable[[Any], None], what: Any) -> None:
        """Plan ``handle(what)`` in ``delay`` microseconds."""
        self._planned = planned = self._planned + 1
        heapq.heappush(self._heap, (self.now + delay, planned, handle, what))

    def _advance(self, until: int) -> None:
        heap, pop = self._heap, heapq.heappop
        try:
            while heap and heap[0][0] <= until:
                self.now, _, handle, what = pop(heap)
                handle(what)
        except Violation as violation:
            raise self._failed(violation.rule, violation.detail) from violation
        self.now = until

    def _do(self, action: Callable[..., None], *arguments: Any) -> None:
        """Something that does not come from the queue, with the same ending if it breaks a rule."""
        try:
            action(*arguments)
        except Violation as violation:
            raise self._failed(violation.rule, violation.detail) from violation

    def _failed(self, rule: str, detail: str) -> SimulationFailed:
        return SimulationFailed(
            rule, detail, seed=self.seed, at=self.now, command=self.replay_command(), transcript=self.transcript()
        )

    def replay_command(self) -> str:
        """The shell command that repeats this run."""
        if self.replay:
            return self.replay
        mutation = f" --mutation {self.mutation}" if self.mutation else ""
        return (
            f"quorate sim --seeds {self.seed} --nodes {self.size} --seconds {self._asked:g}"
            f" --profile {self.profile.name}{mutation} --transcript"
        )

    # -- what a test does

    def run(self, seconds: float) -> SimCluster:
        """Let faults and load happen for so many simulated seconds. Raises :class:`SimulationFailed`."""
        self._asked += seconds
        self.faults.begin()
        if self.clients is not None:
            self.clients.begin()
        self._advance(self.now + int(seconds * SECOND))
        self.faults.end()
        return self

    def quiet(self, seconds: float) -> SimCluster:
        """Let time pass without new faults; those that were made by hand stay."""
        self._advance(self.now + int(seconds * SECOND))
        return self

    def heal(self, within: float = HEAL_SECONDS) -> SimCluster:
        """End all faults, start all nodes, and see the cluster come back: one leader, a commit, all nodes equal."""
        self._do(self._mend_everything)
        until = self.now + int(within * SECOND)
        marker = len(self.checkers.committed)
        missing = "no node leads"
        while self.now < until:
            self._advance(self.now + SECOND // 20)
            missing = self._not_healed(marker)
            if not missing:
                return self
        raise self._failed("liveness", f"{within} simulated seconds after healing: {missing}")

    def _mend_everything(self) -> None:
        self.faults.end()
        self.network.mend()
        self.network.set(latency_us=self.profile.latency_us)
        self.failing_disks.clear()
        for node in list(self.nodes.values()):
            node.disk_us = self.profile.disk_us
            node.clock.set_rate(self.now, 1.0)
            if node.paused:
                node.resume()
            elif not node.up:
                self.restart(node.id)
            node.clock_changed()
        self.membership.settle()
        if self.clients is not None:
            self.clients.stop()

    def _not_healed(self, marker: int) -> str:
        leader = self.nodes.get(self.guess_leader())
        if leader is None or leader.role != "leader":
            return "no node leads"
        configuration = leader.configuration
        if configuration.outgoing:
            return f"the configuration is still joint: {configuration}"
        wiped = self.membership.wiped_members(configuration)
        if wiped:
            return f"wiped nodes {wiped} are still members"
        if len(self.checkers.committed) <= marker:
            self._commit_something(leader)
            if len(configuration.incoming) > 1 or self._has_filler():
                return "nothing was committed"
        if leader.raft.commit < leader.raft.log.last_index:
            return f"leader {leader.id} has uncommitted entries: {leader.raft.state()}"
        for id in (*configuration.incoming, *configuration.learners):
            node = self.nodes[id]
            if node.applied != leader.applied or node.commit != leader.commit or node.leader != leader.id:
                return (
                    f"node {id} applied {node.applied} and follows {node.leader},"
                    f" leader {leader.id} applied {leader.applied}: {leader.raft.state()}"
                )
        return ""

    def _commit_something(self, leader: SimNode) -> None:
        """Have an entry proposed that a state machine can take; a new leader's first one if there is none."""
        if self._has_filler():
            request = _Quiet(self.next_request(), leader.id)
            self._do(self.propose_request, leader, request, self._filler())
        elif self.now % SECOND < SECOND // 20:
            others = [id for id in leader.configuration.incoming if id != leader.id]
            if others:
                self.transfer(others[0])

    def _has_filler(self) -> bool:
        return bool(self._loads) or self.clients is not None

    def _filler(self) -> bytes:
        if self._loads:
            make, _, rng = self._loads[0]
            return make(rng)
        # A session that no client has, and a register that no history speaks of.
        return Registers.command(0xFFFFFFFF, self._requests, WRITE, 0xFFFF, 1)

    def check(self) -> None:
        """All that is judged at the end: equal state machines, nothing acknowledged lost, linearizable history."""
        checkers = self.checkers
        replayed = self.machine()
        for index in sorted(checkers.applied):
            _, kind, data = checkers.applied[index]
            if kind == 0:
                replayed.apply(index, data)
        if self.clients is None:
            return
        expected = replayed.snapshot()
        last = max(checkers.applied, default=0)
        for node in self.nodes.values():
            if node.up and node.applied == last and node.machine.snapshot() != expected:
                raise self._failed("state machine safety", f"the state of node {node.id} is not what its log gives")
        verdict = check(self.history)
        if verdict.linearizable is False:
            raise self._failed("linearizability", verdict.explain())

    def load(self, make: Callable[[random.Random], bytes], rate: float = 10.0) -> SimCluster:
        """Propose ``make(random)`` about ``rate`` times a second, at any node, without waiting for results."""
        load = (make, rate, random.Random(f"{self.seed}/load {len(self._loads)}"))
        self._loads.append(load)
        self.after(int(SECOND / rate), self._load, load)
        return self

    def _load(self, load: tuple[Callable[[random.Random], bytes], float, random.Random]) -> None:
        make, rate, rng = load
        running = [node for node in self.nodes.values() if node.up]
        if running and self.faults.active:
            leader = self.nodes.get(self.guess_leader())
            node = leader if leader is not None and leader.up and rng.random() < 0.8 else rng.choice(running)
            self.propose_request(node, _Quiet(self.next_request(), node.id), make(rng))
        self.after(int(2 * rng.random() * SECOND / rate), self._load, load)

    def propose(self, command: bytes, *, within: float = 10.0) -> Any:
        """Propose one command at the leader, let time pass until it is applied there, and return its result.

        Tries again when it is proven that nothing happened. Raises SimulationFailed when time runs out, or when it is
        not known what happened.
        """
        until = self.now + int(within * SECOND)
        while self.now < until:
            node = self.nodes.get(self.guess_leader())
            if node is None or not node.up:
                self._advance(self.now + SECOND // 100)
                continue
            proposal = _Proposal(self.next_request(), node.id)
            self._do(self.propose_request, node, proposal, command)
            while not proposal.outcome and self.now < until:
                self._advance(self.now + SECOND // 1000)
            if proposal.outcome == "done":
                return proposal.result
            if proposal.outcome == "unknown":
                raise self._failed("propose", "the node that took the command died: it may have happened")
            self._advance(self.now + SECOND // 100)
        raise self._failed("propose", f"not applied within {within} simulated seconds")

    def leader(self, within: float = 10.0) -> int:
        """The id of the leader of the newest term; lets time pass until there is one."""
        until = self.now + int(within * SECOND)
        while self.now < until:
            node = self.nodes.get(self.guess_leader())
            if node is not None and node.role == "leader" and not node.paused:
                return node.id
            self._advance(self.now + SECOND // 100)
        raise self._failed("liveness", f"no leader within {within} simulated seconds")

    def machines(self) -> list[StateMachine]:
        """The state machines of the nodes that run."""
        return [node.machine for node in self.nodes.values() if node.up]

    def crash(self, id: int) -> None:
        """Kill a node's process and lose its unsynced writes."""
        self._do(self.nodes[id].crash)

    def restart(self, id: int) -> None:
        """Start a crashed node again over its disk."""
        node = self.nodes[id]
        if not node.up:
            self._do(node.start, self.first_members if self.membership.is_first(node) else ())

    def pause(self, id: int) -> None:
        """Stop a process without ending it."""
        if self.nodes[id].up:
            self.nodes[id].pause()

    def resume(self, id: int) -> None:
        """Let a paused process go on."""
        self._do(self.nodes[id].resume)

    def partition(self, *groups: Iterable[int]) -> None:
        """Cut the network between the groups; a node in none of them keeps all its ways."""
        sides = [list(group) for group in groups]
        for number, side in enumerate(sides):
            for other in sides[number + 1 :]:
                self.network.cut(side, other)

    def mend(self) -> None:
        """Open all ways of the network."""
        self.network.mend()

    def transfer(self, target: int) -> None:
        """Ask the leader to hand over."""
        node = self.nodes.get(self.guess_leader())
        if node is not None:
            self._do(node.feed, lambda now: TransferLeadership(target, now=now))

    def transcript(self, limit: int | None = None) -> str:
        """The last steps of each node, oldest first, as text."""
        lines = [f"seed {self.seed}, profile {self.profile.name}, settings {self.settings}"]
        for node in sorted(self.nodes.values(), key=lambda node: node.id):
            lines += ["", f"node {node.id}, incarnation {node.incarnation}, {'up' if node.up else 'down'}:"]
            lines += node.transcript.lines(limit)
        return "\n".join(lines)

    def stats(self) -> dict[str, Any]:
        """What happened so far, in numbers."""
        return {
            "seed": self.seed,
            "profile": self.profile.name,
            "simulated_seconds": self.now / SECOND,
            "steps": self.steps,
            "elections": self.elections,
            "committed": len(self.checkers.committed) - 1,
            "operations": 0 if self.clients is None else self.clients.completed,
            "snapshots": self.snapshots,
            "snapshots_installed": self.installs,
            "changes": self.membership.done,
            "faults": dict(self.faults.counts),
            "network": dict(self.network.counts),
        }

    # -- the ways between the parts

    def make_node(self, id: int) -> SimNode:
        """A node with an empty disk and a clock of its own; not started."""
        drift = self.profile.clock_drift
        rate = 1.0 + self._random.uniform(-drift, drift) if drift else 1.0
        clock = Clock(local=self._random.randrange(SECOND, 1000 * SECOND), true=self.now, rate=rate)
        return SimNode(self, id, self._random.getrandbits(62) | 1, clock)

    def calm_weather(self) -> None:
        """The usual weather of the profile."""
        profile = self.profile
        self.network.set(
            latency_us=profile.latency_us,
            loss=profile.loss,
            duplicate=profile.duplicate,
            late=profile.late,
            late_us=profile.late_us,
        )

    def send(self, node: SimNode, message: Any) -> None:
        """A node's message goes out."""
        target = message.receiver
        if self._through_codec:
            message = decode(encode(message))
        if (
            not self.network.send(node.id, target, message)
            and message.type == "InstallSnapshot"
            and self._random.random() < 0.3
        ):
            index = message.snapshot_index
            node.feed(lambda now: SnapshotFailed(index, peer=target, now=now))

    def _deliver(self, message: Any) -> None:
        node = self.nodes.get(message.receiver)
        if node is not None and node.raft is not None:
            node.receive(message)
        elif self._random.random() < 0.3:
            sender = self.nodes.get(message.sender)
            if sender is not None:
                sender.unreachable(message.receiver)

    def died(self, node: SimNode, *, was_leader: bool) -> None:
        """A process ended: its clients' connections break, and so do its peers', which may know what that means."""
        for request in [request for request in self.requests.values() if request.node == node.id]:
            del self.requests[request.id]
            self.after(1_000, _tell_unknown, request)
        if not was_leader or self._random.random() < 0.2:
            return
        for other in self.nodes.values():
            if other.raft is not None and other.leader == node.id and self.network.open(node.id, other.id):
                self.after(100 + int(self._random.random() * 1_500), self.hint, other)

    def hint(self, node: SimNode) -> None:
        """Tell a node that its leader's connection closed."""
        node.feed(lambda now: LeaderConnectionClosed(now=now))

    def flood(self, count: int) -> bool:
        """Propose much at once at some node that believes to lead, rightly or not: long tails, some divergent."""
        leaders = [node for node in self.nodes.values() if node.role == "leader" and node.raft is not None]
        if not leaders or not self._has_filler():
            return False
        node = self._random.choice(leaders)
        if self._random.random() < 0.5:
            commands = [self._filler() for _ in range(count)]
            id = self.next_request()
            node.feed(lambda now: Propose(commands, id=id, now=now))
            return True
        for _ in range(count):
            request = _Quiet(self.next_request(), node.id)
            self.propose_request(node, request, self._filler())
        return True

    def guess_leader(self) -> int:
        """The node that leads the newest term, as somebody who sees all nodes would say; 0 if none."""
        best, best_term = 0, -1
        for node in self.nodes.values():
            if node.role == "leader" and node.term > best_term and node.raft is not None:
                best, best_term = node.id, node.term
        return best

    def apply_delay(self) -> int:
        """How long a state machine takes for one batch, in microseconds."""
        return int(self._random.random() * 5_000) if self._slow_apply else 0

    def install_fails(self) -> bool:
        """Does this snapshot not install?"""
        return self.faults.active and self._install_error > 0 and self._random.random() < self._install_error

    def _sample(self, _: None) -> None:
        self.checkers.sample(self.nodes.values())
        self.after(SECOND, self._sample, None)

    # -- proposals and reads

    def next_request(self) -> int:
        """A number for a proposal or a read."""
        self._requests += 1
        return self._requests

    def propose_request(self, node: SimNode, request: Request, command: bytes) -> None:
        """Hand a command to a node; the request hears what becomes of it."""
        self.requests[request.id] = request
        id = request.id
        node.feed(lambda now: Propose(command, id=id, now=now))

    def proposal_answered(self, node: SimNode, answer: Any) -> None:
        """The core says what became of a proposal."""
        request = self.requests.get(answer.id)
        if request is None or answer.status == "forwarded":
            return
        if answer.status != "accepted":
            del self.requests[answer.id]
            request.on_refused(answer.status)
        elif answer.index > node.applied:
            node.pending.setdefault(answer.index, []).append((answer.term, request))
        else:
            del self.requests[answer.id]
            known = node.results.get(answer.index)
            if known is None:
                request.on_unknown()
            elif known[0] == answer.term:
                self.acknowledged = max(self.acknowledged, answer.index)
                request.on_done(known[1])
            else:
                request.on_refused("overwritten")

    def proposal_applied(self, request: Request, index: int, same: bool, result: Any) -> None:
        """The index at which a proposal was accepted is applied; ``same``: it is that very entry."""
        self.requests.pop(request.id, None)
        if same:
            self.acknowledged = max(self.acknowledged, index)
            request.on_done(result)
        else:
            request.on_refused("overwritten")

    def proposal_unknown(self, request: Request) -> None:
        """A snapshot passed over a proposal."""
        self.requests.pop(request.id, None)
        request.on_unknown()

    def read_answered(self, node: SimNode, read: Any) -> None:
        """The core says that a read is safe now, or refuses it."""
        request = self.requests.pop(read.id, None)
        if request is None:
            return
        if read.status != "accepted" or read.index == 0:
            request.on_refused(read.status)
            return
        if node.applied < read.index:
            raise Violation(
                "reads wait", f"node {node.id} serves a read at {read.index}, having applied {node.applied}"
            )
        if read.index < request.floor:
            raise Violation(
                "linearizable reads",
                f"node {node.id} serves a read at {read.index} that began after {request.floor} was acknowledged",
            )
        machine = node.machine
        key = request.client.value  # type: ignore[attr-defined]
        request.on_done(machine.values.get(key, 0) if isinstance(machine, Registers) else None)


def _tell_unknown(request: Request) -> None:
    request.on_unknown()
