"""Simulated clusters of the production core: seeds that must hold, determinism, and faults that must be seen."""

from __future__ import annotations

import os

import pytest

import quorate.raft
from quorate.errors import InvalidArgument
from quorate.testing import PROFILES, Profile, SimCluster, SimulationFailed, find_violation, run_many, run_seed

ROUGH = sorted(set(PROFILES) - {"calm"})


def hold(outcome):
    assert outcome, f"{outcome.rule}: {outcome.detail}\n{outcome.command}\n{outcome.transcript}"
    return outcome


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_a_calm_cluster_elects_once_and_serves(nodes: int) -> None:
    outcome = hold(run_seed(nodes, nodes=nodes, seconds=10, profile="calm"))
    assert outcome.stats["elections"] == 1
    assert outcome.stats["operations"] > 50


@pytest.mark.parametrize("profile", ROUGH)
@pytest.mark.parametrize("seed", range(1, 4))
def test_seeds_hold(profile: str, seed: int) -> None:
    hold(run_seed(seed, nodes=3 if seed % 2 else 5, seconds=15, profile=profile))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_five_hundred_seeds_of_thirty_seconds_hold() -> None:
    first = int(os.environ.get("QUORATE_SIM_FIRST_SEED", "1"))
    seeds = range(first, first + 500)
    bad = [
        f"seed {outcome.seed}: {outcome.rule}: {outcome.detail}\n  {outcome.command}"
        for nodes, part in ((3, seeds[::2]), (5, seeds[1::2]))
        for outcome in run_many(part, jobs=os.cpu_count() or 1, nodes=nodes, seconds=30)
        if not outcome
    ]
    assert not bad, "\n".join(bad)


def test_the_profiles_together_make_every_kind_of_trouble() -> None:
    """A fault that never happens proves nothing; so does a cluster that never does anything."""
    from quorate.testing.faults import FAULTS

    faults: set[str] = set()
    seen = dict.fromkeys(("elections", "operations", "snapshots", "snapshots_installed", "changes"), 0)
    for seed in range(11, 41):
        for profile in ROUGH:
            # After four seeds of each, only what could still show a kind of fault that was not seen.
            if seed > 14 and not any(getattr(PROFILES[profile], kind) for kind in set(FAULTS) - faults):
                continue
            stats = hold(run_seed(seed, nodes=3, seconds=20, profile=profile)).stats
            faults |= set(stats["faults"])
            for name in seen:
                seen[name] += stats[name]
    assert faults == set(FAULTS)
    assert all(seen.values()), seen
    assert seen["elections"] > 30


def test_a_seed_is_one_run() -> None:
    def story(seed: int) -> tuple[str, dict]:
        cluster = SimCluster(nodes=3, seed=seed, profile="rough", trace=2_000)
        cluster.run(10)
        return cluster.transcript(), cluster.stats()

    assert story(5) == story(5)
    assert story(5) != story(6)


def test_a_transcript_reads_as_a_story() -> None:
    cluster = SimCluster(nodes=3, seed=2, profile="calm")
    cluster.run(2)
    cluster.crash(cluster.leader())
    story = cluster.transcript()
    assert "crashes;" in story
    assert "Heartbeat 1→2" in story or "Heartbeat" in story
    assert "is leader of term" in story


def test_a_leader_without_a_quorum_commits_nothing_and_a_healed_one_does() -> None:
    cluster = SimCluster(nodes=5, seed=4, profile="calm")
    old = cluster.leader()
    others = [id for id in cluster.nodes if id != old]
    cluster.partition([old, others[0]], others[1:])
    committed = cluster.nodes[old].commit
    cluster.run(3)
    assert cluster.nodes[old].commit <= committed + 2
    assert cluster.nodes[old].role != "leader", "check-quorum"
    assert cluster.leader() in others[1:]
    cluster.heal().check()
    assert len({node.applied for node in cluster.nodes.values()}) == 1


def test_a_paused_leader_comes_back_as_a_follower() -> None:
    cluster = SimCluster(nodes=3, seed=9, profile="calm")
    cluster.run(1)
    old = cluster.leader()
    cluster.pause(old)
    cluster.run(2)
    cluster.resume(old)
    cluster.quiet(0.5)
    assert cluster.leader() != old
    cluster.heal().check()


