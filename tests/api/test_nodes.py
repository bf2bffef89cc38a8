"""Nodes under their public name: starting, stopping, quorums, forks, interrupts, and what they look like meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate import (
    ConfigError,
    NodeFailed,
    NoQuorum,
    NotHappened,
    QuorateError,
    RaftConfig,
    Rejected,
    RequestTimeout,
    op,
)
from runtime.clusters import PATIENT, free_sockets


@contextlib.contextmanager
def three(path: Path | None = None) -> Iterator[dict[str, quorate.Node]]:
    """Three nodes that are not started."""
    sockets = dict(zip("abc", free_sockets(3), strict=True))
    members = {name: f"127.0.0.1:{each.getsockname()[1]}" for name, each in sockets.items()}
    kept: dict[str, Any] = {"durability": "memory"} if path is None else {}
    nodes = {
        name: quorate.Node(
            name,
            members=members,
            listen=each,
            config=PATIENT,
            **(kept or {"data_dir": path / name}),  # type: ignore[operator]
        )
        for name, each in sockets.items()
    }
    try:
        yield nodes
    finally:
        for node in nodes.values():
            node.stop()
        for each in sockets.values():
            with contextlib.suppress(OSError):
                each.close()


def test_any_node_of_a_cluster_will_do() -> None:
    with three() as nodes:
        for node in nodes.values():
            node.start()
        clients = {name: node.client() for name, node in nodes.items()}
        for node in nodes.values():
            node.wait_ready(30)
        for name, client in clients.items():
            client.put(f"from/{name}", name.encode())
        for client in clients.values():
            assert [each.value for each in client.range(prefix="from/")] == [b"a", b"b", b"c"]
            members = client.members()
            assert sorted(each.name for each in members) == ["a", "b", "c"]
            assert sum(each.leader for each in members) == 1
            assert client.status()["leader"] in nodes
        # What one wrote through its node it reads there at once, without asking.
        for number in range(50):
            for client in clients.values():
                revision = client.put("k", str(number).encode())
                found = client.get("k", consistency="local")
                assert found is not None
                assert found.mod_revision >= revision


def test_without_a_majority_nothing_is_decided_and_it_says_so() -> None:
    with three() as nodes:
        node = nodes["a"].start()
        with pytest.raises(NoQuorum):
            node.wait_ready(0.2)
        client = node.client()
        # Nothing was handed to anybody: that it did not happen is proven, however late the answer comes.
        for write in (
            lambda: client.put("k", b"", timeout=0.2),
            lambda: client.put_many({"k": b""}, timeout=0.2),
            lambda: client.submit(op.delete("k"), timeout=0.2).result(),
        ):
            with pytest.raises(NotHappened):
                write()
        with pytest.raises((NoQuorum, RequestTimeout)):
            client.get("k", timeout=0.2)
        with pytest.raises(NoQuorum, match="majority"):
            client.put("k", b"", timeout=5)
        assert client.get("k", consistency="local") is None
        assert "follower" in repr(node) or "candidate" in repr(node)


def test_a_write_waits_for_the_majority_that_comes() -> None:
    with three() as nodes:
        nodes["a"].start()
        later = threading.Timer(0.2, nodes["b"].start)
        later.start()
        assert nodes["a"].client().put("k", b"v", timeout=30) > 0
        later.join()


def test_start_and_stop_as_often_as_one_likes(tmp_path: Path) -> None:
    node = quorate.Node("a", data_dir=tmp_path / "a")
    client = node.client()
    assert not node.running
    with pytest.raises(NodeFailed, match="not started") as caught:
        client.put("k", b"v")
    assert isinstance(caught.value.outcome, NotHappened)
    seen = 0
    for number in range(3):
        assert node.start() is node
        node.start()
        node.wait_ready(30)
        found = client.get("k", consistency="local")
        assert (None if found is None else found.value) == (str(number - 1).encode() if number else None)
        revision = client.put("k", str(number).encode())
        assert revision > seen
        seen = revision
        node.stop()
        node.stop()
        assert "stopped" in repr(node)
        assert "Node('a'" in repr(node)
        with pytest.raises(NodeFailed):
            client.get("k", timeout=1)


def test_local_reads_do_not_go_back_when_the_node_starts_again(tmp_path: Path) -> None:
    node = quorate.Node("a", data_dir=tmp_path / "a")
    client = node.client()
    for number in range(5):
        node.start()
        if number:
            # At once: what this node applied before it stopped may not be applied again yet.
            found = client.get("k", consistency="local", timeout=30)
            assert found is not None
            assert found.value == str(number - 1).encode()
            assert len(client.range(consistency="local", timeout=30)) == 1
        client.put("k", str(number).encode(), timeout=30)
        client.get("k", consistency="local", timeout=30)
        node.stop()


def test_a_closed_client_says_so() -> None:
    client = quorate.local()
    inside = client.namespace("app/")
    inside.close()  # nothing of its own
    client.put("k", b"v")
    client.close()
    client.close()
    assert "closed" in repr(client)
    for call in (lambda: client.put("k", b""), lambda: client.get("k"), lambda: inside.get("k", consistency="local")):
        with pytest.raises(Rejected, match="closed"):
            call()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "x", "members": {"a": "127.0.0.1:1"}}, "must name this node"),
        ({"name": "a"}, "data_dir"),
        ({"name": "a", "durability": "memory", "data_dir": "x"}, "mislead"),
        ({"name": "a", "members": {"a": "nowhere"}, "durability": "memory"}, "no address"),
        ({"name": "a", "members": {"a": "127.0.0.1:1", "": "127.0.0.1:2"}, "durability": "memory"}, "names of members"),
    ],
)
def test_settings_that_cannot_work(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        quorate.Node(**arguments)


def test_a_taken_port_and_one_that_others_can_reach() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match="taken by another program"):
            quorate.Node("a", listen=address, durability="memory").start()
    with pytest.raises(ConfigError, match="insecure=True"):
        quorate.Node("a", listen="0.0.0.0:7400", durability="memory").start()


def test_unix_sockets() -> None:
    with tempfile.TemporaryDirectory(prefix="q-") as folder:
        members = {name: f"unix:{folder}/{name}" for name in "ab"}
        with (
            quorate.Node("a", members=members, durability="memory") as a,
            quorate.Node("b", members=members, durability="memory") as b,
        ):
            a.wait_ready(30)
            b.wait_ready(30)
            a.client().put("k", b"v")
            found = b.client().get("k")
            assert found is not None
            assert found.value == b"v"


def test_a_directory_knows_its_own_id(tmp_path: Path) -> None:
    with quorate.Node("m", data_dir=tmp_path, config=RaftConfig(election_timeout_max_ms=200)) as node:
        node.wait_ready(30)
        assert node.status()["id"] == 1
    # A list with others in it, whose names come first, changes nothing: the list serves the first start.
    members = {"a": "unix:/nowhere/a", "m": "unix:/nowhere/m"}
    again = quorate.Node("m", data_dir=tmp_path, members=members)
    assert again._native.id == 1


FORKED = """
import os, sys, quorate
node = quorate.Node("a", durability="memory").start()
node.wait_ready(30)
client = node.client()
client.put("k", b"v")
child = os.fork()
if child == 0:
    said = []
    for call in (lambda: client.put("k", b"w"), lambda: client.get("k"), lambda: client.get("k", consistency="local")):
        try:
            call()
        except quorate.NodeFailed as error:
            said.append("forked child" in str(error) and isinstance(error.outcome, quorate.NotHappened))
    os._exit(0 if said == [True, True, True] else 1)
