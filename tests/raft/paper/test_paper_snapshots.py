"""§7 of the Raft paper, and Figure 13 as the extended version has it: compaction and InstallSnapshot.

Each docstring gives the rule in our words.
"""

from __future__ import annotations

import pytest

from quorate.errors import Compacted
from quorate.raft import Message, SnapshotFailed
from raft.harness import AddVoter, Cluster


def behind(count: int = 3, *, size: int = 10, **options: object) -> Cluster:
    """Server 3 misses ``count`` entries, which the leader 1 has compacted."""
    cluster = Cluster(1, 2, 3, **options)  # type: ignore[arg-type]
    cluster.elect(1)
    cluster.cut(3)
    for number in range(count):
        cluster.propose(1, b"%0*d" % (size, number))
    cluster.settle()
    cluster.compact(1)
    cluster.heal()
    cluster.flying.clear()
    return cluster


def first_chunk(cluster: Cluster, nth: int = 1) -> Message:
    """Let the leader find out what server 3 misses, until the nth chunk is in the air; take it out."""
    cluster.heartbeat(1)
    for _ in range(20):
        chunks = cluster.take(1, 3, "InstallSnapshot")
        nth -= len(chunks)
        if nth == 0:
            return chunks[-1]
        cluster.flying += chunks
        cluster.deliver(once=True)
    raise AssertionError("no snapshot was sent")


def test_7_each_server_compacts_for_itself() -> None:
    """§7: servers take snapshots independently, of committed entries only."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.settle()
    cluster.compact(2)
    assert (cluster[2].core.log.first_index, cluster[1].core.log.first_index) == (3, 1)


def test_7_a_snapshot_keeps_index_and_term_of_its_last_entry() -> None:
    """§7: last included index and term stay, for the consistency check of the first entry that follows."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.settle()
    cluster.compact(2)
    log = cluster[2].core.log
    assert log.term(2) == 1
    with pytest.raises(Compacted):
        log.term(1)
    cluster.propose(1, b"y")
    cluster.settle()
    assert cluster[2].commands == [b"x", b"y"]


def test_7_nothing_beyond_what_is_applied_is_compacted() -> None:
    """§7: a snapshot holds applied state; a claim beyond it is refused."""
    from quorate.raft import Compact

    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster[2].slow_apply = True
    cluster.propose(1, b"x")
    cluster.settle()
    before = sum(cluster[2].state.rejected.values())
    cluster.step(2, Compact(index=2, size=1, now=cluster.now))
    assert cluster[2].core.log.first_index == 1
    assert sum(cluster[2].state.rejected.values()) == before + 1


def test_7_a_snapshot_has_the_configuration_at_its_index() -> None:
    """§7: the latest configuration as of the last included index is in the snapshot."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.join(4)
    cluster.change(1, AddVoter(4))
    cluster.settle()
    cluster.settle()
    cluster.compact(1)
    cluster.crash(1)
    cluster.start(1)
    assert cluster[1].state.configuration.incoming == (1, 2, 3, 4)
    assert cluster[1].core.log.first_index > cluster[1].state.configuration.index


def test_7_a_snapshot_of_before_a_change_has_the_older_configuration() -> None:
    """§7: as of its index, not the newest one."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.settle()
    cluster.join(4)
    cluster.change(1, AddVoter(4))
    cluster.settle()
    cluster.compact(1, 2)
    snapshot = cluster[1].disk.snapshot
    assert snapshot is not None
    assert snapshot.configuration is not None
    assert snapshot.configuration.incoming == (1, 2, 3)
    assert cluster[1].state.configuration.incoming == (1, 2, 3, 4)


def test_7_a_follower_that_is_too_far_behind_gets_a_snapshot() -> None:
    """§7: InstallSnapshot when the leader has discarded the next entry that it needs to send."""
    cluster = behind()
    cluster.settle()
    cluster.settle()
    assert cluster[3].core.log.first_index == 5
    assert cluster[3].commands == cluster[1].commands
    assert cluster[1].state.progress[3].state == "replicate"


def test_7_a_follower_within_the_tail_needs_none() -> None:
    """Ours: compaction keeps a tail, so that a short absence costs no snapshot."""
    cluster = behind(compaction_tail=3)
    assert cluster[1].core.log.first_index == 2
    lines: list[str] = []
    cluster.trace = lines.append
    cluster.settle()
    cluster.settle()
    assert cluster[3].commands == cluster[1].commands
    assert not [line for line in lines if "InstallSnapshot" in line]


def install(cluster: Cluster, id: int, index: int, of_term: int, **fields: object) -> None:
    cluster.receive(
        id,
        "InstallSnapshot",
        **{  # type: ignore[arg-type]
            "sender": 1,
            "term": cluster[1].core.term,
            "snapshot_index": index,
            "snapshot_term": of_term,
            "configuration": cluster[1].core.configuration_at(min(index, cluster[1].core.log.last_index)),
            "size": 0,
        }
        | fields,
    )


