"""The schedule of faults: when what goes wrong, and when it is right again. Drawn from the seed by the profile.

Each kind of fault is one method; each begins it and plans its end. Knows the cluster's public face and nothing of a
core.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, final

from quorate.raft import Campaign, DiskStalled, ForgetLeader, TransferLeadership
from quorate.testing.profiles import Profile

if TYPE_CHECKING:
    from quorate.testing.cluster import SimCluster
    from quorate.testing.node import SimNode

__all__ = ["FAULTS", "Faults"]

FAULTS: Final = (
    "crash",
    "pause",
    "partition",
    "one_way",
    "isolate_leader",
    "weather",
    "slow_disk",
    "disk_error",
    "disk_stall",
    "clock_rate",
    "clock_jump",
    "hint",
    "transfer",
    "campaign",
    "forget_leader",
    "flood",
    "membership",
    "wipe",
    "restart_all",
)
"""Each is a rate in a :class:`Profile` and a method of :class:`Faults`."""
ALWAYS: Final = ("membership",)
"""What a swarm never leaves out, because it is what the profile is about."""
SECOND: Final = 1_000_000


@final
class Faults:
    """Begins faults while active. ``counts`` says how often each kind happened."""

    __slots__ = ("_cluster", "_kinds", "_planned", "_profile", "_random", "active", "counts")

    def __init__(self, cluster: SimCluster, profile: Profile, draw: random.Random) -> None:
        self._cluster = cluster
        self._profile = profile
        self._random = random.Random(f"{cluster.seed}/faults")
        self.active = False
        self._kinds: list[tuple[str, float, Callable[[], bool | None]]] = []
        for kind in FAULTS:
            mean = getattr(profile, kind)
            if mean and (not profile.swarm or kind in ALWAYS or draw.random() < 0.6):
                self._kinds.append((kind, mean, getattr(self, kind)))
        self._planned = False
        self.counts: dict[str, int] = {}

    def begin(self) -> None:
        """From now on, let faults happen."""
        if not self.active:
            self._cluster.calm_weather()
        self.active = True
        if not self._planned:
            self._planned = True
            for kind in self._kinds:
                self._plan(kind)

    def end(self) -> None:
        """No new fault begins. What is broken stays so; the cluster heals it."""
        self.active = False

    def _plan(self, kind: tuple[str, float, Callable[[], bool | None]]) -> None:
        self._cluster.after(int(self._random.expovariate(1 / kind[1]) * SECOND), self._strike, kind)

    def _strike(self, kind: tuple[str, float, Callable[[], bool | None]]) -> None:
        if self.active and kind[2]() is not False:
            self.counts[kind[0]] = self.counts.get(kind[0], 0) + 1
        self._plan(kind)

    # -- helpers

    def _some_node(self, *, up: bool = True) -> SimNode | None:
        """Any node; the leader more often than chance would have it, because that is where trouble is."""
        cluster = self._cluster
        if self._random.random() < 0.4:
            leader = cluster.nodes.get(cluster.guess_leader())
            if leader is not None:
                return leader
        nodes = [node for node in cluster.nodes.values() if node.up or not up]
        return self._random.choice(nodes) if nodes else None

    def _for_a_while(self, mean: float, end: Callable[[Any], None], what: Any) -> None:
        self._cluster.after(10_000 + int(self._random.expovariate(1 / mean) * SECOND), end, what)

    # -- processes

    def crash(self) -> bool | None:
        """A process dies with its unsynced writes, and is started again."""
        node = self._some_node()
        if node is None:
            return False
        node.crash()
        # Some are started again at once, while what they were sent before is still on its way.
        self._for_a_while(0.02 if self._random.random() < 0.3 else 0.7, self._restart, node)
        return None

    def _restart(self, node: SimNode) -> None:
        if self._cluster.nodes.get(node.id) is node and not node.up:
            self._cluster.restart(node.id)

    def restart_all(self) -> bool | None:
        """The power of the whole place fails."""
        for node in list(self._cluster.nodes.values()):
            node.crash()
            self._for_a_while(0.3, self._restart, node)
        return None

    def pause(self) -> bool | None:
        """A process is stopped for a while; its clock goes on."""
        node = self._some_node()
        if node is None or node.paused:
            return False
        node.pause()
        self._for_a_while(0.5, self._resume, (node, node.life))
        return None

    def _resume(self, what: tuple[SimNode, int]) -> None:
        node, life = what
        if node.life == life:
            node.resume()

    # -- network

    def partition(self) -> bool | None:
        """Two halves, or two halves with one node that sees both (a bridge)."""
        ids = list(self._cluster.nodes)
        self._random.shuffle(ids)
        if len(ids) < 2:
            return False
        at = self._random.randint(1, len(ids) - 1)
        left, right = ids[:at], ids[at:]
        if len(right) > 1 and self._random.random() < 0.3:
            right = right[1:]
        self._cluster.partition(left, right)
        self._for_a_while(1.0, self._mend, None)
        return None

    def one_way(self) -> bool | None:
        """Some ways work in one direction only."""
        ids = list(self._cluster.nodes)
        for _ in range(self._random.randint(1, len(ids))):
            source, target = self._random.choice(ids), self._random.choice(ids)
            self._cluster.network.cut([source], [target], both=False)
        self._for_a_while(1.0, self._mend, None)
        return None

    def isolate_leader(self) -> bool | None:
        """The leader is cut off from all, or hears nothing, or is not heard."""
        cluster = self._cluster
        leader = cluster.guess_leader()
        if not leader:
            return False
        others = [id for id in cluster.nodes if id != leader]
        what = self._random.random()
        if what < 0.5:
            cluster.network.cut([leader], others)
        elif what < 0.75:
            cluster.network.cut([leader], others, both=False)
        else:
            cluster.network.cut(others, [leader], both=False)
        if self._random.random() < 0.5:
            for id in others:  # its connections break, and everybody notices at once
                cluster.hint(cluster.nodes[id])
            if others and self._random.random() < 0.3:  # and an operator is quick
                cluster.nodes[self._random.choice(others)].feed(lambda now: Campaign(now=now))
        self._for_a_while(0.8 if self._random.random() < 0.9 else 6.0, self._mend, None)
        return None

    def _mend(self, _: None) -> None:
        self._cluster.network.mend()

    def weather(self) -> bool | None:
        """Much loss, much delay or many doubles, for a while."""
        chance = self._random.random
        self._cluster.network.set(
            latency_us=(300, self._random.choice([3_000, 30_000, 100_000])),
            loss=chance() * 0.3 if chance() < 0.6 else 0.0,
            duplicate=chance() * 0.3 if chance() < 0.6 else 0.0,
            late=chance() * 0.2 if chance() < 0.6 else 0.0,
            late_us=self._random.choice([50_000, 300_000, 2_000_000]),
        )
        self._for_a_while(2.0, self._clear_up, None)
        return None

    def _clear_up(self, _: None) -> None:
        if self.active:
            self._cluster.calm_weather()

    # -- disks

    def slow_disk(self) -> bool | None:
        """A disk takes long, up to longer than a leader may wait for it."""
        node = self._some_node()
        if node is None:
            return False
        factor = self._random.choice([10, 50, 500])
        low, high = self._profile.disk_us
        node.disk_us = (low * factor, high * factor)
        self._for_a_while(1.5, self._fast_disk, node)
        return None

    def _fast_disk(self, node: SimNode) -> None:
        node.disk_us = self._profile.disk_us

    def disk_error(self) -> bool | None:
        """The next sync of a node fails, and the node stops; later it is started again."""
        node = self._some_node()
        if node is None:
            return False
        self._cluster.failing_disks.add(node.id)
        self._for_a_while(1.5, self._restart, node)
        return None

    def disk_stall(self) -> bool | None:
        """The disk is reported full or stuck, and later well again."""
        node = self._some_node()
        if node is None:
            return False
        node.feed(lambda now: DiskStalled(True, now=now))
        self._for_a_while(1.0, self._unstall, (node, node.life))
        return None

    def _unstall(self, what: tuple[SimNode, int]) -> None:
        node, life = what
        if node.life == life:
            node.feed(lambda now: DiskStalled(False, now=now))

    # -- clocks

    def clock_rate(self) -> bool | None:
        """A clock runs at another rate from now on."""
        node = self._some_node(up=False)
        if node is None:
            return False
        drift = self._profile.clock_drift or 0.1
        node.clock.set_rate(self._cluster.now, 1.0 + self._random.uniform(-drift, drift))
        node.clock_changed()
        return None

    def clock_jump(self) -> bool | None:
        """A clock goes forward at once, or back a little."""
        node = self._some_node(up=False)
        if node is None:
            return False
        by = self._random.choice([10_000, 100_000, 1_000_000, 60_000_000])
        if self._profile.clock_back and self._random.random() < 0.3:
            by = -min(by, 300_000)
        node.clock.jump(self._cluster.now, by)
        node.clock_changed()
        return None

    # -- the protocol's own doors

    def hint(self) -> bool | None:
        """A node is told, wrongly, that its leader's connection closed."""
        node = self._some_node()
        if node is None:
            return False
        self._cluster.hint(node)
        return None

    def transfer(self) -> bool | None:
        """The leader is asked to hand over to somebody, who may be anybody."""
        cluster = self._cluster
        leader = cluster.nodes.get(cluster.guess_leader())
        if leader is None:
            return False
        target = 99 if self._random.random() < 0.05 else self._random.choice(list(cluster.nodes))
        leader.feed(lambda now: TransferLeadership(target, now=now))
        return None

    def campaign(self) -> bool | None:
        """A node is told to campaign."""
        node = self._some_node()
        if node is None:
            return False
        node.feed(lambda now: Campaign(now=now))
        return None

    def forget_leader(self) -> bool | None:
        """A node is told to forget its leader."""
        node = self._some_node()
        if node is None:
            return False
        node.feed(lambda now: ForgetLeader(now=now))
        return None

    def flood(self) -> bool | None:
        """Somebody proposes much at once at a node that believes to lead."""
        return self._cluster.flood(self._random.randint(5, 60)) and None

    def membership(self) -> bool | None:
        """The operator does something."""
        self._cluster.membership.turn()
        return None

    def wipe(self) -> bool | None:
        """A node's disk is lost for good."""
        return self._cluster.membership.wipe()
