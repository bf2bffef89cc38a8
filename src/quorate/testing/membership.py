"""A simulated operator who changes the members: simple and joint changes, learners, promotion, wiped disks.

Makes mischief, but never what would end the cluster for good: at every moment each configuration that any node knows
keeps a majority of voters whose disks are whole. Proposes at the leader; never looks into a core but for its
configuration.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

from quorate.raft import AddLearner, AddVoter, ProposeChange, RemoveMember
from quorate.testing.clients import Request

if TYPE_CHECKING:
    from quorate.testing.cluster import SimCluster
    from quorate.testing.node import SimNode

__all__ = ["Membership"]

Mode: TypeAlias = Literal["auto", "explicit", "leave"]
SPARES: Final = 3
"""Nodes beyond the first ones that can be members."""
WAIT_US: Final = 2_000_000
"""How long the operator waits for the outcome of a change before trying another one."""


@final
class _Change(Request):
    """One proposed change."""

    __slots__ = ("membership",)

    def __init__(self, id: int, node: int, membership: Membership) -> None:
        super().__init__(id, node)
        self.membership = membership

    def on_done(self, result: Any) -> None:
        self.membership.done += 1
        self.membership.finished(self)

    def on_refused(self, status: str) -> None:
        self.membership.refused[status] = self.membership.refused.get(status, 0) + 1
        self.membership.finished(self)

    def on_unknown(self) -> None:
        self.membership.finished(self)


@final
class Membership:
    """The operator. ``done`` counts changes that were committed, ``refused`` those that were not taken, by reason."""

    __slots__ = ("_change", "_cluster", "_last", "_random", "_retired", "done", "refused", "wiped")

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._random = random.Random(f"{cluster.seed}/membership")
        self._change: _Change | None = None
        self._last = 0
        self._retired: dict[int, SimNode] = {}
        self.done = 0
        self.refused: dict[str, int] = {}
        self.wiped: set[int] = set()
        """Members whose disk was lost and who are not removed yet."""

    def is_first(self, node: SimNode) -> bool:
        """Was this very disk there at the first bootstrap?"""
        return node.id <= self._cluster.size and not node.fresh

    # -- changes

    def finished(self, change: _Change) -> None:
        """The outcome of a change is known, or never will be."""
        if self._change is change:
            self._change = None

    def turn(self) -> None:
        """Do one thing, if none is under way."""
        cluster, rng = self._cluster, self._random
        if self._change is not None and cluster.now - self._last < WAIT_US:
            return
        leader = cluster.nodes.get(cluster.guess_leader())
        if leader is None or leader.paused:
            return
        configuration = leader.configuration
        self.wiped = {id for id in self.wiped if id in _members(configuration) and self._is_wiped(id, configuration)}
        if configuration.outgoing:
            if not configuration.auto_leave and rng.random() < 0.5:
                self._propose(leader, (), "leave")
            return
        if self.wiped:
            self._propose(leader, (RemoveMember(min(self.wiped)),), "auto")
            return
        self._retire()
        changes = self._some_changes(configuration, leader.id)
        if changes:
            mode: Mode = "explicit" if rng.random() < 0.25 else "auto"
            self._propose(leader, changes, mode)

    def _some_changes(self, configuration: Any, leader: int) -> tuple[Any, ...]:
        cluster, rng = self._cluster, self._random
        voters, learners = list(configuration.incoming), list(configuration.learners)
        members = {*voters, *learners}
        spares = [id for id in range(1, cluster.size + SPARES + 1) if id not in members]
        what = rng.random()
        if what < 0.30 and len(members) < cluster.size + SPARES and spares:
            new = self._ready(rng.choice(spares))
            return (self._add(AddVoter if rng.random() < 0.4 else AddLearner, new),)
        if what < 0.50 and learners:
            return (self._add(AddVoter, rng.choice(learners)),)
        if what < 0.70 and len(voters) > rng.choice((3, 3, 3, 2, 2, 1)):
            return (RemoveMember(leader if rng.random() < 0.3 else rng.choice(voters)),)
        if what < 0.75 and len(voters) > 2:
            return (self._add(AddLearner, rng.choice(voters)),)  # demoted
        if what < 0.80 and learners:
            return (RemoveMember(rng.choice(learners)),)
        if what < 0.85 and len(spares) >= len(voters):
            everybody = rng.sample(spares, len(voters))
            return (*(self._add(AddVoter, self._ready(id)) for id in everybody), *map(RemoveMember, voters))
        if len(spares) >= 2 and len(voters) >= 2:
            new_ones = [self._add(AddVoter, self._ready(id)) for id in rng.sample(spares, rng.randint(1, 2))]
            return (*new_ones, RemoveMember(rng.choice(voters)))
        return ()

    def _add(self, kind: Any, id: int) -> Any:
        return kind(id, self._cluster.nodes[id].incarnation) if self._cluster.bound else kind(id)

    def _propose(self, leader: SimNode, changes: tuple[Any, ...], mode: Mode) -> None:
        cluster = self._cluster
        change = _Change(cluster.next_request(), leader.id, self)
        self._change, self._last = change, cluster.now
        cluster.requests[change.id] = change
        id = change.id
        leader.feed(lambda now: ProposeChange(changes=changes, id=id, joint=mode, now=now))

    # -- nodes that come and go

    def _ready(self, id: int) -> int:
        """See that a process runs under this id, so that it can be added: a new one, or one that was removed."""
        cluster = self._cluster
        node = cluster.nodes.get(id)
        if node is None:
            node = self._retired.pop(id, None)
            # An old disk may come back; a new disk under an old id needs incarnations to be told apart.
            if node is None or (cluster.bound and self._random.random() < 0.5):
                node = cluster.make_node(id)
                node.fresh = True
            cluster.nodes[id] = node
        if not node.up:
            cluster.restart(id)
        return id

    def _retire(self) -> None:
        """Switch off nodes that no configuration names any more; some are left running, to disturb."""
        cluster = self._cluster
        # What a removed node itself still believes does not count.
        views = [(node.id, _members(node.configuration)) for node in cluster.nodes.values()]
        named = {id for viewer, members in views if viewer in members for id in members}
        for node in list(cluster.nodes.values()):
            if node.id not in named and self._random.random() < 0.2:
                node.crash()
                self._retired[node.id] = cluster.nodes.pop(node.id)

    def _is_wiped(self, id: int, configuration: Any) -> bool:
        node = self._cluster.nodes.get(id)
        bound_to = dict(configuration.incarnations).get(id, 0)
        return node is None or bound_to not in (0, node.incarnation)

    def wiped_members(self, configuration: Any) -> list[int]:
        """Members that a configuration binds to a disk that is gone."""
        return [id for id in _members(configuration) if self._is_wiped(id, configuration)]

    def wipe(self) -> bool:
        """Lose the disk of one node for good and start it empty; False if that could end the cluster."""
        cluster, rng = self._cluster, self._random
        if not cluster.bound or self._change is not None:
            return False
        leader = cluster.nodes.get(cluster.guess_leader())
        if leader is None:
            return False
        configuration = leader.configuration
        # Only while it is certain which voters decide: one committed configuration, and all of its members know it.
        if configuration.outgoing or leader.commit < configuration.index:
            return False
        members = [cluster.nodes[id] for id in _members(configuration) if id not in self.wiped]
        if any(node.configuration.index != configuration.index for node in members):
            return False
        voters = configuration.incoming
        candidates = [node for node in members if node.id in voters]
        lost = len([id for id in voters if id in self.wiped]) + 1
        if not candidates or 2 * (len(voters) - lost) <= len(voters):
            return False
        victim = rng.choice(candidates)
        victim.crash()
        fresh = cluster.nodes[victim.id] = cluster.make_node(victim.id)
        fresh.fresh = True
        self.wiped.add(victim.id)
        cluster.checkers.wiped(fresh.id, fresh.incarnation)
        fresh.start()
        return True

    # -- the end

    def settle(self) -> None:
        """After healing: remove wiped members and leave a joint state, however often that must be asked for."""
        self._settle(None)

    def _settle(self, _: None) -> None:
        cluster = self._cluster
        leader = cluster.nodes.get(cluster.guess_leader())
        if leader is not None and not cluster.faults.active:
            configuration = leader.configuration
            wiped = self.wiped_members(configuration)
            if configuration.outgoing:
                if not configuration.auto_leave:
                    self._propose(leader, (), "leave")
            elif wiped:
                self._propose(leader, (RemoveMember(wiped[0]),), "auto")
        if not cluster.faults.active:
            cluster.after(300_000, self._settle, None)


def _members(configuration: Any) -> tuple[int, ...]:
    return (*configuration.incoming, *configuration.outgoing, *configuration.learners)
