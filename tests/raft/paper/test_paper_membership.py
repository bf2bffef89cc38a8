"""§6 of the Raft paper and chapter 4 of the dissertation: changes of the cluster's members. Rules in our words."""

from __future__ import annotations

import pytest

from quorate.errors import InvalidArgument
from quorate.raft import CONFIGURATION, Campaign, MoveMember, Persisted, Raft
from quorate.raft._configuration import decode_configuration
from raft.harness import AddLearner, AddVoter, Cluster, RemoveMember


def grown(*joiners: int, **options: object) -> Cluster:
    cluster = Cluster(1, 2, 3, **options)  # type: ignore[arg-type]
    cluster.elect(1)
    for id in joiners:
        cluster.join(id)
    return cluster


def test_6_a_configuration_is_in_force_once_appended() -> None:
    """§6: a server uses the newest configuration in its log, committed or not."""
    cluster = grown(4)
    cluster.cut(1)
    assert cluster.change(1, AddVoter(4)).status == "accepted"
    assert cluster[1].state.configuration.incoming == (1, 2, 3, 4)
    assert cluster[1].core.commit < cluster[1].core.log.last_index
    cluster.heal()
    cluster.flying.clear()
    cluster.settle()
    assert cluster[2].state.configuration.incoming == (1, 2, 3, 4)


def test_6_entries_go_to_all_servers_of_both_configurations() -> None:
    """§6, joint consensus: log entries are replicated to all servers in both."""
    cluster = grown(4, 5)
    cluster.change(1, AddVoter(4), AddVoter(5), RemoveMember(2), joint="explicit")
    cluster.settle()
    configuration = cluster[1].state.configuration
    assert (configuration.incoming, configuration.outgoing) == ((1, 3, 4, 5), (1, 2, 3))
    cluster.propose(1, b"x")
    cluster.settle()
    assert all(cluster[id].commands == [b"x"] for id in (1, 2, 3, 4, 5))


@pytest.mark.parametrize(
    ("reachable", "committed"),
    [((2, 4, 5), True), ((2, 3), False), ((4, 5), False), ((2, 4), False), ((2, 3, 4, 5), True)],
)
def test_6_agreement_needs_both_majorities(reachable: tuple[int, ...], committed: bool) -> None:
    """§6: commitment needs separate majorities of the old configuration {1,2,3} and the new {1,4,5,6}."""
    cluster = grown(4, 5, 6)
    cluster.change(1, AddVoter(4), AddVoter(5), AddVoter(6), RemoveMember(2), RemoveMember(3), joint="explicit")
    cluster.settle()
    cluster.cut(*(id for id in cluster.servers if id not in (1, *reachable)))
    cluster.propose(1, b"x")
    cluster.deliver()
    assert (cluster[1].core.commit == cluster[1].core.log.last_index) is committed


@pytest.mark.parametrize(("reachable", "elected"), [((2, 4, 5), True), ((2, 3), False), ((4, 5), False)])
def test_6_elections_need_both_majorities(reachable: tuple[int, ...], elected: bool) -> None:
    """§6: elections, too, need separate majorities of both."""
    cluster = grown(4, 5, 6)
    cluster.change(1, AddVoter(4), AddVoter(5), AddVoter(6), RemoveMember(2), RemoveMember(3), joint="explicit")
    cluster.settle()
    cluster.settle()
    cluster.stall(1)  # a way to end its office
    cluster.stall(1, False)
    cluster.cut(*(id for id in cluster.servers if id not in (1, *reachable)))
    cluster.pass_ms(600)
    cluster.campaign(1)
    cluster.deliver()
    assert (cluster[1].core.role == "leader") is elected


def test_6_any_server_of_both_may_lead() -> None:
    """§6: any server from either configuration may serve as leader."""
    cluster = grown(4)
    cluster.change(1, AddVoter(4), RemoveMember(2), joint="explicit")
    cluster.settle()
    cluster.settle()
    for id in (2, 4, 3):
        cluster.elect(id)
        cluster.propose(id, b"%d" % id)
        cluster.settle()
    assert cluster[1].commands == [b"2", b"4", b"3"]


