"""Micro-benchmarks of the Raft core: the log alone, one step of each common kind, and the codec.

pytest bench/test_raft.py --benchmark-only
pytest bench/test_raft.py --benchmark-only --benchmark-json=raft.json

Each benchmark of many operations says in its extra information how many one round has (``operations``), so that
mean / operations is the cost of one. A step is measured through Python: event made, step, update dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quorate.raft import (
    Applied,
    Campaign,
    Entry,
    Message,
    Persisted,
    Propose,
    Raft,
    RaftConfig,
    RaftLog,
    Receive,
    Tick,
    decode,
    encode,
)

PAYLOAD = b"x" * 64
BATCH = [PAYLOAD] * 1_000


def run(
    benchmark: Any, work: Callable[..., Any], operations: int, setup: Callable[[], Any] | None = None, rounds: int = 60
) -> None:
    benchmark.extra_info["operations"] = operations
    benchmark.pedantic(work, setup=setup, rounds=rounds, warmup_rounds=3)
    if benchmark.stats is not None:
        stats = benchmark.stats.stats
        benchmark.extra_info["nanoseconds_each"] = round(stats.median * 1e9 / operations, 1)
        benchmark.extra_info["nanoseconds_each_best"] = round(stats.min * 1e9 / operations, 1)


# The log


def test_log_append_one_by_one(benchmark: Any) -> None:
    """DESIGN §11: at most 80 ns for one entry of 64 B."""

    def fill(log: RaftLog) -> None:
        append = log.append
        for _ in range(10_000):
            append(1, PAYLOAD)

    run(benchmark, fill, 10_000, setup=lambda: ((RaftLog(),), {}))


def test_log_append_in_batches(benchmark: Any) -> None:
    """DESIGN §11: at most 20 ns an entry of 64 B."""

    def fill(log: RaftLog) -> None:
        for _ in range(10):
            log.append_many(1, BATCH)

    run(benchmark, fill, 10_000, setup=lambda: ((RaftLog(),), {}))


def filled(count: int) -> RaftLog:
    log = RaftLog()
    for _ in range(count // len(BATCH)):
        log.append_many(1, BATCH)
    return log


@pytest.mark.parametrize("size", [10_000, 1_000_000])
def test_log_truncate_a_thousand_of(benchmark: Any, size: int) -> None:
    """The same for a short and a long log: it costs what it removes."""
    log = filled(size)

    def restore() -> None:
        if log.last_index < size:
            log.append_many(1, BATCH)

    run(benchmark, lambda: log.truncate(size - 999), 1_000, setup=restore)


@pytest.mark.parametrize("size", [10_000, 1_000_000])
def test_log_compact_a_thousand_of(benchmark: Any, size: int) -> None:
    """The same for a short and a long log: it costs what it removes."""
    log = filled(size)

    def restore() -> None:
        log.append_many(1, BATCH)

    run(benchmark, lambda: log.compact(log.snapshot_index + 1_000), 1_000, setup=restore)


def test_log_term(benchmark: Any) -> None:
    log = filled(100_000)

    def ask() -> None:
        term = log.term
        for index in range(1, 10_001):
            term(index)

    run(benchmark, ask, 10_000)


# Steps


def carry_out(core: Raft, update: Any, now: int = 1_000) -> None:
    """A disk and a state machine that are done at once."""
    while update.ticket or update.apply:
        if update.ticket:
            last = update.entries[-1] if update.entries else None
            following = core.step(
                Persisted(update.ticket, last.index if last else 0, last.term if last else 0, now=now)
            )
            if update.apply:
                core.step(Applied(update.apply[-1].index, now=now))
            update = following
        else:
            update = core.step(Applied(update.apply[-1].index, now=now))


def acknowledge(core: Raft, peers: tuple[int, ...], now: int = 1_000) -> None:
    """The leader's disk and all peers have everything."""
    last = core.log.last_index
    ticket = core.step(Propose(PAYLOAD, now=now)).ticket
    carry_out(core, core.step(Persisted(ticket, last + 1, core.term, now=now)))
    for id in peers:
        message = Message.make(
            "AppendEntriesResponse", sender=id, receiver=1, term=core.term, success=True, match_index=last + 1
        )
        carry_out(core, core.step(Receive(message, now=now)))
    assert core.commit == last + 1


