"""§5.1 to §5.6 of the Raft paper: the sentences that Figure 2 does not have. Docstrings give the rule in our words."""

from __future__ import annotations

from quorate.raft import Campaign, HardState, Persisted, Raft, RaftConfig, Tick
from raft.harness import Cluster

# §5.1 Basics


def test_5_1_a_stale_leader_steps_down() -> None:
    """§5.1: a candidate or leader that finds its term out of date becomes a follower at once."""
    cluster = Cluster(1, 2, 3, check_quorum=False)
    cluster.elect(1)
    cluster.cut(1)
    cluster.elect(2)
    assert cluster[1].core.role == "leader"
    cluster.heal()
    cluster.heartbeat(2)
    cluster.deliver()
    assert (cluster[1].core.role, cluster[1].core.leader) == ("follower", 2)


def test_5_1_a_request_of_an_old_term_is_rejected() -> None:
    """§5.1: a request with a stale term is rejected; who sent it learns the current one."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.cut(1)
    cluster.elect(2)
    cluster.propose(2, b"new")
    cluster.settle()
    log = cluster[3].log
    cluster.heal()
    cluster.propose(1, b"old")
    cluster.deliver(1, 3)
    assert cluster[3].log == log
    cluster.settle()
    assert cluster[1].core.term == cluster[2].core.term


def test_5_1_terms_never_fall() -> None:
    """§5.1: the current term grows monotonically."""
    cluster = Cluster(1, 2, 3, hard_states={1: HardState(term=7, vote=0, commit=0)})
    for type in ("AppendEntries", "Heartbeat", "RequestVote", "RequestVoteResponse", "AppendEntriesResponse"):
        cluster.receive(1, type, sender=2, term=3)
        assert cluster[1].core.term == 7


# §5.2 Leader election


def test_5_2_a_follower_stays_one_while_it_hears_a_leader() -> None:
    """§5.2: heartbeats keep followers from campaigning."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    for _ in range(20):
        cluster.heartbeat(1)
        cluster.deliver()
        cluster.tick(2, 3)
        assert [cluster[id].core.role for id in (2, 3)] == ["follower", "follower"]
    assert cluster[1].core.term == 1


def test_5_2_at_most_one_winner_a_term() -> None:
    """§5.2: the majority rule lets one candidate at most win a term (election safety, Figure 3)."""
    cluster = Cluster(1, 2, 3, 4, 5, pre_vote=False)
    for id in (1, 2, 3):
        cluster.campaign(id)
    cluster.deliver()
    leaders = [id for id in cluster.servers if cluster[id].core.role == "leader"]
    assert len(leaders) <= 1
    assert {cluster[id].core.term for id in cluster.servers} == {1}


def test_5_2_a_candidate_ignores_the_append_of_an_older_term() -> None:
    """§5.2: an append with a lower term does not end a candidacy."""
    cluster = Cluster(1, 2, 3, pre_vote=False, hard_states={1: HardState(term=4, vote=0, commit=0)})
    cluster.campaign(1)
    cluster.receive(1, "AppendEntries", sender=2, term=4)
    assert (cluster[1].core.role, cluster[1].core.term) == ("candidate", 5)


def test_5_2_election_timeouts_are_spread_over_the_interval() -> None:
    """§5.2: timeouts are chosen at random from a fixed interval, anew each time, so that split votes are rare."""
    config = RaftConfig(election_timeout_min_ms=150, election_timeout_max_ms=300)
    deadlines = [Raft(1, voters=[1, 2, 3], seed=seed, config=config).step(Tick(now=0)).deadline for seed in range(300)]
    assert all(150_000 <= deadline <= 300_000 for deadline in deadlines)
    assert len(set(deadlines)) > 250
    assert min(deadlines) < 165_000
    assert max(deadlines) > 285_000


def test_5_2_the_timeout_is_chosen_anew_after_each_election() -> None:
    """§5.2: a candidate restarts its randomized timeout at the start of an election."""
    core = Raft(1, voters=[1, 2, 3], seed=5, config=RaftConfig(pre_vote=False))
    waits = set()
    now = 0
    for _ in range(30):
        update = core.step(Campaign(now=now))
        core.step(Persisted(update.ticket, now=now))
        waits.add(update.deadline - now)
        now = update.deadline
    assert len(waits) > 25
    assert all(150_000 <= wait <= 300_000 for wait in waits)


def test_5_2_the_same_seed_gives_the_same_run() -> None:
    """Not in the paper: entropy comes in with the seed, so two cores with one seed behave alike."""
    runs = []
    for _ in range(2):
        core = Raft(1, voters=[1, 2, 3], seed=9)
        runs.append([core.step(Tick(now=now)).deadline for now in range(0, 3_000_000, 50_000)])
    assert runs[0] == runs[1]


# §5.3 Log replication


