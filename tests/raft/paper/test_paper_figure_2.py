"""Figure 2 of the Raft paper (Ongaro, Ousterhout 2014), rule by rule. Each docstring gives the rule in our words."""

from __future__ import annotations

from typing import Any

import pytest

from quorate.raft import NOOP, Applied, Entry, HardState
from raft.harness import Cluster

# State


def test_state_starts_at_zero() -> None:
    """Figure 2, State: term 0, no vote, commit and applied 0 on first boot; a follower (§5.2)."""
    state = Cluster(1, 2, 3)[1].state
    assert (state.role, state.term, state.vote, state.leader) == ("follower", 0, 0, 0)
    assert (state.commit, state.applied, state.first_index, state.last_index) == (0, 0, 1, 0)


def test_persistent_state_is_durable_before_a_reply_leaves() -> None:
    """Figure 2, State: current term, vote and log are on stable storage before an RPC is answered."""
    cluster = Cluster(1, 2, 3, pre_vote=False)
    cluster[2].slow_disk = True
    cluster.campaign(1)
    cluster.deliver(1, 2)
    assert not cluster.take(sender=2)
    assert cluster[2].writes[0].update.hard_state == HardState(term=1, vote=1, commit=0)
    assert cluster[2].writes[0].update.sync
    cluster.persist(2)
    (reply,) = cluster.take(sender=2)
    assert (reply.type, reply.granted) == ("RequestVoteResponse", True)


def test_persistent_state_survives_a_restart() -> None:
    """Figure 2, State: term, vote and log are the same after a restart; commit and applied start from what is known."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.settle()
    before = cluster[2].state
    log = cluster[2].log
    cluster.crash(2)
    cluster.start(2)
    after = cluster[2].state
    assert (after.term, after.vote, cluster[2].log) == (before.term, before.vote, log)
    assert after.role == "follower"
    assert after.applied == 0


def test_commit_and_applied_never_fall() -> None:
    """Figure 2, State: commitIndex and lastApplied grow monotonically."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.settle()
    assert cluster[2].core.commit == 2
    cluster.receive(2, "Heartbeat", sender=1, term=1, leader_commit=1)
    cluster.step(2, Applied(index=1, now=cluster.now))
    assert (cluster[2].core.commit, cluster[2].state.applied) == (2, 2)


def test_next_and_match_are_set_anew_after_an_election() -> None:
    """Figure 2, State: nextIndex starts behind the leader's last entry, matchIndex at 0."""
    cluster = Cluster(1, 2, 3, logs={1: [1, 1], 2: [1, 1], 3: [1, 1]}, pre_vote=False)
    cluster.pass_ms(600)
    cluster.campaign(1)
    cluster.deliver(type="RequestVote")
    cluster.deliver(type="RequestVoteResponse")
    assert cluster[1].core.role == "leader"
    first = cluster.take(type="AppendEntries")
    assert {(m.prev_log_index, m.prev_log_term) for m in first} == {(2, 1)}
    assert all(progress.match == 0 for id, progress in cluster[1].state.progress.items() if id != 1)


# RequestVote


def vote(cluster: Cluster, **fields: object) -> bool:
    cluster.flying.clear()
    cluster.receive(2, "RequestVote", **{"sender": 1, "last_log_index": 0, "last_log_term": 0} | fields)
    (reply,) = cluster.take(sender=2, type="RequestVoteResponse")
    return bool(reply.granted)


def test_request_vote_1_refuses_an_older_term() -> None:
    """Figure 2, RequestVote 1: a candidate of a lower term is refused, and told the current one."""
    cluster = Cluster(1, 2, 3, hard_states={2: HardState(term=5, vote=0, commit=0)})
    cluster.pass_ms(600)
    cluster.receive(2, "RequestVote", sender=1, term=4, last_log_index=9, last_log_term=4)
    replies = cluster.take(sender=2)
    assert all(not reply.granted and reply.term == 5 for reply in replies)
    assert cluster[2].state.vote == 0


def test_request_vote_2_grants_one_candidate_a_term() -> None:
    """Figure 2, RequestVote 2: the vote goes to a candidate if none was given, or to the same one again."""
    cluster = Cluster(1, 2, 3)
    cluster.pass_ms(600)
    assert vote(cluster, sender=1, term=1)
    assert vote(cluster, sender=1, term=1), "the same candidate may ask again; its first answer may be lost"
    assert not vote(cluster, sender=3, term=1)
    assert vote(cluster, sender=3, term=2), "a new term, a new vote"


@pytest.mark.parametrize(
    ("index", "term", "granted"),
    [(3, 2, True), (4, 2, True), (2, 2, False), (1, 3, True), (9, 1, False)],
)
def test_request_vote_2_wants_an_up_to_date_log(index: int, term: int, granted: bool) -> None:
    """Figure 2, RequestVote 2 and §5.4.1: the later last term is newer; of equal terms, the longer log is."""
    cluster = Cluster(1, 2, 3, logs={2: [1, 1, 2]})
    cluster.pass_ms(600)
    assert vote(cluster, term=7, last_log_index=index, last_log_term=term) is granted


