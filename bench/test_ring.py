"""One benchmark for each figure that the design promises of the ring (DESIGN §11).

    pytest bench/test_ring.py --benchmark-only

Each figure is the median over rounds, in the benchmark's `extra_info` as nanoseconds a key (or of the operation),
beside what it has to reach. Single look-ups run in a loop over many keys; the time of the same loop with nothing in
it is taken off, because it belongs to the caller. Time is that of the processor in this thread, and look-ups are timed
in slices of a fraction of a millisecond, so that what other processes do counts as little as possible; what they do to
the shared cache still shows in the cold figures.
"""

from __future__ import annotations

import random
import statistics
import string
import time
from collections.abc import Callable
from typing import Any

import numpy
import pytest

from quorate.ring import Ring
from quorate.ring.reference import ReferenceRing

HOT_KEYS = 1_000
COLD_KEYS = 200_000
SLICE = 2_000


def names(count: int) -> list[str]:
    return [f"node-{number:04d}" for number in range(count)]


def text_keys(count: int) -> list[str]:
    """Distinct keys of 16 ASCII characters.

    They lie in memory in the order of the list, so that what is cold in a look-up is the ring: a key that a service
    looks up has just been made or read.
    """
    generator = random.Random(count)
    return ["".join(generator.choices(string.ascii_lowercase + string.digits, k=16)) for _ in range(count)]


RINGS = {count: Ring(names(count)) for count in (10, 100, 1000)}
KEYS = {"hot": text_keys(HOT_KEYS), "cold": text_keys(COLD_KEYS)}


def timer_of(expression: str) -> Callable[[Any, list[str]], int]:
    scope: dict[str, Any] = {"clock": time.thread_time_ns}
    exec(f"def run(ring, keys):\n b = clock()\n for key in keys:\n  {expression}\n return clock() - b", scope)
    timer: Callable[[Any, list[str]], int] = scope["run"]
    return timer


def each_key(
    benchmark: Any, expression: str, ring: Any, keys: list[str], reach_ns: float | None, rounds: int = 10
) -> None:
    """Slice after slice of the keys; an empty loop after each, so that a noisy moment hits both."""
    run, empty = timer_of(expression), timer_of("pass")
    slices = [keys[start : start + SLICE] for start in range(0, len(keys), SLICE)]
    costs: list[float] = []

    def once() -> None:
        costs.extend((run(ring, part) - empty(ring, part)) / len(part) for part in slices)

    benchmark.pedantic(once, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info.update(ns_a_key=round(statistics.median(costs[len(slices) :]), 1), reach_ns=reach_ns)


def whole(
    benchmark: Any,
    function: Callable[[Any], object],
    arguments: list[Any],
    per: int,
    reach_ns: float | None,
    rounds: int = 10,
) -> None:
    """One call of the function for each argument."""
    costs: list[float] = []

    def once() -> None:
        for argument in arguments:
            begin = time.thread_time_ns()
            function(argument)
            costs.append((time.thread_time_ns() - begin) / per)

    benchmark.pedantic(once, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info.update(ns=round(statistics.median(costs[len(arguments) :]), 1), reach_ns=reach_ns)


@pytest.mark.parametrize(
    ("nodes", "keys", "reach"),
    [(10, "hot", None), (100, "hot", 30), (100, "cold", None), (1000, "hot", None), (1000, "cold", 55)],
)
def test_lookup(benchmark: Any, nodes: int, keys: str, reach: float | None) -> None:
    each_key(benchmark, "ring[key]", RINGS[nodes], KEYS[keys], reach)


def test_lookup_by_method(benchmark: Any) -> None:
    each_key(benchmark, "ring(key)", RINGS[100].node, KEYS["hot"], None)


def test_preference_list_of_three(benchmark: Any) -> None:
    each_key(benchmark, "ring(key, 3)", RINGS[100].nodes, KEYS["hot"], 60)


@pytest.mark.parametrize(("nodes", "keys"), [(100, "hot"), (100, "cold"), (1000, "cold")])
def test_batch_of_text(benchmark: Any, nodes: int, keys: str) -> None:
    parts = [KEYS[keys][start : start + SLICE] for start in range(0, len(KEYS[keys]), SLICE)]
    whole(benchmark, RINGS[nodes].node_many, parts, len(parts[0]), 12)


@pytest.mark.parametrize("nodes", [100, 1000])
@pytest.mark.parametrize("hashed", [False, True])
def test_batch_of_numbers(benchmark: Any, nodes: int, hashed: bool) -> None:
    keys = numpy.random.default_rng(1).integers(0, 2**64, COLD_KEYS, dtype=numpy.uint64)
    out = numpy.empty(4 * SLICE, dtype=numpy.int32)
    parts = [keys[start : start + len(out)] for start in range(0, COLD_KEYS, len(out))]
    whole(benchmark, lambda part: RINGS[nodes].index_many(part, out, hashed=hashed), parts, len(out), 5)


@pytest.mark.parametrize(("nodes", "reach"), [(100, 250_000), (1000, 3_000_000)])
def test_build(benchmark: Any, nodes: int, reach: float) -> None:
    whole(benchmark, Ring, [names(nodes)], 1, reach, rounds=50)


def test_add_one_of_100(benchmark: Any) -> None:
    whole(benchmark, RINGS[100].add, ["node-0050b"], 1, 30_000, rounds=500)


def test_remove_one_of_100(benchmark: Any) -> None:
    whole(benchmark, RINGS[100].remove, ["node-0050"], 1, None, rounds=500)


def test_diff_of_100_and_101(benchmark: Any) -> None:
    whole(benchmark, RINGS[100].diff, [RINGS[100].add("node-0050b")], 1, None, rounds=100)


def test_lookup_in_the_reference(benchmark: Any) -> None:
    each_key(benchmark, "ring[key]", ReferenceRing(dict.fromkeys(names(100), 1.0)), KEYS["hot"], None, rounds=5)


def test_lookup_in_uhashring(benchmark: Any) -> None:
    peer = pytest.importorskip("uhashring")
    each_key(benchmark, "ring.get_node(key)", peer.HashRing(names(100)), KEYS["hot"], None, rounds=10)
