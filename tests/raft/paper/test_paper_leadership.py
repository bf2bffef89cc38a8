"""The dissertation on pre-vote (§9.6), leadership transfer (§3.10), check-quorum (§6.2) and leases (§6.4.1).

Each docstring gives the rule in our words.
"""

from __future__ import annotations

import pytest

from quorate.errors import ConfigError
from quorate.raft import HardState, RaftConfig
from raft.harness import AddVoter, Cluster, RemoveMember

# §9.6 Pre-vote


def test_9_6_a_pre_vote_changes_no_term() -> None:
    """§9.6: a candidate asks first, with the term that it would take, and nobody's term moves."""
    cluster = Cluster(1, 2, 3)
    cluster.timeout(1)
    assert (cluster[1].core.role, cluster[1].core.term) == ("pre_candidate", 0)
    requests = cluster.take()
    assert {(m.type, m.pre_vote, m.term) for m in requests} == {("RequestVote", True, 1)}
    cluster.hand_over(requests[0])
    assert (cluster[2].core.term, cluster[2].state.vote) == (0, 0)


def test_9_6_an_election_starts_with_a_majority_of_pre_votes() -> None:
    """§9.6: the term is raised only when a majority would grant."""
    cluster = Cluster(1, 2, 3, 4, 5)
    cluster.timeout(1)
    cluster.deliver(1, 2)
    cluster.deliver(2, 1)
    assert cluster[1].core.role == "pre_candidate"
    cluster.deliver(1, 3)
    cluster.deliver(3, 1)
    assert (cluster[1].core.role, cluster[1].core.term) == ("candidate", 1)


def test_9_6_a_follower_that_hears_a_leader_refuses() -> None:
    """§9.6: no pre-vote within an election timeout of the last message of a leader."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.cut(3)
    cluster.timeout(3)
    cluster.heal()
    cluster.flying.clear()
    cluster.heartbeat(1)
    cluster.deliver(1, 2)
    cluster.campaign(3)
    cluster.deliver(3, 2)
    assert not any(reply.granted for reply in cluster.take(2, 3))


def test_9_6_a_follower_that_hears_a_leader_refuses_without_check_quorum_too() -> None:
    """§9.6: this rule is the pre-vote's own; without it a pre-vote would keep nobody from disturbing."""
    cluster = Cluster(1, 2, 3, check_quorum=False)
    cluster.elect(1)
    cluster.cut(3)
    cluster.timeout(3)
    cluster.heal()
    cluster.flying.clear()
    cluster.heartbeat(1)
    cluster.deliver(1, 2)
    cluster.take(1, 3)
    cluster.campaign(3)
    cluster.deliver()
    assert (cluster[1].core.role, cluster[1].core.term) == ("leader", 1)


def test_9_6_a_pre_vote_needs_an_up_to_date_log() -> None:
    """§9.6 with §5.4.1: the same rule as for the vote."""
    cluster = Cluster(1, 2, 3, logs={1: [1], 2: [1, 1], 3: [1, 1]})
    cluster.timeout(1)
    cluster.deliver()
    assert cluster[1].core.role in ("pre_candidate", "follower")
    assert cluster[1].core.term == 1


def test_9_6_a_partitioned_server_does_not_raise_its_term() -> None:
    """§9.6: it asks again and again, in vain, and comes back with the term that it had."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.cut(3)
    for _ in range(40):
        cluster.heartbeat(1)
        cluster.deliver()
        cluster.tick(3)
    assert (cluster[3].core.role, cluster[3].core.term) == ("pre_candidate", 1)
    cluster.heal()
    cluster.flying.clear()
    cluster.settle()
    cluster.settle()
    assert (cluster[1].core.role, cluster[1].core.term, cluster[3].core.leader) == ("leader", 1, 1)


def test_9_6_pre_votes_of_a_term_are_not_votes() -> None:
    """§9.6: a pre-vote binds nobody; two pre-candidates may both get the same one."""
    cluster = Cluster(1, 2, 3)
    cluster.timeout(1)
    cluster.timeout(2)
    cluster.deliver(1, 3, count=1)
    cluster.deliver(2, 3, count=1)
    assert [reply.granted for reply in cluster.take(3)] == [True, True]


def test_9_6_a_late_pre_vote_answer_is_not_a_vote() -> None:
    """A grant of a pre-vote for term 1 must not count for the election of term 1."""
    cluster = Cluster(1, 2, 3, 4, 5)
    cluster.timeout(1)
    cluster.deliver(1)
    late = cluster.take(5, 1)
    cluster.deliver(2, 1)
    cluster.deliver(3, 1)
    assert cluster[1].core.role == "candidate"
    cluster.flying.clear()
    for message in late * 3:
        cluster.hand_over(message)
    cluster.receive(1, "RequestVoteResponse", sender=4, term=1, granted=True, pre_vote=True)
    cluster.receive(1, "RequestVoteResponse", sender=3, term=1, granted=True, pre_vote=True)
    assert cluster[1].core.role == "candidate"


def test_9_6_a_rejection_teaches_the_higher_term() -> None:
    """A candidate that is behind in term learns it from the refusal, or with check-quorum it would wait for ever."""
    cluster = Cluster(1, 2, 3, hard_states={2: HardState(term=8, vote=0, commit=0)})
    cluster.timeout(1)
    cluster.deliver(1, 2)
    cluster.deliver(2, 1)
    assert cluster[1].core.term == 8


def test_9_6_two_that_lost_their_leader_elect_one() -> None:
    """The leader is cleared on becoming a pre-candidate; else each refuses the other for its sake."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.crash(1)
    run_until_led(cluster, 2_000)
    assert cluster.leader in (2, 3)


