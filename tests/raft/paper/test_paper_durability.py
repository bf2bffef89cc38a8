"""Durable before visible: persistence is asynchronous, and nothing that promises something leaves before it is on disk.

Sources: Figure 2 (what is updated on stable storage before a response), dissertation §10.2.1 (the leader writes in
parallel, appends are pipelined), §3.8 (what must be persisted).
"""

from __future__ import annotations

from quorate.raft import Entry, HardState, Persisted
from raft.harness import Cluster


def test_10_2_1_the_leader_sends_before_its_own_disk_is_done() -> None:
    """Dissertation §10.2.1: the leader replicates in parallel with its own write."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster[1].slow_disk = True
    cluster.propose(1, b"x")
    assert {message.receiver for message in cluster.flying} == {2, 3}
    cluster.deliver()
    assert cluster[1].core.commit == 2, "two followers are a majority; the leader's copy need not be durable"
    assert cluster[1].state.persisted_index == 1


def test_10_2_1_the_leader_does_not_count_a_copy_that_is_not_durable() -> None:
    """Dissertation §10.2.1: its own matchIndex is what its disk has."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.cut(3)
    cluster[1].slow_disk = True
    cluster.propose(1, b"x")
    cluster.deliver()
    assert cluster[1].core.commit == 1, "one durable copy on server 2"
    cluster.persist(1)
    assert cluster[1].core.commit == 2


def test_10_2_1_appends_are_pipelined() -> None:
    """Dissertation §10.2.1: next entries leave without waiting for the acknowledgement of those before."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    for data in (b"a", b"b", b"c"):
        cluster.propose(1, data)
    messages = cluster.take(1, 2)
    assert [[entry.index for entry in message.entries] for message in messages] == [[2], [3], [4]]
    assert [message.prev_log_index for message in messages] == [1, 2, 3]


def test_the_window_bounds_messages_in_flight() -> None:
    """Dissertation §10.2.1 leaves the bound to us: ``max_inflight_messages``, then a pause until one is answered."""
    cluster = Cluster(1, 2, 3, max_inflight_messages=3)
    cluster.elect(1)
    for _ in range(9):
        cluster.propose(1, b"x")
    messages = cluster.take(1, 2)
    assert len([message for message in messages if message.entries]) == 3
    assert cluster[1].state.progress[2].paused
    for message in messages:
        cluster.hand_over(message)
    cluster.deliver()
    assert cluster[2].core.log.last_index == 10


def test_a_follower_acknowledges_only_what_is_durable() -> None:
    """Figure 2: an append is answered after the write, and an answer tells of nothing beyond it."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster[2].slow_disk = True
    cluster.propose(1, b"a")
    cluster.propose(1, b"b")
    cluster.deliver(1, 2)
    assert not cluster.take(2, 1)
    cluster.persist(2)
    replies = cluster.take(2, 1)
    assert [reply.match_index for reply in replies] == [2]
    cluster.persist(2)
    replies = cluster.take(2, 1)
    assert [reply.match_index for reply in replies] == [3]


def test_a_repeated_append_is_not_acknowledged_before_the_first_is_durable() -> None:
    """Figure 2: a duplicate has nothing to write, yet its answer must wait for the entries that it vouches for."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster[2].slow_disk = True
    cluster.propose(1, b"a")
    (message,) = cluster.take(1, 2)
    cluster.hand_over(message)
    cluster.hand_over(message)
    assert not [m for m in cluster.take(2, 1) if m.type == "AppendEntriesResponse" and m.match_index > 1]
    cluster.persist(2, len(cluster[2].writes))
    assert {reply.match_index for reply in cluster.take(2, 1)} == {2}


def test_a_candidate_counts_its_own_vote_only_when_it_is_durable() -> None:
    """§3.8 of the dissertation: the vote for oneself is a vote; lost with a crash it could be given twice."""
    cluster = Cluster(1, pre_vote=False)
    cluster[1].slow_disk = True
    cluster.campaign(1)
    assert cluster[1].core.role == "candidate", "a lone voter that led now could forget it, and vote for another"
    cluster.persist(1)
    assert cluster[1].core.role == "leader"


def test_requests_for_votes_wait_for_the_new_term() -> None:
    """Vote and term are written before any message of that term."""
    cluster = Cluster(1, 2, 3, pre_vote=False)
    cluster[1].slow_disk = True
    cluster.campaign(1)
    assert not cluster.flying
    cluster.persist(1)
    assert {message.type for message in cluster.flying} == {"RequestVote"}


def test_a_new_term_is_durable_before_a_message_of_it_leaves() -> None:
    """A follower that adopts a term by an append answers with that term: first it must be on disk."""
    cluster = Cluster(1, 2, 3)
    cluster[2].slow_disk = True
    cluster.receive(2, "Heartbeat", sender=1, term=4)
    assert not [message for message in cluster.take(sender=2) if message.term == 4]
    cluster.persist(2, len(cluster[2].writes))
    assert cluster[2].disk.hard_state is not None
    assert cluster[2].disk.hard_state.term == 4
    assert [message.term for message in cluster.take(sender=2)] == [4]


def test_commit_alone_needs_no_sync() -> None:
    """§3.8: the commit index may be lost; a write that has nothing else is not synced."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.deliver(1, 2)
    syncs = []
    cluster[2].slow_disk = True
    cluster.deliver()
    cluster.heartbeat(1)
    cluster.deliver(1, 2)
    for write in cluster[2].writes:
        if write.update.ticket:
            assert not write.update.entries
            syncs.append(write.update.sync)
    assert not any(syncs)
    assert cluster[2].core.commit == 2


