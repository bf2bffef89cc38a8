"""The client against nodes in processes of their own, which are killed, paused and started again under load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from quorate.client.remote import Remote
from quorate.config import RaftConfig
from quorate.errors import Indeterminate, NoQuorum, NotHappened
from quorate.runtime import questions
from quorate.runtime.questions import Kind
from quorate.store import commands
from quorate.store.views import Result
from quorate.testing.processes import ProcessCluster
from runtime.clusters import until

LONG = 60.0
PATIENT = RaftConfig(election_timeout_min_ms=300, election_timeout_max_ms=600)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ProcessCluster]:
    with ProcessCluster(config=PATIENT) as made:
        yield made


@pytest.fixture
def remote(cluster: ProcessCluster) -> Iterator[Remote]:
    with Remote(list(cluster.members.values())) as made:
        made.wait_connected(LONG)
        yield made


def value(remote: Remote, key: str) -> int:
    _, found = remote.ask(Kind.QUERY, questions.key_question(key.encode()), LONG).wait()
    assert found is not None
    row = questions.decode_key(found)[1]
    return 0 if row is None else int(row.value)


@contextmanager
def load(*work: Callable[[], None]) -> Iterator[None]:
    """Does each piece of work again and again, in a thread of its own; raises what one of them raised."""
    stop = threading.Event()
    raised: list[BaseException] = []

    def again(one: Callable[[], None]) -> None:
        try:
            while not stop.is_set():
                one()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=again, args=(one,)) for one in work]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        stop.set()
        for each in threads:
            each.join()
    if raised:
        raise raised[0]


class Plain:
    """Increments outside of a session: what is known of each is counted."""

    def __init__(self, remote: Remote, key: str) -> None:
        self.remote, self.key = remote, key
        self.begin = value(remote, key)
        self.done = self.unknown = self.not_happened = 0

    def __call__(self) -> None:
        try:
            self.remote.propose(commands.increment(self.key, 1), 10.0).wait()
            self.done += 1
        except Indeterminate:
            self.unknown += 1
        except NotHappened:
            self.not_happened += 1

    def check(self) -> None:
        assert self.done <= value(self.remote, self.key) - self.begin <= self.done + self.unknown


class Laned:
    """Increments in a session: each exactly once, in order."""

    def __init__(self, remote: Remote, key: str) -> None:
        self.remote, self.key = remote, key
        self.lane = remote.lane(30.0)
        self.lane.opening.wait()
        self.last = value(remote, key)

    def __call__(self) -> None:
        _, found = self.lane.submit(commands.increment(self.key, 1), LONG).wait()
        assert found is not None
        self.last += 1
        assert Result.decode(found).number == self.last

    def check(self) -> None:
        assert value(self.remote, self.key) == self.last


class Reads:
    """Linearizable and local reads of what :class:`Laned` writes: neither goes back in time."""

    def __init__(self, laned: Laned) -> None:
        self.laned = laned
        self.turn = 0

    def __call__(self) -> None:
        self.turn += 1
        least = self.laned.last
        local = self.turn % 2 == 0
        body = questions.key_question(self.laned.key.encode(), local=local)
        try:
            _, found = self.laned.remote.ask(Kind.QUERY, body, 10.0).wait()
        except (NotHappened, Indeterminate):
            return  # no majority for long
        assert found is not None
        row = questions.decode_key(found)[1]
        assert (int(row.value) if row else 0) >= least


def grows(one: Any, by: int = 20) -> None:
    """Until that much more work was done: everything goes on."""
    last = one.last
    until(lambda: one.last >= last + by, LONG)


def test_the_leader_is_killed_under_load(cluster: ProcessCluster, remote: Remote) -> None:
    plain, laned = Plain(remote, "plain"), Laned(remote, "laned")
    with load(plain, plain.__class__(remote, "other"), laned, Reads(laned)):
        for _ in range(2):
            grows(laned)
            leader = cluster.leader(LONG)
            cluster.kill(leader)
            grows(laned)
            cluster.restart(leader)
            cluster.wait_ready(LONG)
    plain.check()
    laned.check()
    laned.lane.close().wait()


def test_the_leader_is_paused_under_load(cluster: ProcessCluster, remote: Remote) -> None:
    plain, laned = Plain(remote, "plain"), Laned(remote, "laned")
    with load(plain, laned, Reads(laned)):
        for _ in range(2):
            grows(laned)
            leader = cluster.leader(LONG)
            cluster.pause(leader)
            grows(laned)
            cluster.resume(leader)
            cluster.wait_ready(LONG)
    plain.check()
    laned.check()


def test_a_rolling_restart_fails_no_request_of_a_session(cluster: ProcessCluster, remote: Remote) -> None:
    laned = Laned(remote, "rolling")
    with load(laned, Reads(laned)):
        for name in cluster.names:
            grows(laned)
            cluster.stop_node(name)
            cluster.restart(name)
            cluster.wait_ready(LONG)
    laned.check()


def test_all_nodes_are_killed_and_come_back(cluster: ProcessCluster, remote: Remote) -> None:
    laned = Laned(remote, "all")
    laned()
    for name in cluster.names:
        cluster.kill(name)
    until(lambda: not remote.connected, LONG)
    with pytest.raises((NoQuorum, Indeterminate)):
        remote.propose(commands.put("never", ""), 0.3).wait()
    pending = laned.lane.submit(commands.increment("all", 1), LONG)
    for name in cluster.names:
        cluster.restart(name)
    _, found = pending.wait()
    assert found is not None
    assert Result.decode(found).number == laned.last + 1
    until(lambda: remote.connected, LONG)


def test_one_address_is_enough(cluster: ProcessCluster) -> None:
    cluster.wait_ready(LONG)
    given = cluster.names[0]
    with Remote(cluster.members[given]) as remote:
        remote.wait_connected(LONG)
        assert {(name, address) for _, name, address, _ in remote.members()} == set(cluster.members.items())
        until(lambda: remote.status()["connections"]["open"] == 2, LONG)
        cluster.kill(given)
        laned = Laned(remote, "one")
        with load(laned, Reads(laned)):
            grows(laned)
        laned.check()
        cluster.restart(given)
        cluster.wait_ready(LONG)


def test_without_a_majority_each_question_ends_in_time(cluster: ProcessCluster, remote: Remote) -> None:
    cluster.wait_ready(LONG)
    leader = cluster.leader(LONG)
    others = [name for name in cluster.names if name != leader]
    for name in others:
        cluster.kill(name)
    before = time.monotonic()
    with pytest.raises((NotHappened, Indeterminate)):
        remote.propose(commands.put("k", "v"), 1.0).wait()
    with pytest.raises((NotHappened, Indeterminate)):
        remote.barrier(1.0).wait()
    assert time.monotonic() - before < LONG
    for name in others:
        cluster.restart(name)
    cluster.wait_ready(LONG)
    remote.propose(commands.put("k", "v"), LONG).wait()


def test_a_watch_goes_on_at_another_node(cluster: ProcessCluster, remote: Remote) -> None:
    revision = remote.propose(commands.put("watched/0", "0"), LONG).wait()[0]
    seen: list[bytes] = []

    def watch() -> None:
        nonlocal revision
        body = questions.watch_question(b"watched/", b"watched0", after=revision)
        try:
            _, found = remote.ask(Kind.WATCH, body, 5.0).wait()
        except (NotHappened, Indeterminate):
            return  # nobody there for so long
        assert found is not None
        answer = questions.decode_watch(found)
        assert not answer.compacted
        revision = answer.complete
        seen.extend(event.row.value for event in answer.events)

    with load(watch):
        for number in range(1, 3):
            remote.propose(commands.put(f"watched/{number}", str(number)), LONG).wait()
            until(lambda number=number: len(seen) >= number, LONG)  # type: ignore[misc]
            near = remote.status()["connections"]["nodes"]
            victim = next(name for id, name in enumerate(cluster.names, 1) if name in near or str(id) in near)
            cluster.kill(victim)
            cluster.restart(victim)
            cluster.wait_ready(LONG)
    assert seen == [b"1", b"2"]