def test_figure_13_1_a_snapshot_of_an_older_term_is_refused() -> None:
    """Figure 13, rule 1: reply at once if term < currentTerm."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.elect(2)
    before = cluster[3].state
    install(cluster, 3, 9, 1, term=1)
    assert cluster[3].state.last_index == before.last_index
    assert cluster[3].core.leader == 2
    assert cluster[3].update is not None
    assert cluster[3].update.snapshot_chunk is None


def test_figure_13_2_to_4_chunks_are_written_at_their_offset_in_order() -> None:
    """Figure 13, rules 2 to 4: a new file at offset 0, data at the given offset, answer and wait for more."""
    cluster = behind(snapshot_chunk_bytes=16)
    lines: list[str] = []
    cluster.trace = lines.append
    cluster.settle()
    cluster.settle()
    chunks = [line for line in lines if "writes snapshot" in line or "; snapshot" in line]
    assert len(chunks) >= 3
    assert cluster[3].commands == cluster[1].commands


def test_chunks_resume_where_they_broke_off() -> None:
    """Ours: after a break the receiver says what it has, and the leader goes on from there."""
    cluster = behind(snapshot_chunk_bytes=8)
    cluster.heartbeat(1)
    for _ in range(8):
        cluster.deliver(once=True)
    offset = len(cluster[3].disk.partial)
    assert offset > 8
    cluster.flying.clear()
    cluster.unreachable(1, 3)
    lines: list[str] = []
    cluster.trace = lines.append
    for _ in range(12):
        cluster.heartbeat(1)
        cluster.deliver()
    assert cluster[3].commands == cluster[1].commands
    firsts = [line for line in lines if "3: writes" in line and "bytes 0.." in line]
    assert not firsts, "it did not begin again"


def test_a_chunk_that_comes_twice_or_out_of_order_does_no_harm() -> None:
    """Figure 13, rule 3: data goes to its offset; a chunk that leaves a gap is not taken."""
    cluster = behind(snapshot_chunk_bytes=16)
    chunk = first_chunk(cluster)
    cluster.hand_over(chunk)
    cluster.hand_over(chunk)
    later = first_chunk(cluster, 2)
    cluster.hand_over(chunk)
    cluster.hand_over(later)
    cluster.hand_over(chunk)
    cluster.deliver()
    cluster.settle()
    cluster.settle()
    assert cluster[3].commands == cluster[1].commands


def test_a_damaged_snapshot_is_fetched_again() -> None:
    """Ours: whoever writes it verifies the digest; a failure starts it anew."""
    cluster = behind(snapshot_chunk_bytes=16)
    chunk = first_chunk(cluster)
    cluster.hand_over(chunk.with_data(b"\xff" * len(chunk.data)))
    for _ in range(20):
        cluster.settle()
    assert cluster[3].commands == cluster[1].commands


def test_figure_13_6_a_log_that_has_the_last_entry_keeps_what_follows() -> None:
    """Figure 13, rule 6: same index and term as the snapshot's last entry: keep the entries behind it."""
    cluster = Cluster(1, 2, 3, logs={id: [1, 1, 1, 1] for id in (1, 2, 3)})
    cluster.cut(3)
    cluster.elect(1)
    install(cluster, 3, 2, 1)
    assert cluster[3].core.log.last_index == 4
    assert cluster[3].core.log.term(4) == 1


def test_figure_13_7_a_log_that_disagrees_is_discarded() -> None:
    """Figure 13, rule 7: otherwise the whole log goes."""
    cluster = Cluster(1, 2, 3, logs={1: [1, 3, 3], 2: [1, 3, 3], 3: [1, 2, 2, 2, 2, 2, 2]})
    cluster.cut(3)
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.settle()
    cluster.compact(1)
    cluster.heal()
    for _ in range(4):
        cluster.settle()
    assert cluster[3].commands == cluster[1].commands
    assert cluster[3].log == cluster[1].log
    cluster.crash(3)
    cluster.start(3)
    assert cluster[3].log == [], "nor does the disk give back what conflicts"


def test_figure_13_8_the_state_machine_is_reset_to_the_snapshot() -> None:
    """Figure 13, rule 8: the state machine and the configuration are the snapshot's."""
    cluster = behind()
    cluster.join(4)
    cluster.change(1, AddVoter(4))
    for _ in range(4):
        cluster.settle()
    assert cluster[4].commands == cluster[1].commands
    assert cluster[4].state.configuration.incoming == (1, 2, 3, 4)


