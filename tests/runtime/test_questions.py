"""Reads, watches, waits and status, asked of a node by its own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from quorate.errors import InvalidArgument, NodeFailed, Overloaded, RequestTimeout
from quorate.runtime import questions
from quorate.runtime.node import NativeNode
from quorate.runtime.questions import Kind, WatchAnswer
from quorate.store import commands
from quorate.store.views import EventKind, Result
from runtime.clusters import Cluster, until

NONE, HELD, WAITING = 0, 1, 2
SOON = 20.0
"""Seconds within which a test's question is answered, however busy the machine is."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        made.leader()
        yield made


@pytest.fixture
def alone() -> Iterator[NativeNode]:
    """A cluster of one."""
    with NativeNode("a", 1, {1: ("a", "unix:/unused")}, durability="memory", listen=None) as node:
        node.wait_ready(SOON)
        yield node


def asked(node: NativeNode, kind: Kind, body: bytes, timeout: float = SOON) -> bytes:
    result = node.ask(kind, body, timeout=timeout).wait()[1]
    assert result is not None
    return result


def watched(node: NativeNode, body: bytes, timeout: float = SOON) -> WatchAnswer:
    return questions.decode_watch(asked(node, Kind.WATCH, body, timeout))


def put(node: NativeNode, key: str | bytes, value: str | bytes = b"") -> int:
    return node.execute(commands.put(key, value), timeout=SOON).revision


def parked(node: NativeNode) -> int:
    return int(node.status()["queues"]["parked"])


def test_reads_of_every_kind_on_every_node(cluster: Cluster) -> None:
    leader = cluster.leader()
    last = 0
    for number in range(5):
        last = put(leader, f"reads/{number}", f"value {number}")
    for node in cluster.nodes.values():
        # Linearizable on a follower too: what was acknowledged elsewhere is there.
        revision, row = questions.decode_key(asked(node, Kind.QUERY, questions.key_question(b"reads/4")))
        assert revision >= last
        assert row is not None
        assert (row.key, row.value, row.mod_revision, row.version) == (b"reads/4", b"value 4", last, 1)
        assert questions.decode_key(asked(node, Kind.QUERY, questions.key_question(b"reads/5")))[1] is None
        body = questions.range_question(b"reads/", b"reads0", limit=3)
        _, more, rows = questions.decode_range(asked(node, Kind.QUERY, body))
        assert more
        assert [each.key for each in rows] == [b"reads/0", b"reads/1", b"reads/2"]
        body = questions.range_question(b"reads/3", b"", keys_only=True)
        _, more, keys = questions.decode_range(asked(node, Kind.QUERY, body), keys_only=True)
        assert not more
        assert keys[:2] == [b"reads/3", b"reads/4"]
        body = questions.count_question(b"reads/", b"reads0", local=True, min_revision=last)
        assert questions.decode_count(asked(node, Kind.QUERY, body))[1] == 5


def test_a_local_read_waits_for_the_revision_that_was_seen_elsewhere(alone: NativeNode) -> None:
    revision = put(alone, "k", "old")
    waiting = alone.ask(Kind.QUERY, questions.key_question(b"k", local=True, min_revision=revision + 1), timeout=SOON)
    until(lambda: parked(alone) == 1)
    assert not waiting.done
    put(alone, "k", "new")
    found = waiting.wait()[1]
    assert found is not None
    row = questions.decode_key(found)[1]
    assert row is not None
    assert row.value == b"new"
    with pytest.raises(RequestTimeout):
        asked(alone, Kind.QUERY, questions.key_question(b"k", local=True, min_revision=revision + 100), 0.1)
    until(lambda: parked(alone) == 0)


def test_a_watch_answers_with_what_came_and_goes_on_from_there(alone: NativeNode) -> None:
    first = put(alone, "w/1", "a")
    put(alone, "elsewhere")
    second = put(alone, "w/2", "b")
    body = questions.watch_question(b"w/", questions.prefix_end(b"w/"), after=0)
    found = watched(alone, body)
    assert [(event.row.key, event.revision, event.kind) for event in found.events] == [
        (b"w/1", first, EventKind.PUT), (b"w/2", second, EventKind.PUT)
    ]  # fmt: skip
    assert found.complete >= second
    assert not found.compacted

    waiting = alone.ask(Kind.WATCH, questions.watch_question(b"w/", b"w0", after=found.complete), timeout=SOON)
    until(lambda: parked(alone) == 1)
    put(alone, "elsewhere")
    third = alone.execute(commands.delete("w/1")).revision
    result = waiting.wait()[1]
    assert result is not None
    found = questions.decode_watch(result)
    assert [(event.row.key, event.row.value, event.revision, event.kind) for event in found.events] == [
        (b"w/1", b"a", third, EventKind.DELETE)
    ]


