"""No buffer outlives its last holder: log, updates, messages and snapshots share payloads, and give them back.

Counted in bytes that malloc has given out. Payloads are large beside everything else, so that one lost reference shows.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quorate.errors import InvalidArgument
from quorate.raft import Entry, Message, Propose, Raft, Receive, decode, encode
from raft.counting import allocated
from raft.harness import Cluster

PAYLOAD = bytes(50_000)
SLACK = 20_000
"""Less than one payload: what the allocator and the interpreter keep for themselves."""


def conflict_and_truncation() -> None:
    core = Raft(2, voters=[1, 2, 3], seed=1)
    for term in range(1, 6):
        entries = [Entry(index, term, 0, PAYLOAD) for index in range(1, 9)]
        message = Message.make("AppendEntries", sender=1 + 2 * (term % 2), receiver=2, term=term, entries=entries)
        core.step(Receive(message, now=term))


def life_of_a_cluster() -> None:
    cluster = Cluster(1, 2, 3, snapshot_chunk_bytes=30_000)
    cluster.elect(1)
    cluster.cut(3)
    for _ in range(5):
        cluster.propose(1, PAYLOAD, PAYLOAD)
    cluster.settle()
    cluster.compact(1)
    cluster.heal()
    for _ in range(30):
        cluster.settle()
    assert len(cluster[3].commands) == 10
    cluster.crash(2)
    cluster.start(2)
    cluster.elect(2)


def proposals_refused() -> None:
    cluster = Cluster(1, 2, 3, max_uncommitted_bytes=60_000)
    for id in (1, 2):
        cluster.propose(id, PAYLOAD)
    cluster.elect(1)
    cluster.cut(1)
    for _ in range(5):
        cluster.propose(1, PAYLOAD, PAYLOAD)


def codec() -> None:
    message = Message.make("AppendEntries", sender=1, receiver=2, term=1, entries=[Entry(1, 1, 0, PAYLOAD)] * 3)
    raw = encode(message)
    assert encode(decode(raw)) == raw
    for cut in range(0, len(raw), 5_000):
        with pytest.raises(InvalidArgument):
            decode(raw[:cut])
    event = Propose([PAYLOAD, PAYLOAD], now=1)
    assert decode(encode(event)) == event


def messages_that_were_never_looked_at() -> None:
    core = Raft(1, voters=[1, 2, 3], seed=1)
    message = Message.make("ForwardProposal", sender=2, receiver=1, term=1, entries=[Entry(1, 1, 0, PAYLOAD)])
    for _ in range(3):
        core.step(Receive(message, now=1))


@pytest.mark.parametrize(
    "life",
    [conflict_and_truncation, life_of_a_cluster, proposals_refused, codec, messages_that_were_never_looked_at],
    ids=lambda life: life.__name__,
)
def test_nothing_is_left_behind(life: Callable[[], None]) -> None:
    life()
    before = allocated()
    for _ in range(3):
        life()
    assert allocated() - before < SLACK
