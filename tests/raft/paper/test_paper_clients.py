"""§8 of the Raft paper and §6.4 of the dissertation: what clients ask, as far as the core shows it.

Each docstring gives the rule in our words.
"""

from __future__ import annotations

from raft.harness import AddVoter, Cluster, RemoveMember


def reads(cluster: Cluster, id: int) -> list[tuple[int, int]]:
    return [(read.id, read.index) for read in cluster[id].reads]


def test_8_a_follower_names_the_leader() -> None:
    """§8: a server that is not the leader rejects the request and tells of the leader it heard last."""
    cluster = Cluster(1, 2, 3, forward=False)
    cluster.elect(1)
    result = cluster.propose(2, b"x", request=3)
    assert (result.id, result.status, result.leader) == (3, "not_leader", 1)


def test_8_without_a_leader_a_proposal_is_refused() -> None:
    """§8: nobody to send it to; the refusal proves that nothing was appended."""
    cluster = Cluster(1, 2, 3)
    assert cluster.propose(2, b"x").status == "no_leader"
    assert cluster[2].core.log.last_index == 0


def test_8_a_follower_forwards_when_asked_to() -> None:
    """Ours: forwarding of proposals can be turned on; the follower tells what became of it."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    assert cluster.propose(2, b"x", request=3).status == "forwarded"
    cluster.settle()
    result = cluster[2].proposals[-1]
    assert (result.id, result.status, result.index) == (3, "accepted", 2)
    assert cluster[2].commands == [b"x"]


def test_8_a_batch_is_appended_whole() -> None:
    """Ours: a list of payloads is appended in its order under one result."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    assert cluster.propose(1, b"a", b"b", b"c").index in (2, 4)
    cluster.settle()
    assert cluster[3].commands == [b"a", b"b", b"c"]


def test_back_pressure_refuses_and_keeps_nothing() -> None:
    """DESIGN §2.4: uncommitted bytes are bounded; the refused proposal is not in the log."""
    cluster = Cluster(1, 2, 3, max_uncommitted_bytes=100)
    cluster.elect(1)
    cluster.cut(1)
    statuses = [cluster.propose(1, bytes(40)).status for _ in range(4)]
    assert statuses == ["accepted", "accepted", "overloaded", "overloaded"]
    assert cluster[1].core.log.last_index == 3
    cluster.heal()
    cluster.settle()
    cluster.settle()
    assert cluster.propose(1, bytes(40)).status == "accepted"


def test_one_large_proposal_always_fits() -> None:
    """etcd's rule: with nothing uncommitted any legal payload is taken, or it could never be."""
    cluster = Cluster(1, 2, 3, max_uncommitted_bytes=100)
    cluster.elect(1)
    cluster.settle()
    assert cluster.propose(1, bytes(1_000)).status == "accepted"
    assert cluster.propose(1, b"x").status == "overloaded"


def test_6_4_a_read_waits_for_a_round_that_began_after_it() -> None:
    """Dissertation §6.4: the leader confirms its leadership by a new round of heartbeats before it answers."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.heartbeat(1)
    cluster.deliver(1)
    late = cluster.take(receiver=1)
    cluster.read(1, 7)
    asked = cluster.take(sender=1)
    for message in late:
        cluster.hand_over(message)
    assert reads(cluster, 1) == [], "these answers are to questions from before the read"
    for message in asked or cluster.take(sender=1):
        cluster.hand_over(message)
    cluster.deliver()
    assert reads(cluster, 1) == [(7, 1)]


def test_6_4_a_read_needs_a_majority() -> None:
    """Dissertation §6.4: of five, two others must answer."""
    cluster = Cluster(1, 2, 3, 4, 5)
    cluster.elect(1)
    cluster.cut(3, 4, 5)
    cluster.read(1, 7)
    cluster.deliver()
    assert reads(cluster, 1) == []
    cluster.heal()
    cluster.settle()
    assert reads(cluster, 1) == [(7, 1)]


def test_6_4_a_read_in_a_joint_state_needs_both_majorities() -> None:
    """§6 and §6.4: a round is confirmed by both halves."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    for id in (4, 5):
        cluster.join(id)
    cluster.change(1, AddVoter(4), AddVoter(5), RemoveMember(2), RemoveMember(3), joint="explicit")
    cluster.settle()
    cluster.settle()
    cluster.cut(4, 5)
    cluster.read(1, 7)
    cluster.deliver()
    assert reads(cluster, 1) == []
    cluster.heal()
    cluster.settle()
    assert [id for id, _ in reads(cluster, 1)] == [7]


