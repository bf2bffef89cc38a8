"""Ketama: no mismatch with each dialect's rules written down in plain Python, with pylibmc, and with uhashring."""

from __future__ import annotations

import random
import struct
from bisect import bisect_left, bisect_right
from collections import Counter
from hashlib import md5
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.errors import InvalidArgument
from quorate.ring import Ketama, Member

DIALECTS = ["libketama", "libmemcached", "uhashring"]
each = pytest.mark.parametrize("dialect", DIALECTS)
KEYS = ["", "test", "größe", "x" * 300] + [f"key-{number}" for number in range(150)]


SHORT: dict[str, set[int]] = {
    "libketama": {61, 122, 237, 244},
    "libmemcached": {25, 47, 50, 61, 100, 122, 200, 237, 244},
    "uhashring": set(),
}
"""Of the counts of servers tried here, those at which equal servers have 39 digests and not 40."""


def f32(value: float) -> float:
    """The value rounded to single precision."""
    (single,) = struct.unpack("f", struct.pack("f", value))
    return float(single)


def digests(dialect: str, weights: list[int]) -> list[int]:
    """How many digests each server has; single steps of arithmetic, each rounded as the library's C code rounds it."""
    total, servers = sum(weights), len(weights)
    if dialect == "uhashring":
        return [40 * servers * weight // total for weight in weights]
    counts = []
    for weight in weights:
        part = f32(f32(weight) / f32(total))
        if dialect == "libketama":
            counts.append(int(f32(part * 40.0 * float(servers))))
        else:
            counts.append(int(f32(f32(f32(f32(part * 160.0) / 4.0) * servers) + f32(1e-10))))
    return counts


def oracle_points(dialect: str, nodes: dict[str, int]) -> list[tuple[int, str]]:
    points = []
    for number, (name, count) in enumerate(zip(nodes, digests(dialect, list(nodes.values())), strict=True)):
        text = name.removesuffix(":11211") if dialect == "libmemcached" else name
        for k in range(count):
            digest = md5(f"{text}-{k}".encode()).digest()
            points += [(int.from_bytes(digest[at : at + 4], "little"), number, name) for at in (0, 4, 8, 12)]
    points.sort()
    if dialect == "uhashring":
        last = {point: name for point, _, name in points}
        return [(point, last[point]) for point, _, _ in points]
    return [(point, name) for point, _, name in points]


def oracle_owner(dialect: str, points: list[tuple[int, str]], hashes: list[int], key: str) -> tuple[int, str]:
    hashed = int.from_bytes(md5(key.encode()).digest()[:4], "little")
    bisect = bisect_right if dialect == "uhashring" else bisect_left
    return points[bisect(hashes, hashed) % len(points)]


@each
@settings(max_examples=40)
@given(
    nodes=st.dictionaries(
        st.one_of(
            st.text(min_size=1, max_size=60).filter(lambda name: len(name.encode("utf-8", "replace")) <= 200),
            st.from_regex(r"10\.0\.0\.[0-9]{1,3}(:1121[0-3])?", fullmatch=True),
        ).filter(lambda name: not any("\ud800" <= letter <= "\udfff" for letter in name)),
        st.one_of(st.integers(1, 9), st.integers(1, 1_000_000)),
        min_size=1,
        max_size=30,
    )
)
def test_no_mismatch_with_the_rules(dialect: Any, nodes: dict[str, int]) -> None:
    places = Ketama(nodes, dialect=dialect)
    points = oracle_points(dialect, nodes)
    assert places.points() == points
    hashes = [point for point, _ in points]
    for key in KEYS:
        assert (places.point(key), places[key]) == oracle_owner(dialect, points, hashes, key)


@each
@pytest.mark.parametrize("servers", [1, 24, 25, 47, 50, 61, 100, 122, 200, 237, 244])
def test_equal_weights_at_the_counts_where_rounding_bites(dialect: Any, servers: int) -> None:
    nodes = {f"10.1.{number // 250}.{number % 250}:11212": 1 for number in range(servers)}
    places = Ketama(nodes, dialect=dialect)
    short = SHORT[dialect]
    assert len(places.points()) == servers * 4 * (39 if servers in short else 40)
    assert places.points() == oracle_points(dialect, nodes)


def test_known_vectors() -> None:
    places = Ketama({"127.0.0.1:11211": 600, "127.0.0.1:11212": 400})
    assert (places.hash("test"), places.point("test"), places["test"]) == (3446378249, 3454255383, "127.0.0.1:11211")
    assert places.dialect == "libketama"
    assert Ketama().point("test") is None


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("servers", [1, 2, 3, 10, 25, 47, 61, 100, 200])
def test_no_mismatch_with_pylibmc(servers: int, weighted: bool) -> None:
    pylibmc = pytest.importorskip("pylibmc")
    chance = random.Random(servers)
    nodes = {
        f"10.{number // 200}.{number % 200}.7:{chance.choice([11211, 11212, 7000])}": (
            chance.randint(1, 9) if weighted else 1
        )
        for number in range(servers)
    }
    client = pylibmc.Client([f"{name}:{weight}" for name, weight in nodes.items()], behaviors={"ketama_weighted": True})
    places = Ketama(nodes, dialect="libmemcached")
    keys = [f"key:{number}" for number in range(1500)]
    assert places.node_many(keys) == [places.names[client.hash(key)] for key in keys]


@pytest.mark.parametrize("servers", [1, 2, 10, 61, 150])
def test_no_mismatch_with_uhashring(servers: int) -> None:
    uhashring = pytest.importorskip("uhashring")
    chance = random.Random(servers)
    nodes = {f"node{number}": chance.randint(1, 9) for number in range(servers)}
    theirs = uhashring.HashRing(nodes, hash_fn="ketama")
    places = Ketama(nodes, dialect="uhashring")
    assert places.points() == theirs.get_points()
    keys = [f"key:{number}" for number in range(1500)]
    assert places.node_many(keys) == [theirs.get_node(key) for key in keys]


def test_the_dialects_differ_where_a_key_hits_a_point() -> None:
    """A key whose hash is a point: the point's own server for the C libraries, the next one's for uhashring."""
    nodes = ["a", "b", "c"]
    c_like, next_one = Ketama(nodes), Ketama(nodes, dialect="uhashring")
    assert c_like.points() == next_one.points()
    # The text "a-0" is the text of a point of "a".
    for number in range(40):
        key = f"a-{number}"
        assert (c_like[key], c_like.point(key)) == ("a", c_like.hash(key))
        assert next_one.point(key) != next_one.hash(key)


def test_equal_points_go_by_the_order_of_the_servers() -> None:
    """libmemcached knows "h" and "h:11211" by one text, so all their points are equal."""
    first = Ketama(["h", "h:11211"], dialect="libmemcached")
    assert {first[key] for key in KEYS} == {"h"}
    assert {Ketama(["h:11211", "h"], dialect="libmemcached")[key] for key in KEYS} == {"h:11211"}
    assert first.nodes("a", 2) == ("h", "h:11211")


@each
def test_a_server_too_light_for_a_point_comes_last(dialect: Any) -> None:
    places = Ketama({"light": 1, "a": 1_000_000, "b": 1_000_000}, dialect=dialect)
    assert "light" not in {name for _, name in places.points()}
    for key in KEYS:
        preferred = places.nodes(key, 3)
        assert preferred[2] == "light"
        assert preferred[0] == places[key]


@each
def test_shares_follow_weights(dialect: Any) -> None:
    places = Ketama({"a": 1, "b": 2, "c": 5}, dialect=dialect)
    counts = Counter(places.node_many(f"key-{number}" for number in range(20_000)))
    for name, weight in (("a", 1), ("b", 2), ("c", 5)):
        assert counts[name] / 20_000 == pytest.approx(weight / 8, rel=0.35)


@pytest.mark.parametrize("weight", [0.5, 1.5, 2.0000001])
def test_weights_are_whole_numbers(weight: float) -> None:
    with pytest.raises(InvalidArgument, match="whole number"):
        Ketama([Member("a", weight)])
    assert Ketama({"a": 2.0}) == Ketama({"a": 2})


@pytest.mark.parametrize("dialect", ["ketama", "", None, 3, "LIBKETAMA"])
def test_unknown_dialects(dialect: Any) -> None:
    with pytest.raises(InvalidArgument, match="'libketama', 'libmemcached', 'uhashring'"):
        Ketama(["a"], dialect=dialect)
