"""Watches: every change once and in order, resumed anywhere, closed by anybody, and honest about lost history."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate import Compacted, EventKind, InvalidArgument, op
from quorate.api.core import Core
from quorate.client.embedded import EmbeddedBackend
from quorate.runtime.node import NativeNode
from quorate.store import commands


def kinds(events: Any) -> list[tuple[str, bytes, bytes]]:
    return [(each.kind.name, each.key, each.value) for each in events]


def test_changes_come_in_order(client: Any) -> None:
    with client.watch("k") as watch:
        made = client.put("k", b"1")
        client.put("kk", b"another key")
        client.put("k", b"2")
        client.delete("k")
        events = [watch.next(20) for _ in range(3)]
        assert kinds(events) == [("PUT", b"k", b"1"), ("PUT", b"k", b"2"), ("DELETE", b"k", b"2")]
        assert [each.version for each in events][:2] == [1, 2]
        assert events[0].revision == made
        assert all(each.last_of_revision for each in events)
        assert watch.next(0.01) is None
        assert watch.revision >= events[-1].revision


def test_a_prefix_and_a_transaction(client: Any) -> None:
    with client.watch("a/", prefix=True) as watch, client.watch("", prefix=True) as everything:
        done = client.transaction().then(op.put("a/1", b""), op.put("b/1", b""), op.put("a/2", b"")).commit()
        first, second = watch.next(20), watch.next(20)
        assert (first.key, second.key) == (b"a/1", b"a/2")
        assert (first.last_of_revision, second.last_of_revision) == (False, True)
        assert first.revision == second.revision == done.revision
        assert [everything.next(20).key for _ in range(3)] == [b"a/1", b"b/1", b"a/2"]


def test_from_a_revision_on(client: Any) -> None:
    first = client.put("k", b"1")
    second = client.put("k", b"2")
    client.put("k", b"3")
    with client.watch("k", revision=first) as watch:
        assert watch.next(20).value == b"2"
        assert watch.revision == second
    # Resumed where the other one stopped, as another process would.
    with client.watch("k", revision=watch.revision) as watch:
        assert watch.next(20).value == b"3"


def test_what_happens_before_the_first_look_is_seen(client: Any) -> None:
    watch = client.watch("k")
    client.put("k", b"1")
    assert watch.next(20).value == b"1"
    watch.close()


def test_a_watch_can_be_closed_while_it_waits(client: Any) -> None:
    watch = client.watch("k")
    found: list[Any] = []
    begun = threading.Event()

    def iterate() -> None:
        begun.set()
        found.extend(watch)

    thread = threading.Thread(target=iterate)
    thread.start()
    assert begun.wait(20)
    client.put("k", b"1")
    deadline = time.monotonic() + 20
    while not found:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    watch.close()
    thread.join(20)
    assert not thread.is_alive()
    assert kinds(found) == [("PUT", b"k", b"1")]
    client.put("k", b"2")
    assert watch.next(0.01) is None
    assert list(watch) == []
    assert "closed" in repr(watch)


def test_many_changes_come_all(client: Any) -> None:
    pairs = [(f"k{number}", str(number).encode()) for number in range(3000)]
    with client.watch("k", prefix=True) as watch:
        client.put_many(pairs)
        found = list(itertools.islice(watch, 3000))
        assert [(each.key.decode(), each.value) for each in found] == pairs
        assert watch.revision >= found[-1].revision


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda c: c.watch(""), "at least one byte"),
        (lambda c: c.watch("k", prefix="k"), "prefix is True or False"),
        (lambda c: c.watch("k", revision=-1), "revision"),
        (lambda c: c.watch("k", revision=1.5), "revision"),
        (lambda c: c.watch("k", timeout=-1), "timeout"),
        (lambda c: c.watch("k").next(float("inf")), "timeout"),
    ],
)
def test_wrong_arguments(client: Any, wrong: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        wrong(client)


@pytest.fixture
def compacted() -> Iterator[NativeNode]:
    """A node of three changes of which the first two are not kept."""
    node = NativeNode("a", 1, {1: ("a", "unix:/nowhere")}, durability="memory", listen=None)
    with node:
        revisions = [node.execute(commands.put("k", str(number))).revision for number in range(3)]
        node.execute(commands.compact_history(revisions[1]))
        yield node


def test_lost_history_is_told(compacted: NativeNode) -> None:
    with quorate.Client(Core(EmbeddedBackend(compacted))) as client:
        now = client.get("k")
        assert now is not None
        with client.watch("k", revision=1) as watch:
            with pytest.raises(Compacted, match="read the keys anew") as caught:
                next(watch)
            assert caught.value.first_available is not None
            assert caught.value.first_available > 1
        client.put("k", b"more")
        with client.watch("k", revision=now.mod_revision) as watch:
            assert watch.next(20).value == b"more"  # type: ignore[union-attr]


def test_a_cancelled_task_leaves_its_watch_usable(one_node: quorate.Node) -> None:
    async def body() -> None:
        node = one_node
        async with quorate.aio.Client(node.client()._core) as client, client.watch("cancelled/k") as watch:
            for number in range(20):
                task = asyncio.ensure_future(watch.next(60))
                await asyncio.sleep(0 if number % 2 else 0.001)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await client.put("cancelled/k", str(number).encode())
                event = await watch.next(20)
                assert event is not None
                assert event.kind is EventKind.PUT
                assert event.value == str(number).encode()

    asyncio.run(body())