def test_a_watch_that_sees_nothing_ends_with_how_far_it_saw(alone: NativeNode) -> None:
    last = put(alone, "other")
    found = watched(alone, questions.watch_question(b"w", b"x", after=0), 0.1)
    assert found.events == ()
    assert found.complete >= last
    found = watched(alone, questions.watch_question(b"w", b"x", after=last + 1000), 0.1)
    assert found.complete == last + 1000


RANGES = {
    "one key": (b"m", b"m\0"),
    "a prefix": (b"m", b"n"),
    "a longer prefix": (b"m\xff", b"n"),
    "everything": (b"", b""),
    "all from a key": (b"m", b""),
    "a range": (b"lx", b"mz"),
    "an empty range": (b"n", b"m"),
}


@pytest.mark.parametrize(("start", "end"), RANGES.values(), ids=RANGES)
def test_a_parked_watch_gets_exactly_what_a_late_one_would(alone: NativeNode, start: bytes, end: bytes) -> None:
    keys = [b"m", b"l", b"m\0", b"ma", b"m\xff", b"m\xff\xff", b"n", b"mz", b"lx", b"z" * 4096]
    after = put(alone, "before")
    body = questions.watch_question(start, end, after=after)
    wanted = [each for each in keys if each >= start and (not end or each < end)]
    seen: list[bytes] = []
    while len(seen) < len(wanted):
        waiting = alone.ask(Kind.WATCH, questions.watch_question(start, end, after=after), timeout=SOON)
        until(lambda waiting=waiting: parked(alone) == 1 or waiting.done)
        while not waiting.done and keys:
            put(alone, keys.pop(0))
        # It may come a moment behind the answer to the put.
        found = questions.decode_watch(waiting.wait()[1] or b"")
        seen += [event.row.key for event in found.events]
        after = found.complete
    assert seen == wanted
    for key in keys:
        put(alone, key)
    assert watched(alone, questions.watch_question(start, end, after=after), 0.1).events == ()
    if wanted:
        assert [event.row.key for event in watched(alone, body).events] == wanted


def test_an_answer_is_cut_between_revisions_only(alone: NativeNode) -> None:
    first = put(alone, "c/first")
    pair = alone.execute(commands.transaction([], [commands.do_put("c/a", "1"), commands.do_put("c/b", "2")])).revision
    last = put(alone, "c/last", b"x" * 1000)
    body = questions.watch_question(b"c/", b"c0", after=0, events_most=1)
    found = watched(alone, body)
    assert [event.revision for event in found.events] == [first]
    assert found.complete == first
    found = watched(alone, questions.watch_question(b"c/", b"c0", after=first, events_most=1))
    assert [(event.revision, event.last_of_revision) for event in found.events] == [(pair, False), (pair, True)]
    found = watched(alone, questions.watch_question(b"c/", b"c0", after=pair, bytes_most=1))
    assert [event.revision for event in found.events] == [last]


def test_a_watch_of_lost_history_is_told_so(alone: NativeNode) -> None:
    put(alone, "k")
    last = put(alone, "k")
    alone.execute(commands.compact_history(last))
    found = watched(alone, questions.watch_question(b"k", b"l", after=0))
    assert found.compacted
    assert found.first_available == last
    assert found.events == ()


def opened(node: NativeNode, nonce: bytes) -> int:
    return node.execute(commands.session_open(nonce, 60_000, now_ms=1), timeout=SOON).number


