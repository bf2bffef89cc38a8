"""What `status()` tells an operator: lag of each follower, time of the disk, sessions, memory."""

from __future__ import annotations

from pathlib import Path

from quorate.store import commands
from runtime.clusters import Cluster, until


def test_a_leader_knows_how_far_each_follower_is(tmp_path: Path) -> None:
    with Cluster(3, tmp_path) as cluster:
        leader = cluster.leader()
        for number in range(50):
            leader.execute(commands.put(f"key-{number}", b"value"), timeout=20.0)
        others = {name for name in cluster.nodes if name != leader.name}
        seen = until(
            lambda: (
                found
                if set((found := leader.status())["followers"]) == others
                and not any(each["lag"] for each in found["followers"].values())
                else None
            ),
            timeout=20.0,
        )
        for each in seen["followers"].values():
            assert each["match"] == seen["last_index"] > 50
            assert 0 <= each["silent"] < 60
            assert each["learner"] is False
        for name in others:
            assert cluster.nodes[name].status()["followers"] == {}

        stopped = cluster.nodes[min(others)]
        stopped.stop()
        for number in range(20):
            leader.execute(commands.put(f"more-{number}", b"value"), timeout=20.0)
        assert leader.status()["followers"][stopped.name]["lag"] >= 20


def test_the_disk_is_timed_and_memory_is_counted(tmp_path: Path) -> None:
    with Cluster(1, tmp_path) as cluster:
        node = cluster.leader()
        for _ in range(10):
            node.execute(commands.put("key", bytes(1000)), timeout=20.0)
        seen = node.status()
        disk = seen["disk"]
        assert disk["syncs"] >= 10
        assert 0 <= disk["sync_p50_us"] <= disk["sync_p99_us"] <= disk["sync_max_us"] <= disk["sync_sum_us"]
        assert seen["memory"]["log_bytes"] > 10_000
        assert seen["memory"]["log_entries"] > 10
        assert seen["memory"]["resident"] > 1 << 20
        assert seen["sessions"] == 0


def test_in_memory_nothing_is_synced() -> None:
    with Cluster(1) as cluster:
        node = cluster.leader()
        node.execute(commands.put("key", b"value"), timeout=20.0)
        disk = node.status()["disk"]
        assert (disk["durable"], disk["syncs"], disk["sync_p99_us"]) == (False, 0, 0)
