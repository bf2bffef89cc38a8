"""Snapshots of running nodes: the log stays short, who was away catches up, nothing is lost when somebody is killed."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quorate.config import RaftConfig
from quorate.errors import QuorateError
from quorate.raft import COMMAND, CONFIGURATION
from quorate.runtime._requests import Pending
from quorate.runtime.node import NativeNode
from quorate.storage import Storage
from quorate.store import Store, commands
from runtime.clusters import Cluster, free_sockets, members_of, until
from runtime.test_processes import Process, leader_of

SETTINGS = {"snapshot_log_bytes": 200_000, "compaction_tail": 50, "snapshot_chunk_bytes": 16_384}
EAGER = RaftConfig(election_timeout_min_ms=300, election_timeout_max_ms=600, **SETTINGS)
PATIENCE = 20.0


def fill(node: NativeNode, first: int, count: int, *, keys: int = 1_000_000, size: int = 500) -> None:
    """Writes ``count`` values; whatever an election refuses is written again."""
    asked = []
    for number in range(first, first + count):
        command = commands.put(f"key-{number % keys:06}", f"{number}:".encode() + bytes(size))
        asked.append((command, node.propose(command, timeout=PATIENCE)))
    for command, pending in asked:
        if not answered(pending):
            until(lambda command=command: written(node, command), PATIENCE)


def answered(pending: Pending) -> bool:
    try:
        pending.wait()
    except QuorateError:
        return False
    return True


def written(node: NativeNode, command: bytes) -> bool:
    try:
        node.execute(command)
    except QuorateError:
        return False
    return True


def snapshot(node: NativeNode) -> dict[str, Any]:
    found: dict[str, Any] = node.status()["snapshot"]
    return found


def forgot(seen: dict[str, Any], index: int) -> bool:
    """Whether the log of a node does not hold what follows ``index`` any more."""
    return bool(seen["last_index"] - seen["memory"]["log_entries"] > index)


def settled(*nodes: NativeNode) -> int:
    """Waits until all have applied the same, and no snapshot is under way."""

    def same() -> int:
        seen = [node.status() for node in nodes]
        applied = {each["applied"] for each in seen} | {each["last_index"] for each in seen}
        busy = any(each["snapshot"]["making"] or each["snapshot"]["receiving"] for each in seen)
        return 0 if busy or len(applied) > 1 else applied.pop()

    return until(same, PATIENCE)


def canonical(path: Path, upto: int) -> bytes:
    """The state that a directory holds, snapshot and log, as of an index."""
    with Storage(path, create=False) as storage:
        chunks = list(storage.content())
        store = Store.restore(chunks) if chunks else Store()
        for index, term, kind, data in storage.entries():
            if store.applied_index < index <= upto:
                if kind == COMMAND:
                    store.apply(index, term, data)
                elif kind == CONFIGURATION:
                    store.configure(index, term, data)
                else:
                    store.skip(index, term)
    assert store.applied_index == upto
    return b"".join(store.snapshot())


def assert_alike(cluster: Cluster, path: Path) -> None:
    upto = settled(*cluster.running)
    for node in cluster.nodes.values():
        node.stop()
    states = [canonical(path / name, upto) for name in cluster.nodes]
    assert states[0] == states[1] == states[2]


def files(path: Path, pattern: str) -> list[str]:
    return sorted(each.name for each in path.glob(pattern))


class Door:
    """A listener in front of a node. While it is shut it takes no connection, and those that there were are cut."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.behind = 0
        self.open = True
        self.cuts = 0
        self.lock = threading.Lock()
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self.take, daemon=True).start()

    def take(self) -> None:
        while True:
            try:
                outside, _ = self.listener.accept()
            except OSError:
                return
            try:
                inside = socket.create_connection(("127.0.0.1", self.behind))
            except OSError:
                outside.close()
                continue
            with self.lock:
                if self.open:
                    self.pairs.append((outside, inside))
                    for pair in ((outside, inside), (inside, outside)):
                        threading.Thread(target=self.carry, args=pair, daemon=True).start()
                    continue
            outside.close()
            inside.close()

    def carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        with self.lock:
            self.cuts += len(self.pairs)
            for each in [one for pair in self.pairs for one in pair]:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
            self.pairs.clear()

    def shut(self) -> None:
        self.open = False
        self.cut()

    def close(self) -> None:
        self.shut()
        self.listener.close()


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.close()


