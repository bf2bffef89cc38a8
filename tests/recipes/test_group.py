"""Groups: who is there is seen, who is gone is not, and a watch misses neither."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate import InvalidArgument, Rejected, SessionLost
from quorate.store import commands
from quorate.store.views import SessionEnd
from runtime.clusters import until


def names(group: Any) -> list[str]:
    return [each.name for each in group.members()]


def end_session(client: Any, lease: float = 10.0) -> None:
    """The cluster ends the session of the client's recipes, as if it had not heard of it."""
    backend = client._core.backend
    session = backend.pooled(lease).session
    assert session
    backend._engine().propose(commands.session_end(session, SessionEnd.FORCED), 20.0).wait()


def test_members_come_and_go(client: Any) -> None:
    workers = client.group("workers")
    assert workers.members() == []
    first = workers.join("w2", b"data", weight=2.0, zone="east")
    second = workers.join("w1")
    assert first.held
    assert [(each.name, each.data, each.weight, each.zone) for each in workers.members()] == [
        ("w1", b"", 1.0, None),
        ("w2", b"data", 2.0, "east"),
    ]
    first.update(b"new", zone=None)
    second.update(weight=0.5)
    w1, w2 = workers.members()
    assert (w2.data, w2.weight, w2.zone, first.data, first.zone) == (b"new", 2.0, None, b"new", None)
    assert w2.joined < w1.joined < w2.changed < w1.changed
    first.leave()
    first.leave()
    assert not first.held
    assert "it has left" in repr(first)
    with pytest.raises(Rejected, match="not a member"):
        first.update(b"more")
    assert names(workers) == ["w1"]
    with second:
        assert "since revision" in repr(second)
    assert names(workers) == []


def test_a_name_that_is_taken(one_node: quorate.Node, threads: quorate.Client) -> None:
    workers = threads.group("workers")
    with one_node.client() as other:
        theirs = other.namespace(threads._core.prefix).group("workers")
        taken = theirs.join("w1")
        (member,) = workers.members()
        with pytest.raises(
            Rejected, match=f"'w1' is a member of the group 'workers' already: of session {member.session} "
        ):
            workers.join("w1")
        with pytest.raises(Rejected, match="already"):
            theirs.join("w1")
        taken.leave()
        workers.join("w1")
    assert names(workers) == ["w1"]


def test_a_client_that_is_closed_leaves(one_node: quorate.Node, threads: quorate.Client) -> None:
    workers = threads.group("workers")
    with one_node.client() as other:
        joined = other.namespace(threads._core.prefix).group("workers").join("w1")
        assert names(workers) == ["w1"]
    assert names(workers) == []
    assert not joined.held


def test_it_joins_again_when_the_session_was_lost(client: Any) -> None:
    workers = client.group("workers")
    lost: list[str] = []
    member = workers.join("w1", b"data", on_lost=lost.append, lease=3.0)
    before = workers.members()[0]
    end_session(client, 3.0)
    assert until(lambda: [each.session for each in workers.members()] not in ([], [before.session]), 30)
    assert until(lambda: member.held, 30)
    assert workers.members()[0].data == b"data"
    member.update(b"later")
    assert workers.members()[0].data == b"later"
    member.leave()
    assert workers.members() == []
    assert not lost


def test_it_does_not_join_again_if_it_should_not(client: Any) -> None:
    workers = client.group("workers")
    lost: list[str] = []
    member = workers.join("w1", rejoin=False, on_lost=lost.append, lease=2.5)
    end_session(client, 2.5)
    assert until(lambda: lost, 30)
    assert not member.held
    assert lost[0] in repr(member)
    with pytest.raises((Rejected, SessionLost)):
        member.update(b"more")
    assert workers.members() == []
    member.leave()


def test_who_finds_its_name_taken_is_told(one_node: quorate.Node, threads: quorate.Client) -> None:
    workers = threads.group("workers")
    lost: list[str] = []
    member = workers.join("w1", on_lost=lost.append, lease=3.0)
    taken = threads.session(ttl=30)
    # In one entry of the log, the name goes to another one: so there is no moment in which it could be taken again.
    threads.put(".quorate/group/workers/m/w1", b"by hand", session=taken)
    end_session(threads, 3.0)
    assert until(lambda: lost, 30)
    assert "is a member of the group 'workers' already" in lost[0]
    assert not member.held
    (other,) = workers.members()
    assert (other.session, other.data, other.weight) == (taken.id, b"by hand", 1.0)
    with pytest.raises(Rejected):
        member.update(b"more")


