"""Whoever is no member may knock, and pays for it alone: counted, closed, and the node goes on."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from quorate.runtime.node import NativeNode, cluster_of
from quorate.storage._io import checksum
from quorate.store import commands
from runtime.clusters import NAMES, Cluster, until

KIND_HELLO, KIND_RAFT = 1, 2


def frame(kind: int, payload: bytes, *, length: int | None = None, version: int = 1, crc: int | None = None) -> bytes:
    """A frame as csrc/frame.h describes it, or one that is wrong in a given place."""
    front = b"QRT" + bytes([version, kind, 0, 0, 0]) + struct.pack("<I", len(payload) if length is None else length)
    back = struct.pack("<Q", 0) + payload
    return front + struct.pack("<I", checksum(front + back) if crc is None else crc) + back


def hello(cluster: bytes, sender: int, receiver: int, *, version: int = 1, index: int = 0) -> bytes:
    return frame(KIND_HELLO, bytes([version]) + cluster + struct.pack("<QQQQ", sender, 77, receiver, index))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    # On disk, for one node is started again: without its memory it would be refused as somebody else.
    with Cluster(path=tmp_path_factory.mktemp("strangers")) as made:
        made.leader()
        yield made


@pytest.fixture
def node(cluster: Cluster) -> NativeNode:
    return cluster.leader()


def knock(node: NativeNode) -> socket.socket:
    address = node.first_members[node.id][1]
    made = socket.create_connection((address.host, address.port))
    made.settimeout(20)
    return made


def closed(connection: socket.socket) -> bool:
    """Whether the node ends the connection; what it says before does not matter."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def count(node: NativeNode, what: str) -> int:
    return int(node.status()["connections"][what])


def right_hello(node: NativeNode) -> bytes:
    other = next(id for id in node.first_members if id != node.id)
    # Its incarnation is not the right one, but that may be because its configuration is newer than ours.
    return hello(cluster_of(node.first_members), other, node.id, index=1 << 40)


CASES = {
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", "stranger"),
    "one wrong byte": (b"X", "stranger"),
    "a newer frame": (frame(KIND_HELLO, b"", version=2), "newer_version"),
    "a huge claim": (frame(KIND_HELLO, b"", length=0xFFFFFFFF), "too_large"),
    "a hello over the bound": (frame(KIND_HELLO, bytes(1000)), "too_large"),
    "a wrong checksum": (frame(KIND_HELLO, bytes(49), crc=1), "damaged"),
    "a message before the hello": (frame(KIND_RAFT, bytes(40)), "damaged"),
    "another cluster": (hello(b"someone else's.." , 2, 1), "wrong_cluster"),
    "a newer hello": (hello(bytes(16), 2, 1, version=2), "newer_version"),
}  # fmt: skip


@pytest.mark.parametrize(("said", "counter"), CASES.values(), ids=CASES)
def test_wrong_first_words(node: NativeNode, said: bytes, counter: str) -> None:
    before = count(node, counter)
    with knock(node) as stranger:
        stranger.sendall(said)
        assert closed(stranger)
    until(lambda: count(node, counter) > before)
    node.execute(commands.put("k", "v"), timeout=20)


def test_a_hello_of_nobody_or_for_somebody_else(node: NativeNode) -> None:
    right = cluster_of(node.first_members)
    for said in (hello(right, 99, node.id), hello(right, node.id % 3 + 1, 99), hello(right, node.id, node.id)):
        before = count(node, "not_member")
        with knock(node) as stranger:
            stranger.sendall(said)
            assert closed(stranger)
        until(lambda before=before: count(node, "not_member") > before)


@pytest.mark.parametrize(
    "said",
    [
        frame(KIND_RAFT, b""),
        frame(KIND_RAFT, b"\x01\x01\x03" + bytes(50)),
        frame(KIND_RAFT, os.urandom(5000)),
        frame(KIND_RAFT, b"", length=1 << 28),
        frame(KIND_HELLO, bytes(49)),
        frame(77, b"x"),
        b"not a frame at all",
    ],
    ids=["empty", "no message", "noise", "huge claim", "hello again", "unknown kind", "no frame"],
)
def test_nonsense_behind_a_right_hello(node: NativeNode, said: bytes) -> None:
    # It takes the place of the member's connection for a moment, which that member then makes anew. If it is faster
    # than the stranger's words, they are not looked at any more: then the stranger knocks again.
    before = sum(count(node, what) for what in ("damaged", "stranger", "too_large"))

    def counted() -> bool:
        with knock(node) as stranger:
            stranger.sendall(right_hello(node) + said)
            assert closed(stranger)
        return sum(count(node, what) for what in ("damaged", "stranger", "too_large")) > before

    until(counted, 20)
    until(lambda: node.status()["leader"])
    node.execute(commands.put("k", "v"), timeout=20)


def test_silence_is_ended(node: NativeNode) -> None:
    before = count(node, "slow")
    with knock(node) as silent, knock(node) as dribbling:
        dribbling.sendall(b"QRT\x01")
        assert closed(silent)
        assert closed(dribbling)
    until(lambda: count(node, "slow") >= before + 2)


def test_a_flood_is_bounded_and_members_still_get_in(cluster: Cluster) -> None:
    node = cluster.leader()
    crowd = [knock(node) for _ in range(600)]
    try:
        until(lambda: count(node, "flood") > 0)
        assert count(node, "strangers") <= 256
        node.execute(commands.put("k", "v"), timeout=20)
        other = next(each for each in cluster.nodes.values() if each is not node)
        other.stop()
        other.start()
        until(lambda: node.status()["connections"]["members"] == 2)
    finally:
        for each in crowd:
            each.close()


def test_a_member_of_another_cluster_on_our_port_harms_nobody(cluster: Cluster) -> None:
    members = {id: (name, str(address)) for id, (name, address) in cluster.nodes["a"].first_members.items()}
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        foreign = NativeNode("z", 9, {**members, 9: ("z", f"127.0.0.1:{listener.getsockname()[1]}")},
                             durability="memory", listen=listener.dup())  # fmt: skip
        before = {name: count(node, "wrong_cluster") for name, node in cluster.nodes.items()}
        with foreign:
            until(lambda: all(count(node, "wrong_cluster") > before[name] for name, node in cluster.nodes.items()))
            assert foreign.status()["leader"] is None
            assert count(foreign, "members") == 0
    assert {node.name for node in cluster.running} == set(NAMES[:3])
    cluster.nodes["a"].execute(commands.put("k", "v"), timeout=20)
