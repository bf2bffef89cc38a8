"""Jump, JumpBack, Rendezvous and Maglev: each against its paper in plain Python, and against what it promises."""

from __future__ import annotations

import heapq
import math
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.errors import InvalidArgument
from quorate.ring import Jump, JumpBack, Maglev, Rendezvous, jump_bucket, jumpback_bucket

MASK = (1 << 64) - 1
HASHES = st.integers(0, MASK)
NAMES = [f"node-{number}" for number in range(200)]


def key_hash(key: str, seed: int = 0) -> int:
    return xxhash.xxh3_64_intdigest(key.encode(), seed)


def draw(hashed: int, seed: int) -> int:
    """What csrc/places.h calls a draw."""
    return xxhash.xxh3_64_intdigest(struct.pack("<Q", hashed), seed)


def chi_square(counts: list[int], expected: list[float]) -> float:
    return sum((count - mean) ** 2 / mean for count, mean in zip(counts, expected, strict=True))


def unlikely(degrees: int) -> float:
    """A bound that chi-square passes about once in 30,000 times (Wilson and Hilferty's approximation, 4 sigma)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + 4 * math.sqrt(spread)) ** 3


# Jump and JumpBack


def oracle_jump(hashed: int, buckets: int) -> int:
    """Lamping, Veach 2014: the bucket after each jump, exactly, until a jump goes too far."""
    bucket, ahead = -1, 0
    while ahead < buckets:
        bucket = ahead
        hashed = (hashed * 2862933555777941757 + 1) & MASK
        ahead = int(float(bucket + 1) * (float(1 << 31) / float((hashed >> 33) + 1)))
    return bucket


def split_mix(state: int) -> Iterator[int]:
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
        yield mixed ^ (mixed >> 31)


def oracle_jumpback(hashed: int, buckets: int) -> int:
    """Ertl 2024: a range [2^k, 2^(k+1)) with its bit set holds jumps; the last one below ``buckets`` counts."""
    words = split_mix(hashed)
    first = next(words)
    low, high = first & 0xFFFFFFFF, first >> 32
    active = [k for k in range((buckets - 1).bit_length()) if (low ^ high) >> k & 1]
    while active:
        size = 1 << active[-1]
        candidate = size + ((high if len(active) % 2 else low) % size)
        pending: list[int] = []
        while size <= candidate:
            if candidate < buckets:
                return candidate
            if not pending:
                word = next(words)
                pending = [word & 0xFFFFFFFF, word >> 32]
            candidate = pending.pop(0) % (2 * size)
        active.pop()
    return 0


BUCKETS: list[tuple[Callable[[int, int], int], Callable[[int, int], int], Any]] = [
    (jump_bucket, oracle_jump, Jump),
    (jumpback_bucket, oracle_jumpback, JumpBack),
]
each_jump = pytest.mark.parametrize(("bucket", "oracle", "kind"), BUCKETS, ids=["jump", "jumpback"])
Bucket = Callable[[int, int], int]


def test_jump_has_the_vectors_that_other_implementations_have() -> None:
    vectors = {(1, 1): 0, (42, 57): 43, (0xDEAD10CC, 1): 0, (0xDEAD10CC, 666): 361, (256, 1024): 520}
    assert {arguments: jump_bucket(*arguments) for arguments in vectors} == vectors


@each_jump
@settings(max_examples=300)
@given(hashed=HASHES, buckets=st.one_of(st.integers(1, 300), st.integers(1, 2**31 - 1)))
def test_buckets_are_those_of_the_paper(bucket: Bucket, oracle: Bucket, kind: Any, hashed: int, buckets: int) -> None:
    assert bucket(hashed, buckets) == oracle(hashed, buckets)


@each_jump
@given(key=st.text(max_size=40).filter(str.isascii), nodes=st.integers(1, 200), seed=HASHES)
def test_a_key_lies_in_its_bucket(bucket: Bucket, oracle: Bucket, kind: Any, key: str, nodes: int, seed: int) -> None:
    assert kind(NAMES[:nodes], seed=seed)[key] == NAMES[oracle(key_hash(key, seed), nodes)]


@each_jump
@given(hashed=HASHES)
def test_a_new_bucket_only_takes(bucket: Bucket, oracle: Bucket, kind: Any, hashed: int) -> None:
    """Monotony: with one bucket more a key stays, or goes to the new one."""
    before = 0
    for buckets in range(1, 130):
        now = bucket(hashed, buckets)
        assert now in (before, buckets - 1)
        before = now


@each_jump
@pytest.mark.parametrize("buckets", [2, 3, 7, 16, 33, 100])
def test_buckets_are_even(bucket: Bucket, oracle: Bucket, kind: Any, buckets: int) -> None:
    counts = Counter(bucket(key_hash(str(number)), buckets) for number in range(200 * buckets))
    assert chi_square([counts[n] for n in range(buckets)], [200.0] * buckets) < unlikely(buckets - 1)


@each_jump
def test_only_the_last_node_can_leave(bucket: Bucket, oracle: Bucket, kind: Any) -> None:
    places = kind(["a", "b", "c"])
    with pytest.raises(InvalidArgument, match=r"last node only, which is 'c'.*Rendezvous"):
        places.remove("a")
    fewer = places.remove("c")
    assert (fewer.names, fewer.epoch) == (("a", "b"), 1)
    with pytest.raises(InvalidArgument, match="no weights"):
        kind({"a": 2})
    with pytest.raises(InvalidArgument, match="no weights"):
        places.with_weight("a", 2)
    with pytest.raises(InvalidArgument, match="buckets"):
        bucket(1, 0)
    with pytest.raises(InvalidArgument, match="hash"):
        bucket(-1, 1)


@pytest.mark.parametrize("kind", [Jump, JumpBack, Rendezvous, Maglev])
@pytest.mark.parametrize("pattern", ["n{:02}", "db{}", "{}", "node-{}", "a-longer-name-of-node-{:03}"])
def test_second_choices_are_even_too(kind: Any, pattern: str) -> None:
    """What a lost node leaves behind goes to all others alike; names that differ in one letter are no exception."""
    names = [pattern.format(number) for number in range(1, 10)]
    places = kind(names)
    seconds: dict[str, Counter[str]] = {name: Counter() for name in names}
    firsts: Counter[str] = Counter()
    for number in range(18_000):
        first, second = places.nodes(f"{number}", 2)
        firsts[first] += 1
        seconds[first][second] += 1
    assert chi_square([firsts[name] for name in names], [2000.0] * 9) < unlikely(8)
    for name, counts in seconds.items():
        mean = sum(counts.values()) / 8
        assert chi_square([counts[other] for other in names if other != name], [mean] * 8) < unlikely(7)


@pytest.mark.parametrize("places", [Jump(NAMES), JumpBack(NAMES), Maglev(NAMES, table_size=211)], ids=repr)
def test_the_longest_preference_list_has_every_node(places: Any) -> None:
    """Also where chance leaves a node out of very many draws, and the rest follows by number."""
    for number in range(200):
        order = places.nodes(str(number), 200)
        assert sorted(order) == sorted(NAMES)
        assert places.nodes(str(number), 199) == order[:199]


def test_a_node_too_light_for_a_place_in_the_table_comes_last() -> None:
    places = Maglev({"a": 1_000_000, "b": 1_000_000, "light": 1}, table_size=101)
    assert set(places.table()) == {"a", "b"}
    assert {places.nodes(str(number), 3)[2] for number in range(50)} == {"light"}


@each_jump
def test_preference_lists_move_little(bucket: Bucket, oracle: Bucket, kind: Any) -> None:
    """With one node more, a list of three changes where the new node comes in, and hardly elsewhere."""
    before, after = kind(NAMES[:50]), kind(NAMES[:51])
    changed = 0
    for number in range(2000):
        old, new = before.nodes(str(number), 3), after.nodes(str(number), 3)
        changed += old != new
        if NAMES[50] not in new:
            assert old == new
    assert changed < 2 * 3 * 2000 / 51


# Rendezvous


def oracle_rendezvous(key: str, weights: dict[str, float], seed: int) -> list[str]:
    """Best first: the least -ln(u) / weight, u from XXH3 of the key's hash under the node's seed."""
    hashed = key_hash(key, seed)

    def cost(name: str) -> tuple[float, int, str]:
        drawn = draw(hashed, key_hash(name, seed))
        return -math.log(((drawn >> 12) + 0.5) / 2**52) / weights[name], -drawn, name

    return sorted(weights, key=cost)


WEIGHTS = st.dictionaries(
    st.sampled_from(NAMES[:40]), st.one_of(st.just(1.0), st.floats(0.01, 100), st.floats(1e-6, 1e6)), min_size=1
)


@settings(max_examples=150)
@given(weights=WEIGHTS, key=st.text(max_size=20).filter(str.isascii), seed=HASHES)
def test_rendezvous_orders_nodes_as_its_formula(weights: dict[str, float], key: str, seed: int) -> None:
    places = Rendezvous(weights, seed=seed)
    expected = oracle_rendezvous(key, weights, seed)
    assert places[key] == expected[0]
    assert list(places.nodes(key, len(weights))) == expected


@settings(max_examples=60)
@given(weights=WEIGHTS, leaver=st.data(), factor=st.floats(1, 50))
def test_rendezvous_moves_only_what_it_must(weights: dict[str, float], leaver: st.DataObject, factor: float) -> None:
    """Removal moves the keys of the one that left; more weight only takes; whatever the weights."""
    name = leaver.draw(st.sampled_from(sorted(weights)))
    places = Rendezvous(weights)
    heavier = places.with_weight(name, min(weights[name] * factor, 1e6))
    without = places.remove(name) if len(weights) > 1 else None
    for number in range(100):
        key = str(number)
        if heavier[key] != places[key]:
            assert heavier[key] == name
        if without and places[key] != name:
            assert without[key] == places[key]
        if without:
            expected = [other for other in places.nodes(key, len(weights)) if other != name]
            assert list(without.nodes(key, len(without))) == expected


@pytest.mark.parametrize("weights", [[1.0] * 10, [1, 2, 3, 4], [0.001, 1, 1000], [1, 1, 1, 97]], ids=str)
def test_rendezvous_shares_are_proportional_to_weights(weights: list[float]) -> None:
    names = NAMES[: len(weights)]
    counts = Counter(Rendezvous(dict(zip(names, weights, strict=True))).node_many(map(str, range(40_000))))
    expected = [40_000 * weight / sum(weights) for weight in weights]
    common = [(counts[name], mean) for name, mean in zip(names, expected, strict=True) if mean > 5]
    assert chi_square([count for count, _ in common], [mean for _, mean in common]) < unlikely(len(common))
    assert sum(counts[name] for name, mean in zip(names, expected, strict=True) if mean <= 5) < 20


# Maglev


def oracle_maglev(weights: dict[str, float], size: int, seed: int) -> list[str]:
    """Eisenbud et al. 2016, §3.4: each node takes the next free place of its own permutation of the table in turn."""
    permutations = {}
    for name in weights:
        node = key_hash(name, seed)
        offset, skip = draw(node, 0) % size, draw(node, 1) % (size - 1) + 1
        permutations[name] = iter([(offset + number * skip) % size for number in range(size)])
    table: dict[int, str] = {}
    turns = [(0.5 / weight, name, 0) for name, weight in sorted(weights.items())]
    heapq.heapify(turns)
    while len(table) < size:
        _, name, taken = heapq.heappop(turns)
        place = next(place for place in permutations[name] if place not in table)
        table[place] = name
        heapq.heappush(turns, ((taken + 1.5) / weights[name], name, taken + 1))
    return [table[place] for place in range(size)]


@settings(max_examples=60)
@given(weights=WEIGHTS, size=st.sampled_from([41, 101, 499]), seed=HASHES)
def test_maglev_fills_its_table_as_the_paper(weights: dict[str, float], size: int, seed: int) -> None:
    places = Maglev(weights, table_size=size, seed=seed)
    table = oracle_maglev(weights, size, seed)
    assert places.table() == table
    for number in range(20):
        assert places[str(number)] == table[(key_hash(str(number), seed) >> 32) * size >> 32]
        assert sorted(places.nodes(str(number), len(weights))) == sorted(weights)


@pytest.mark.parametrize("nodes", [1, 10, 100])
def test_maglev_is_even_and_hardly_moves(nodes: int) -> None:
    names = NAMES[:nodes]
    places = Maglev(names)
    counts = Counter(places.table())
    assert max(counts.values()) - min(counts.values()) <= 1
    after = Maglev([*names, "new"], table_size=places.table_size)
    moved = sum(old != new for old, new in zip(places.table(), after.table(), strict=True))
    least = places.table_size / (nodes + 1)
    assert least - 1 <= moved < 2 * least  # FACTS of the algorithm: 1.02 times at 10 nodes, 1.55 at 100


def test_maglev_weights_are_proportions() -> None:
    chance = random.Random(3)
    weights = {name: chance.choice([0.5, 1, 2, 5, 10]) for name in NAMES[:50]}
    counts = Counter(Maglev(weights).table())
    for name, weight in weights.items():
        assert counts[name] == pytest.approx(65537 * weight / sum(weights.values()), abs=2 + weight)


def test_maglev_table_sizes() -> None:
    assert Maglev(NAMES[:3]).table_size == 65537
    assert Maglev(map(str, range(700))).table_size == 70001
    assert Maglev(["a"], table_size=3).add("b").table_size == 3
    for size in (4, 65536, 9):
        with pytest.raises(InvalidArgument, match="prime"):
            Maglev(["a"], table_size=size)
    for size in (2, 0, -3, 1 << 25):
        with pytest.raises(InvalidArgument, match="from 3 to"):
            Maglev(["a"], table_size=size)
    with pytest.raises(InvalidArgument, match="from 200 to"):
        Maglev(NAMES, table_size=199)
    with pytest.raises(TypeError, match="int"):
        Maglev(["a"], table_size=7.0)  # type: ignore[arg-type]