def test_6_4_a_read_waits_for_the_first_commit_of_the_term() -> None:
    """§8, Dissertation §6.4 step 1: a new leader does not know what is committed before its no-op is."""
    cluster = Cluster(1, 2, 3, logs={id: [1, 1] for id in (1, 2, 3)}, pre_vote=False)
    cluster.pass_ms(600)
    cluster.campaign(1)
    cluster.deliver(type="RequestVote")
    cluster.deliver(type="RequestVoteResponse")
    appends = cluster.take(sender=1)
    cluster.read(1, 7)
    for message in cluster.take(sender=1):
        if message.type == "Heartbeat":
            cluster.hand_over(message)
    cluster.deliver(receiver=1)
    assert reads(cluster, 1) == []
    for message in appends:
        cluster.hand_over(message)
    cluster.settle()
    assert reads(cluster, 1) == [(7, 3)]


def test_6_4_a_read_waits_for_the_state_machine() -> None:
    """Dissertation §6.4 step 4: the state machine must have applied up to the read index."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster[1].slow_apply = True
    cluster.propose(1, b"x")
    cluster.deliver()
    cluster.read(1, 7)
    cluster.deliver()
    assert reads(cluster, 1) == []
    cluster.apply(1)
    assert reads(cluster, 1) == [(7, 2)]


def test_6_4_a_deposed_leader_serves_no_read() -> None:
    """§8: a leader that was superseded must not answer from its stale state."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.cut(1)
    cluster.read(1, 7)
    cluster.elect(2)
    cluster.propose(2, b"new")
    cluster.settle()
    cluster.heal()
    for _ in range(4):
        cluster.settle()
    assert [(read.id, read.index) for read in cluster[1].reads if read.index] == []


def test_6_4_reads_share_a_round() -> None:
    """Dissertation §6.4: one round serves all reads that wait for it."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    for request in range(20):
        cluster.read(1, request + 1)
    rounds = cluster.take(1, 2)
    assert len(rounds) <= 4, "some go out at once, and all others share the next"
    for message in rounds:
        cluster.hand_over(message)
    cluster.deliver()
    cluster.settle()
    assert len(reads(cluster, 1)) == 20


def test_6_4_a_follower_reads_with_the_leaders_index() -> None:
    """Dissertation §6.4: followers ask for the read index, wait to apply it, and read locally."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.deliver(1, 3)
    cluster.deliver(3, 1)
    cluster.flying.clear()
    assert cluster[1].core.commit == 2
    cluster.read(2, 7)
    cluster.deliver()
    assert all(index >= 2 and b"x" in cluster[2].commands for _, index in reads(cluster, 2))
    for _ in range(3):
        cluster.settle()
    assert reads(cluster, 2) == [(7, 2)]
    assert cluster[2].commands == [b"x"]


def test_6_4_an_answer_to_an_earlier_life_is_not_taken() -> None:
    """Read tokens are unique over restarts, or an old answer confirms a new read."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.read(2, 7)
    cluster.deliver(2, 1)
    cluster.deliver(1, 3)
    cluster.deliver(3, 1)
    cluster.deliver(1, 3)
    cluster.deliver(3, 1)
    late = cluster.take(1, 2, "ForwardReadResponse")
    assert late
    cluster.flying.clear()
    cluster.crash(2)
    cluster.start(2)
    cluster.propose(1, b"x")
    cluster.settle()
    cluster.cut(1)
    cluster.read(2, 7)
    for message in late:
        cluster.blocked.clear()
        cluster.hand_over(message)
    assert reads(cluster, 2) in ([], [(7, 0)])


def test_a_lone_leader_reads_at_once() -> None:
    """A majority of one needs no round."""
    cluster = Cluster(1)
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.read(1, 7)
    assert reads(cluster, 1) == [(7, 2)]


def test_a_learner_does_not_confirm_a_read() -> None:
    """Dissertation §4.2.1: non-voting members do not count for anything."""
    cluster = Cluster(1, 2, 3, learners=[4, 5])
    cluster.elect(1)
    cluster.cut(2, 3)
    cluster.read(1, 7)
    cluster.deliver()
    assert reads(cluster, 1) == []


def test_reads_that_wait_are_bounded() -> None:
    """DESIGN §2.4: everything has a bound; a read over it is refused."""
    cluster = Cluster(1, 2, 3, max_pending_reads=4)
    cluster.elect(1)
    cluster.cut(1)
    for request in range(1, 8):
        cluster.read(1, request)
    refused = [read.status for read in cluster[1].reads]
    assert refused == ["overloaded"] * 3


def test_6_3_the_core_appends_a_retry_again() -> None:
    """§8: exactly once is the state machine's business (sessions); the core appends what it is given, each time."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    for _ in range(2):
        cluster.propose(1, b"x", request=1)
    cluster.settle()
    assert cluster[2].commands == [b"x", b"x"]
