"""Sessions in running nodes: who renews keeps its session, who does not loses it, whatever a leader goes through."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from quorate.errors import (
    ConnectionLost,
    InvalidArgument,
    NoQuorum,
    NotLeader,
    Overloaded,
    QuorateError,
    RequestTimeout,
)
from quorate.runtime._processes import own_birth
from quorate.runtime._requests import Pending
from quorate.runtime.node import NativeNode
from quorate.storage import Faults
from quorate.store import commands
from quorate.store.views import Result, Status
from runtime.client_wire import WireClient, client_hello
from runtime.clusters import PATIENT, Cluster, free_sockets, members_of, until
from runtime.test_processes import Process

RENEW = 6
RENEWED, UNKNOWN, EXPIRY_PROPOSED = 0, 1, 2
PATIENCE = 20.0
SLOW_DISK = replace(PATIENT, disk_stall_ms=60_000)
"""For disks that are made slow on purpose: a leader keeps its office."""


def body(sessions: Iterable[int]) -> bytes:
    numbers = list(sessions)
    return struct.pack(f"<H{len(numbers)}Q", len(numbers), *numbers)


def renew(node: NativeNode, *sessions: int) -> list[int]:
    """What became of the renewal of each; asked again while no leader answers."""

    def answered() -> list[int] | None:
        try:
            result = node.ask(RENEW, body(sessions), timeout=PATIENCE).wait()[1]
        except (NoQuorum, NotLeader, ConnectionLost):
            return None
        assert result is not None
        return list(result)

    return until(answered, PATIENCE)


def opened(node: NativeNode, ttl_ms: int) -> int:
    result = node.execute(commands.session_open(os.urandom(16), ttl_ms), timeout=PATIENCE)
    assert result.status is Status.OK
    return result.number


def outcome(pending: Pending) -> type[QuorateError] | None:
    """What a question ended with; None: with an answer."""
    try:
        pending.wait()
    except QuorateError as error:
        return type(error)
    return None


def gone(node: NativeNode, session: int) -> bool:
    return node.reader.session(session) is None


def others(cluster: Cluster, node: NativeNode) -> list[NativeNode]:
    return [each for each in cluster.nodes.values() if each is not node]


def test_a_session_that_nobody_renews_ends_and_takes_everything_with_it() -> None:
    with Cluster() as cluster:
        leader = cluster.leader()
        follower = others(cluster, leader)[0]
        begin = time.monotonic()
        session = opened(follower, 1000)
        owner, waiter = (opened(follower, 60_000) for _ in range(2))
        follower.execute(commands.put("mine", "1", session=session, owned=True))
        follower.execute(commands.acquire("lock", session=session, acquisition=1, capacity=1, kind=1))
        follower.execute(commands.acquire("lock", session=waiter, acquisition=1, capacity=1, kind=1))
        for node in cluster.nodes.values():
            until(lambda node=node: gone(node, session), PATIENCE)
        assert time.monotonic() - begin >= 1.0, "nobody's time is cut short"
        for node in cluster.nodes.values():
            node.barrier()
            assert node.reader.get("mine") is None
            permit = node.reader.permit("lock")
            assert permit is not None
            assert [each.session for each in permit.queue if each.token] == [waiter]
        assert renew(leader, session, owner) == [UNKNOWN, RENEWED]
        assert renew(follower, session, owner) == [UNKNOWN, RENEWED]


def test_renewals_keep_a_session_on_whatever_node_they_come() -> None:
    with Cluster() as cluster:
        cluster.leader()
        first, second = opened(cluster.nodes["a"], 3000), opened(cluster.nodes["b"], 3000)
        dropped = opened(cluster.nodes["c"], 3000)
        cluster.nodes["a"].barrier(timeout=PATIENCE)
        number = 0
        while not gone(cluster.nodes["a"], dropped):
            # By turns, and both together: what is written together is answered together.
            node = cluster.nodes["abc"[number % 3]]
            assert renew(node, first, second) == [RENEWED, RENEWED]
            number += 1
            time.sleep(0.02)
        assert number > 10
        assert renew(cluster.nodes["b"], first, second, dropped) == [RENEWED, RENEWED, UNKNOWN]


def test_a_change_of_leader_gives_everybody_full_time() -> None:
    with Cluster() as cluster:
        leader = cluster.leader()
        session = opened(leader, 4000)
        for node in others(cluster, leader):
            node.barrier(timeout=PATIENCE)
        assert renew(leader, session) == [RENEWED]
        time.sleep(1.5)  # a good part of its time is over; the time itself is what this is about
        changed = time.monotonic()
        leader.stop()
        survivor = cluster.running[0]
        until(lambda: survivor.status()["leader"] not in (None, leader.name), PATIENCE)
        until(lambda: gone(survivor, session), PATIENCE)
        assert time.monotonic() - changed >= 4.0


def test_without_a_majority_no_renewal_is_acknowledged() -> None:
    with Cluster() as cluster:
        leader = cluster.leader()
        session = opened(leader, 60_000)
        assert renew(leader, session) == [RENEWED]
        followers = others(cluster, leader)
        for node in followers:
            node.stop()
        # Asked again and again, from when it still believes to lead until it knows better.
        refused = set()
        while leader.status()["leader"] is not None:
            with pytest.raises(QuorateError) as caught:
                leader.ask(RENEW, body([session]), timeout=PATIENCE).wait()
            refused.add(type(caught.value))
        with pytest.raises(NoQuorum):
            leader.ask(RENEW, body([session]), timeout=PATIENCE).wait()
        assert refused <= {NoQuorum, NotLeader, RequestTimeout}


def test_a_renewal_that_comes_after_the_expiry_was_proposed_is_refused(tmp_path: Path) -> None:
    members = {1: ("a", "unix:/unused")}
    faults = Faults()
    with NativeNode("a", 1, members, data_dir=tmp_path / "a", listen=None, faults=faults, config=SLOW_DISK) as node:
        node.wait_ready()
        session = opened(node, 1000)
        before = node.status()["last_index"]
        faults.slow("sync", seconds=5.0)
        # The proposal is in the log, and its commit takes long.
        until(lambda: node.status()["last_index"] > before, PATIENCE)
        assert not gone(node, session)
        assert renew(node, session) == [EXPIRY_PROPOSED]
        faults.clear()
        until(lambda: gone(node, session), PATIENCE)
        assert renew(node, session) == [UNKNOWN]


def test_many_sessions_in_one_request_and_many_requests_at_once() -> None:
    with Cluster() as cluster:
        leader = cluster.leader()
        follower = others(cluster, leader)[0]
        nonces = [os.urandom(16) for _ in range(3000)]
        asked = [follower.propose(commands.session_open(nonce, 60_000), timeout=PATIENCE) for nonce in nonces]
        sessions = [each.wait()[0] for each in asked]
        assert renew(follower, *sessions) == [RENEWED] * len(sessions)
        pending = [
            node.ask(RENEW, body([each, 1]), timeout=PATIENCE) for each in sessions for node in (leader, follower)
        ]
        for one in pending:
            assert one.wait()[1] == bytes([RENEWED, UNKNOWN])


@pytest.mark.parametrize("wrong", [b"", b"\x00", body([]), body([1]) + b"\0", body([1, 2])[:-1], body(range(8193))])
def test_a_request_that_makes_no_sense_is_refused(wrong: bytes) -> None:
    members = {1: ("a", "unix:/unused")}
    with NativeNode("a", 1, members, durability="memory", listen=None) as node:
        node.wait_ready()
        with pytest.raises(InvalidArgument):
            node.ask(RENEW, wrong).wait()
        session = opened(node, 60_000)
        assert renew(node, session) == [RENEWED]


def test_who_renews_when_the_node_stops_is_told() -> None:
    with Cluster() as cluster:
        leader = cluster.leader()
        for node in others(cluster, leader):
            node.stop()
        pending = [leader.ask(RENEW, body([1]), timeout=60.0) for _ in range(10)]
        leader.stop()
        for each in pending:
            with pytest.raises(QuorateError):
                each.wait()


def test_a_node_that_is_too_busy_for_proposals_renews_all_the_same(tmp_path: Path) -> None:
    members = {1: ("a", "unix:/unused")}
    faults = Faults()
    with NativeNode("a", 1, members, data_dir=tmp_path / "a", listen=None, faults=faults, config=SLOW_DISK) as node:
        node.wait_ready()
        session, dropped = opened(node, 3000), opened(node, 3000)
        faults.slow("sync", seconds=0.3)
        pending: list[Pending] = []
        full = 0
        begin = time.monotonic()
        while not (full and gone(node, dropped)):
            assert time.monotonic() < begin + 60.0, f"the queue was full {full} times"
            try:
                pending.extend(node.propose(commands.put("k", "v"), timeout=60.0) for _ in range(5000))
            except Overloaded:
                full += 1
            assert renew(node, session) == [RENEWED]
        assert renew(node, session, dropped) == [RENEWED, UNKNOWN]
        faults.clear()


@pytest.mark.parametrize("of", ["leader", "follower"])
def test_what_gives_back_is_taken_when_the_leader_takes_no_more(tmp_path: Path, of: str) -> None:
    config = replace(SLOW_DISK, max_uncommitted_bytes=20_000)
    with Cluster(path=tmp_path, faults=True, config=config) as cluster:
        leader = cluster.leader()
        node = leader if of == "leader" else others(cluster, leader)[0]
        session, waiter = opened(node, 60_000), opened(node, 60_000)
        for number, each in enumerate([session, waiter]):
            node.execute(commands.acquire("lock", session=each, acquisition=number + 1), timeout=PATIENCE)
        for faults in cluster.faults.values():
            faults.slow("sync", seconds=0.5)
        proven = False
        begin = time.monotonic()
        while not proven:
            assert time.monotonic() < begin + 60.0
            # Under way, and as much as the leader takes; then a release behind puts that are refused.
            before = leader.status()["last_index"]
            head = node.propose(commands.put("k", bytes(30_000)), timeout=60.0)
            until(lambda before=before: leader.status()["last_index"] > before, PATIENCE)
            pending = [node.propose(commands.put("k", b"v"), timeout=60.0) for _ in range(20)]
            release = node.propose(commands.release(session=session, acquisition=1), timeout=60.0)
            refused = Overloaded in {outcome(each) for each in pending}
            became = outcome(release)
            assert became is not Overloaded
            outcome(head)
            proven = refused and became is None
        for faults in cluster.faults.values():
            faults.clear()
        node.barrier(timeout=PATIENCE)
        permit = node.reader.permit("lock")
        assert permit is not None
        assert [each.session for each in permit.queue if each.token] == [waiter]


def test_a_full_queue_of_requests_still_takes_what_gives_back(tmp_path: Path) -> None:
    members = {1: ("a", "unix:/unused")}
    faults = Faults()
    with NativeNode("a", 1, members, data_dir=tmp_path / "a", listen=None, faults=faults, config=SLOW_DISK) as node:
        node.wait_ready()
        session, goodbye = opened(node, 60_000), opened(node, 60_000)
        node.execute(commands.acquire("lock", session=session, acquisition=1))
        faults.slow("sync", seconds=0.3)
        put = commands.put("k", "v")
        begin = time.monotonic()
        freed = []
        while not freed:
            assert time.monotonic() < begin + 60.0, "the queue never got full"
            try:
                for _ in range(5000):
                    node.propose(put, timeout=60.0)
            except Overloaded:
                freed.append(node.propose(commands.release(session=session, acquisition=1), timeout=60.0))
                freed.append(node.propose(commands.session_end(goodbye, 1), timeout=60.0))
        for each in freed:
            assert Result.decode(each.wait()[1] or b"").status is Status.OK
        faults.clear()
        assert gone(node, goodbye)


class Holder:
    """A process that holds a session."""

    def __init__(self, address: str, ttl: float = 600.0) -> None:
        command = [sys.executable, str(Path(__file__).with_name("holder.py")), address, str(ttl)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.session = int(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("leave\n")
        self.process.stdin.flush()
        assert self.line() == "left\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system does not tell of the end of a process")
@pytest.mark.parametrize("of", ["leader", "follower"])
def test_a_killed_process_loses_its_sessions_at_once(of: str) -> None:
    with Cluster() as cluster:
        leader = cluster.leader()
        node = leader if of == "leader" else others(cluster, leader)[0]
        with (
            Holder(str(node.first_members[node.id][1])) as holder,
            Holder(str(node.first_members[node.id][1])) as other,
        ):
            node.execute(commands.acquire("lock", session=holder.session, acquisition=1))
            node.execute(commands.acquire("lock", session=other.session, acquisition=1))
            until(lambda: node.status()["renewals"]["processes"] == 2)
            holder.kill()
            # Their time to live is ten minutes.
            until(lambda: gone(leader, holder.session), PATIENCE)
            leader.barrier()
            permit = leader.reader.permit("lock")
            assert permit is not None
            assert [each.session for each in permit.queue if each.token] == [other.session]
            until(lambda: node.status()["renewals"]["processes"] == 1)
            # A connection that ends proves nothing; the process that left is watched for as long as it has sessions.
            other.leave()
            assert renew(node, other.session) == [RENEWED]
            assert node.status()["renewals"]["processes"] == 1
            other.kill()
            until(lambda: gone(node, other.session), PATIENCE)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system does not tell of the end of a process")
def test_a_process_behind_a_unix_socket_is_known_too(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s"
    with NativeNode("a", 1, {1: ("a", address)}, durability="memory") as node:
        node.wait_ready()
        with Holder(address) as holder:
            until(lambda: node.status()["renewals"]["processes"] == 1)
            holder.kill()
            until(lambda: gone(node, holder.session), PATIENCE)
        until(lambda: node.status()["renewals"]["process_exits"] == 1)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system does not tell of the end of a process")
def test_who_tells_of_a_process_that_it_cannot_be_is_not_believed() -> None:
    with Cluster(1) as cluster:
        node = cluster.leader()
        with Holder(str(node.first_members[1][1])) as holder:
            number, birth = holder.process.pid, own_birth()
            for told in [(number, birth), (number, 0), (1, 1), (os.getpid(), birth), (0, birth), (0xFFFFFFFF, birth)]:
                with WireClient(node, hello=client_hello(process=told[0], birth=told[1])) as client:
                    client.welcome()
                    assert node.status()["renewals"]["processes"] == 1, told


def test_a_leader_that_was_stopped_takes_renewals_before_it_judges(tmp_path: Path) -> None:
    listener = free_sockets(1)[0]
    members = members_of([f"127.0.0.1:{listener.getsockname()[1]}"])
    listener.close()
    process = Process("a", 1, members, tmp_path)
    try:
        until(lambda: process.order("status")["leader"] == "a")
        with WireClient(members[1][1]) as client:
            client.welcome()
            sessions = []
            for _ in range(2):
                opening = commands.session_open(os.urandom(16), 2000)
                sessions.append(Result.decode(client.answer(client.ask(1, opening)).result).number)
            kept, dropped = sessions
            assert client.answer(client.ask(RENEW, body([kept]))).result == bytes([RENEWED])
            process.process.send_signal(signal.SIGSTOP)
            asked = client.ask(RENEW, body([kept]))
            time.sleep(3.0)  # longer than either has
            process.process.send_signal(signal.SIGCONT)
            assert client.answer(asked).result == bytes([RENEWED])
            until(lambda: process.order("status")["renewals"]["expired"] >= 1, PATIENCE)
            assert client.answer(client.ask(RENEW, body([dropped]))).result in (
                bytes([UNKNOWN]),
                bytes([EXPIRY_PROPOSED]),
            )
    finally:
        process.process.send_signal(signal.SIGCONT)
        process.end()