def behind_a_door(cluster: Cluster, name: str, door: Door) -> NativeNode:
    """Before the start: the others reach this node through the door alone."""
    node = cluster.nodes[name]
    assert isinstance(node._listen, socket.socket)
    door.behind = node._listen.getsockname()[1]
    changed = {id: (each, door.address if each == name else str(at)) for id, (each, at) in node.first_members.items()}
    for other in list(cluster.nodes.values()):
        cluster.nodes[other.name] = NativeNode(
            other.name, other.id, changed, data_dir=other.data_dir, durability=other.durability, listen=other._listen,
            config=other.config, segment_bytes=other._segment_bytes, faults=other._faults,
        )  # fmt: skip
    return cluster.nodes[name]


def test_the_log_stays_short_under_load_and_all_nodes_hold_the_same(tmp_path: Path) -> None:
    with Cluster(path=tmp_path, config=EAGER) as cluster:
        leader = cluster.leader()
        for part in range(20):
            fill(leader, part * 300, 300, keys=200)
        settled(*cluster.nodes.values())
        for node in cluster.nodes.values():
            seen = node.status()
            assert seen["snapshot"]["made"] >= 3
            assert seen["snapshot"]["failed"] == 0
            assert seen["snapshot"]["log_bytes"] < 600_000
            assert seen["memory"]["log_entries"] < 2_000, "of 6,000 that were written"
            # 3.5 MB went through segments of 1 MiB.
            until(lambda name=node.name: len(files(tmp_path / name, "log/*.log")) <= 2, PATIENCE)
            assert len(files(tmp_path / node.name, "snapshots/*.snap")) == 1
        assert_alike(cluster, tmp_path)
        assert files(tmp_path, "*/snapshots/*.part") == []


def test_a_node_starts_from_its_snapshot_and_the_log_behind_it(tmp_path: Path) -> None:
    config = replace(EAGER, compaction_tail=100)
    with Cluster(1, tmp_path, config=config) as cluster:
        node = cluster.leader()
        fill(node, 0, 1_000)
        until(lambda: snapshot(node)["made"] >= 1, PATIENCE)
        fill(node, 1_000, 100)
        upto = settled(node)
        index = snapshot(node)["index"]
        before = {each.key: each.value for each in node.reader.range(limit=2_000)[0]}
        assert len(before) == 1_100
        node.stop()
        state = canonical(tmp_path / "a", upto)
        (tmp_path / "a" / "snapshots" / "0000000000000009-0000000000000001.part").write_bytes(b"of a killed process")
        node.start()
        node.wait_ready(PATIENCE)
        assert {each.key: each.value for each in node.reader.range(limit=2_000)[0]} == before
        assert snapshot(node)["index"] >= index
        assert node.status()["memory"]["log_entries"] >= 100, "the tail is there again"
        assert files(tmp_path, "a/snapshots/*.part") == []
        node.stop()
        assert canonical(tmp_path / "a", upto) == state


def test_who_was_away_gets_a_snapshot_and_its_readers_see_one_change(tmp_path: Path) -> None:
    with Cluster(path=tmp_path, config=EAGER) as cluster:
        leader = cluster.leader()
        away = next(node for node in cluster.nodes.values() if node is not leader)
        fill(leader, 0, 100)
        had = settled(*cluster.nodes.values())
        away.stop()
        fill(leader, 100, 2_000)
        until(lambda: forgot(leader.status(), had), PATIENCE)
        away.start()
        reader = away.reader
        seen = set()
        while (count := reader.count("key-", "key.")) < 2_100:
            seen.add(count)
        assert reader.get("key-002099") is not None
        settled(*cluster.nodes.values())
        found = snapshot(away)
        assert found["installed"] == 1
        assert found["chunks_received"] > 20, "in many pieces"
        assert len(files(tmp_path / away.name, "snapshots/*.snap")) == 1
        until(lambda: snapshot(leader)["chunks_sent"] >= found["chunks_received"], PATIENCE)
        # It takes part again, and starts again from what it was given.
        away.stop()
        away.start()
        away.wait_ready(PATIENCE)
        assert away.reader.count("key-", "key.") == 2_100
        fill(away, 2_100, 10)
        assert_alike(cluster, tmp_path)


