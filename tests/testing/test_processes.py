"""Real clusters for tests: they start quickly, and what is done to their nodes happens."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from quorate.errors import ConfigError, InvalidArgument, NodeFailed, NoQuorum
from quorate.testing import ProcessCluster
from runtime.clusters import until

pytest_plugins = ["quorate.testing.fixtures"]


def test_the_fixture(quorate_cluster: ProcessCluster) -> None:
    cluster = quorate_cluster
    assert cluster.names == cluster.running == ("a", "b", "c")
    leader = cluster.leader()
    status = cluster.status(leader)
    assert (status["role"], status["leader"], status["durability"]) == ("leader", leader, "fsync")
    assert cluster.url == f"quorate://{','.join(cluster.members.values())}"
    # Killed: another one leads. Started again, on its data: it follows.
    cluster.kill(leader)
    assert cluster.leader(30) != leader
    with pytest.raises(NodeFailed, match="not running"):
        cluster.status(leader)
    assert f"{leader}: stopped" in repr(cluster)
    cluster.restart(leader)
    cluster.wait_ready(60)
    assert cluster.running == ("a", "b", "c")
    assert cluster.status(leader)["role"] in ("follower", "leader")


def test_a_paused_node_answers_nobody() -> None:
    with ProcessCluster() as cluster:
        leader = cluster.leader()
        cluster.pause(leader)
        assert cluster.leader(30) != leader
        with pytest.raises(NodeFailed, match="paused"):
            cluster.status(leader)
        assert leader not in cluster.running
        cluster.resume(leader)
        assert until(lambda: cluster.status(leader)["role"] == "follower", 30)
        cluster.stop_node(leader)
        others = [name for name in cluster.names if name != leader]
        cluster.kill(others[0])
        assert cluster.running == (others[1],)
        with pytest.raises(NoQuorum):
            cluster.wait_ready(0.3)
        until(lambda: cluster.status(others[1])["role"] != "leader", 30)
        with pytest.raises(NoQuorum):
            cluster.leader(0.1)


def test_nothing_is_left(tmp_path: Path) -> None:
    cluster = ProcessCluster(["x"], directory=tmp_path)
    with cluster:
        assert cluster.leader() == "x"
        process = cluster._nodes["x"].process
        assert process is not None
        number = process.pid
        directory = tmp_path / "x"
        assert directory.is_dir()
        address = cluster.members["x"].rsplit(":", 1)
    cluster.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    with socket.socket() as probe:
        assert probe.connect_ex((address[0], int(address[1]))) != 0
    with ProcessCluster(["x"], durability="memory") as cluster:
        temporary = cluster._directory
        assert temporary is None
        with pytest.raises(ConfigError, match="kept nothing"):
            cluster.restart("x")
    with ProcessCluster(["x"]) as cluster:
        temporary = cluster._directory
        assert temporary is not None
        assert temporary.is_dir()
    assert not temporary.exists()


def test_a_node_ends_with_its_parent() -> None:
    with ProcessCluster(["x"]) as cluster:
        process = cluster._nodes["x"].process
        assert process is not None
        assert process.stdin is not None
        os.kill(process.pid, signal.SIGINT)  # of the terminal: not for it, but if it came, it would end too
        process.stdin.close()
        process.wait(30)


@pytest.mark.parametrize("wrong", [0, 99, [], ["a", "a"]])
def test_wrong_nodes(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="nodes"):
        ProcessCluster(wrong)  # type: ignore[arg-type]


def test_an_unknown_node() -> None:
    cluster = ProcessCluster()
    with pytest.raises(InvalidArgument, match="not started"):
        cluster.kill("a")


def test_what_is_wrong_with_a_node_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not a directory")
    with pytest.raises(NodeFailed, match="node x: "):
        ProcessCluster(["x"], directory=tmp_path).start()