def test_an_awaited_lock_tells_when_it_is_held(alone: NativeNode) -> None:
    one, two = opened(alone, b"1" * 16), opened(alone, b"2" * 16)
    for session in (one, two):
        done = alone.execute(commands.acquire("lock", session=session, acquisition=7, now_ms=1))
    waiting = alone.ask(Kind.AWAIT, questions.await_question(two, 7, min_revision=done.revision), timeout=SOON)
    until(lambda: parked(alone) == 1)
    alone.execute(commands.release(session=one, acquisition=7))
    state = (waiting.wait()[1] or b"")[8]
    assert state == asked(alone, Kind.QUERY, questions.acquisition_question(two, 7))[8] == HELD
    # The one that holds, and one that nobody made, are answered at once; a revision not seen yet is waited for.
    assert asked(alone, Kind.AWAIT, questions.await_question(two, 7))[8] == HELD
    assert asked(alone, Kind.AWAIT, questions.await_question(two, 8))[8] == NONE
    with pytest.raises(RequestTimeout):
        asked(alone, Kind.AWAIT, questions.await_question(two, 7, min_revision=done.revision + 1000), 0.1)


def test_a_wait_for_a_lock_ends_with_the_wait_still_on(alone: NativeNode) -> None:
    one, two = opened(alone, b"1" * 16), opened(alone, b"2" * 16)
    for session in (one, two):
        alone.execute(commands.acquire("lock", session=session, acquisition=1, now_ms=1))
    assert asked(alone, Kind.AWAIT, questions.await_question(two, 1), 0.1)[8] == WAITING
    # It ends without an event: the wait is looked at now and then.
    waiting = alone.ask(Kind.AWAIT, questions.await_question(two, 1), timeout=SOON)
    until(lambda: parked(alone) == 1)
    alone.execute(commands.cancel(session=two, acquisition=1))
    assert (waiting.wait()[1] or b"")[8] == NONE


def test_nobody_waits_any_more(alone: NativeNode) -> None:
    for number in range(100):
        alone.ask(Kind.WATCH, questions.watch_question(b"%d" % number, b"a", after=1 << 60), timeout=1000)
    # Each answer was dropped at once; the node notices.
    until(lambda: alone.status()["questions"] >= 100)
    until(lambda: parked(alone) == 0)


def test_parked_questions_are_bounded(alone: NativeNode) -> None:
    body = questions.watch_question(b"a", b"b", after=1 << 60)
    held = []
    for _ in range(33):
        held += [alone.ask(Kind.WATCH, body, timeout=1000) for _ in range(2000)]
        alone.barrier(timeout=SOON)
    with pytest.raises(Overloaded):
        next(each for each in held if each.done).wait()
    assert put(alone, "k")
    assert parked(alone) == 65_536


def test_watches_of_odd_ranges_are_bounded_and_others_are_not(alone: NativeNode) -> None:
    odd = questions.watch_question(b"a", b"zzz", after=1 << 60)
    held = [alone.ask(Kind.WATCH, odd, timeout=1000) for _ in range(4097)]
    alone.barrier(timeout=SOON)
    with pytest.raises(Overloaded):
        held[-1].wait()
    held.append(alone.ask(Kind.WATCH, questions.watch_question(b"a", b"b", after=1 << 60), timeout=1000))
    alone.barrier(timeout=SOON)
    until(lambda: parked(alone) == 4097)
    del held[:100]
    until(lambda: parked(alone) == 3997)
    held.append(alone.ask(Kind.WATCH, odd, timeout=1000))
    until(lambda: parked(alone) == 3998)


def test_much_to_answer_is_spread_over_turns(alone: NativeNode) -> None:
    """And all of it is answered, whatever is asked: reads, watches that look far back, watches of one key by many."""
    value = b"x" * 100_000
    first = put(alone, "much", value)
    before = alone.status()["turns"]
    body = questions.range_question(b"", b"")
    asked = [alone.ask(Kind.QUERY, body, timeout=60) for _ in range(300)]
    asked += [alone.ask(Kind.QUERY, questions.key_question(b"much", local=True), timeout=60) for _ in range(300)]
    asked += [alone.ask(Kind.WATCH, questions.watch_question(b"", b"", after=0), timeout=60) for _ in range(300)]
    watches = [
        alone.ask(Kind.WATCH, questions.watch_question(b"much", b"much\0", after=first), timeout=60) for _ in range(300)
    ]
    assert all(len(each.wait()[1] or b"") > 100_000 for each in asked)
    until(lambda: parked(alone) == 300)
    second = put(alone, "much", value)
    for each in watches:
        found = questions.decode_watch(each.wait()[1] or b"")
        assert [event.revision for event in found.events] == [second]
    # The turn of the last answer may not have been counted yet.
    assert alone.status()["turns"] + 1 - before > 1200 * 100_000 // (1 << 22)