def test_who_joins_when_the_log_is_short_gets_a_snapshot(tmp_path: Path) -> None:
    with Cluster(path=tmp_path, config=EAGER) as cluster:
        leader = cluster.leader()
        fill(leader, 0, 1500)
        until(lambda: forgot(leader.status(), 1), PATIENCE)
        own = free_sockets(1)[0]
        address = f"127.0.0.1:{own.getsockname()[1]}"
        seeds = [str(at) for _, at in leader.first_members.values()]
        storage: dict[str, Any] = {"data_dir": tmp_path / "d", "segment_bytes": 1 << 20}
        new = cluster.nodes["d"] = NativeNode("d", None, {}, join=seeds, listen=own, config=EAGER, **storage)
        new.start()
        assert leader.add_member("d", address, timeout=60.0).role == "voter"
        assert snapshot(new)["installed"] >= 1
        # It is asked for what only the snapshot has, and has a vote: with two of the others it decides.
        new.barrier(timeout=PATIENCE)
        assert new.reader.get("key-000000") is not None
        next(node for node in cluster.running if node is not leader and node is not new).stop()
        until(lambda: written(new, commands.put("after", "x")), PATIENCE)


def test_who_was_away_for_a_moment_needs_none(tmp_path: Path) -> None:
    with Cluster(path=tmp_path, config=replace(EAGER, compaction_tail=1_000)) as cluster:
        leader = cluster.leader()
        fill(leader, 0, 1_500, keys=100)
        away = next(node for node in cluster.nodes.values() if node is not leader)
        settled(*cluster.nodes.values())
        away.stop()
        fill(leader, 1_500, 600, keys=100)
        until(lambda: snapshot(leader)["index"] > 1_500, PATIENCE)
        away.start()
        settled(*cluster.nodes.values())
        assert (snapshot(away)["installed"], snapshot(leader)["chunks_sent"]) == (0, 0)


