"""The tests must be able to fail: each known bug is put back, one at a time, and a scenario must notice it.

A scenario is a short history with assertions. On the protocol as it is it passes, in every build; with its bug put back
it must fail, by an assertion or because the core notices by itself. Bugs can be put back in debug builds alone::

    QUORATE_BUILD=debug python setup.py build_ext --inplace
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quorate.errors import ConfigError, InvariantBroken
from quorate.raft import BUILD, Entry, Persisted, Raft, mutations
from raft.harness import AddLearner, AddVoter, Cluster, RemoveMember

Scenario = Callable[["str | None"], None]
SCENARIOS: dict[str, Scenario] = {}


def catches(name: str) -> Callable[[Scenario], Scenario]:
    def note(scenario: Scenario) -> Scenario:
        SCENARIOS[name] = scenario
        return scenario

    return note


def new_leader(cluster: Cluster, id: int) -> None:
    """``id`` wins, and nobody has got its first entry yet."""
    cluster.pass_ms(600)
    cluster.campaign(id)
    for _ in range(2):
        cluster.deliver(type="RequestVote")
        cluster.deliver(type="RequestVoteResponse")
    assert cluster[id].core.role == "leader"
    cluster.flying.clear()


def depose(cluster: Cluster, old: int, new: int) -> None:
    """``new`` leads a later term and commits something; ``old`` was cut off, did not tick, and has not noticed."""
    cluster.cut(old)
    cluster.pass_ms(600)
    cluster.campaign(new)
    cluster.deliver()
    cluster.propose(new, b"new")
    cluster.deliver()
    assert (cluster[old].core.role, cluster[new].commands) == ("leader", [b"new"])


@catches("commit_older_term")
def figure_8(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, logs={1: [1, 2], 2: [1, 2], 3: [1]}, mutation=mutation)
    new_leader(cluster, 1)
    for id in (2, 3):
        cluster.receive(1, "AppendEntriesResponse", sender=id, term=3, success=True, match_index=2)
    assert cluster[1].core.commit == 0


@catches("truncate_on_duplicate")
def late_duplicate(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, logs={2: [1, 1, 1, 1]}, mutation=mutation)
    cluster.receive(
        2, "AppendEntries", sender=1, term=1, prev_log_index=1, prev_log_term=1, entries=[Entry(2, 1, 0, b"2@1")]
    )
    assert cluster[2].terms == [1, 1, 1, 1]


@catches("vote_not_persisted")
def vote_crash_vote(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, pre_vote=False, mutation=mutation)
    cluster.pass_ms(600)
    cluster.campaign(1)
    cluster.deliver(1, 2)
    assert cluster.take(2, 1)[0].granted
    cluster.crash(2)
    cluster.start(2)
    cluster.pass_ms(600)
    cluster.campaign(3)
    cluster.deliver(3, 2)
    assert not any(reply.granted for reply in cluster.take(2, 3))


@catches("term_not_persisted")
def term_crash_term(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster.receive(3, "Heartbeat", sender=2, term=4)
    assert cluster.take(3, 2)[0].term == 4
    cluster.crash(3)
    cluster.start(3)
    assert cluster[3].core.term == 4


@catches("count_reply_twice")
def one_voter_twice(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, 4, 5, pre_vote=False, mutation=mutation)
    cluster.campaign(1)
    for _ in range(3):
        cluster.receive(1, "RequestVoteResponse", sender=2, term=1, granted=True)
    assert cluster[1].core.role == "candidate"


@catches("change_before_commit")
def change_too_early(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    new_leader(cluster, 1)
    assert cluster.change(1, RemoveMember(3)).status == "no_commit_in_term"


@catches("two_changes_in_flight")
def second_change(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster.elect(1)
    cluster.change(1, AddVoter(4))
    assert cluster.change(1, RemoveMember(2)).status == "change_in_flight"


@catches("snapshot_keeps_conflict")
def divergent_log(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, logs={1: [1, 3], 2: [1, 3], 3: [1, 2, 2, 2, 2, 2, 2]}, mutation=mutation)
    cluster.cut(3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.settle()
    cluster.compact(1)
    cluster.heal()
    for _ in range(4):
        cluster.settle()
    assert cluster[3].log == cluster[1].log


@catches("read_without_quorum")
def read_of_a_deposed_leader(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster.elect(1)
    depose(cluster, 1, 2)
    cluster.read(1, 7)
    assert cluster[1].reads == []


@catches("read_before_commit")
def read_of_a_new_leader(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster.elect(1)
    cluster.propose(1, b"committed by 1 and 2")
    cluster.deliver(1, 2)
    cluster.deliver(2, 1)
    assert cluster[1].core.commit == 2
    cluster.crash(1)
    cluster.flying.clear()
    new_leader(cluster, 2)
    cluster.read(2, 7)
    for message in cluster.take(2, 3):
        if message.type == "Heartbeat":
            cluster.hand_over(message)
    cluster.deliver(3, 2)
    assert not [read for read in cluster[2].reads if read.index < 2]


@catches("lease_ignores_pause")
def lease_after_a_pause(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, lease_reads=True, mutation=mutation)
    cluster.elect(1)
    cluster.heartbeat(1)
    cluster.deliver()
    depose(cluster, 1, 2)
    cluster.read(1, 7)
    assert cluster[1].reads == []


@catches("lease_ignores_vote_promise")
def vote_within_a_lease(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, lease_reads=True, mutation=mutation)
    cluster.elect(1)
    cluster.heartbeat(1)
    cluster.deliver()
    cluster.connection_closed(2)
    cluster.connection_closed(3)
    cluster.campaign(2)
    cluster.deliver(2, 3)
    cluster.deliver(3, 2)
    cluster.deliver(2, 3)
    cluster.deliver(3, 2)
    assert cluster[2].core.role != "leader"


@catches("removed_leader_stays")
def removed_leader(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster.elect(1)
    cluster.change(1, RemoveMember(1))
    cluster.deliver(type="AppendEntries")
    cluster.deliver(type="AppendEntriesResponse")
    assert cluster[1].core.role == "follower"


@catches("joint_needs_one_majority")
def half_of_a_joint_configuration(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster.elect(1)
    for id in (4, 5):
        cluster.join(id)
    cluster.change(1, AddVoter(4), AddVoter(5), RemoveMember(2), RemoveMember(3), joint="explicit")
    cluster.settle()
    cluster.settle()
    cluster.cut(2, 3)
    cluster.propose(1, b"x")
    cluster.deliver()
    assert b"x" not in cluster[1].commands


@catches("vote_stale_log")
def vote_for_a_stale_log(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster.elect(1)
    cluster.cut(3)
    cluster.propose(1, b"committed")
    cluster.settle()
    cluster.crash(1)
    cluster.heal()
    cluster.pass_ms(600)
    cluster.campaign(3)
    cluster.deliver()
    assert cluster[3].core.role != "leader"


@catches("vote_twice")
def two_candidates(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, pre_vote=False, mutation=mutation)
    cluster.pass_ms(600)
    cluster.campaign(1)
    cluster.campaign(2)
    cluster.deliver(1, 3)
    cluster.deliver(2, 3)
    assert [reply.granted for reply in cluster.take(3)] == [True, False]


@catches("append_without_prev_check")
def append_on_a_conflict(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, logs={1: [1, 3], 2: [1, 2], 3: [1, 3]}, mutation=mutation)
    cluster.cut(2)
    cluster.elect(1)
    cluster.heal()
    cluster.receive(
        2, "AppendEntries", sender=1, term=4, prev_log_index=2, prev_log_term=3, entries=[Entry(3, 4, 1, b"")]
    )
    assert cluster[2].terms == [1, 2]


@catches("commit_beyond_match")
def commit_of_an_unmatched_tail(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, logs={2: [1, 1, 2, 2, 2]}, mutation=mutation)
    cluster.receive(2, "AppendEntries", sender=1, term=3, prev_log_index=2, prev_log_term=1, leader_commit=5)
    assert cluster[2].core.commit == 2


@catches("ack_before_persist")
def acknowledged_and_lost(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster.elect(1)
    cluster.cut(3)
    cluster[2].slow_disk = True
    cluster.propose(1, b"x")
    cluster.deliver()
    assert b"x" not in cluster[1].commands


@catches("persisted_by_index_alone")
def aba(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster[2].slow_disk = True
    for term, sender in ((1, 1), (2, 3)):
        cluster.receive(2, "AppendEntries", sender=sender, term=term, entries=[Entry(1, term, 0, b"x")])
    first = cluster[2].writes[0]
    cluster[2].writes.clear()
    cluster.step(2, Persisted(ticket=first.update.ticket, index=1, term=1, now=cluster.now))
    assert cluster[2].state.persisted_index == 0


@catches("leader_counts_unpersisted")
def leaders_own_copy(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster.elect(1)
    cluster.cut(3)
    cluster[1].slow_disk = True
    cluster.propose(1, b"x")
    cluster.deliver()
    assert cluster[1].core.commit == 1


@catches("config_not_undone")
def truncated_change(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster.elect(1)
    cluster.cut(1)
    cluster.change(1, AddVoter(4))
    cluster.elect(2)
    cluster.heal()
    cluster.settle()
    cluster.settle()
    assert cluster[1].state.configuration.incoming == (1, 2, 3)


@catches("snapshot_without_configuration")
def joiner_by_snapshot(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster.elect(1)
    cluster.join(4)
    cluster.cut(4)
    cluster.change(1, AddLearner(4))
    cluster.settle()
    cluster.compact(1)
    cluster.heal()
    for _ in range(4):
        cluster.settle()
    assert cluster[4].core.log.first_index > 1
    assert cluster[4].state.configuration.incoming == (1, 2, 3)


@catches("check_quorum_never")
def leader_that_only_speaks(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster.elect(1)
    cluster.blocked = {(2, 1), (3, 1)}
    for _ in range(10):
        cluster.heartbeat(1)
        cluster.deliver()
    assert cluster[1].core.role == "follower"


@catches("pre_vote_bumps_term")
def partitioned_server(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster.elect(1)
    cluster.cut(3)
    for _ in range(20):
        cluster.heartbeat(1)
        cluster.deliver()
        cluster.tick(3)
    cluster.heal()
    cluster.settle()
    assert (cluster[1].core.role, cluster[1].core.term) == ("leader", 1)


@catches("learner_counts_in_quorum")
def learners_commit(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, learners=[4, 5], mutation=mutation)
    cluster.elect(1)
    cluster.settle()
    cluster.cut(2, 3)
    cluster.propose(1, b"x")
    cluster.deliver()
    assert b"x" not in cluster[1].commands


@catches("read_token_reused")
def answer_to_an_earlier_life(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, mutation=mutation)
    cluster.elect(1)
    cluster.settle()
    cluster.read(2, 7)
    cluster.deliver(2, 1)
    for _ in range(2):
        cluster.deliver(1, 3)
        cluster.deliver(3, 1)
    late = cluster.take(1, 2, "ForwardReadResponse")
    assert late
    cluster.flying.clear()
    cluster.crash(2)
    cluster.start(2)
    cluster.propose(1, b"x")
    cluster.settle()
    cluster.read(2, 7)
    cluster.take(2, 1)
    for message in late:
        cluster.hand_over(message)
    assert not [read for read in cluster[2].reads if read.index]


@catches("leader_appends_over")
def leader_append_only(mutation: str | None) -> None:
    cluster = Cluster(1, 2, 3, logs={1: [1, 2], 2: [1, 2], 3: [1]}, mutation=mutation)
    new_leader(cluster, 1)
    assert cluster[1].terms == [1, 2, 3]


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_scenario_passes_on_the_protocol_as_it_is(name: str) -> None:
    SCENARIOS[name](None)


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_bug_is_caught(name: str) -> None:
    if BUILD == "release":
        pytest.skip("a release build cannot put bugs back; build with QUORATE_BUILD=debug")
    with pytest.raises((AssertionError, InvariantBroken)):
        SCENARIOS[name](name)


def test_every_known_bug_has_a_scenario() -> None:
    assert len(SCENARIOS) >= 20
    if BUILD != "release":
        assert set(mutations()) == set(SCENARIOS)


def test_a_release_build_has_no_such_switch() -> None:
    if BUILD != "release":
        assert len(mutations()) >= 20
        with pytest.raises(ConfigError):
            Raft(1, voters=[1], seed=1, mutation="no such bug")
        return
    assert list(mutations()) == []
    for name in ("vote_twice", "no such bug"):
        with pytest.raises(ConfigError):
            Raft(1, voters=[1], seed=1, mutation=name)