def test_watches_begin_with_who_is_there(client: Any) -> None:
    workers = client.group("workers")
    first = workers.join("w1", b"1")
    with workers.watch() as watch:
        change = watch.next(20)
        assert (change.kind, change.member.name, change.member.data) == ("joined", "w1", b"1")
        second = workers.join("w2")
        first.update(b"2")
        second.leave()
        found = [watch.next(20) for _ in range(3)]
        assert [(each.kind, each.member.name) for each in found] == [
            ("joined", "w2"),
            ("changed", "w1"),
            ("left", "w2"),
        ]
        assert found[1].member.data == b"2"
        assert found[0].revision < found[1].revision < found[2].revision
        assert watch.next(0.05) is None
    assert watch.next(1) is None
    assert list(watch) == []
    assert "closed" in repr(watch)


def test_a_watch_can_be_closed_while_it_waits(client: Any) -> None:
    watch = client.group("workers").watch()
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(watch))
    thread.start()
    client.group("workers").join("w1")
    assert until(lambda: found, 20)
    watch.close()
    thread.join(30)
    assert not thread.is_alive()


def test_a_watch_whose_history_is_gone_compares(threads: quorate.Client) -> None:
    workers = threads.group("workers")
    stays, goes, changes = (workers.join(name) for name in ("stays", "goes", "changes"))
    again = workers.join("again")
    with workers.watch() as watch:
        assert {change.member.name for _ in range(4) if (change := watch.next(20))} == {
            "stays",
            "goes",
            "changes",
            "again",
        }
        goes.leave()
        changes.update(b"new")
        again.leave()
        workers.join("again")
        workers.join("comes")
        last = threads.put("k", b"")
        threads._core.backend._engine().propose(commands.compact_history(last), 20.0).wait()
        found = [watch.next(20) for _ in range(5)]
        told = sorted((each.kind, each.member.name) for each in found if each)
        assert told == [
            ("changed", "changes"),
            ("joined", "again"),
            ("joined", "comes"),
            ("left", "again"),
            ("left", "goes"),
        ]
        assert watch.next(0.05) is None
    assert stays.held


def test_bad_input(client: Any) -> None:
    for name in ("", "n" * 513):
        with pytest.raises(InvalidArgument, match="1 to 512 bytes"):
            client.group(name)
    group = client.group("g")
    for wrong in (
        lambda: group.join(""),
        lambda: group.join("n" * 256),
        lambda: group.join(b"bytes"),
        lambda: group.join("m", "text"),
        lambda: group.join("m", weight=0),
        lambda: group.join("m", weight="heavy"),
        lambda: group.join("m", zone=7),
        lambda: group.join("m", lease=0),
        lambda: group.join("m", timeout=-1),
    ):
        with pytest.raises(InvalidArgument):
            wrong()
    assert client.count() == 0
    with pytest.raises(quorate.LimitExceeded, match="SESSION_TTL_MIN_MS"):
        group.join("m", lease=0.1)
    member = group.join("m")
    with pytest.raises(InvalidArgument):
        member.update("text")
    with pytest.raises(InvalidArgument):
        member.update(weight=-1)
    member.leave()
    client.counter("taken").increment()
    taken = client.group("taken")
    for use in (lambda: taken.join("m"), lambda: taken.members(), lambda: taken.watch().next(1)):
        with pytest.raises(Rejected, match="'taken' is a counter, and not a group"):
            use()


def test_cancelled_joins_leave_nobody(one_node: quorate.Node) -> None:
    generator = random.Random(9)

    async def body() -> None:
        async with quorate.aio.Client(one_node.client()._core) as whole:
            group = whole.namespace("cancelled-group/").group("g")
            for _ in range(60):
                task = asyncio.ensure_future(group.join("m")._make())
                await asyncio.sleep(generator.choice((0, 0.0003, 0.001)))
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    if isinstance(task.exception(), Rejected):
                        continue  # the one before is on its way out
                    await task.result().leave()
            for _ in range(2000):
                if not await group.members():
                    break
                await asyncio.sleep(0.01)
            assert await group.members() == []
            async with group.join("m") as member:
                assert member.held
                async with group.watch() as watch:
                    change = await watch.next(20)
                    assert change is not None
                    assert change.kind == "joined"
            assert await group.members() == []

    asyncio.run(body())


def test_ctrl_c_behind_the_join_leaves_nobody(threads: quorate.Client) -> None:
    workers = threads.group("workers")
    whole = workers._carrier

    class Interrupted:
        """Carries a flow to its end, and is interrupted then."""

        def run(self, flow: Any) -> None:
            whole.run(flow)
            raise KeyboardInterrupt

        tell = whole.tell

    workers._carrier = Interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        workers.join("w1")
    workers._carrier = whole
    assert until(lambda: workers.members() == [], 20)
    party = threads.double_barrier("d", 1)
    party._carrier = Interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        party.enter()
    party._carrier = whole
    assert not party.inside
    assert until(lambda: threads.count(prefix=".quorate/double_barrier/d/a/") == 0, 20)
    jobs = threads.queue("jobs")
    jobs.put(b"1")
    jobs._carrier = Interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        jobs.get()
    jobs._carrier = whole
    item = jobs.get(20)
    assert item is not None
    item.ack()
