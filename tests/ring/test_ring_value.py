"""What a ring is, apart from its placements: a value with a byte form, a picture of itself, and clear refusals."""

from __future__ import annotations

import copy
import pickle
import random
import struct
import sys
from array import array
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate import limits
from quorate.errors import EmptyRing, InvalidArgument, LimitExceeded
from quorate.ring import Member, Move, Placement, Range, Ring
from quorate.ring._hash import crc32c
from quorate.ring.reference import ReferenceRing
from ring_strategies import SEEDS, VNODES, member_lists

FIXED_FORM = (
    "51524e47010000000800000007000000000000000300000000000000020000000161000000000000"
    "f03f0002ceb200000000000004400465617374b1dd4621"
)
FIXED_FINGERPRINT = 0x94A320681122504B
FIXED_OWNERS = ["β", "a", "a", "a"]
KEYS = [f"user:{number}" for number in range(2000)]


def names(count: int) -> list[str]:
    return [f"node-{number:04d}" for number in range(count)]


# A value.


def test_nodes_may_come_in_any_form_and_order() -> None:
    ring = Ring(["a", "b", "c"])
    assert (
        ring == Ring(iter(["c", "a", "b"])) == Ring({"b": 1, "a": 1.0, "c": 1}) == Ring([Member("a"), "b", Member("c")])
    )
    assert hash(ring) == hash(Ring(("c", "b", "a")))
    assert ring != Ring(["a", "b"])
    assert ring != Ring(["a", "b", "c"], seed=1)
    assert ring != Ring(["a", "b", "c"], vnodes=159)
    assert ring != Ring({"a": 1, "b": 1, "c": 1.000001})
    assert ring != Ring([Member("a", zone="z"), "b", "c"])
    assert ring != "abc"


def test_the_epoch_counts_changes_and_is_no_part_of_equality() -> None:
    ring = Ring(["a", "b"], epoch=7)
    changed = ring.add("c", weight=2, zone="z").with_weight("b", 3).remove("a")
    assert (ring.epoch, changed.epoch) == (7, 10)
    assert changed.members == (Member("b", 3.0), Member("c", 2.0, "z"))
    assert ring.members == (Member("a"), Member("b"))
    back = ring.add("c").remove("c")
    assert (back, back.epoch) == (ring, 9)
    assert (back.fingerprint, back.to_bytes() == ring.to_bytes()) == (ring.fingerprint, False)
    with pytest.raises(InvalidArgument, match="epoch"):
        Ring(["a"], epoch=2**64 - 1).remove("a")


def test_faces() -> None:
    ring = Ring([Member("a", 2, "east"), "b"], vnodes=10, seed=3, epoch=1)
    assert (len(ring), list(ring), "a" in ring, "c" in ring, 1 in ring, None in ring) == (
        2,
        ["a", "b"],
        True,
        False,
        False,
        False,
    )
    assert (ring.names, ring.vnodes, ring.seed, ring.epoch) == (("a", "b"), 10, 3, 1)
    assert ring.member("a") == Member("a", 2.0, "east")
    assert repr(ring) == "<Ring of 2 nodes: a:2, b; 30 points, vnodes 10, seed 3, epoch 1>"
    assert repr(Ring()) == "<Ring of 0 nodes; 0 points, vnodes 160, seed 0, epoch 0>"
    assert "…" in repr(Ring(names(100)))
    assert not Ring()
    assert copy.copy(ring) is ring
    assert copy.deepcopy(ring) is ring
    for placement in (ring, ReferenceRing({"a": 1})):
        assert isinstance(placement, Placement)


def test_a_ring_cannot_be_changed() -> None:
    ring = Ring(["a", "b"])
    for name in ("names", "seed", "anything"):
        with pytest.raises(AttributeError):
            setattr(ring, name, ("c",))
    before = ring.points()
    ring.__init__(["c"])  # type: ignore[misc]
    assert ring.points() == before
    member = Member("a")
    with pytest.raises(AttributeError):
        member.weight = 2.0  # type: ignore[misc]
    with pytest.raises(TypeError, match="immutable"):
        member.__init__("b")  # type: ignore[misc]