def test_7_a_received_snapshot_knows_the_index_of_its_configuration() -> None:
    """§7: configuration and its index are in the snapshot, also in what a receiver keeps for its next start."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    cluster.join(4)
    cluster.cut(4)
    cluster.change(1, AddVoter(4))
    cluster.propose(1, b"x")
    cluster.settle()
    cluster.compact(1)
    cluster.heal()
    for _ in range(4):
        cluster.settle()
    assert cluster[4].state.configuration == cluster[1].state.configuration
    cluster.crash(4)
    cluster.start(4)
    assert cluster[4].state.configuration == cluster[1].state.configuration


def test_a_snapshot_that_says_less_than_the_commit_index_is_not_installed() -> None:
    """§7: a retransmission of what is already there removes nothing."""
    cluster = Cluster(1, 2, 3)
    cluster.elect(1)
    for data in (b"a", b"b"):
        cluster.propose(1, data)
    cluster.settle()
    install(cluster, 2, 2, 1)
    assert cluster[2].update is not None
    assert cluster[2].update.snapshot_chunk is None
    assert cluster[2].commands == [b"a", b"b"]
    assert cluster[2].core.log.last_index == 3


def test_an_installed_snapshot_survives_a_restart() -> None:
    """§7: snapshot, then what follows it in the log."""
    cluster = behind()
    cluster.settle()
    cluster.settle()
    cluster.propose(1, b"after")
    cluster.settle()
    cluster.crash(3)
    cluster.start(3)
    assert cluster[3].commands[:3] == cluster[1].commands[:3]
    cluster.settle()
    assert cluster[3].commands == cluster[1].commands


def test_a_snapshot_counts_only_once_it_is_durable() -> None:
    """Durable before visible: while the install is not reported, the follower acknowledges nothing of it."""
    cluster = behind()
    cluster.hold_snapshots = True
    cluster.settle()
    cluster.settle()
    assert cluster[1].state.progress[3].match == 0 or cluster[1].state.progress[3].match <= 1
    assert cluster[3].commands == []
    for id, snapshot in cluster.held_installs:
        cluster.install_snapshot(id, snapshot)
    cluster.settle()
    assert cluster[3].commands == cluster[1].commands


def test_an_install_that_was_overtaken_takes_nothing_back() -> None:
    """Another leader may replicate past a snapshot that is being installed; nothing is applied until it is loaded."""
    cluster = behind()
    cluster.hold_snapshots = True
    cluster.settle()
    assert cluster.held_installs
    cluster.crash(1)
    cluster.flying.clear()
    cluster.elect(2)
    cluster.propose(2, b"later")
    for _ in range(4):
        cluster.settle()
    assert cluster[3].core.commit == cluster[2].core.commit
    assert cluster[3].commands == [], "the state machine is about to be replaced"
    for id, snapshot in cluster.held_installs:
        cluster.install_snapshot(id, snapshot)
    assert cluster[3].commands == cluster[2].commands


def test_a_compaction_during_an_install_starts_the_newer_one() -> None:
    """§7: what the follower has then is behind the leader's log again; it gets the newer snapshot."""
    cluster = behind()
    cluster.hold_snapshots = True
    cluster.settle()
    cluster.propose(1, b"more")
    cluster.settle()
    cluster.compact(1)
    cluster.hold_snapshots = False
    for id, snapshot in cluster.held_installs:
        cluster.install_snapshot(id, snapshot)
    for _ in range(4):
        cluster.settle()
    assert cluster[3].commands == cluster[1].commands


def test_a_failed_install_is_tried_again() -> None:
    """Ours: SnapshotFailed of the own install; the leader sends again."""
    cluster = behind()
    cluster.hold_snapshots = True
    cluster.settle()
    ((_, snapshot),) = cluster.held_installs
    cluster.hold_snapshots = False
    cluster.step(3, SnapshotFailed(index=snapshot.index, now=cluster.now))
    for _ in range(20):
        cluster.settle()
    assert cluster[3].commands == cluster[1].commands


def test_a_failed_sending_falls_back_to_probing() -> None:
    """etcd's MsgSnapStatus: the leader is told, probes, and sends again."""
    cluster = behind()
    first_chunk(cluster)
    assert cluster[1].state.progress[3].state == "snapshot"
    cluster.flying.clear()
    cluster.step(1, SnapshotFailed(index=4, peer=3, now=cluster.now))
    assert cluster[1].state.progress[3].state == "probe"
    for _ in range(4):
        cluster.settle()
    assert cluster[3].commands == cluster[1].commands


def test_a_snapshot_in_progress_survives_a_change_of_leader() -> None:
    """Ours: another leader's snapshot starts from its first byte, and is not mixed with the old one."""
    cluster = behind(snapshot_chunk_bytes=8)
    cluster.heartbeat(1)
    for _ in range(6):
        cluster.deliver(once=True)
    assert len(cluster[3].disk.partial) > 0
    cluster.crash(1)
    cluster.flying.clear()
    cluster.elect(2)
    cluster.propose(2, b"of the new leader")
    cluster.settle()
    cluster.settle()
    assert cluster[3].commands == cluster[2].commands


def test_entries_follow_a_snapshot_in_one_flow() -> None:
    """§7: after the snapshot, replication goes on with the entries behind it."""
    cluster = behind()
    cluster.propose(1, b"after")
    for _ in range(3):
        cluster.settle()
    assert cluster[3].commands == cluster[1].commands
    assert cluster[3].core.log.first_index == 5