def test_6_the_joint_state_is_left_when_it_is_committed() -> None:
    """§6: once C-old,new is committed, the leader creates C-new; with automatic leave nobody has to ask."""
    cluster = grown(4, 5)
    cluster.change(1, AddVoter(4), AddVoter(5))
    assert cluster[1].state.configuration.auto_leave
    kinds = [entry.kind for entry in cluster[1].core.log.entries(1, cluster[1].core.log.last_index + 1)]
    assert kinds.count(CONFIGURATION) == 1, "not before the joint one is committed"
    for _ in range(3):
        cluster.settle()
    for id in (1, 2, 3, 4, 5):
        configuration = cluster[id].state.configuration
        assert (configuration.incoming, configuration.outgoing) == ((1, 2, 3, 4, 5), ())


def test_6_an_explicit_joint_state_stays() -> None:
    """Ours: a joint state asked for explicitly is left only on demand, so that an operator can look before."""
    cluster = grown(4)
    cluster.change(1, AddVoter(4), joint="explicit")
    for _ in range(4):
        cluster.settle()
    assert cluster[1].state.configuration.outgoing == (1, 2, 3)
    assert cluster.change(1, joint="leave").status == "accepted"
    cluster.settle()
    assert cluster[1].state.configuration.outgoing == ()


def test_6_a_new_leader_finishes_the_change() -> None:
    """§6: a leader elected under C-old,new carries it on."""
    cluster = grown(4, 5)
    cluster.change(1, AddVoter(4), AddVoter(5))
    cluster.deliver(1, 2)
    cluster.deliver(1, 3)
    cluster.crash(1)
    cluster.flying.clear()
    cluster.elect(2)
    for _ in range(4):
        cluster.settle()
    assert cluster[5].state.configuration.incoming == (1, 2, 3, 4, 5)
    assert cluster[5].state.configuration.outgoing == ()


def test_6_new_servers_join_without_a_vote() -> None:
    """§6, first issue; dissertation §4.2.1: a joiner catches up as a non-voting member first."""
    cluster = grown(4)
    cluster.propose(1, b"x")
    cluster.change(1, AddLearner(4))
    cluster.cut(2, 3)
    cluster.propose(1, b"y")
    cluster.deliver()
    assert cluster[1].core.commit < cluster[1].core.log.last_index, "the learner does not count"
    cluster.heal()
    cluster.settle()
    cluster.settle()
    assert cluster[4].commands == [b"x", b"y"]


def test_6_a_removed_leader_steps_down_when_its_removal_commits() -> None:
    """§6, second issue: a leader outside of C-new steps down once C-new is committed, and not before."""
    cluster = grown()
    cluster.change(1, RemoveMember(1))
    cluster.deliver(1)
    assert cluster[1].core.role == "leader"
    cluster.deliver(2, 1)
    assert cluster[1].core.role == "leader", "of the two that count, one has it"
    cluster.deliver(3, 1)
    assert cluster[1].core.role == "follower"
    assert cluster[1].core.commit == cluster[1].core.log.last_index


def test_6_a_leader_that_is_being_removed_does_not_count_itself() -> None:
    """§6: it replicates entries but does not count itself in majorities."""
    cluster = grown()
    cluster.change(1, RemoveMember(1))
    cluster.flying.clear()
    cluster.receive(
        1, "AppendEntriesResponse", sender=2, term=1, success=True, match_index=cluster[1].core.log.last_index
    )
    assert cluster[1].core.commit < cluster[1].core.log.last_index