def test_weights_scale_points_and_halves_round_up() -> None:
    weights = {"a": 0.001, "b": 0.05, "c": 0.15, "d": 1, "e": 2.26}
    points = Counter(name for _, name in Ring(weights, vnodes=10).points())
    assert points == {"a": 1, "b": 1, "c": 2, "d": 10, "e": 23}


def test_members_are_values() -> None:
    member = Member("a", 2, zone="z")
    assert repr(member) == "Member('a', weight=2.0, zone='z')"
    assert pickle.loads(pickle.dumps(member)) == member
    assert sorted([Member("b"), Member("a", 2), Member("a")]) == [Member("a"), Member("a", 2), Member("b")]
    assert len({member, Member("a", 2.0, "z"), Member("a")}) == 2
    assert member != "a"
    match member:
        case Member(name, weight, zone):
            assert (name, weight, zone) == ("a", 2.0, "z")


# Placement, by its promises.


@given(member_lists(min_size=1), VNODES, SEEDS)
def test_minimal_disruption(members: list[Member], vnodes: int, seed: int) -> None:
    """A node that joins only takes, one that leaves only gives, and the same ranges come back."""
    ring = Ring(members, vnodes=vnodes, seed=seed)
    name = "joins"
    if name in ring:
        return
    joined = ring.add(name, weight=1.5)
    moves = ring.diff(joined)
    assert {move.target for move in moves} == {name}
    moved = sum(move.end - move.start for move in moves)
    assert moved / 2**64 == pytest.approx(joined.share()[name])
    assert [(m.start, m.end, m.target, m.source) for m in moves] == [tuple(m) for m in joined.diff(ring)]
    assert ring.diff(joined.remove(name)) == []


@pytest.mark.parametrize("pattern", ["n{:02d}", "{}", "db{}", "node-{:04d}", "10.0.0.{}:11211", "shard-{:040d}"])
@pytest.mark.parametrize(("count", "most"), [(9, 1.35), (99, 1.5)])
def test_balance(pattern: str, count: int, most: float) -> None:
    """Also for names that differ in one letter, which plain numbers as seeds would have put on the same points."""
    shares = Ring([pattern.format(number) for number in range(count)]).share()
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares.values()) * count < most
    assert min(shares.values()) * count > 2 - most


def test_share_follows_weight() -> None:
    share = Ring({"a": 1, "b": 3}, vnodes=4000).share()
    assert share["b"] / share["a"] == pytest.approx(3, rel=0.1)


def test_ranges_cover_all_and_agree_with_lookups() -> None:
    ring = Ring(["a", "b", "c"])
    ranges = ring.ranges()
    assert (ranges[0].start, ranges[-1].end) == (0, 2**64)
    assert all(one.end == two.start and one.node != two.node for one, two in pairwise(ranges))
    for key in KEYS[:300]:
        at = ring.hash(key)
        assert [part.node for part in ranges if part.start <= at < part.end] == [ring[key]]
    assert ranges[0] == Range(0, ranges[0].end, ranges[0].node)


def test_diff_says_what_happens_to_each_key() -> None:
    before, after = Ring(names(20)), Ring(names(22)).remove("node-0003")
    moves = before.diff(after)
    for key in KEYS:
        at = before.hash(key)
        said = [(move.source, move.target) for move in moves if move.start <= at < move.end]
        assert said == ([] if before[key] == after[key] else [(before[key], after[key])])


def test_diff_with_an_empty_ring() -> None:
    ring = Ring(["a"])
    assert Ring().diff(ring) == [Move(0, 2**64, None, "a")]
    assert ring.diff(Ring()) == [Move(0, 2**64, "a", None)]
    assert Ring().diff(Ring()) == []
    assert ring.diff(ring) == []


def test_zones_are_taken_in_turn() -> None:
    ring = Ring([Member(f"{zone}{number}", zone=zone) for zone in "abc" for number in range(4)])
    for key in KEYS[:200]:
        found = ring.nodes(key, 12, zones=True)
        for turn in range(4):
            assert {name[0] for name in found[3 * turn : 3 * turn + 3]} == set("abc")
        assert found[:5] == ring.nodes(key, 5, zones=True)


# Batches.


