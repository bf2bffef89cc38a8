"""The load generator: what it counts is what the store has, and nothing that went wrong is hidden."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from client.fake import DONE, PROPOSE, FakeNode
from quorate.client._load import COUNT_MAX, WINDOW_MAX, load
from quorate.client.remote import Remote
from quorate.errors import InvalidArgument
from quorate.runtime.node import NativeNode
from quorate.store import commands
from runtime.clusters import Cluster, until

LONG = 60.0


def alone() -> NativeNode:
    return NativeNode("a", 1, {1: ("a", "unix:/unused")}, durability="memory", listen=None)


def puts(keys: int, size: int = 10) -> list[bytes]:
    return [commands.put(f"key-{number}", bytes(size)) for number in range(keys)]


@pytest.mark.parametrize("window", [1, 7, 1024])
def test_all_puts_are_in_the_store(window: int) -> None:
    with alone() as node:
        node.wait_ready()
        found = load(node, puts(30), count=2000, window=window, timeout=LONG)
        assert (found["asked"], found["done"], found["failed"]) == (2000, 2000, {})
        rows, more = node.reader.range(b"", b"")
        assert {row.key for row in rows} == {f"key-{number}".encode() for number in range(30)}
        assert not more
        # In turn, and each exactly as often as it was asked: 2,000 = 66 × 30 + 20.
        assert sorted(row.version for row in rows) == [66] * 10 + [67] * 20
        assert 0 < found["p50_us"] <= found["p99_us"] <= found["seconds"] * 1e6
        assert found["rate"] == pytest.approx(2000 / found["seconds"])


def test_over_sockets() -> None:
    with Cluster(1) as cluster:
        node = cluster.leader()
        with Remote([str(node.first_members[1][1])]) as remote:
            remote.wait_connected(LONG)
            found = load(remote, puts(30), count=2000, window=64, timeout=LONG)
        assert (found["asked"], found["done"], found["failed"]) == (2000, 2000, {})
        assert sum(row.version for row in node.reader.range(b"", b"")[0]) == 2000


def in_a_thread(engine: Any, **settings: Any) -> tuple[threading.Thread, list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: found.append(load(engine, puts(30), **settings)))
    thread.start()
    return thread, found


def test_a_node_that_stops_ends_it_with_counted_errors() -> None:
    with alone() as node:
        node.wait_ready()
        thread, found = in_a_thread(node, count=COUNT_MAX, window=64, timeout=LONG)
        until(lambda: node.reader.revision > 500)
        reader = node.reader
        node.stop()
        thread.join(LONG)
    (one,) = found
    assert 0 < one["done"] < one["asked"] < COUNT_MAX
    assert set(one["failed"]) <= {"stopped_before", "stopped_after"}
    assert one["failed"]
    assert one["done"] + sum(one["failed"].values()) == one["asked"]
    # What was not done was not, or it is not known; what was done is there.
    written = sum(row.version for row in reader.range(b"", b"")[0])
    assert one["done"] <= written <= one["done"] + one["failed"].get("stopped_after", 0)


def test_what_a_node_refuses_is_counted_and_not_asked_again() -> None:
    with Cluster(2) as cluster:
        cluster.leader()
        cluster.nodes["b"].stop(hand_over=0.0)
        found = load(cluster.nodes["a"], puts(3), count=20, window=4, timeout=0.2)
    assert (found["asked"], found["done"], found["rate"], found["p99_us"]) == (20, 0, 0.0, 0.0)
    assert sum(found["failed"].values()) == 20


def test_what_the_store_refuses_is_no_put_that_was_done() -> None:
    with alone() as node:
        node.wait_ready()
        fenced = commands.put("key", b"", fence=(b"lock", 1))
        found = load(node, [*puts(1), fenced], count=20, window=4, timeout=LONG)
        assert (found["asked"], found["done"], found["failed"]) == (20, 10, {"fenced": 10})


def test_ctrl_c_ends_it_and_the_engine_goes_on() -> None:
    interrupted = threading.Event()

    def handler(node: FakeNode, ask: Any) -> Any:
        if ask.kind != PROPOSE:
            return DONE, 7, b""
        if not interrupted.is_set():
            interrupted.set()
            signal.raise_signal(signal.SIGINT)  # the first put has come; the main thread gets it
        return None

    with FakeNode(1, handler=handler) as node, Remote([node.address]) as remote:
        remote.wait_connected(LONG)
        with pytest.raises(KeyboardInterrupt):
            load(remote, puts(3), count=1000, window=8, timeout=LONG)
        assert remote.alive
    # Closing answers what was left on its way, for which nobody waits any more.
    assert not remote.alive


@pytest.mark.parametrize(
    "settings",
    [{"count": 0}, {"count": COUNT_MAX + 1}, {"window": 0}, {"window": WINDOW_MAX + 1}, {"timeout": 0.0}],
)
def test_arguments_are_checked(settings: dict[str, Any]) -> None:
    with alone() as node:
        node.wait_ready()
        with pytest.raises(InvalidArgument, match=r"a load needs commands|a timeout"):
            load(node, puts(1), **{"count": 1, "window": 1, **settings})
        with pytest.raises(InvalidArgument, match="a load needs commands"):
            load(node, [], count=1, window=1)
        with pytest.raises(InvalidArgument, match="no command"):
            load(node, [b"nothing"], count=1, window=1)
        assert node.reader.range(b"", b"")[0] == []