def test_6_the_others_hear_of_the_commit_before_the_removed_leader_is_silent() -> None:
    """Dissertation §4.2.2: those who stay go on at once: one of them has the change in its log and can be elected."""
    cluster = grown()
    cluster.change(1, RemoveMember(1))
    cluster.settle()
    assert cluster.leader in (2, 3), "the leader that went told one of them to take over"
    cluster.propose(cluster.leader, b"x")
    cluster.settle()
    assert cluster[2].commands == cluster[3].commands == [b"x"]
    assert cluster[2].state.configuration.incoming == (2, 3)


def test_6_removed_servers_do_not_disturb() -> None:
    """§6, third issue; §4.2.3: a vote is refused while a leader is heard, so that a removed server deposes nobody."""
    cluster = grown()
    cluster.cut(3)
    cluster.change(1, RemoveMember(3))
    cluster.settle()
    cluster.heal()
    cluster.heartbeat(1)
    cluster.deliver()
    cluster.campaign(3)
    cluster.deliver()
    cluster.receive(2, "RequestVote", sender=3, term=9, last_log_index=99, last_log_term=9)
    cluster.settle()
    assert (cluster[1].core.role, cluster[1].core.term) == ("leader", 1)
    assert cluster[2].core.term == 1


def test_4_1_a_single_change_needs_no_joint_state() -> None:
    """Dissertation §4.1: majorities of two configurations that differ by one voter always overlap."""
    cluster = grown(4)
    cluster.change(1, AddVoter(4))
    assert cluster[1].state.configuration.outgoing == ()
    cluster.settle()
    cluster.settle()
    cluster.change(1, RemoveMember(2))
    assert cluster[1].state.configuration.outgoing == ()


def test_4_1_one_change_at_a_time() -> None:
    """Dissertation §4.1: no change begins before the one before it is committed."""
    cluster = grown(4, 5)
    assert cluster.change(1, AddVoter(4)).status == "accepted"
    assert cluster.change(1, AddVoter(5)).status == "change_in_flight"
    cluster.settle()
    assert cluster.change(1, AddVoter(5)).status == "accepted"


def test_4_1_no_change_before_a_commit_of_the_term() -> None:
    """The bug of 2015 (raft-dev): a leader changes nothing before it has committed an entry of its own term."""
    cluster = Cluster(1, 2, 3, pre_vote=False)
    cluster.campaign(1)
    cluster.deliver(type="RequestVote")
    cluster.deliver(type="RequestVoteResponse")
    assert cluster[1].core.role == "leader"
    assert cluster.change(1, RemoveMember(3)).status == "no_commit_in_term"
    cluster.settle()
    assert cluster.change(1, RemoveMember(3)).status == "accepted"


def test_4_1_a_truncated_change_is_undone() -> None:
    """Dissertation §4.1: a server falls back to the previous configuration when the entry is removed."""
    cluster = grown(4)
    cluster.cut(1)
    cluster.change(1, AddVoter(4))
    cluster.elect(2)
    cluster.propose(2, b"x")
    cluster.heal()
    for _ in range(3):
        cluster.settle()
    assert cluster[1].state.configuration.incoming == (1, 2, 3)
    assert cluster[1].core.configuration_at(1).incoming == (1, 2, 3)


def test_4_2_removal_down_to_one() -> None:
    """etcd's checklist: of two voters one removes the other; the old majority of two is not needed to lead on."""
    cluster = Cluster(1, 2)
    cluster.elect(1)
    cluster.change(1, RemoveMember(2))
    cluster.settle()
    cluster.crash(2)
    cluster.propose(1, b"x")
    assert cluster[1].commands == [b"x"]


def test_4_2_the_last_voter_cannot_be_removed() -> None:
    """Ours: a configuration without a voter could never decide again."""
    cluster = Cluster(1)
    cluster.elect(1)
    assert cluster.change(1, RemoveMember(1)).status == "invalid"
    assert cluster[1].core.log.last_index == 1


