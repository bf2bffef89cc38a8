"""Bugs that a seed found once, retold as the shortest story that shows them."""

from __future__ import annotations

from quorate.raft import ProposeChange, RemoveMember
from quorate.testing import SimCluster


def test_a_leader_that_removes_itself_and_is_cut_off_must_be_able_to_come_back() -> None:
    """Two voters; the leader appends its own removal and loses its office before the other has the entry.

    Only its log holds the change, so the other one cannot win an election; and the leader is no voter any more by its
    own newest configuration. It must stand for election all the same (dissertation §4.2.2, Figure 4.6).
    """
    cluster = SimCluster(nodes=2, seed=1, profile="calm")
    cluster.run(1)
    old = cluster.leader()
    other = 3 - old
    cluster.partition([old], [other])
    node = cluster.nodes[old]
    node.feed(lambda now: ProposeChange((RemoveMember(old),), id=99, now=now))
    assert node.configuration.incoming == (other,)
    cluster.quiet(2)
    assert node.role != "leader"
    cluster.heal().check()
    assert cluster.leader() == other
    assert cluster.nodes[other].raft.state().configuration.incoming == (other,)
