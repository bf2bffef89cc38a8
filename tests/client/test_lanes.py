"""Sessions over the wire: commands applied exactly once and in order, whatever becomes of connections and leaders."""

from __future__ import annotations

import itertools
import random
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from client.fake import DONE, NO_LEADER, PROPOSE, RENEW, Answer, Ask, FakeNode, cluster_of_fakes
from quorate.client.remote import Remote
from quorate.errors import NodeFailed, NoQuorum, SessionLost
from quorate.store import commands
from quorate.store._store import Store
from quorate.store.views import Result
from runtime.clusters import until

LONG = 20.0


class Shared:
    """One store behind all nodes: whichever leads applies. ``mishap`` may lose a command, or its answer."""

    def __init__(self) -> None:
        self.store = Store()
        self.index = 0
        self.lock = threading.Lock()
        self.renewals: list[list[int]] = []
        self.before = lambda: False
        self.after = lambda: False

    def __call__(self, node: FakeNode, ask: Ask) -> Answer:
        if node.office[0] != node.id:
            return (NO_LEADER, 0, b"")
        if ask.kind == RENEW:
            (count,) = struct.unpack_from("<H", ask.body)
            self.renewals.append(list(struct.unpack_from(f"<{count}Q", ask.body, 2)))
            return (DONE, 0, bytes(count))
        assert ask.kind == PROPOSE
        if self.before():
            node.cut()
            return None
        with self.lock:
            self.index += 1
            found = self.store.apply(self.index, node.office[1], ask.body)
            index = self.index
        result = struct.pack("<BBQQ", found.status, found.flags, found.revision, found.number) + found.body
        if self.after():
            node.cut()
            return None
        return (DONE, index, result)


@pytest.fixture
def shared() -> Shared:
    return Shared()


@pytest.fixture
def nodes(shared: Shared) -> Iterator[list[FakeNode]]:
    made = cluster_of_fakes(handler=shared)
    yield made
    for node in made:
        node.stop()


@pytest.fixture
def remote(nodes: list[FakeNode]) -> Iterator[Remote]:
    with Remote([node.address for node in nodes]) as made:
        yield made


def lead(nodes: list[FakeNode], leader: int, term: int) -> None:
    for node in nodes:
        node.tell(leader, term)


def test_a_session_is_opened_used_renewed_and_closed(shared: Shared, remote: Remote) -> None:
    lane = remote.lane(1.0, label=b"test")
    session, _ = lane.opening.wait()
    assert lane.session == session
    assert lane.held()
    index, result = lane.submit(commands.put("k", "v"), LONG).wait()
    assert result is not None
    assert Result.decode(result).revision == index
    many = lane.submit_many([commands.increment("n", 1) for _ in range(1000)], LONG).wait()
    assert len(many) == 1000
    assert shared.store.reader.get("n").value == b"1000"  # type: ignore[union-attr]
    until(lambda: [session] in shared.renewals, LONG)
    assert remote.status()["lanes"]["open"] == 1
    lane.close().wait()
    assert lane.state == "closed"
    assert not lane.held()
    assert shared.store.reader.session(session) is None


def test_a_new_leader_gets_what_the_old_one_did_not_answer(
    shared: Shared, nodes: list[FakeNode], remote: Remote
) -> None:
    lane = remote.lane(30.0)
    lane.opening.wait()
    nodes[0].handler = lambda node, ask: None  # it hangs, and its connection stays
    pending = [lane.submit(commands.increment("n", 1), LONG) for _ in range(100)]
    until(lambda: len(nodes[0].asked) > 100, LONG)
    lead(nodes, 2, 2)
    for each in pending:
        each.wait()
    assert shared.store.reader.get("n").value == b"100"  # type: ignore[union-attr]


def test_exactly_once_over_lost_commands_and_lost_answers(
    shared: Shared, nodes: list[FakeNode], remote: Remote
) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    lane = remote.lane(30.0)
    lane.opening.wait()
    shared.before = lambda: chance.random() < 0.01
    shared.after = lambda: chance.random() < 0.01
    pending = [lane.submit(commands.increment("n", 1), 60.0) for _ in range(2000)]
    values = [Result.decode(each.wait()[1]) for each in pending]  # type: ignore[arg-type]
    assert [each.number for each in values] == list(range(1, 2001)), f"seed {seed}"
    assert shared.store.reader.get("n").value == b"2000"  # type: ignore[union-attr]
    assert remote.status()["connections"]["lost"] > 0


def test_exactly_once_while_leaders_come_and_go(shared: Shared, nodes: list[FakeNode], remote: Remote) -> None:
    lane = remote.lane(30.0)
    lane.opening.wait()
    stop = threading.Event()

    def unrest() -> None:
        for term in itertools.count(2):
            lead(nodes, term % 3 + 1, term)
            if stop.wait(0.02):
                return

    thread = threading.Thread(target=unrest)
    thread.start()
    try:
        for number in range(1, 401):
            result = Result.decode(lane.submit(commands.increment("n", 1), LONG).wait()[1])  # type: ignore[arg-type]
            assert result.number == number
    finally:
        stop.set()
        thread.join()


def test_without_nodes_nothing_happens_and_the_session_is_lost_in_time(
    nodes: list[FakeNode], shared: Shared, remote: Remote
) -> None:
    lane = remote.lane(0.6)
    lane.opening.wait()
    for node in nodes:
        node.stop()
    until(lambda: remote.status()["connections"]["open"] == 0, LONG)
    with pytest.raises((NoQuorum, SessionLost)):
        lane.submit(commands.put("k", "v"), 0.1).wait()
    until(lambda: lane.state == "lost", LONG)
    assert not lane.held()
    with pytest.raises(SessionLost):
        lane.submit(commands.put("k", "v"), 0.1).wait()
    assert shared.store.reader.get("k") is None


def test_notices(nodes: list[FakeNode], remote: Remote) -> None:
    remote.notices(0.0)  # from here on they are kept
    lane = remote.lane(0.6)
    seen: list[tuple[object, ...]] = []

    def comes(notice: tuple[object, ...]) -> None:
        deadline = time.monotonic() + LONG
        while notice not in seen:
            assert time.monotonic() < deadline, f"{notice} is not among {seen}"
            seen.extend(remote.notices(0.05))

    comes(("lane", lane.id, "open"))
    lead(nodes, 3, 2)
    comes(("leader", "n3", 2))
    seen.clear()
    for node in nodes:
        node.stop()
    comes(("state", "suspended"))
    comes(("lane", lane.id, "lost"))
    for node in nodes:
        node.again()
    comes(("state", "connected"))


def test_closing_the_client_ends_its_lanes(nodes: list[FakeNode], remote: Remote) -> None:
    lane = remote.lane(30.0)
    lane.opening.wait()
    nodes[0].handler = lambda node, ask: None
    pending = lane.submit(commands.put("k", "v"), LONG)
    until(lambda: len(nodes[0].asked) > 1, LONG)
    remote.close()
    with pytest.raises((NodeFailed, SessionLost)):
        pending.wait()
    assert not lane.held()
    with pytest.raises(NodeFailed):
        lane.submit(commands.put("k", "v"), LONG)
    with pytest.raises(NodeFailed):
        remote.lane(1.0)
