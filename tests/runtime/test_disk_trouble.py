"""A disk that fails ends the node and nothing else; one that hangs costs the office; a full one refuses growth."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from quorate.errors import Indeterminate, NodeFailed, NotHappened, Overloaded, StorageError
from quorate.runtime.node import NativeNode
from quorate.storage import Faults
from quorate.store import commands
from quorate.store.views import SessionEnd
from runtime.clusters import PATIENT, Cluster, until


def written(node: NativeNode, key: str) -> bool:
    """Whether a write was acknowledged; one that was refused, or whose outcome is not known, counts as not."""
    try:
        node.execute(commands.put(key, "x"))
    except (Indeterminate, Overloaded):
        return False
    return True


def test_a_failed_fsync_stops_that_node_alone(tmp_path: Path) -> None:
    with Cluster(path=tmp_path, faults=True) as cluster:
        leader = cluster.leader()
        others = [node for node in cluster.nodes.values() if node is not leader]
        for number in range(20):
            leader.execute(commands.put(f"before/{number}", "x"))
        cluster.faults[leader.name].fail("sync", error=errno.EIO)
        with pytest.raises(NodeFailed) as caught:
            # The first may succeed: the two others are a majority, perhaps before this disk has said no.
            until(lambda: leader.execute(commands.put("during", "x")) is None, 30.0)
        assert isinstance(caught.value.__cause__ or caught.value, StorageError)
        assert not leader.running
        assert repr(leader).endswith("failed)")
        with pytest.raises(StorageError, match="EIO"):
            leader.status()
        until(lambda: written(others[0], "after"))
        for node in others:
            node.barrier()
            assert node.reader.count("before/", "before0") == 20
        # The disk works again: the node starts over what it had made durable.
        cluster.faults[leader.name].clear()
        leader.start()
        leader.wait_ready()
        assert leader.reader.get("after") is not None


def test_a_disk_that_hangs_costs_the_office(tmp_path: Path) -> None:
    with Cluster(path=tmp_path, faults=True) as cluster:
        leader = cluster.leader()
        others = [node for node in cluster.nodes.values() if node is not leader]
        leader.execute(commands.put("before", "x"))
        cluster.faults[leader.name].slow("sync", seconds=3.0)
        pending = leader.propose(commands.put("during", "x"), timeout=30.0)
        # A majority of the others makes the write durable all the same: the leader's disk works in parallel.
        pending.wait()
        until(lambda: others[0].status()["leader"] not in (leader.name, None))
        until(lambda: written(others[0], "after"))
        cluster.faults[leader.name].clear()


def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    faults = Faults()
    members = {1: ("a", "unix:/unused")}
    node = NativeNode("a", 1, members, data_dir=tmp_path / "a", listen=None, segment_bytes=65536, faults=faults)
    with node:
        node.wait_ready()
        faults.fail("allocate", error=errno.ENOSPC)
        accepted = 0

        def refused() -> bool:
            nonlocal accepted
            try:
                node.execute(commands.put(f"k/{accepted:06}", bytes(4000)), timeout=1.0)
            except Overloaded:
                return True
            except Indeterminate:
                return False
            accepted += 1
            return False

        until(refused, 30.0)
        assert node.status()["disk"]["full"]
        assert node.reader.get("k/000000") is not None, "reads go on"
        faults.clear()
        until(lambda: written(node, "again"), 30.0)
        assert not node.status()["disk"]["full"]


KEYS = 40
"""Written before the disks become full, to be deleted then."""
LONG = replace(PATIENT, snapshot_log_bytes=0)
"""Without snapshots, or a shorter log would give the disk room again."""


def without_room(cluster: Cluster, *names: str) -> None:
    """Their disks have no room for another segment, and the one that they write to is nearly used up or new."""
    for name in names:
        cluster.faults[name].fail("allocate", error=errno.ENOSPC)


def refused(node: NativeNode, number: int) -> bool:
    """Whether a write was refused because it grows; one that was taken in, or whose outcome is not known, was not."""
    try:
        node.execute(commands.put(f"k/{number:06}", bytes(8_000)), timeout=2.0)
    except Overloaded as error:
        return "room" in str(error)
    except (Indeterminate, NotHappened):
        return False
    return False


def grow_until(node: NativeNode, condition: Callable[[], bool]) -> None:
    numbers = itertools.count()
    until(lambda: condition() or (refused(node, next(numbers)) and condition()), 60.0)


def full(node: NativeNode) -> bool:
    found: bool = node.status()["disk"]["full"]
    return found


def freed(node: NativeNode, key: str) -> bool:
    try:
        return node.execute(commands.delete(key), timeout=5.0).number == 1
    except (Indeterminate, NotHappened):
        return False


def test_full_disks_everywhere_keep_the_leader_and_let_go_of_things(tmp_path: Path) -> None:
    with Cluster(path=tmp_path, faults=True, config=LONG) as cluster:
        leader = cluster.leader()
        for number in range(KEYS):
            leader.execute(commands.put(f"old/{number:03}", "x"))
        session = leader.execute(commands.session_open(bytes(range(16)), 60_000)).number
        leader.execute(commands.acquire("lock", session=session, acquisition=1))
        without_room(cluster, *cluster.nodes)
        grow_until(leader, lambda: all(full(node) for node in cluster.nodes.values()))
        until(lambda: refused(leader, 999_999), 20.0)
        term = leader.status()["term"]
        follower = next(node for node in cluster.nodes.values() if node is not leader)
        # From the leader and through a follower: what gives back is done, what grows is refused.
        for number in range(0, KEYS, 2):
            until(lambda number=number: freed(leader, f"old/{number:03}"), 20.0)
            until(lambda number=number: freed(follower, f"old/{number + 1:03}"), 20.0)
        assert refused(follower, 999_999)
        assert leader.execute(commands.session_end(session, SessionEnd.GOODBYE)).status.name == "OK"
        leader.barrier()
        assert leader.reader.count("old/", "old0") == 0
        lock = leader.reader.permit("lock")
        assert lock is not None
        assert lock.held == 0
        assert leader.status()["term"] == term, "the office stays where it is"
        # A mixture that goes into the core as one: the first is refused, the second is not.
        pair = [leader.propose(commands.put("grows", "x")), leader.propose(commands.delete("old/none"))]
        with pytest.raises(Overloaded, match="room"):
            pair[0].wait()
        pair[1].wait()
        for name in cluster.nodes:
            cluster.faults[name].clear()
        until(lambda: written(follower, "again"), 30.0)
        until(lambda: not any(full(node) for node in cluster.nodes.values()), 30.0)


def test_a_full_leader_hands_over_to_somebody_with_room(tmp_path: Path) -> None:
    with Cluster(path=tmp_path, faults=True, config=LONG) as cluster:
        leader = cluster.leader()
        others = [node for node in cluster.nodes.values() if node is not leader]
        without_room(cluster, leader.name)
        grow_until(others[0], lambda: others[0].status()["leader"] not in (leader.name, None))
        assert full(leader)
        assert leader.running
        # The one without room asks the new leader as everybody does, and does not get the office back.
        until(lambda: written(leader, "through the full one"), 30.0)
        assert cluster.leader() is not leader
        # Not even when the new leader goes: the third one takes over.
        second = cluster.leader()
        third = next(node for node in others if node is not second)
        second.stop()
        until(lambda: third.status()["role"] == "leader", 30.0)
        cluster.faults[leader.name].clear()
        until(lambda: not full(leader), 30.0)
        until(lambda: written(leader, "room again"), 30.0)


def test_a_leader_knows_that_the_others_are_full(tmp_path: Path) -> None:
    with Cluster(path=tmp_path, faults=True, config=LONG) as cluster:
        leader = cluster.leader()
        others = [node for node in cluster.nodes.values() if node is not leader]
        leader.execute(commands.put("old", "x"))
        without_room(cluster, *(node.name for node in others))
        grow_until(leader, lambda: all(full(node) for node in others))
        # Its own disk has room, and still it takes in nothing that a majority could not keep.
        until(lambda: refused(leader, 999_999), 20.0)
        assert not full(leader)
        assert freed(leader, "old")
        for node in others:
            cluster.faults[node.name].clear()
        until(lambda: written(leader, "again"), 30.0)


def test_a_shorter_log_gives_a_full_disk_its_next_segment(tmp_path: Path) -> None:
    config = replace(PATIENT, compaction_tail=0)
    with Cluster(1, tmp_path, faults=True, config=config) as cluster:
        node = cluster.leader()
        until(lambda: (tmp_path / "a" / "log" / "reserve").exists())
        without_room(cluster, "a")
        # More than two segments take, over the same keys: each snapshot frees a segment, which has its blocks already.
        for number in range(700):
            until(lambda number=number: put_again(node, number), 60.0)
        assert node.status()["snapshot"]["made"] >= 2
        assert len(list((tmp_path / "a" / "log").glob("*.log"))) <= 3


def put_again(node: NativeNode, number: int) -> bool:
    try:
        node.execute(commands.put(f"k/{number % 4}", bytes(8_000)), timeout=5.0)
    except (NotHappened, Indeterminate):
        return False
    return True