def run_until_led(cluster: Cluster, ms: int) -> None:
    """Let everybody's timers run, a millisecond at a time, until somebody leads."""
    for _ in range(ms):
        cluster.advance(1)
        cluster.deliver()
        if cluster.leader:
            return


# §3.10 Leadership transfer


def test_3_10_the_leader_hands_over() -> None:
    """§3.10: the target is brought up to date and told to campaign at once: no pre-vote, and against check-quorum."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.heartbeat(1)
    cluster.deliver()
    cluster.transfer(1, 3)
    cluster.deliver()
    assert cluster[3].core.role == "leader"
    assert cluster[1].core.leader == 3


def test_3_10_new_proposals_wait_while_it_hands_over() -> None:
    """§3.10 step 1: the prior leader stops accepting requests."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.transfer(1, 3)
    assert cluster.propose(1, b"x").status == "transferring"
    assert cluster.change(1, RemoveMember(2)).status == "transferring"


def test_3_10_the_target_is_brought_up_to_date_first() -> None:
    """§3.10 step 2: it gets every entry before it is told to go."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.transfer(1, 3)
    assert not [message for message in cluster.flying if message.type == "TimeoutNow"]
    cluster.deliver(1, 3)
    cluster.deliver(3, 1)
    assert [message.receiver for message in cluster.flying if message.type == "TimeoutNow"] == [3]


def test_3_10_a_transfer_that_fails_is_given_up() -> None:
    """§3.10: after about an election timeout the leader goes on as before."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.cut(3)
    cluster.transfer(1, 3)
    for _ in range(8):
        cluster.heartbeat(1)
        cluster.deliver()
    assert cluster[1].state.transfer_target == 0
    assert cluster.propose(1, b"x").status == "accepted"


@pytest.mark.parametrize("target", [4, 9])
def test_3_10_a_learner_or_a_stranger_is_no_target(target: int) -> None:
    """§3.10 and §4.2.1: only a voter can lead."""
    cluster = Cluster(1, 2, 3, learners=[4])
    cluster.elect(1)
    result = cluster.transfer(1, target)
    assert result.status in ("not_voter", "invalid")
    assert cluster.propose(1, b"x").status == "accepted"


def test_3_10_a_learner_refuses_to_take_over() -> None:
    """§4.2.1: even told so, a learner does not campaign."""
    cluster = Cluster(1, 2, 3, learners=[4])
    cluster.elect(1)
    cluster.settle()
    cluster.receive(4, "TimeoutNow", sender=1, term=1)
    assert (cluster[4].core.role, cluster[4].core.term) == ("follower", 1)


def test_3_10_an_order_to_campaign_of_an_old_term_is_ignored() -> None:
    """§5.1: stale requests are rejected, this one too."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.elect(2)
    cluster.receive(3, "TimeoutNow", sender=1, term=1)
    assert cluster[3].core.role == "follower"


def test_3_10_leadership_moves_inside_a_joint_change() -> None:
    """§3.10 with §6: the target may be in the new half only."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.join(4)
    cluster.change(1, AddVoter(4), RemoveMember(1), joint="explicit")
    cluster.settle()
    cluster.settle()
    cluster.transfer(1, 4)
    cluster.deliver()
    assert cluster[4].core.role == "leader"


# §6.2 Check-quorum


def run_leader(cluster: Cluster, id: int, heartbeats: int = 10) -> None:
    for _ in range(heartbeats):
        cluster.heartbeat(id)
        cluster.deliver()


