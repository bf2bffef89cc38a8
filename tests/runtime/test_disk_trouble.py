"""A disk that fails ends the node and nothing else; one that hangs costs the leader its office; a full one refuses."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from quorate.errors import Indeterminate, NodeFailed, Overloaded, StorageError
from quorate.runtime.node import NativeNode
from quorate.storage import Faults
from quorate.store import commands
from runtime.clusters import Cluster, until


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
            leader.execute(commands.put("during", "x"))
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