def test_4_2_a_learner_is_promoted() -> None:
    """Dissertation §4.2.1: a learner that caught up becomes a voter by a single change."""
    cluster = grown(4)
    cluster.change(1, AddLearner(4))
    cluster.settle()
    cluster.settle()
    cluster.change(1, AddVoter(4))
    cluster.settle()
    configuration = cluster[1].state.configuration
    assert (configuration.incoming, configuration.learners) == ((1, 2, 3, 4), ())
    cluster.elect(4)


def test_4_2_a_learner_that_is_a_voter_elsewhere_votes() -> None:
    """§6: a server votes by what the candidate asks, even if it thinks that it is a learner; its log is what counts."""
    cluster = Cluster(1, 2, learners=[3])
    cluster.elect(1)
    cluster.change(1, AddVoter(3))
    cluster.deliver(1, 2)
    cluster.deliver(2, 1)
    cluster.flying.clear()
    cluster.crash(1)
    assert cluster[3].state.configuration.learners == (3,)
    cluster.pass_ms(600)
    cluster.campaign(2)
    cluster.settle()
    assert cluster[2].core.role == "leader"


def test_4_2_a_learner_never_campaigns() -> None:
    """Dissertation §4.2.1: non-voting members do not take part in elections."""
    cluster = Cluster(1, 2, 3, learners=[4])
    cluster.campaign(4)
    for _ in range(10):
        cluster.pass_ms(300)
        cluster.tick(4)
    assert (cluster[4].core.role, cluster[4].core.term) == ("follower", 0)


def test_4_2_a_server_without_a_configuration_never_campaigns() -> None:
    """§6: a joiner waits until it is told who belongs to the cluster."""
    cluster = grown(4)
    cluster.campaign(4)
    for _ in range(10):
        cluster.pass_ms(300)
        cluster.tick(4)
    assert (cluster[4].core.role, cluster[4].core.term) == ("follower", 0)


def test_4_3_everything_can_change_at_once() -> None:
    """Dissertation §4.3: joint consensus replaces the whole cluster in one change."""
    cluster = grown(4, 5, 6)
    cluster.propose(1, b"x")
    cluster.change(1, *(AddVoter(id) for id in (4, 5, 6)), *(RemoveMember(id) for id in (1, 2, 3)))
    for _ in range(4):
        cluster.settle()
    assert cluster[1].core.role == "follower"
    for id in (1, 2, 3):
        cluster.crash(id)
    cluster.elect(5)
    cluster.propose(5, b"y")
    cluster.settle()
    assert cluster[6].commands == [b"x", b"y"]
    assert cluster[6].state.configuration.incoming == (4, 5, 6)


def test_4_3_a_demoted_voter_counts_until_the_joint_state_is_left() -> None:
    """Dissertation §4.3: it is in the old half still; as a learner it would be in both at once."""
    cluster = grown()
    cluster.change(1, AddLearner(3), joint="explicit")
    configuration = cluster[1].state.configuration
    assert (configuration.incoming, configuration.outgoing, configuration.learners) == ((1, 2), (1, 2, 3), ())
    assert configuration.learners_next == (3,)
    cluster.settle()
    cluster.change(1, joint="leave")
    cluster.settle()
    configuration = cluster[1].state.configuration
    assert (configuration.incoming, configuration.learners, configuration.learners_next) == ((1, 2), (3,), ())


@pytest.mark.parametrize(
    "changes",
    [(RemoveMember(9),), (), (RemoveMember(1), RemoveMember(2), RemoveMember(3)), (AddVoter(0),)],
    ids=["unknown member", "nothing", "everybody", "nobody's id"],
)
def test_a_change_that_cannot_be_is_refused(changes: tuple[object, ...]) -> None:
    """Ours: refused, with nothing appended."""
    cluster = grown()
    try:
        result = cluster.change(1, *changes)
    except ValueError:
        pass
    else:
        assert result.status == "invalid"
    assert cluster[1].core.log.last_index == 1


def test_only_the_leader_changes_members() -> None:
    """§6: a change is an entry of the leader."""
    cluster = grown(4)
    assert cluster.change(2, AddVoter(4)).status in ("not_leader", "no_leader")