def test_batches_agree_with_single_lookups() -> None:
    ring = Ring(names(50), seed=9)
    numbers = [random.Random(1).getrandbits(64) for _ in range(1000)]
    octets = b"".join(number.to_bytes(8, "little") for number in numbers)
    expected = [ring[number.to_bytes(8, "little")] for number in numbers]
    buffer = array("Q", octets if sys.byteorder == "little" else [])
    found = ring.index_many(buffer)
    assert [ring.names[place] for place in found] == expected
    signed = memoryview(octets).cast("q")
    assert ring.index_many(signed) == found
    assert ring.index_many(memoryview(octets).cast("B", [1000, 8])) == found
    out = memoryview(bytearray(4000)).cast("i")
    assert ring.index_many(buffer, out) is out
    assert out.tolist() == found.tolist()
    hashes = array("Q", map(ring.hash, KEYS))
    assert [ring.names[place] for place in ring.index_many(hashes, hashed=True)] == ring.node_many(KEYS)
    wide = memoryview("".join(f"{key:>20}" for key in KEYS).encode()).cast("B", [len(KEYS), 20])
    assert [ring.names[place] for place in ring.index_many(wide)] == [ring[f"{key:>20}"] for key in KEYS]
    assert ring.index_many(array("Q")).tolist() == []


def test_numpy_arrays() -> None:
    numpy = pytest.importorskip("numpy")
    ring = Ring(names(10))
    keys = numpy.array([f"{number:08d}".encode() for number in range(100)], dtype="S8")
    assert [ring.names[place] for place in ring.index_many(keys)] == ring.node_many([bytes(key) for key in keys])
    out = numpy.empty(5, dtype=numpy.int32)
    assert ring.index_many(numpy.arange(5), out) is out
    assert [ring.names[place] for place in out] == [ring[n.to_bytes(8, "little")] for n in range(5)]
    with pytest.raises(InvalidArgument, match="keys must be a C-contiguous buffer"):
        ring.index_many(numpy.arange(10)[::2])
    with pytest.raises(TypeError, match="not items of format 'd'"):
        ring.index_many(numpy.zeros(3))
    with pytest.raises(TypeError, match="not items of format '>"):
        ring.index_many(numpy.zeros(3, dtype=">u8"))


def test_node_many_takes_any_iterable_of_keys() -> None:
    ring = Ring(names(10))
    expected = [ring[key] for key in KEYS]
    assert ring.node_many(KEYS) == ring.node_many(tuple(KEYS)) == ring.node_many(iter(KEYS)) == expected
    assert ring.node_many([key.encode() for key in KEYS]) == expected
    assert ring.node_many([memoryview(key.encode()) for key in KEYS]) == expected
    assert ring.node_many([]) == Ring().node_many([]) == []
    # Fast and slow kinds of keys, mixed so that each follows each within one block.
    forms = [str, str.encode, lambda key: bytearray(key.encode()), lambda key: memoryview(key.encode())]
    generator = random.Random(5)
    mixed = [generator.choice(forms)(key + generator.choice(["", "é", "\U0001f40d"])) for key in KEYS]
    assert ring.node_many(mixed) == [ring[key] for key in mixed]


# The byte form.


@given(member_lists(), VNODES, SEEDS, st.integers(0, 2**64 - 1))
def test_bytes_and_back(members: list[Member], vnodes: int, seed: int, epoch: int) -> None:
    ring = Ring(members, vnodes=vnodes, seed=seed, epoch=epoch)
    form = ring.to_bytes()
    for back in (Ring.from_bytes(form), Ring.from_bytes(memoryview(form)), pickle.loads(pickle.dumps(ring))):
        assert (back, back.epoch, back.members) == (ring, epoch, ring.members)
        assert back.points() == ring.points()
        assert back.to_bytes() == form
        assert hash(back) == hash(ring)


def test_the_byte_form_is_fixed() -> None:
    """A form written by one release must be read by the next; so these bytes never change."""
    ring = Ring([Member("a"), Member("β", 2.5, "east")], vnodes=8, seed=7, epoch=3)
    assert ring.to_bytes().hex() == FIXED_FORM
    assert ring.fingerprint == FIXED_FINGERPRINT
    assert [ring[key] for key in ("x", "y", "z", "")] == FIXED_OWNERS


def signed(content: bytes) -> bytes:
    return content + struct.pack("<I", crc32c(content))


FORM = Ring(["a", "b"]).to_bytes()
HEAD = 32