def test_a_broken_connection_resumes_the_transfer(tmp_path: Path, door: Door) -> None:
    cluster = Cluster(path=tmp_path, config=EAGER, faults=True)
    away = behind_a_door(cluster, "c", door)
    with cluster:
        away.wait_ready(PATIENCE)
        leader = cluster.leader()
        if leader is away:
            # The one behind the door must not lead.
            away.stop()
            leader = cluster.leader()
            away.start()
        had = settled(*cluster.nodes.values())
        door.shut()
        fill(leader, 0, 2_000)
        until(lambda: forgot(leader.status(), had), PATIENCE)
        cluster.faults["c"].slow("write", seconds=0.02, path=".part")
        door.open = True
        until(lambda: snapshot(away)["chunks_received"] >= 3, PATIENCE)
        first = snapshot(away)["chunks_received"]
        door.cut()
        until(lambda: snapshot(away)["installed"] == 1, PATIENCE)
        assert door.cuts > 0
        settled(*cluster.nodes.values())
        found = snapshot(away)
        # Nothing came twice, so the second part began where the first one ended.
        pieces = -(-found["bytes"] // EAGER.snapshot_chunk_bytes)
        assert found["chunks_received"] == pieces > first
        assert_alike(cluster, tmp_path)


def test_nodes_in_memory_send_theirs_too(door: Door) -> None:
    cluster = Cluster(config=EAGER)
    away = behind_a_door(cluster, "c", door)
    with cluster:
        away.wait_ready(PATIENCE)
        door.shut()
        others = [cluster.nodes[name] for name in "ab"]
        leader = until(lambda: next((node for node in others if node.status()["role"] == "leader"), None), PATIENCE)
        fill(leader, 0, 2_000)
        until(lambda: forgot(leader.status(), 50), PATIENCE)
        door.open = True
        until(lambda: snapshot(away)["installed"] >= 1, PATIENCE)
        settled(*cluster.nodes.values())
        assert away.reader.count("key-", "key.") == 2_000
        # One that lost its memory is another one, and gets nothing until it is removed and added.
        others[0].stop()
        others[0].start()
        fill_lead = until(
            lambda: next((node for node in (others[1], away) if node.status()["role"] == "leader"), None), PATIENCE
        )
        fill(fill_lead, 2_000, 500)
        assert snapshot(others[0])["installed"] == 0
        assert others[0].reader.count("key-", "key.") == 0


def test_a_disk_without_room_for_a_snapshot_costs_nothing_but_the_snapshot(tmp_path: Path) -> None:
    with Cluster(1, tmp_path, config=EAGER, faults=True) as cluster:
        node = cluster.leader()
        cluster.faults["a"].fail("write", error=errno.ENOSPC, path=".part")
        fill(node, 0, 1_000)
        until(lambda: snapshot(node)["failed"] >= 1, PATIENCE)
        assert "ENOSPC" in snapshot(node)["trouble"]
        assert snapshot(node)["made"] == 0
        assert files(tmp_path, "a/snapshots/*") == []
        fill(node, 1_000, 10)
        cluster.faults["a"].clear()
        until(lambda: snapshot(node)["made"] >= 1, PATIENCE)
        assert node.running


def test_a_disk_that_fails_while_a_snapshot_arrives_takes_it_again(tmp_path: Path) -> None:
    with Cluster(path=tmp_path, config=EAGER, faults=True) as cluster:
        leader = cluster.leader()
        away = next(node for node in cluster.nodes.values() if node is not leader)
        away.stop()
        fill(leader, 0, 2_000)
        until(lambda: forgot(leader.status(), 50), PATIENCE)
        cluster.faults[away.name].fail("write", error=errno.EIO, path=".part", first=5, times=1)
        cluster.faults[away.name].fail("fsync", error=errno.EIO, path=".part", times=1)
        away.start()
        until(lambda: snapshot(away)["installed"] == 1, 2 * PATIENCE)
        assert snapshot(away)["failed"] == 2
        assert_alike(cluster, tmp_path)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[dict[str, Process]]:
    sockets = free_sockets(3)
    members = members_of(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    made: dict[str, Process] = {}
    try:
        for id, (name, _) in members.items():
            made[name] = Process(name, id, members, tmp_path, json.dumps(SETTINGS))
        yield made
    finally:
        for each in made.values():
            each.end()


@pytest.mark.parametrize("who", ["sender", "receiver"])
def test_kill_9_in_the_middle_of_a_transfer(processes: dict[str, Process], who: str) -> None:
    leader = leader_of(processes)
    away = next(name for name in processes if name != leader)
    third = next(name for name in processes if name not in (leader, away))
    processes[away].kill()
    for part in range(4):
        until(lambda part=part: isinstance(processes[leader].order("put_many", part * 500, 500, 600), int), PATIENCE)
    for each in (leader, third):
        until(lambda each=each: forgot(processes[each].order("status"), 50), PATIENCE)
    processes[away].start()
    processes[away].order("slow", "write", 0.05, ".part")
    receiving = until(
        lambda: (seen := processes[away].order("status")["snapshot"])["chunks_received"] >= 3 and seen, PATIENCE
    )
    victim = leader if who == "sender" else away
    processes[victim].kill()
    if who == "sender":
        assert receiving["installed"] == 0
        processes[away].order("quick")
        until(lambda: processes[third].order("status")["leader"] not in (leader, None), PATIENCE)
    processes[victim].start()
    until(lambda: processes[away].order("status")["snapshot"]["installed"] >= 1, PATIENCE)
    until(lambda: isinstance(processes[away].order("put", "last", "one"), int), PATIENCE)
    contents = [each.order("content") for each in processes.values()]
    assert contents[0] == contents[1] == contents[2]
    assert len(contents[0]) == 2_001