@pytest.mark.parametrize("change", [AddVoter, AddLearner])
def test_a_learner_does_not_change_its_identity(change: type) -> None:
    """DESIGN §5, identity: the leader counts what the bound incarnation acknowledged; another has an empty disk."""
    cluster = Cluster(1, 2, 3, incarnations={1: 11, 2: 22, 3: 33, 4: 44})
    cluster.elect(1)
    cluster.join(4)
    cluster.settle()
    assert cluster.change(1, AddLearner(4, incarnation=44)).status == "accepted"
    for _ in range(3):
        cluster.settle()
    assert cluster.change(1, change(4, incarnation=45)).status == "invalid"
    assert cluster.change(1, AddVoter(4, incarnation=44)).status == "accepted"


def test_a_wiped_disk_is_another_member() -> None:
    """DESIGN §5, identity: an incarnation that differs from the bound one is refused, until it is removed and added."""
    cluster = Cluster(1, 2, 3, incarnations={1: 11, 2: 22, 3: 33})
    cluster.elect(1)
    for _ in range(3):
        cluster.settle()
    assert dict(cluster[1].state.configuration.incarnations) == {1: 11, 2: 22, 3: 33}
    cluster.propose(1, b"x")
    cluster.settle()
    cluster.wipe(3)
    cluster.incarnations[3] = 34
    cluster.start(3)
    cluster.flying.clear()
    cluster.crash(2)
    cluster.propose(1, b"y")
    for _ in range(3):
        cluster.settle()
    assert b"y" not in cluster[1].commands, "a member without its memory must not make a majority"
    cluster.start(2)
    for _ in range(8):
        cluster.settle()
        if not cluster.leader:
            cluster.elect(2)
    leader = cluster.leader
    assert b"y" in cluster[leader].commands
    assert cluster.change(leader, RemoveMember(3)).status == "accepted"
    for _ in range(3):
        cluster.settle()
    assert cluster.change(leader, AddVoter(3, incarnation=34)).status == "accepted"
    for _ in range(6):
        cluster.settle()
    assert cluster[3].commands == cluster[leader].commands


def test_places_change_with_the_members_and_are_undone_with_them() -> None:
    """A departure from the paper: a configuration says where members are found, undone as a whole."""
    cluster = grown()
    cluster.change(1, AddLearner(4, place=b"d at 4"))
    cluster.deliver()
    assert cluster[3].state.configuration.places == ((4, b"d at 4"),)
    cluster.cut(1)
    assert cluster.change(1, MoveMember(4, b"d elsewhere")).status == "accepted"
    assert cluster[1].state.configuration.places == ((4, b"d elsewhere"),)
    cluster.elect(2)
    cluster.heal()
    cluster.settle()
    for id in (1, 2, 3):
        assert cluster[id].state.configuration.places == ((4, b"d at 4"),)
    assert cluster.change(2, MoveMember(5, b"nobody")).status == "invalid"
    assert cluster.change(2, MoveMember(4, b"")).status == "invalid"
    assert cluster.change(2, RemoveMember(4)).status == "accepted"
    cluster.settle()
    assert cluster[1].state.configuration.places == ()


def test_a_leader_says_the_places_that_its_configuration_lacks() -> None:
    """A log of an earlier version, or a restored directory, has none; the list given at the start fills them in."""
    raft = Raft(1, voters={1: 11}, seed=1, incarnation=11, places={1: b"here", 2: b"nobody"})
    update = raft.step(Campaign(now=0))
    update = raft.step(Persisted(update.ticket, now=1))
    update = raft.step(Persisted(update.ticket, update.entries[-1].index, 1, now=2))
    assert raft.configuration.places == ((1, b"here"),)
    kept = decode_configuration(update.entries[-1].data, raft.configuration.index)
    assert kept == raft.configuration
    with pytest.raises(InvalidArgument, match="512"):
        Raft(1, voters=[1], seed=1, places={1: bytes(513)})