@pytest.mark.parametrize("length", range(len(FORM)))
def test_a_truncated_form(length: int) -> None:
    with pytest.raises(InvalidArgument, match=r"not the byte form of a ring: (its CRC32C|.* bytes are fewer)"):
        Ring.from_bytes(FORM[:length])


@given(st.integers(0, len(FORM) - 1), st.integers(1, 255))
def test_an_altered_form(place: int, flip: int) -> None:
    altered = bytearray(FORM)
    altered[place] ^= flip
    with pytest.raises(InvalidArgument, match="not the byte form of a ring: "):
        Ring.from_bytes(altered)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_ring_or_refused(tail: bytes) -> None:
    """With the check made right, so that what lies behind it is reached."""
    for content in (FORM[:HEAD] + tail, FORM[:4] + tail):
        try:
            ring = Ring.from_bytes(signed(content))
        except (InvalidArgument, LimitExceeded):
            continue
        assert ring.to_bytes() == signed(content)


def altered(place: int, layout: str, value: object) -> bytes:
    content = bytearray(FORM[:-4])
    struct.pack_into(layout, content, place, value)
    return signed(bytes(content))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (b"JUNK" + FORM[4:], "it begins with b'JUNK' and not with b'QRNG'"),
        (altered(4, "<H", 2), "it has version 2, and this release reads version 1; upgrade the reader first"),
        (altered(6, "<H", 1), "its flags are 0x1"),
        (altered(8, "<I", 0), "vnodes must be from 1 to 65536, not 0"),
        (altered(28, "<I", 2**32 - 1), "at most 65535 nodes, not 4294967295"),
        (altered(28, "<I", 3), "it ends inside node 2 of 3"),
        (altered(28, "<I", 1), "bytes follow its last node"),
        (altered(34, "<d", float("nan")), "a weight must be above 0 and at most 1e.06, not nan"),
        (altered(34, "<d", -0.0), "not -0.0"),
        (altered(33, "<B", ord("b")), "not in ascending order of distinct, non-empty names"),
        (altered(33, "<B", 0xFF), "a name or zone of node 0 is not UTF-8"),
        (altered(44, "<B", 0xFF), "a name or zone of node 1 is not UTF-8"),
    ],
)
def test_a_form_that_is_wrong_inside(form: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"not the byte form of a ring: .*{message}"):
        Ring.from_bytes(form)


def test_a_form_of_too_many_points() -> None:
    nodes = b"".join(bytes((1, code)) + struct.pack("<d", 1e6) + b"\0" for code in b"abcdefgh")
    with pytest.raises(LimitExceeded, match="more than the 16777216 points"):
        Ring.from_bytes(signed(struct.pack("<4sHHIQQI", b"QRNG", 1, 0, 65536, 0, 0, 8) + nodes))


def test_from_bytes_of_what_is_no_bytes() -> None:
    with pytest.raises(TypeError):
        Ring.from_bytes("text")  # type: ignore[arg-type]


# Bad input.


