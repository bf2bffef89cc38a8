"""Random histories under the hand-driven harness: any order of deliveries, losses, crashes, slow disks and changes.

The simulator in ``quorate.testing`` has time and probabilities as a network has them; here any interleaving is as
likely as any other, and what one server cannot know is checked against what all know: a read must see all that was
committed anywhere when it was asked for, and what a leader commits must be on a majority of disks. Then all is healed,
and the group must agree. A failure names its seed; ``pytest tests/raft/test_chaos.py --seeds 1000:5000`` runs others.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from quorate.raft import COMMAND, SnapshotFailed
from raft.harness import AddLearner, AddVoter, Cluster, RemoveMember, Server

STEPS = 250
EVERYBODY = (1, 2, 3, 4, 5)


class Chaos:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        draw = self.random.random
        self.lease = draw() < 0.3
        self.pre_vote = draw() < 0.7
        self.cluster = Cluster(
            1,
            2,
            3,
            seed=seed,
            lease_reads=self.lease,
            pre_vote=self.pre_vote,
            # Without either a server that was removed and does not know it disturbs for ever (dissertation §4.2.3).
            check_quorum=self.lease or not self.pre_vote or draw() < 0.7,
            max_inflight_messages=self.random.choice([1, 2, 256]),
            max_message_bytes=self.random.choice([1, 20, 1 << 20]),
            snapshot_chunk_bytes=self.random.choice([7, 40, 1 << 18]),
            compaction_tail=self.random.choice([0, 0, 3]),
            max_apply_bytes=self.random.choice([1, 30, 1 << 20]),
        )
        self.cluster.elect(1)
        self.requests = 0
        self.asked: dict[int, int] = {}
        self.commits: dict[int, int] = {}
        self.check()

    # What must hold

    def committed(self) -> int:
        return max((server.raft.commit for server in self.cluster.servers.values() if server.raft), default=0)

    def check(self) -> None:
        for id, server in self.cluster.servers.items():
            if server.raft is None:
                continue
            core = server.raft
            advanced = core.role == "leader" and core.commit > self.commits.get(id, 0)
            # What an earlier leader committed, it may have committed in another configuration.
            if advanced and core.log.term(core.commit) == core.term:
                self.check_durable(server)
            self.commits[id] = core.commit
            for read in server.reads:
                if read.index:
                    assert read.index >= self.asked[read.id], f"read {read.id} of {id} is stale: {read.index}"
                    assert server.applied >= read.index, f"read {read.id} of {id} came before it was applied"
            server.reads.clear()

    def check_durable(self, server: Server) -> None:
        core = server.core
        index, term = core.commit, core.log.term(core.commit)
        configuration = core.state().configuration
        for half in (configuration.incoming, configuration.outgoing):
            have = [id for id in half if self.holds(id, index, term)]
            enough = not half or len(have) > len(half) // 2
            assert enough, f"{index}@{term} is committed, and only {have} of {half} have it"

    def holds(self, id: int, index: int, term: int) -> bool:
        disk = self.cluster.servers[id].disk if id in self.cluster.servers else None
        if disk is None:
            return False
        entry = disk.entries.get(index)
        return (disk.snapshot is not None and disk.snapshot.index >= index) or (bool(entry) and entry.term == term)

    # What can happen

    def up(self) -> list[int]:
        return [id for id, server in self.cluster.servers.items() if server.raft is not None]

    def any_up(self) -> int:
        return self.random.choice(self.up() or [0])

    def step(self) -> None:
        actions: list[tuple[int, Callable[[], None]]] = [
            (40, self.deliver),
            (6, self.calm),
            (6, self.lose),
            (4, self.double),
            (8, self.tick),
            (14, self.propose),
            (8, self.read),
            (2, self.campaign),
            (3, self.crash),
            (4, self.restart),
            (3, self.disk),
            (10, self.persist),
            (3, self.machine),
            (6, self.apply),
            (3, self.cut),
            (3, self.heal),
            (3, self.change),
            (2, self.compact),
            (2, self.transfer),
            (2, self.hint),
            (2, self.snapshots),
        ]
        self.random.choices([action for _, action in actions], [weight for weight, _ in actions])[0]()
        self.check()

    def deliver(self) -> None:
        flying = self.cluster.flying
        for _ in range(self.random.choice([1, 3, 12])):
            if flying:
                # Mostly in order, sometimes not.
                at = 0 if self.random.random() < 0.8 else self.random.randrange(len(flying))
                self.cluster.hand_over(flying.pop(at))
                self.check()

    def calm(self) -> None:
        """Some time in which things work."""
        for _ in range(self.random.choice([2, 10])):
            self.cluster.advance(30)
            self.cluster.deliver()
            self.check()

    def lose(self) -> None:
        if self.cluster.flying:
            self.cluster.flying.pop(self.random.randrange(len(self.cluster.flying)))

    def double(self) -> None:
        if self.cluster.flying:
            self.cluster.flying.append(self.random.choice(self.cluster.flying))

    def tick(self) -> None:
        self.cluster.pass_ms(self.random.choice([1, 5, 10, 50, 50, 150]))
        for id in self.up():
            if self.random.random() < 0.6:
                self.cluster.tick(id)

    def propose(self) -> None:
        if id := self.any_up():
            self.requests += 1
            padding = bytes(self.random.choice([0, 30]))
            self.cluster.propose(id, b"%d;%s" % (self.requests, padding), request=self.requests)

    def read(self) -> None:
        if id := self.any_up():
            self.requests += 1
            self.asked[self.requests] = self.committed()
            self.cluster.read(id, self.requests)

    def campaign(self) -> None:
        if id := self.any_up():
            self.cluster.campaign(id)

    def crash(self) -> None:
        if id := self.any_up():
            self.cluster.crash(id)
            self.commits.pop(id, None)
            self.cluster.held_installs = [held for held in self.cluster.held_installs if held[0] != id]

    def restart(self) -> None:
        down = [id for id, server in self.cluster.servers.items() if server.raft is None]
        if down:
            self.cluster.start(self.random.choice(down))

    def disk(self) -> None:
        if id := self.any_up():
            self.cluster[id].slow_disk = self.random.random() < 0.4

    def persist(self) -> None:
        for id in self.up():
            if self.cluster[id].writes:
                self.cluster.persist(id, self.random.randint(1, len(self.cluster[id].writes)))

    def machine(self) -> None:
        if id := self.any_up():
            self.cluster[id].slow_apply = self.random.random() < 0.4

    def apply(self) -> None:
        if id := self.any_up():
            self.cluster.apply(id, self.random.choice([1, None]))

    def cut(self) -> None:
        if self.random.random() < 0.5:
            self.cluster.cut(self.random.choice(EVERYBODY))
        else:
            self.cluster.blocked.add((self.random.choice(EVERYBODY), self.random.choice(EVERYBODY)))

    def heal(self) -> None:
        self.cluster.heal()

    def change(self) -> None:
        cluster = self.cluster
        leader = cluster.leader
        if not leader:
            return
        for id in EVERYBODY:
            if id not in cluster.servers:
                cluster.join(id)
        configuration = cluster[leader].state.configuration
        if configuration.outgoing and self.random.random() < 0.7:
            cluster.change(leader, joint="leave")
            return
        changes: list[Any] = []
        for id in self.random.sample(EVERYBODY, self.random.choice([1, 1, 2, 3])):
            if id not in configuration.incoming:
                changes.append(self.random.choice([AddVoter, AddLearner])(id))
            elif len(configuration.incoming) > 1:
                changes.append(self.random.choice([RemoveMember, AddLearner])(id))
        if changes:
            cluster.change(leader, *changes, joint=self.random.choice(["auto", "auto", "explicit"]))

    def compact(self) -> None:
        if id := self.any_up():
            server = self.cluster[id]
            newest = server.disk.snapshot.index if server.disk.snapshot else 0
            index = min(server.applied, server.state.persisted_index)
            if index > newest and index > server.core.log.snapshot_index:
                self.cluster.compact(id, index)

    def transfer(self) -> None:
        if leader := self.cluster.leader:
            self.cluster.transfer(leader, self.random.choice(EVERYBODY))

    def hint(self) -> None:
        if id := self.any_up():
            action = self.random.choice([self.cluster.forget, self.cluster.connection_closed])
            if self.random.random() < 0.3:
                self.cluster.unreachable(id, self.random.choice(EVERYBODY))
            else:
                action(id)

    def snapshots(self) -> None:
        cluster = self.cluster
        if not cluster.held_installs:
            cluster.hold_snapshots = not cluster.hold_snapshots
        else:
            id, snapshot = cluster.held_installs.pop(0)
            if self.random.random() < 0.3:
                cluster.step(id, SnapshotFailed(index=snapshot.index, now=cluster.now))
            else:
                cluster.install_snapshot(id, snapshot)

    # The end

    def finish(self) -> None:
        """Everything works again: within some seconds there is one leader, one more commit, and one history."""
        cluster = self.cluster
        cluster.heal()
        cluster.hold_snapshots = False
        while cluster.held_installs:
            cluster.install_snapshot(*cluster.held_installs.pop(0))
        for id, server in cluster.servers.items():
            server.slow_disk = server.slow_apply = False
            if server.raft is None:
                cluster.start(id)
            while server.writes:
                cluster.persist(id)
            cluster.apply(id)
        for _ in range(40):
            cluster.run(250, step=5)
            self.check()
            leader = cluster.leader
            if leader and cluster.propose(leader, b"last").status == "accepted":
                cluster.run(1_500, step=5)
                if cluster[leader].commands[-1:] == [b"last"] and cluster.leader == leader:
                    break
        else:
            raise AssertionError("healed, and nothing is committed")
        configuration = cluster[leader].state.configuration
        for id in (*configuration.incoming, *configuration.outgoing, *configuration.learners):
            assert cluster[id].commands == cluster[leader].commands, f"server {id} did not catch up"
        self.check_results()

    def check_results(self) -> None:
        """An accepted proposal is the entry that it was told to be; a refused one was never appended anywhere."""
        history = self.cluster.history
        applied = {
            int(data.partition(b";")[0]) for _, kind, data in history.values() if kind == COMMAND and b";" in data
        }
        for server in self.cluster.servers.values():
            forwarded = {result.id for result in server.proposals if result.status == "forwarded"}
            for result in server.proposals:
                if result.status == "accepted" and result.id:
                    term, _, data = history.get(result.index, (0, 0, b""))
                    assert term != result.term or data.startswith(b"%d;" % result.id), f"{result} became {data!r}"
                elif result.id not in forwarded and result.id:
                    # The network may double what is forwarded, and the answer to one copy says nothing of the other.
                    assert result.id not in applied, f"{result} was appended"


def run(seed: int) -> None:
    chaos = Chaos(seed)
    try:
        for _ in range(STEPS):
            chaos.step()
        chaos.finish()
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error!r}") from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        first, _, end = metafunc.config.getoption("--seeds").partition(":")
        metafunc.parametrize("seed", range(int(first), int(end)))


def test_any_history_is_safe_and_heals(seed: int) -> None:
    run(seed)


def test_the_checks_can_fail() -> None:
    chaos = Chaos(1)
    chaos.cluster.elect(1)
    chaos.asked[7] = chaos.committed() + 1
    chaos.cluster.read(1, 7)
    chaos.cluster.deliver()
    with pytest.raises(AssertionError, match="stale"):
        chaos.check()
    chaos = Chaos(1)
    chaos.cluster.elect(1)
    chaos.cluster.cut(2, 3)
    chaos.cluster.propose(1, b"x")
    chaos.cluster.servers[1].disk.entries.clear()
    for id in (2, 3):
        chaos.cluster.receive(
            1, "AppendEntriesResponse", sender=id, term=chaos.cluster[1].core.term, success=True, match_index=2
        )
    with pytest.raises(AssertionError, match="committed"):
        chaos.check()