def test_6_2_a_leader_without_a_quorum_steps_down() -> None:
    """§6.2: an election timeout without a successful round with a majority ends its office."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.cut(1)
    run_leader(cluster, 1)
    assert (cluster[1].core.role, cluster[1].core.term) == ("follower", 1)


def test_6_2_a_leader_with_a_quorum_stays() -> None:
    """§6.2: a majority with itself is enough."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.cut(3)
    run_leader(cluster, 1, 30)
    assert cluster[1].core.role == "leader"


def test_6_2_learners_do_not_hold_a_leader_in_office() -> None:
    """§4.2.1: they count for nothing."""
    cluster = Cluster(1, 2, 3, learners=[4, 5])
    cluster.elect(1)
    cluster.cut(2, 3)
    run_leader(cluster, 1)
    assert cluster[1].core.role == "follower"


def test_6_2_a_leader_that_only_speaks_steps_down() -> None:
    """A one-way partition; without check-quorum it would keep the others quiet for ever."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.blocked = {(2, 1), (3, 1)}
    run_leader(cluster, 1)
    assert cluster[1].core.role == "follower"


def test_6_2_both_halves_of_a_joint_configuration_are_checked() -> None:
    """§6.2 with §6: a quorum means both majorities."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    for id in (4, 5):
        cluster.join(id)
    cluster.change(1, AddVoter(4), AddVoter(5), RemoveMember(2), RemoveMember(3), joint="explicit")
    cluster.settle()
    cluster.settle()
    cluster.cut(4, 5)
    run_leader(cluster, 1)
    assert cluster[1].core.role == "follower"


def test_6_2_it_can_be_turned_off() -> None:
    """Ours: without check-quorum a leader stays until it hears of a higher term."""
    cluster = Cluster(1, 2, 3, check_quorum=False)
    cluster.elect(1)
    cluster.cut(1)
    run_leader(cluster, 1, 30)
    assert cluster[1].core.role == "leader"


def test_a_resumed_leader_takes_in_what_waits_before_it_judges() -> None:
    """DESIGN §7 in the core's terms: timers fire only on Tick, so a resumed process reads its mail first."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.heartbeat(1)
    cluster.deliver(1)
    cluster.pass_ms(10_000)
    cluster.deliver(receiver=1)
    assert cluster[1].core.role == "leader"
    cluster.tick(1)
    assert cluster[1].core.role == "leader"


# Hints


def test_forgetting_a_leader_frees_the_pre_vote() -> None:
    """etcd's ForgetLeader: a follower that knows that its leader is gone does not wait out the timeout."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.crash(1)
    cluster.forget(2)
    cluster.forget(3)
    assert cluster[2].core.leader == 0
    cluster.campaign(2)
    cluster.deliver()
    assert cluster[2].core.role == "leader"


def test_a_closed_connection_starts_a_pre_vote_soon() -> None:
    """DESIGN §5: after a small random delay, so that two followers do not split the vote."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.crash(1)
    cluster.connection_closed(2)
    cluster.connection_closed(3)
    assert cluster[2].update is not None
    assert cluster[2].update.deadline - cluster.now <= 10_000
    run_until_led(cluster, 100)
    assert cluster.leader in (2, 3)


# §6.4.1 Leases


def leased(**options: object) -> Cluster:
    cluster = Cluster(1, 2, 3, lease_reads=True, **options)  # type: ignore[arg-type]
    cluster.elect(1)
    cluster.heartbeat(1)
    cluster.deliver()
    return cluster


def test_6_4_1_a_lease_answers_without_a_round() -> None:
    """§6.4.1: within the lease the leader reads at once."""
    cluster = leased()
    cluster.read(1, 7)
    assert [(read.id, read.index) for read in cluster[1].reads] == [(7, 1)]


def test_6_4_1_leases_are_off_by_default() -> None:
    """§6.4.1: they rest on clocks, so they are asked for by name."""
    assert RaftConfig().lease_reads is False
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.heartbeat(1)
    cluster.deliver()
    cluster.read(1, 7)
    assert cluster[1].reads == []


def test_6_4_1_leases_need_check_quorum() -> None:
    """§6.4.1: without the voters' promise not to elect another there is no lease."""
    with pytest.raises(ConfigError):
        RaftConfig(lease_reads=True, check_quorum=False)


