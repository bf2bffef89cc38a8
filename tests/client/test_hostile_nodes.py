"""A server that is no node, or a bad one: what it sends costs a connection, and never the client."""

from __future__ import annotations

import contextlib
import random
import struct
import threading
from collections.abc import Iterator

import pytest

from client.fake import DONE, KIND_ANSWER, KIND_NEWS, KIND_REFUSAL, KIND_WELCOME, READ, FakeNode, frame
from quorate.client.remote import Remote
from quorate.errors import ConnectionLost, NoQuorum, QuorateError

LONG = 20.0
MEMBER = struct.pack("<QB", 2, 1) + b"b" + b"\x0b127.0.0.1:1" + b"\x01"


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode(1) as made:
        yield made


def news(count: int = 1, members: bytes = MEMBER, version: int = 1, node: int = 1) -> bytes:
    return struct.pack("<B16sQQQQH", version, b"cluster of tests", node, 1, 1, 5, count) + members


@pytest.mark.parametrize(
    ("welcome", "says"),
    [
        (b"", "damaged"),
        (news()[:50], "damaged"),
        (news(count=2), "damaged"),
        (news(count=65, members=MEMBER * 65), "damaged"),
        (news(members=MEMBER + b"x"), "damaged"),
        (news(members=MEMBER[:-1]), "damaged"),
        (news(members=struct.pack("<QB", 2, 255) + b"b"), "damaged"),
        (news(node=0), "damaged"),
        (news(version=2), "newer version"),
    ],
)
def test_a_welcome_that_is_none(node: FakeNode, welcome: bytes, says: str) -> None:
    node._news = lambda: welcome  # type: ignore[method-assign]
    with Remote(node.address) as remote, pytest.raises(NoQuorum, match=says):
        remote.barrier(0.3).wait()


def test_any_bytes_behind_a_welcome(node: FakeNode) -> None:
    """Answers and news that were cut, lengthened and changed in random places; each with a right checksum, too."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    seeds = [
        (KIND_ANSWER, struct.pack("<QBQQQ", 1 << 20, DONE, 7, 1, 1) + b"result"),
        (KIND_NEWS, news()),
        (KIND_REFUSAL, b"\x03\x05words"),
        (KIND_WELCOME, news()),
        (99, b"of a later version"),
    ]

    def mutated(node: FakeNode, ask: object) -> None:
        kind, payload = chance.choice(seeds)
        changed = bytearray(payload)
        for _ in range(chance.randrange(4)):
            where = chance.randrange(len(changed) + 1)
            what = chance.randrange(3)
            if what == 0:
                del changed[where:]
            elif what == 1:
                changed[where:where] = chance.randbytes(chance.randrange(9))
            elif where < len(changed):
                changed[where] = chance.randrange(256)
        data = frame(kind, bytes(changed))
        if chance.random() < 0.2:
            data = data[: chance.randrange(len(data))] + chance.randbytes(4)
        node._everywhere(data)

    node.handler = mutated  # type: ignore[assignment]
    for _ in range(20):
        with Remote(node.address, follow=False, near=False) as remote:
            pending = [remote.ask(READ, b"", 0.05) for _ in range(50)]
            for each in pending:
                with contextlib.suppress(QuorateError):
                    each.wait()
            assert remote.alive, f"seed {seed}"
            assert remote.failed is None
    node.handler = lambda node, ask: (DONE, 9, b"")
    with Remote(node.address) as remote:
        assert remote.barrier(LONG).wait()[0] == 9


def test_a_question_that_ends_every_connection_is_given_up(node: FakeNode) -> None:
    def ends(node: FakeNode, ask: object) -> None:
        node.cut()

    node.handler = ends  # type: ignore[assignment]
    with Remote(node.address) as remote, pytest.raises(ConnectionLost):
        remote.barrier(LONG).wait()
    assert len(node.asked) == 9


def test_a_flood_of_news(node: FakeNode) -> None:
    with Remote(node.address) as remote:
        remote.wait_connected(LONG)
        flood = threading.Thread(target=lambda: [node.tell(1, term) for term in range(2, 5000)])
        flood.start()
        for _ in range(100):
            remote.barrier(LONG).wait()
        flood.join()
        assert remote.office()[1] <= 4999


def test_places_are_forgotten_when_no_news_name_them(node: FakeNode) -> None:
    with Remote(node.address, near=False) as remote:
        remote.wait_connected(LONG)
        for term in range(2, 400):
            node.members = {1: ("n1", node.address), term: ("other", f"127.0.0.1:{term}")}
            node.tell(1, term)
        remote.barrier(LONG).wait()
        assert len(remote.members()) == 2
        assert len(remote.status()["troubles"]) < 128