def test_a_stopped_node_answers_what_was_parked() -> None:
    with NativeNode("a", 1, {1: ("a", "unix:/unused")}, durability="memory", listen=None) as node:
        node.wait_ready(SOON)
        waiting = node.ask(Kind.WATCH, questions.watch_question(b"a", b"b", after=0), timeout=1000)
        until(lambda: parked(node) == 1)
    with pytest.raises(NodeFailed):
        waiting.wait()


def test_bodies_that_are_none(alone: NativeNode) -> None:
    whole = questions.range_question(b"a", b"b")
    for kind, body in [
        (Kind.QUERY, b""), (Kind.QUERY, whole[:-1]), (Kind.QUERY, whole + b"x"), (Kind.QUERY, b"\x02" + whole[1:]),
        (Kind.WATCH, bytes(20)), (Kind.AWAIT, bytes(17)), (99, b""),
    ]:  # fmt: skip
        with pytest.raises(InvalidArgument):
            alone.ask(kind, body).wait()
    assert alone.status()["running"]


def test_status_as_a_client_gets_it(cluster: Cluster) -> None:
    leader = cluster.leader()
    found = questions.decode_status(asked(leader, Kind.STATUS, b""))
    seen = leader.status()
    assert found["role"] == "leader"
    assert (found["name"], found["id"], found["leader"]) == (leader.name, leader.id, leader.id)
    assert found["term"] == seen["term"]
    assert set(found["connections"]) <= set(seen["connections"])
    assert found["connections"]["members"] == 2
    assert found["version"]
    assert set(found["followers"]) == {str(node.id) for node in cluster.nodes.values()} - {str(leader.id)}
    assert all(0 <= each["match"] <= found["last_index"] for each in found["followers"].values())
    assert set(seen["disk"]) - set(found["disk"]) == {"durable"}
    assert found["memory"]["resident"] > 1 << 20


def test_many_watches_of_other_keys_and_one_of_this(alone: NativeNode) -> None:
    after = put(alone, "start")
    others = [
        alone.ask(Kind.WATCH, questions.watch_question(b"o/%d" % i, b"o/%d\0" % i, after=after), timeout=1000)
        for i in range(3000)
    ]
    this = [alone.ask(Kind.WATCH, questions.watch_question(b"t", b"t\0", after=after), timeout=SOON) for _ in range(5)]
    until(lambda: parked(alone) == 3005)
    put(alone, "t", "x")
    for each in this:
        assert questions.decode_watch(each.wait()[1] or b"").events[0].row.value == b"x"
    assert not any(each.done for each in others)
    until(lambda: parked(alone) == 3000)


def test_watches_of_many_threads_miss_nothing(cluster: Cluster) -> None:
    """Each follows its prefix over all nodes in turn, and sees every version of every key, in order."""
    nodes = list(cluster.nodes.values())
    leader = cluster.leader()
    after = put(leader, "start")
    seen: dict[int, list[tuple[bytes, int]]] = {}

    def follow(number: int) -> None:
        prefix, place, turn = b"f%d/" % number, after, 0
        found = seen[number] = []
        while len(found) < 60:
            body = questions.watch_question(prefix, questions.prefix_end(prefix), after=place, events_most=7)
            answer = watched(nodes[(number + turn) % 3], body)
            assert not answer.compacted
            found += [(event.row.key, event.row.version) for event in answer.events]
            place, turn = answer.complete, turn + 1

    threads = [threading.Thread(target=follow, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    wanted: dict[int, list[tuple[bytes, int]]] = {number: [] for number in range(4)}
    pending = []
    for version in range(1, 21):
        for key in (b"a", b"b", b"c"):
            for number in range(4):
                name = b"f%d/%s" % (number, key)
                pending.append(leader.propose(commands.put(name, b"%d" % version), timeout=SOON))
                wanted[number].append((name, version))
    for each in pending:
        Result.decode(each.wait()[1] or b"")
    for each in threads:
        each.join(60)
    assert seen == wanted