@pytest.mark.parametrize(
    ("nodes", "error", "message"),
    [
        (["a", "b", "a"], InvalidArgument, "node 'a' is named twice; names must be distinct"),
        ([Member("a"), "a"], InvalidArgument, "node 'a' is named twice"),
        ([""], InvalidArgument, "a node name must not be empty"),
        (["x" * 256], InvalidArgument, "a node name has at most 255 bytes in UTF-8, and 'x.* has 256"),
        (["é" * 128], InvalidArgument, "has 256"),
        (["a\ud800"], InvalidArgument, "a node name must have a UTF-8 form, and .* lone surrogate at index 1"),
        ([b"a"], TypeError, "a node must be a str or a Member, not bytes"),
        ([1], TypeError, "a node must be a str or a Member, not int"),
        ([None], TypeError, "not NoneType"),
        ([("a", 1.0)], TypeError, "not tuple"),
        ("abc", TypeError, "nodes must be an iterable of names or Members, not one str"),
        (b"abc", TypeError, "not one bytes"),
        (5, TypeError, "'int' object is not iterable"),
        ({1: 1.0}, TypeError, "a node name must be a str, not int"),
        ({"a": 0}, InvalidArgument, "a weight must be above 0 and at most 1e.06, not 0"),
        ({"a": -1.5}, InvalidArgument, "not -1.5"),
        ({"a": float("nan")}, InvalidArgument, "not nan"),
        ({"a": float("inf")}, InvalidArgument, "not inf"),
        ({"a": 1e6 + 1}, InvalidArgument, "not 1000001.0"),
        ({"a": 10**400}, InvalidArgument, "not 1000"),
        ({"a": "1"}, TypeError, "a weight must be a number, not str"),
        ({"a": None}, TypeError, "a weight must be a number, not NoneType"),
        ({"a": 1e6}, LimitExceeded, "160 vnodes of weight 1e.06 are more than the 16777216 points of a largest ring"),
        ({"a": 90_000, "b": 90_000}, LimitExceeded, "at most 16777216 points, and these nodes have 28800000"),
    ],
)
def test_bad_nodes(nodes: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Ring(nodes)  # type: ignore[call-overload]


def test_too_many_nodes() -> None:
    many = [f"{number}" for number in range(limits.RING_NODES_MAX + 1)]
    with pytest.raises(LimitExceeded, match="at most 65535 nodes, not 65536"):
        Ring(many, vnodes=1)
    full = Ring(many[:-1], vnodes=1)
    assert len(full) == limits.RING_NODES_MAX
    with pytest.raises(LimitExceeded, match="at most 65535 nodes"):
        full.add("one more")


@pytest.mark.parametrize("name", ["vnodes", "seed", "epoch"])
def test_numbers_out_of_bounds(name: str) -> None:
    least, most = (1, 65536) if name == "vnodes" else (0, 2**64 - 1)
    Ring(**{name: least})  # type: ignore[arg-type]
    Ring(**{name: most})  # type: ignore[arg-type]
    for value in (least - 1, most + 1, -(10**30), 10**30):
        with pytest.raises(InvalidArgument, match=f"{name} must be from {least} to {most}, not {value}"):
            Ring(**{name: value})  # type: ignore[arg-type]
    for value in ("1", 1.0, None):
        with pytest.raises(TypeError, match=f"{name} must be an int, not {type(value).__name__}"):
            Ring(**{name: value})  # type: ignore[arg-type]


def test_bad_changes() -> None:
    ring = Ring(["a", "b"])
    with pytest.raises(InvalidArgument, match="the ring has a node 'a' already"):
        ring.add("a")
    with pytest.raises(InvalidArgument, match="the ring has no node 'c'"):
        ring.remove("c")
    with pytest.raises(InvalidArgument, match="the ring has no node 'c'"):
        ring.with_weight("c", 1)
    for of_a_name in (ring.member, ring.remove, lambda name: ring.with_weight(name, 1)):
        with pytest.raises(TypeError, match="a node name must be a str, not NoneType"):
            of_a_name(None)  # type: ignore[operator]
    with pytest.raises(InvalidArgument, match="a weight must be above 0"):
        ring.with_weight("a", 0)
    with pytest.raises(LimitExceeded, match="more than the 16777216 points"):
        ring.with_weight("a", 1e6)
    with pytest.raises(InvalidArgument, match="must not be empty"):
        ring.add("")
    with pytest.raises(InvalidArgument, match="a zone must not be empty"):
        ring.add("c", zone="")
    with pytest.raises(TypeError, match="pass them only with a name"):
        ring.add(Member("c"), weight=2)
    with pytest.raises(TypeError, match="a node name must be a str, not int"):
        ring.add(3)  # type: ignore[arg-type]


def test_a_name_that_compares_as_it_likes() -> None:
    """Of a subclass of str only the text counts: its own comparisons could point behind the last node."""

    class Greatest(str):
        def __eq__(self, other: object) -> bool:
            return True

        def __gt__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    ring = Ring(["a", "b"])
    assert ring.remove(Greatest("a")).names == ("b",)
    assert ring.with_weight(Greatest("b"), 2).member(Greatest("b")) == Member("b", 2.0)
    with pytest.raises(InvalidArgument, match="the ring has no node 'c'"):
        ring.remove(Greatest("c"))


@pytest.mark.parametrize("key", [1, 1.5, None, ("a",), object(), ["a"], slice(0, 1), {}])
def test_what_is_no_key(key: object) -> None:
    ring = Ring(["a"])
    message = f"a key must be str or bytes-like, not {type(key).__name__}"
    for look_up in (
        ring.__getitem__,
        ring.node,
        ring.hash,
        lambda it: ring.nodes(it, 1),
        lambda it: ring.node_many([it]),
    ):
        with pytest.raises(TypeError, match=message):
            look_up(key)  # type: ignore[operator]


def test_a_key_without_utf8() -> None:
    with pytest.raises(InvalidArgument, match="lone surrogate at index 1; encode it yourself"):
        Ring(["a"])["x\udcff"]


@pytest.mark.parametrize("n", [0, -1, 4, 2**40])
def test_n_out_of_bounds(n: int) -> None:
    for zones in (False, True):
        with pytest.raises(InvalidArgument, match=f"n must be from 1 to 3, the number of nodes, not {n}"):
            Ring(["a", "b", "c"]).nodes("k", n, zones=zones)
    with pytest.raises(TypeError):
        Ring(["a"]).nodes("k", "1")  # type: ignore[arg-type]


def test_an_empty_ring() -> None:
    ring = Ring()
    for look_up in (ring.__getitem__, ring.node, lambda key: ring.nodes(key, 1), lambda key: ring.node_many([key])):
        with pytest.raises(EmptyRing, match="the ring has no node; add one before looking up keys") as caught:
            look_up("k")  # type: ignore[operator]
        assert isinstance(caught.value, LookupError)
    with pytest.raises(EmptyRing):
        ring.index_many(array("Q", [1]))
    assert (ring.points(), ring.ranges(), ring.share(), ring.names) == ([], [], {}, ())
    assert Ring(["a"]).remove("a") == ring
    assert ring.add("a")["k"] == "a"


def test_bad_batches() -> None:
    ring = Ring(["a"])
    for keys in ("abc", b"abc", bytearray(b"abc")):
        with pytest.raises(TypeError, match=f"keys must be an iterable of keys, not one {type(keys).__name__}"):
            ring.node_many(keys)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a key must be str"):
        ring.node_many(["a"] * 50 + [1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="not items of format 'B' in 1 dimension"):
        ring.index_many(b"abcd")
    with pytest.raises(TypeError, match="not items of format 'i'"):
        ring.index_many(array("i", [1]))
    with pytest.raises(TypeError, match="keys must be 64-bit integers, not items of format 'B'"):
        ring.index_many(memoryview(b"abcdefgh").cast("B", [1, 8]), hashed=True)
    with pytest.raises(TypeError):
        ring.index_many([1, 2])
    with pytest.raises(InvalidArgument, match="out must have 2 items, one a key, not 3"):
        ring.index_many(array("Q", [1, 2]), array("i", [0, 0, 0]))
    with pytest.raises(TypeError, match="out must have items of 32-bit int, not of format 'Q'"):
        ring.index_many(array("Q", [1]), array("Q", [0]))
    with pytest.raises(TypeError, match="not of format 'f'"):
        ring.index_many(array("Q", [1]), array("f", [0]))
    with pytest.raises(InvalidArgument, match="out must be a writable C-contiguous buffer"):
        ring.index_many(array("Q", [1]), memoryview(bytes(4)).cast("i"))


def test_a_key_that_changes_the_list() -> None:
    """A buffer that runs code may shorten the list meanwhile: an error, and nothing worse."""
    if sys.version_info < (3, 12):
        pytest.skip("Python code can export a buffer since 3.12")
    keys: list[object] = []

    class Treacherous:
        def __buffer__(self, flags: int) -> memoryview:
            keys.clear()
            return memoryview(b"k")

    keys += [Treacherous(), "b", "c"]
    with pytest.raises(IndexError):
        Ring(["a"]).node_many(keys)  # type: ignore[arg-type]


def test_diff_of_what_cannot_be_compared() -> None:
    ring = Ring(["a"])
    with pytest.raises(InvalidArgument, match="rings of seeds 0 and 1 hash keys differently"):
        ring.diff(Ring(["a"], seed=1))
    with pytest.raises(TypeError, match="diff takes a Ring, not dict"):
        ring.diff({})  # type: ignore[arg-type]


# Size.


def test_memory_of_a_thousand_nodes() -> None:
    ring = Ring(names(1000))
    whole = sys.getsizeof(ring) + sys.getsizeof(ring.names) + sum(map(sys.getsizeof, ring.names))
    assert 1_600_000 < whole <= 4 * 1024 * 1024