def test_6_4_1_a_lease_ends() -> None:
    """§6.4.1: election timeout less the margin after the round was *sent*; then a round is needed again."""
    cluster = leased()
    cluster.pass_ms(136)
    cluster.read(1, 7)
    assert cluster[1].reads == []
    cluster.deliver()
    assert [(read.id, read.index) for read in cluster[1].reads] == [(7, 1)]


def test_6_4_1_a_pause_ends_a_lease() -> None:
    """The lease is judged by the time that comes with the read, whatever came before."""
    cluster = leased()
    cluster.cut(1)
    cluster.pass_ms(5_000)
    cluster.read(1, 7)
    assert cluster[1].reads == []


def test_6_4_1_a_lease_counts_from_sending() -> None:
    """§6.4.1: start is when the round was sent, not when its answers came."""
    cluster = leased()
    cluster.heartbeat(1)
    cluster.deliver(1)
    late = cluster.take(receiver=1)
    cluster.pass_ms(140)
    for message in late:
        cluster.hand_over(message)
    cluster.read(1, 7)
    assert cluster[1].reads == []


def test_6_4_1_a_lease_needs_a_majority() -> None:
    """§6.4.1: one answer of four others extends nothing."""
    cluster = Cluster(1, 2, 3, 4, 5, lease_reads=True)
    cluster.elect(1)
    cluster.cut(3, 4, 5)
    cluster.pass_ms(140)
    cluster.heartbeat(1)
    cluster.deliver()
    cluster.read(1, 7)
    assert cluster[1].reads == []


@pytest.mark.parametrize("hint", ["none", "closed", "forget"])
def test_6_4_1_nobody_votes_within_a_lease(hint: str) -> None:
    """DESIGN §5: no voter grants a vote or a pre-vote within the promised lease, whatever hint it has."""
    cluster = leased()
    if hint == "closed":
        cluster.connection_closed(2)
        cluster.connection_closed(3)
    elif hint == "forget":
        cluster.forget(2)
        cluster.forget(3)
    cluster.pass_ms(100)
    cluster.receive(3, "RequestVote", sender=2, term=2, last_log_index=9, last_log_term=1)
    cluster.receive(3, "RequestVote", sender=2, term=2, last_log_index=9, last_log_term=1, pre_vote=True)
    assert not any(reply.granted for reply in cluster.take(3, 2))
    assert cluster[3].core.term == 1


def test_6_4_1_nobody_votes_for_oneself_within_a_lease() -> None:
    """A vote for oneself is a vote: with it and one voter that promised nothing a candidate would have a majority."""
    cluster = leased()
    cluster.blocked = {(1, 3)}
    for _ in range(8):
        cluster.heartbeat(1)
        cluster.deliver()
    cluster.campaign(2)
    cluster.deliver(2, 3)
    cluster.deliver(3, 2)
    cluster.deliver(2, 3)
    cluster.deliver(3, 2)
    cluster.read(1, 7)
    assert not (cluster[2].core.role == "leader" and [read for read in cluster[1].reads if read.index])
    assert cluster[2].core.role == "follower"


def test_6_4_1_a_restarted_voter_keeps_the_promise_that_it_forgot() -> None:
    """A restart must not shorten the lease, so a new start waits one timeout before it votes."""
    cluster = leased()
    cluster.crash(3)
    cluster.start(3)
    cluster.receive(3, "RequestVote", sender=2, term=2, last_log_index=9, last_log_term=1)
    assert not any(reply.granted for reply in cluster.take(3, 2))
    cluster.pass_ms(310)
    cluster.receive(3, "RequestVote", sender=2, term=2, last_log_index=9, last_log_term=1)
    assert any(reply.granted for reply in cluster.take(3, 2))


def test_6_4_1_a_transfer_ends_the_lease_of_the_old_leader() -> None:
    """§6.4.1: leadership transfer lets an election happen within the lease, so the leader must stop using it first."""
    cluster = leased()
    cluster.transfer(1, 2)
    cluster.read(1, 7)
    assert not [read for read in cluster[1].reads if read.index]


def test_6_4_1_a_transfer_under_leases_is_safe() -> None:
    """DESIGN §5: transfer respects the lease; at no time do two serve reads for different terms."""
    cluster = leased()
    cluster.transfer(1, 2)
    cluster.deliver()
    for _ in range(8):
        cluster.pass_ms(50)
        cluster.tick()
        cluster.deliver()
    leader = cluster.leader
    cluster.propose(leader, b"new")
    cluster.settle()
    other = 1 if leader != 1 else 2
    cluster[other].reads.clear()
    cluster.read(other, 9)
    assert not [read for read in cluster[other].reads if read.index and read.index < cluster[leader].core.commit]