def test_aba_a_late_report_of_a_replaced_entry_counts_for_nothing() -> None:
    """Not in the paper: the report names term and index, so an older write at that index is not taken for the newer."""
    cluster = Cluster(1, 2, 3)
    cluster[2].slow_disk = True
    for term, sender in ((1, 1), (2, 3)):
        cluster.receive(2, "AppendEntries", sender=sender, term=term, entries=[Entry(1, term, 0, b"x")])
    first, second = list(cluster[2].writes)
    cluster[2].writes.clear()
    cluster.flying.clear()
    cluster.step(2, Persisted(ticket=first.update.ticket, index=1, term=1, now=cluster.now))
    assert cluster[2].state.persisted_index == 0
    cluster.step(2, Persisted(ticket=second.update.ticket, index=1, term=2, now=cluster.now))
    assert cluster[2].state.persisted_index == 1


def test_a_report_from_nowhere_is_refused() -> None:
    """A ticket that was never given out, or of the future, moves nothing."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    before = cluster[1].state
    cluster.step(1, Persisted(ticket=10**9, index=1, term=1, now=cluster.now))
    after = cluster[1].state
    assert after.persisted_index == before.persisted_index
    assert sum(after.rejected.values()) == sum(before.rejected.values()) + 1


def test_an_unsynced_tail_may_be_lost_and_nothing_acknowledged_is() -> None:
    """§3.8: what was acknowledged is there after a crash; what was not may be gone."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"kept")
    cluster.settle()
    cluster[2].slow_disk = True
    cluster.propose(1, b"lost here")
    cluster.deliver()
    cluster.crash(2)
    cluster[2].slow_disk = False
    cluster.start(2)
    assert cluster[2].terms == [1, 1]
    cluster.settle()
    cluster.settle()
    assert cluster[2].commands == [b"kept", b"lost here"]


def test_a_single_server_commits_when_its_disk_has_it() -> None:
    """etcd#14370: a group of one must not acknowledge before its own disk is done."""
    cluster = Cluster(1)
    cluster.elect(1)
    cluster[1].slow_disk = True
    cluster.propose(1, b"x")
    assert cluster[1].core.commit == 1
    cluster.persist(1)
    assert cluster[1].commands == [b"x"]


def test_committed_entries_are_not_applied_twice_by_one_life() -> None:
    """Figure 2: lastApplied moves with Applied; the same entry is handed out once."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster[1].slow_apply = True
    handed_out = []
    for _ in range(5):
        cluster.propose(1, b"x")
    for _ in range(8):
        cluster.settle()
        handed_out += [entry.index for entry in cluster[1].to_apply]
        cluster.settle()
        cluster.apply(1)
    assert handed_out == [2, 3, 4, 5, 6]


def test_a_slow_disk_costs_the_leader_its_office() -> None:
    """A leader whose disk hangs while its heartbeats go out must step down (hashicorp/raft#683)."""
    cluster = Cluster(1, 2, 3, disk_stall_ms=200)
    cluster.elect(1)
    cluster[1].slow_disk = True
    cluster.propose(1, b"x")
    for _ in range(6):
        cluster.heartbeat(1)
        cluster.deliver()
    assert cluster[1].core.role == "follower"


def test_a_stalled_disk_does_not_campaign() -> None:
    """DESIGN §6: a node that cannot write does not ask to lead."""
    cluster = Cluster(1, 2, 3)
    cluster.stall(2)
    for _ in range(5):
        cluster.pass_ms(300)
        cluster.tick(2)
    assert cluster[2].core.role == "follower"
    cluster.stall(2, False)
    cluster.timeout(2)
    assert cluster[2].core.role == "pre_candidate"


def test_hard_state_given_at_start_rules() -> None:
    """§3.8: a vote that was written binds after the restart."""
    cluster = Cluster(1, 2, 3, hard_states={2: HardState(term=3, vote=1, commit=0)})
    cluster.pass_ms(600)
    cluster.receive(2, "RequestVote", sender=3, term=3, last_log_index=0, last_log_term=0)
    assert not any(reply.granted for reply in cluster.take(sender=2))
    cluster.receive(2, "RequestVote", sender=1, term=3, last_log_index=0, last_log_term=0)
    assert any(reply.granted for reply in cluster.take(sender=2))
