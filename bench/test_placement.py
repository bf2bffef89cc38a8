"""Lookups and builds of the placements beside the ring, and of the drop-in for uhashring. The ring has its own file.

    pytest bench/test_placement.py --benchmark-only --benchmark-group-by=group --benchmark-columns=min,median

A lookup is timed over a list of 1,000 keys of 16 characters in one comprehension, so that the figure divided by 1,000
is one call from Python and the turn of a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quorate.compat.uhashring import HashRing
from quorate.ring import Jump, JumpBack, Ketama, Maglev, Rendezvous, SlotMap

KEYS = [f"key:{number:012d}" for number in range(1000)]
SIZES = [10, 100, 1000]


def names(nodes: int) -> list[str]:
    return [f"10.0.{number // 250}.{number % 250}:11211" for number in range(nodes)]


def uneven(nodes: int) -> dict[str, int]:
    return {name: 1 + number % 3 for number, name in enumerate(names(nodes))}


PLACEMENTS: dict[str, Callable[[int], Any]] = {
    "jump": lambda nodes: Jump(names(nodes)),
    "jumpback": lambda nodes: JumpBack(names(nodes)),
    "rendezvous": lambda nodes: Rendezvous(names(nodes)),
    "rendezvous-weighted": lambda nodes: Rendezvous(uneven(nodes)),
    "maglev": lambda nodes: Maglev(names(nodes)),
    "slotmap": lambda nodes: SlotMap(names(nodes)),
    "ketama-libketama": lambda nodes: Ketama(names(nodes)),
    "ketama-libmemcached": lambda nodes: Ketama(names(nodes), dialect="libmemcached"),
    "ketama-uhashring": lambda nodes: Ketama(names(nodes), dialect="uhashring"),
}
DROP_INS: dict[str, Callable[[int], HashRing]] = {
    "default": lambda nodes: HashRing(names(nodes)),
    "ketama": lambda nodes: HashRing(names(nodes), hash_fn="ketama"),
}


def time_lookups(benchmark: Any, node: Callable[[str], object]) -> None:
    assert len(KEYS[0]) == 16
    benchmark.pedantic(lambda: [node(key) for key in KEYS], rounds=50, iterations=4, warmup_rounds=2)
    benchmark.extra_info["lookups"] = len(KEYS)


@pytest.mark.parametrize("nodes", SIZES)
@pytest.mark.parametrize("name", PLACEMENTS)
def test_lookup(benchmark: Any, name: str, nodes: int) -> None:
    benchmark.group = f"lookup, {nodes} nodes, 1,000 keys"
    time_lookups(benchmark, PLACEMENTS[name](nodes).node)


@pytest.mark.parametrize("nodes", SIZES)
@pytest.mark.parametrize("name", PLACEMENTS)
def test_preference_list_of_three(benchmark: Any, name: str, nodes: int) -> None:
    benchmark.group = f"three nodes of {nodes}, 1,000 keys"
    three = PLACEMENTS[name](nodes).nodes
    benchmark.pedantic(lambda: [three(key, 3) for key in KEYS], rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("nodes", SIZES)
@pytest.mark.parametrize("name", PLACEMENTS)
def test_build(benchmark: Any, name: str, nodes: int) -> None:
    benchmark.group = f"build, {nodes} nodes"
    benchmark.pedantic(PLACEMENTS[name], args=(nodes,), rounds=10, warmup_rounds=1)


@pytest.mark.parametrize("nodes", SIZES)
@pytest.mark.parametrize("mode", DROP_INS)
def test_drop_in_lookup(benchmark: Any, mode: str, nodes: int) -> None:
    benchmark.group = f"drop-in lookup, {nodes} nodes, 1,000 keys"
    time_lookups(benchmark, DROP_INS[mode](nodes).get_node)


@pytest.mark.parametrize("nodes", SIZES)
@pytest.mark.parametrize("mode", DROP_INS)
def test_uhashring_lookup(benchmark: Any, mode: str, nodes: int) -> None:
    """The same calls on uhashring, for the ratio."""
    uhashring = pytest.importorskip("uhashring")
    benchmark.group = f"drop-in lookup, {nodes} nodes, 1,000 keys"
    options = {"hash_fn": "ketama"} if mode == "ketama" else {}
    ring = uhashring.HashRing(names(nodes), **options)
    benchmark.pedantic(lambda: [ring.get_node(key) for key in KEYS], rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("nodes", SIZES)
def test_plan_of_one_node_more(benchmark: Any, nodes: int) -> None:
    benchmark.group = "plan of 16,384 slots for one node more"
    slots, more = SlotMap(names(nodes)), [*names(nodes), "new"]
    benchmark.pedantic(slots.plan, args=(more,), rounds=10, warmup_rounds=1)