_, status = os.waitpid(child, 0)
assert client.get("k").value == b"v"
node.stop()
sys.exit(os.waitstatus_to_exitcode(status))
"""

INTERRUPTED = """
import os, signal, threading, time, quorate
node = quorate.Node("a", members={"a": "unix:%s/a", "b": "unix:%s/b"}, durability="memory").start()
client = node.client()
watch = None
with quorate.local() as other:
    watch = other.watch("k")
    calls = [lambda: client.put("k", b"v", timeout=100), lambda: client.get("k", timeout=100), lambda: next(watch)]
    for call in calls:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        begun = time.monotonic()
        try:
            call()
        except KeyboardInterrupt:
            pass
        else:
            raise SystemExit("not interrupted")
        assert time.monotonic() - begun < 30
    other.put("k", b"v")
    assert watch.next(20).value == b"v"
node.stop()
"""


def run_program(text: str) -> None:
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr


def test_a_forked_child_has_no_node() -> None:
    run_program(FORKED)


def test_an_interrupt_ends_every_wait(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="q-") as folder:
        run_program(INTERRUPTED % (folder, folder))


def test_an_import_loads_nothing_heavy() -> None:
    heavy = (
        "asyncio",
        "quorate.runtime",
        "quorate.api",
        "quorate.client",
        "quorate.store",
        "quorate.ring",
        "importlib.metadata",
    )
    run_program(
        "import sys, quorate\n"
        f"loaded = [name for name in {heavy} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
        "assert all(getattr(quorate, name) is not None for name in quorate.__all__)\n"
        "assert set(quorate.__all__) <= set(dir(quorate))\n"
        "try:\n    quorate.nothing\nexcept AttributeError:\n    pass\nelse:\n    raise SystemExit('it is there')\n"
    )


def test_many_threads_share_a_client() -> None:
    with quorate.local() as client:
        failed: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for _ in range(50):
                    client.increment("sum")
                    client.put(f"k{number}", b"v")
                    client.get("sum", consistency="local")
            except QuorateError as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)
        assert not failed
        found = client.get("sum")
        assert found is not None
        assert found.value == b"400"


def test_asyncio() -> None:
    async def body() -> None:
        async with quorate.aio.Node("a", durability="memory") as node:
            await node.wait_ready(30)
            assert node.running
            assert node.status()["leader"] == "a"
            assert repr(node).startswith("aio.Node('a'")
            client = node.client()
            found = await asyncio.gather(*(client.increment("n") for _ in range(500)))
            assert sorted(found) == list(range(1, 501))
            task = asyncio.ensure_future(client.put("k", b"v"))
            await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert await client.count() >= 1
            async with client:
                pass
            with pytest.raises(Rejected):
                await client.get("k")
        assert not node.running
        made = await quorate.aio.local()
        await made.put("k", b"v")
        await made.close()

    asyncio.run(body())


def test_what_is_awaited_ends_with_the_client_and_not_only_with_the_node() -> None:
    async def body(node: quorate.Node) -> None:
        twin = quorate.aio.Client(node.client()._core)
        tasks = [
            asyncio.ensure_future(twin.put("k", b"v", timeout=300)),
            asyncio.ensure_future(twin.get("k", timeout=300)),
        ]
        while not twin._waker._completions or twin._waker._completions.waiting < len(tasks):  # nobody to decide
            await asyncio.sleep(0.001)
        await twin.close()
        for task in tasks:
            with pytest.raises(QuorateError, match="closed"):
                await asyncio.wait_for(task, 20)

    with three() as nodes:
        asyncio.run(body(nodes["a"].start()))


def test_a_client_belongs_to_one_event_loop() -> None:
    with quorate.local() as client:
        twin = quorate.aio.Client(client._core)
        asyncio.run(twin.put("k", b"1"))
        asyncio.run(twin.put("k", b"2"))  # the first loop is closed

        async def other() -> None:
            await twin.put("k", b"3")
            with pytest.raises(ConfigError, match="another event loop"):
                await asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(twin.put("k", b"4")))
            await twin.close()

        asyncio.run(other())


def test_a_node_that_is_stopped_answers_who_waits() -> None:
    with three() as nodes:
        node = nodes["a"].start()
        client = node.client()
        told: list[BaseException] = []
        waiting = threading.Event()

        def wait() -> None:
            waiting.set()
            try:
                client.put("k", b"v", timeout=60)
            except QuorateError as error:
                told.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(20)
        time.sleep(0.05)
        node.stop()
        thread.join(30)
        assert isinstance(told[0], NodeFailed)
        assert told[0].outcome is not None


def test_signals_reach_python_and_not_the_node() -> None:
    """Native threads block all signals: Python's handlers go on to run in the main thread."""
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    try:
        with quorate.local() as client:
            for _ in range(20):
                os.kill(os.getpid(), signal.SIGUSR1)
                client.put("k", b"v")
            assert came == [signal.SIGUSR1] * 20
    finally:
        signal.signal(signal.SIGUSR1, before)