# AppendEntries


def append(cluster: Cluster, *entries: tuple[int, int], prev: tuple[int, int], term: int = 3, commit: int = 0) -> Any:
    cluster.flying.clear()
    cluster.receive(
        2,
        "AppendEntries",
        sender=1,
        term=term,
        prev_log_index=prev[0],
        prev_log_term=prev[1],
        leader_commit=commit,
        entries=[Entry(index, of, 0, b"%d" % index) for index, of in entries],
    )
    replies = cluster.take(sender=2)
    return replies[-1] if replies else None


def test_append_entries_1_refuses_an_older_term() -> None:
    """Figure 2, AppendEntries 1: an append of a lower term changes nothing; the reply carries the current term."""
    cluster = Cluster(1, 2, 3, logs={2: [1, 1, 2]}, hard_states={2: HardState(term=4, vote=0, commit=0)})
    reply = append(cluster, (4, 3), prev=(3, 2), term=3)
    assert cluster[2].terms == [1, 1, 2]
    assert cluster[2].core.leader == 0
    assert reply is None or reply.term == 4


@pytest.mark.parametrize("prev", [(5, 2), (3, 1), (2, 2)])
def test_append_entries_2_refuses_when_the_log_does_not_match(prev: tuple[int, int]) -> None:
    """Figure 2, AppendEntries 2: no entry at prevLogIndex with prevLogTerm: refuse."""
    cluster = Cluster(1, 2, 3, logs={2: [1, 1, 2]})
    reply = append(cluster, (prev[0] + 1, 3), prev=prev)
    assert not reply.success
    assert cluster[2].terms == [1, 1, 2]


def test_append_entries_3_removes_a_conflict_and_all_behind_it() -> None:
    """Figure 2, AppendEntries 3: an entry of another term at the same index goes, with everything behind it."""
    cluster = Cluster(1, 2, 3, logs={2: [1, 1, 2, 2, 2]})
    reply = append(cluster, (3, 3), prev=(2, 1))
    assert (reply.success, reply.match_index) == (True, 3)
    assert cluster[2].terms == [1, 1, 3]
    assert sorted(cluster[2].disk.entries) == [1, 2, 3]


def test_append_entries_3_removes_nothing_without_a_conflict() -> None:
    """Figure 2, AppendEntries 3: only a *conflict* cuts; entries beyond an old, shorter append stay."""
    cluster = Cluster(1, 2, 3, logs={2: [1, 1, 2, 3, 3]})
    reply = append(cluster, (2, 1), prev=(1, 1))
    assert reply.success
    assert reply.match_index == 2, "what lies behind the append is not known to match"
    assert cluster[2].terms == [1, 1, 2, 3, 3]


def test_append_entries_4_appends_what_is_new() -> None:
    """Figure 2, AppendEntries 4: entries that are there already are not written again, new ones are."""
    cluster = Cluster(1, 2, 3, logs={2: [1, 1, 2]})
    append(cluster, (2, 1), (3, 2), (4, 3), prev=(1, 1))
    assert cluster[2].terms == [1, 1, 2, 3]
    update = cluster[2].update
    assert update is not None
    assert bytes(cluster[2].core.log.entries(4, 5)[0].data) == b"4"


@pytest.mark.parametrize(("leader_commit", "commit"), [(2, 2), (3, 3), (9, 3)])
def test_append_entries_5_commits_no_further_than_the_last_new_entry(leader_commit: int, commit: int) -> None:
    """Figure 2, AppendEntries 5: commitIndex = min(leaderCommit, index of the last new entry)."""
    cluster = Cluster(1, 2, 3, logs={2: [1, 1, 2, 2, 2]})
    append(cluster, (3, 2), prev=(2, 1), commit=leader_commit)
    assert cluster[2].core.commit == commit


# Rules for servers


def test_all_servers_apply_what_is_committed_in_order() -> None:
    """Figure 2, all servers 1: while commitIndex > lastApplied, apply the next one."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    for data in (b"a", b"b", b"c"):
        cluster.propose(1, data)
    cluster.settle()
    assert [server.commands for server in cluster.servers.values()] == [[b"a", b"b", b"c"]] * 3


@pytest.mark.parametrize("type", ["AppendEntries", "RequestVoteResponse", "AppendEntriesResponse", "HeartbeatResponse"])
def test_all_servers_follow_a_higher_term(type: str) -> None:
    """Figure 2, all servers 2: a higher term in any RPC or response is adopted, and one becomes a follower."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.receive(1, type, sender=2, term=5)
    assert (cluster[1].core.role, cluster[1].core.term) == ("follower", 5)
    assert cluster[1].state.vote == 0