def test_5_3_the_leader_sends_in_parallel_and_retries() -> None:
    """§5.3: appends go to all at once; the leader tries again until every follower has every entry."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    assert {message.receiver for message in cluster.take()} == {2, 3}
    for _ in range(8):
        cluster.heartbeat(1)
        cluster.deliver()
    assert [cluster[id].terms for id in (2, 3)] == [[1, 1], [1, 1]]


def test_5_3_commit_of_an_entry_commits_all_before_it() -> None:
    """§5.3: committing an entry commits everything before it, entries of earlier leaders included."""
    cluster = Cluster(1, 2, 3, logs={1: [1, 1, 2], 2: [1], 3: []})
    cluster.elect(1)
    assert cluster[1].core.commit == 4
    assert cluster[1].commands == cluster[3].commands == [b"1@1", b"2@1", b"3@2"]


def test_5_3_followers_learn_of_the_commit_with_the_next_message() -> None:
    """§5.3: the leader includes its commit index in later appends, heartbeats included."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.settle()
    assert [cluster[id].core.commit for id in (1, 2, 3)] == [2, 2, 2]


def test_5_3_logs_that_agree_on_an_entry_agree_before_it() -> None:
    """§5.3, log matching: same index and term means the same entry, and the same log up to it."""
    logs = {1: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6], 2: [1, 1, 1, 4], 3: [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]}
    cluster = Cluster(1, 2, 3, logs=logs)
    cluster.elect(1)
    entries = [server.core.log.entries(1, server.core.log.last_index + 1) for server in cluster.servers.values()]
    assert entries[0] == entries[1] == entries[2]


def test_5_3_a_conflict_is_passed_over_term_by_term() -> None:
    """§5.3, last paragraphs: the refusal carries a hint, so that a whole term costs one message."""
    cluster = Cluster(1, 2, 3, logs={1: [1] + [5] * 50, 2: [1] + [2] * 25 + [3] * 25, 3: [1] + [5] * 50})
    cluster.cut(2)
    cluster.elect(1)
    cluster.heal()
    lines: list[str] = []
    cluster.trace = lines.append
    cluster.settle()
    cluster.settle()
    assert cluster[2].terms == cluster[1].terms
    assert sum("2: sends AppendEntriesResponse" in line for line in lines) <= 6


def test_5_3_a_slow_follower_does_not_slow_the_others() -> None:
    """§5.3: a minority of slow servers does not hold back a command."""
    cluster = Cluster(1, 2, 3, 4, 5)
    cluster.elect(1)
    cluster.cut(4, 5)
    cluster.propose(1, b"x")
    cluster.deliver()
    assert cluster[1].core.commit == 2


# §5.4 Safety


def test_5_4_1_the_winner_has_every_committed_entry() -> None:
    """§5.4.1: the up-to-date rule keeps a log without a committed entry from winning (leader completeness)."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.cut(3)
    cluster.propose(1, b"x")
    cluster.settle()
    cluster.heal()
    cluster.crash(1)
    cluster.pass_ms(600)
    cluster.campaign(3)
    cluster.deliver()
    assert cluster[3].core.role != "leader"
    cluster.elect(2)
    assert cluster[2].commands == [b"x"]


def test_5_4_2_an_entry_of_an_older_term_does_not_commit_by_count() -> None:
    """§5.4.2: only entries of the current term commit by counting copies; Figure 8 shows why."""
    cluster = Cluster(1, 2, 3, logs={1: [1, 2], 2: [1, 2], 3: [1]}, pre_vote=False)
    cluster.pass_ms(600)
    cluster.campaign(1)
    cluster.deliver(type="RequestVote")
    cluster.deliver(type="RequestVoteResponse")
    assert (cluster[1].core.role, cluster[1].terms) == ("leader", [1, 2, 3])
    cluster.flying.clear()
    for id in (2, 3):
        cluster.receive(1, "AppendEntriesResponse", sender=id, term=3, success=True, match_index=2)
    assert cluster[1].core.commit == 0, "all three have entry 2, of term 2"
    cluster.receive(1, "AppendEntriesResponse", sender=2, term=3, success=True, match_index=3)
    assert cluster[1].core.commit == 3


# §5.5, §5.6


def test_5_5_requests_are_idempotent() -> None:
    """§5.5: an RPC that arrives twice does no harm."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    messages = cluster.take()
    for _ in range(3):
        for message in messages:
            cluster.hand_over(message)
    cluster.settle()
    assert [server.commands for server in cluster.servers.values()] == [[b"x"]] * 3
    assert [server.terms for server in cluster.servers.values()] == [[1, 1]] * 3


def test_5_5_a_crashed_server_catches_up() -> None:
    """§5.5: the leader tries for ever; a server that comes back gets what it missed."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.crash(3)
    for data in (b"a", b"b"):
        cluster.propose(1, data)
    cluster.settle()
    cluster.start(3)
    for _ in range(6):
        cluster.settle()
    assert cluster[3].commands == [b"a", b"b"]


def test_5_6_safety_does_not_depend_on_time() -> None:
    """§5.6: timing decides only who leads and when; a clock that stands or jumps breaks nothing."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    now = cluster.now
    cluster.now = now + 10**12
    cluster.tick(2)
    cluster.now = now
    cluster.tick(3)
    for _ in range(4):
        cluster.settle()
    if not cluster.leader:
        cluster.now += 2 * 10**12
        cluster.elect(3)
    cluster.settle()
    assert all(server.commands in ([], [b"x"]) for server in cluster.servers.values())


def test_5_6_time_that_goes_back_counts_as_standing() -> None:
    """Not in the paper: a lower ``now`` than before counts as the earlier one."""
    core = Raft(1, voters=[1, 2, 3], seed=3, now=1_000_000)
    deadline = core.step(Tick(now=1_000_000)).deadline
    assert core.step(Tick(now=0)).deadline == deadline