def test_a_cluster_without_a_majority_fails_the_liveness_check() -> None:
    cluster = SimCluster(nodes=3, seed=1, profile="calm")
    cluster.run(1)
    cluster.restart = lambda id: None
    cluster.crash(1)
    cluster.crash(2)
    with pytest.raises(SimulationFailed, match="liveness") as failure:
        cluster.heal(within=3)
    assert "--seeds 1 " in failure.value.command
    assert "node 3" in failure.value.transcript


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="profile"):
        SimCluster(seed=1, profile="sunny")
    with pytest.raises(InvalidArgument, match="nodes"):
        SimCluster(seed=1, nodes=0)


class Forgetful:
    """Its snapshot does not hold its state."""

    def __init__(self) -> None:
        self.count = 0

    def apply(self, index: int, command: bytes) -> int:
        self.count += 1
        return self.count

    def snapshot(self) -> bytes:
        return b"nothing"

    def restore(self, data: bytes) -> None:
        self.count = 0


def test_a_state_machine_with_a_forgetful_snapshot_is_caught() -> None:
    profile = Profile("restarts", "crashes and short logs", crash=1, snapshot_every=10)
    cluster = SimCluster(Forgetful, seed=1, profile=profile).load(lambda random: b"one", rate=20)
    with pytest.raises(SimulationFailed, match="deterministic state machine"):
        cluster.run(30)


class Strict:
    """Takes one command and no other: the simulator must never make one up."""

    def apply(self, index: int, command: bytes) -> str:
        assert command == b"mine", command
        return "done"

    def snapshot(self) -> bytes:
        return b""

    def restore(self, data: bytes) -> None:
        pass


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_state_machine_sees_only_what_the_test_proposes(nodes: int) -> None:
    cluster = SimCluster(Strict, nodes=nodes, seed=2, profile="rough")
    assert cluster.propose(b"mine") == "done"
    cluster.run(10).heal().check()
    cluster.heal().check()


def test_a_healed_cluster_can_go_on() -> None:
    cluster = SimCluster(nodes=3, seed=3, profile="rough")
    cluster.run(5).heal().check()
    done = cluster.stats()["operations"]
    cluster.run(5).heal().check()
    assert cluster.stats()["operations"] > done


def test_processes_give_the_same_outcomes_as_one() -> None:
    alone = {o.seed: o.stats for o in run_many([1, 2], seconds=2, profile="rough")}
    apart = {o.seed: o.stats for o in run_many([1, 2], jobs=2, seconds=2, profile="rough")}
    assert alone == apart


FOUND_SOON = (
    "ack_before_persist",
    "config_not_undone",
    "joint_needs_one_majority",
    "leader_counts_unpersisted",
    "learner_counts_in_quorum",
    "lease_ignores_pause",
    "persisted_by_index_alone",
    "pre_vote_bumps_term",
    "removed_leader_stays",
    "snapshot_without_configuration",
    "term_not_persisted",
    "truncate_on_duplicate",
    "vote_not_persisted",
    "vote_stale_log",
    "vote_twice",
)
FOUND_BY_SCENARIOS = {"commit_beyond_match"}
"""It takes a message that this core does not send by itself; tests/raft/test_mutations.py shows it."""


@pytest.mark.skipif(quorate.raft.BUILD == "release", reason="a release build cannot put bugs back")
@pytest.mark.parametrize("mutation", FOUND_SOON)
def test_a_known_bug_is_found(mutation: str) -> None:
    found = find_violation(mutation, range(1, 100))
    assert found is not None
    assert mutation in found.command


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(quorate.raft.BUILD == "release", reason="a release build cannot put bugs back")
@pytest.mark.parametrize("mutation", sorted(set(quorate.raft.mutations()) - FOUND_BY_SCENARIOS - set(FOUND_SOON)))
def test_every_known_bug_is_found(mutation: str) -> None:
    assert find_violation(mutation, range(1, 400)) is not None


def test_a_seed_of_mixed_is_the_same_run_under_the_profile_it_drew() -> None:
    mixed = run_seed(9, seconds=3, profile="mixed")
    assert run_seed(9, seconds=3, profile=mixed.stats["profile"]).stats == mixed.stats