def leader(voters: tuple[int, ...] = (1, 2, 3)) -> Raft:
    """A leader of term 1 whose first entry is committed."""
    config = RaftConfig(
        pre_vote=False, max_inflight_messages=10**6, max_inflight_bytes=2**40, max_uncommitted_bytes=2**40
    )
    core = Raft(1, voters=voters, seed=1, config=config)
    carry_out(core, core.step(Campaign(now=0)))
    for id in voters[1:]:
        vote = Message.make("RequestVoteResponse", sender=id, receiver=1, term=1, granted=True)
        carry_out(core, core.step(Receive(vote, now=0)))
    acknowledge(core, voters[1:])
    assert core.role == "leader"
    return core


@pytest.mark.parametrize("voters", [3, 5])
def test_step_propose(benchmark: Any, voters: int) -> None:
    """A leader appends 64 B and makes an AppendEntries for each peer."""
    core = leader(tuple(range(1, voters + 1)))
    event = Propose(PAYLOAD, now=2_000)

    def propose() -> None:
        step = core.step
        for _ in range(1_000):
            step(event)

    run(benchmark, propose, 1_000, setup=lambda: acknowledge(core, tuple(range(2, voters + 1))), rounds=30)


def test_step_propose_batch(benchmark: Any) -> None:
    """The same, 64 entries in one event: the cost of an entry."""
    core = leader()
    event = Propose([PAYLOAD] * 64, now=2_000)

    def propose() -> None:
        step = core.step
        for _ in range(50):
            step(event)

    run(benchmark, propose, 3_200, setup=lambda: acknowledge(core, (2, 3)), rounds=30)


def test_step_acknowledgement(benchmark: Any) -> None:
    """A leader takes in an acknowledgement that commits nothing new."""
    core = leader()
    event = Receive(
        Message.make("AppendEntriesResponse", sender=2, receiver=1, term=1, success=True, match_index=1), now=2_000
    )

    def receive() -> None:
        step = core.step
        for _ in range(1_000):
            step(event)

    run(benchmark, receive, 1_000)


def follower() -> Raft:
    core = Raft(2, voters=[1, 2, 3], seed=1)
    core.step(Receive(Message.make("Heartbeat", sender=1, receiver=2, term=1), now=0))
    return core


def test_step_heartbeat(benchmark: Any) -> None:
    """A follower answers a heartbeat."""
    core = follower()
    event = Receive(Message.make("Heartbeat", sender=1, receiver=2, term=1, round=3), now=1_000)

    def receive() -> None:
        step = core.step
        for _ in range(1_000):
            step(event)

    run(benchmark, receive, 1_000)


@pytest.mark.parametrize("entries", [1, 64])
def test_step_append_entries(benchmark: Any, entries: int) -> None:
    """A follower takes in an append of 64 B entries; the figure is for one message."""

    def prepare() -> tuple[Any, dict[str, Any]]:
        events = [
            Receive(
                Message.make(
                    "AppendEntries",
                    sender=1,
                    receiver=2,
                    term=1,
                    prev_log_index=number * entries,
                    prev_log_term=1 if number else 0,
                    entries=[Entry(number * entries + i + 1, 1, 0, PAYLOAD) for i in range(entries)],
                ),
                now=1_000,
            )
            for number in range(200)
        ]
        return (follower(), events), {}

    def receive(core: Raft, events: list[Any]) -> None:
        step = core.step
        for event in events:
            step(event)

    run(benchmark, receive, 200, setup=prepare, rounds=30)


def test_step_tick_with_nothing_due(benchmark: Any) -> None:
    core = leader()
    event = Tick(now=1_000)

    def tick() -> None:
        step = core.step
        for _ in range(1_000):
            step(event)

    run(benchmark, tick, 1_000)


# The codec


@pytest.mark.parametrize("entries", [0, 1, 64])
def test_encode_append_entries(benchmark: Any, entries: int) -> None:
    message = Message.make(
        "AppendEntries", sender=1, receiver=2, term=1, prev_log_index=5, prev_log_term=1,
        entries=[Entry(6 + i, 1, 0, PAYLOAD) for i in range(entries)],
    )  # fmt: skip

    def work() -> None:
        for _ in range(1_000):
            encode(message)

    run(benchmark, work, 1_000)


@pytest.mark.parametrize("entries", [0, 1, 64])
def test_decode_append_entries(benchmark: Any, entries: int) -> None:
    raw = encode(
        Message.make(
            "AppendEntries", sender=1, receiver=2, term=1, prev_log_index=5, prev_log_term=1,
            entries=[Entry(6 + i, 1, 0, PAYLOAD) for i in range(entries)],
        )
    )  # fmt: skip

    def work() -> None:
        for _ in range(1_000):
            decode(raw)

    run(benchmark, work, 1_000)