def test_followers_answer_candidates_and_leaders() -> None:
    """Figure 2, followers 1: a follower only answers; it sends nothing by itself before its timer runs out."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.pass_ms(1)
    cluster.tick(2, 3)
    assert not cluster.flying
    cluster.heartbeat(1)
    cluster.deliver(1, 2)
    assert {message.sender for message in cluster.take(receiver=1)} == {2}


def test_followers_campaign_when_nothing_comes() -> None:
    """Figure 2, followers 2: an election timeout without an append or a granted vote makes a candidate."""
    cluster = Cluster(1, 2, 3, pre_vote=False)
    cluster.timeout(2)
    assert cluster[2].core.role == "candidate"


def test_candidates_start_an_election_at_once() -> None:
    """Figure 2, candidates 1: increment the term, vote for oneself, reset the timer, ask all others."""
    cluster = Cluster(1, 2, 3, 4, 5, pre_vote=False)
    cluster.timeout(2)
    state = cluster[2].state
    assert (state.term, state.vote) == (1, 2)
    assert cluster[2].update is not None
    assert cluster[2].update.deadline > cluster.now
    requests = cluster.take(type="RequestVote")
    assert sorted(message.receiver for message in requests) == [1, 3, 4, 5]
    assert {message.term for message in requests} == {1}


def test_candidates_become_leader_with_a_majority() -> None:
    """Figure 2, candidates 2: votes of a majority make a leader."""
    cluster = Cluster(1, 2, 3, 4, 5, pre_vote=False)
    cluster.campaign(1)
    cluster.flying.clear()
    for voter, role in ((2, "candidate"), (3, "leader")):
        cluster.receive(1, "RequestVoteResponse", sender=voter, term=1, granted=True)
        assert cluster[1].core.role == role


def test_candidates_yield_to_a_leader_of_their_term() -> None:
    """Figure 2, candidates 3: an append of the new leader makes a candidate a follower."""
    cluster = Cluster(1, 2, 3, pre_vote=False)
    cluster.campaign(1)
    cluster.receive(1, "AppendEntries", sender=2, term=1)
    assert (cluster[1].core.role, cluster[1].core.leader, cluster[1].state.vote) == ("follower", 2, 1)


def test_candidates_start_again_after_a_timeout() -> None:
    """Figure 2, candidates 4: an election timeout without an outcome starts a new election."""
    cluster = Cluster(1, 2, 3, pre_vote=False)
    cluster.timeout(1)
    cluster.timeout(1)
    assert (cluster[1].core.role, cluster[1].core.term) == ("candidate", 2)


def test_leaders_tell_at_once_and_again_when_idle() -> None:
    """Figure 2, leaders 1: an append to each server upon election, and heartbeats in idle times."""
    cluster = Cluster(1, 2, 3, pre_vote=False)
    cluster.campaign(1)
    cluster.deliver(type="RequestVote")
    cluster.deliver(type="RequestVoteResponse")
    assert {message.receiver for message in cluster.take(type="AppendEntries")} == {2, 3}
    cluster.heartbeat(1)
    assert {message.receiver for message in cluster.flying} == {2, 3}


def test_leaders_answer_after_the_entry_is_applied() -> None:
    """Figure 2, leaders 2: a command is appended, replicated, and handed to the state machine once it is committed."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    result = cluster.propose(1, b"x", request=9)
    assert (result.id, result.status, result.index, result.term) == (9, "accepted", 2, 1)
    assert cluster[1].commands == []
    cluster.deliver()
    assert cluster[1].commands == [b"x"]


def test_leaders_send_what_a_follower_misses() -> None:
    """Figure 2, leaders 3: last log index ≥ nextIndex sends from nextIndex; success moves nextIndex and matchIndex."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    (message,) = cluster.take(1, 2)
    assert (message.prev_log_index, [entry.index for entry in message.entries]) == (1, [2])
    cluster.hand_over(message)
    cluster.deliver(2, 1)
    progress = cluster[1].state.progress[2]
    assert (progress.match, progress.next) == (2, 3)


def test_leaders_go_back_when_a_follower_refuses() -> None:
    """Figure 2, leaders 3: inconsistency lowers nextIndex and tries again."""
    cluster = Cluster(1, 2, 3, logs={1: [1, 1, 1, 2], 2: [1], 3: [1, 1, 1, 2]})
    cluster.elect(1)
    assert cluster[2].terms == cluster[1].terms == [1, 1, 1, 2, 3]


def test_leaders_commit_a_majority_of_their_term() -> None:
    """Figure 2, leaders 4: N > commitIndex, a majority of matchIndex ≥ N, and log[N].term = currentTerm."""
    cluster = Cluster(1, 2, 3, 4, 5)
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.flying.clear()
    cluster.receive(1, "AppendEntriesResponse", sender=2, term=1, success=True, match_index=2)
    assert cluster[1].core.commit == 1
    cluster.receive(1, "AppendEntriesResponse", sender=2, term=1, success=True, match_index=2)
    assert cluster[1].core.commit == 1, "the same voter twice is still one voter"
    cluster.receive(1, "AppendEntriesResponse", sender=3, term=1, success=True, match_index=2)
    assert cluster[1].core.commit == 2


def test_a_leader_begins_with_a_no_op() -> None:
    """§8: a leader appends a blank entry of its term at once, which finds out what is committed."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    (entry,) = cluster[1].core.log.entries(1, 2)
    assert (entry.term, entry.kind) == (1, NOOP)
