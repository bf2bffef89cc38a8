"""How soon a cluster is there again, in simulated time: what users wait for after a kill, a pause or a cut."""

from __future__ import annotations

import pytest

from quorate.testing import SimCluster

SEEDS = range(1, 31)


def gone_for(cluster: SimCluster, old: int, begin: int | None = None) -> float:
    """Milliseconds until another node than ``old`` has committed something in its own term."""
    begin = cluster.now if begin is None else begin
    while cluster.now < begin + 10_000_000:
        cluster.quiet(0.001)
        leader = cluster.nodes[cluster.guess_leader()] if cluster.guess_leader() else None
        if leader is not None and leader.id != old and cluster.checkers.committed[leader.commit] == leader.term:
            return (cluster.now - begin) / 1_000
    raise AssertionError("no new leader in ten seconds")


def waits(harm: str) -> list[float]:
    found = []
    for seed in SEEDS:
        cluster = SimCluster(nodes=3, seed=seed, profile="calm")
        cluster.run(1)
        old = cluster.leader()
        begin = cluster.now
        if harm == "kill":
            cluster.crash(old)
            cluster.quiet(0.004)  # a connection brings what was sent before it tells that it is closed
            for node in cluster.nodes.values():
                if node.up:
                    cluster.hint(node)
        elif harm == "pause":
            cluster.pause(old)
        else:
            cluster.partition([old], [id for id in cluster.nodes if id != old])
        found.append(gone_for(cluster, old, begin))
    return sorted(found)


def test_a_killed_leader_is_replaced_in_tens_of_milliseconds() -> None:
    found = waits("kill")
    assert found[len(found) // 2] <= 30
    assert found[-3] <= 100, "even if the vote splits at first"
    assert found[-1] <= 400, "even if it splits twice"


@pytest.mark.parametrize("harm", ["pause", "cut"])
def test_a_paused_or_cut_leader_is_replaced_within_half_a_second(harm: str) -> None:
    found = waits(harm)
    assert found[len(found) // 2] <= 350
    assert found[-1] <= 800, "a split vote at worst"


def test_a_follower_that_was_cut_off_disturbs_nobody_when_it_is_back() -> None:
    for seed in SEEDS:
        cluster = SimCluster(nodes=5, seed=seed, profile="calm")
        cluster.run(1)
        leader = cluster.leader()
        elections = cluster.elections
        cut = next(id for id in cluster.nodes if id != leader)
        cluster.partition([cut], [id for id in cluster.nodes if id != cut])
        cluster.run(5)
        cluster.mend()
        cluster.run(2)
        assert (cluster.leader(), cluster.elections) == (leader, elections), f"seed {seed}"
        cluster.heal().check()


def test_a_leader_hands_over_within_two_heartbeats() -> None:
    for seed in SEEDS:
        cluster = SimCluster(nodes=3, seed=seed, profile="calm")
        cluster.run(1)
        old = cluster.leader()
        target = next(id for id in cluster.nodes if id != old)
        cluster.transfer(target)
        assert gone_for(cluster, old) <= 100, f"seed {seed}"
        assert cluster.leader() == target
