"""What every placement promises, asked of each: keys, bounds, values, changes, byte form."""

from __future__ import annotations

import copy
import os
import pickle
import struct
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import quorate
from quorate.errors import EmptyRing, InvalidArgument, LimitExceeded
from quorate.limits import NODE_NAME_MAX, RING_NODES_MAX
from quorate.ring import Jump, JumpBack, Ketama, Maglev, Member, Placement, Rendezvous, Ring, SlotMap, hash64

Make = Callable[..., Any]


def ketama(dialect: str) -> Make:
    def make(nodes: Any = (), **options: Any) -> Ketama:
        return Ketama(nodes, dialect=dialect, **options)  # type: ignore[arg-type]

    return make


def small_slots(nodes: Any = (), **options: Any) -> SlotMap:
    return SlotMap(nodes, **{"slots": 512, **options})


def small_maglev(nodes: Any = (), **options: Any) -> Maglev:
    return Maglev(nodes, **{"table_size": 2003, **options})


WEIGHTED: dict[str, Make] = {
    "Rendezvous": Rendezvous,
    "Maglev": small_maglev,
    "libketama": ketama("libketama"),
    "libmemcached": ketama("libmemcached"),
    "uhashring": ketama("uhashring"),
    "SlotMap": small_slots,
}
KINDS: dict[str, Make] = {"Jump": Jump, "JumpBack": JumpBack, **WEIGHTED}
SEEDED = ["Jump", "JumpBack", "Rendezvous", "Maglev", "SlotMap"]
NAMES = [f"node-{number}" for number in range(7)]
KEYS = ["", "a", "user:42", "größe", "x" * 100, "k" * 1000] + [f"key-{number}" for number in range(200)]

each = pytest.mark.parametrize("kind", KINDS)
each_weighted = pytest.mark.parametrize("kind", WEIGHTED)


@each
def test_it_is_a_placement_like_the_ring(kind: str) -> None:
    places = KINDS[kind](NAMES)
    assert isinstance(places, Placement)
    assert isinstance(Ring(NAMES), Placement)
    assert len(places) == 7
    assert list(places) == list(places.names) == NAMES
    assert [member.name for member in places.members] == NAMES
    assert "node-3" in places
    assert "node-9" not in places
    assert 3 not in places
    assert "node-0" in repr(places)


@each
def test_a_key_is_its_bytes(kind: str) -> None:
    places = KINDS[kind](NAMES)
    for key in KEYS:
        data = key.encode()
        owner = places[key]
        assert owner in NAMES
        strided = memoryview(bytes(byte for pair in zip(data, data, strict=True) for byte in pair))[::2]
        for other in (key, data, bytearray(data), memoryview(data), strided):
            assert places.node(other) == owner
            assert places.hash(other) == places.hash(key)
    assert places.node_many(KEYS) == [places[key] for key in KEYS]
    assert places.node_many(iter(KEYS[:3])) == [places[key] for key in KEYS[:3]]
    assert len({places[key] for key in KEYS}) == 7


@each
@pytest.mark.parametrize("key", [None, 1, 1.5, ("a",), object(), ["a"]], ids=lambda key: type(key).__name__)
def test_nothing_else_is_a_key(kind: str, key: Any) -> None:
    places = KINDS[kind](NAMES)
    for look_up in (places.node, places.__getitem__, places.hash, lambda key: places.nodes(key, 1)):
        with pytest.raises(TypeError, match="key"):
            look_up(key)
    with pytest.raises(TypeError, match="key"):
        places.node_many(["a", key])


@each
def test_a_key_without_utf8_is_refused(kind: str) -> None:
    with pytest.raises(InvalidArgument, match="surrogate"):
        KINDS[kind](NAMES)["\ud800"]
    with pytest.raises(TypeError, match="one str"):
        KINDS[kind](NAMES).node_many("abc")


@each
def test_without_nodes(kind: str) -> None:
    places = KINDS[kind]()
    assert len(places) == 0
    assert list(places) == []
    for look_up in (
        places.node,
        places.__getitem__,
        lambda key: places.nodes(key, 1),
        lambda key: places.node_many([key]),
    ):
        with pytest.raises(EmptyRing) as caught:
            look_up("a")
        assert isinstance(caught.value, LookupError)
    assert type(places).from_bytes(places.to_bytes()) == places
    assert places.add("first")["a"] == "first"


@each
def test_a_preference_list_begins_with_the_owner_and_names_each_node_once(kind: str) -> None:
    places = KINDS[kind](NAMES)
    for key in KEYS:
        for n in (1, 2, 3, 7):
            preferred = places.nodes(key, n)
            assert isinstance(preferred, tuple)
            assert len(set(preferred)) == n
            assert preferred[0] == places[key]
            assert preferred == places.nodes(key, 7)[:n]
    for n in (0, -1, 8, 10**30):
        with pytest.raises(InvalidArgument, match="from 1 to 7"):
            places.nodes("a", n)
    with pytest.raises(TypeError, match="int"):
        places.nodes("a", "2")


@each
@settings(max_examples=40)
@given(
    zones=st.lists(st.sampled_from(["east", "west", "north", None]), min_size=1, max_size=12),
    key=st.text(max_size=10).filter(str.isascii),
    n=st.integers(1, 12),
)
def test_zones_take_turns(kind: str, zones: list[str | None], key: str, n: int) -> None:
    """As the ring spreads: by how many of its own zone a node has before it, then by the order of preference."""
    zone_of = {f"node-{number:02}": zone for number, zone in enumerate(zones)}
    places = KINDS[kind]([Member(name, zone=zone) for name, zone in zone_of.items()])
    n = min(n, len(zones))
    order = places.nodes(key, len(zones))
    before = [[zone_of[name] for name in order[:at]].count(zone_of[order[at]]) for at in range(len(order))]
    expected = [order[at] for at in sorted(range(len(order)), key=lambda at: (before[at], at))]
    spread = places.nodes(key, n, zones=True)
    assert list(spread) == expected[:n]
    assert spread[0] == places[key]
    assert len({zone_of[name] for name in spread}) == min(n, len(set(zones)))
    assert places.nodes(key, n, zones=False) == order[:n]


@each
@pytest.mark.parametrize(
    ("nodes", "error", "match"),
    [
        (["a", "b", "a"], InvalidArgument, "twice"),
        ([Member("a"), "a"], InvalidArgument, "twice"),
        (["a", ""], InvalidArgument, "empty"),
        ({"": 1}, InvalidArgument, "empty"),
        (["x" * (NODE_NAME_MAX + 1)], InvalidArgument, "at most"),
        (["\ud800"], InvalidArgument, "surrogate"),
        ({"a": 0}, InvalidArgument, "above 0"),
        ({"a": -1}, InvalidArgument, "above 0"),
        ({"a": float("nan")}, InvalidArgument, "above 0"),
        ({"a": float("inf")}, InvalidArgument, "at most"),
        ({"a": 1e300}, InvalidArgument, "at most"),
        ({"a": "1"}, TypeError, "number"),
        ("abc", TypeError, "iterable"),
        (b"abc", TypeError, "iterable"),
        ([1], TypeError, "str"),
        ([b"a"], TypeError, "str"),
        (None, TypeError, "iterable"),
    ],
)
def test_bad_nodes(kind: str, nodes: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        KINDS[kind](nodes)


@each
def test_bad_options(kind: str) -> None:
    for epoch in (-1, 1 << 64):
        with pytest.raises(InvalidArgument, match="epoch"):
            KINDS[kind](NAMES, epoch=epoch)
    with pytest.raises(TypeError, match="epoch"):
        KINDS[kind](NAMES, epoch="1")
    with pytest.raises(InvalidArgument, match="last one"):
        KINDS[kind](NAMES, epoch=(1 << 64) - 1).add("more")
    if kind in SEEDED:
        for seed in (-1, 1 << 64):
            with pytest.raises(InvalidArgument, match="seed"):
                KINDS[kind](NAMES, seed=seed)
        assert [KINDS[kind](NAMES, seed=1)[key] for key in KEYS] != [KINDS[kind](NAMES)[key] for key in KEYS]


def test_too_many_nodes() -> None:
    with pytest.raises(LimitExceeded, match=str(RING_NODES_MAX)):
        Jump(str(number) for number in range(RING_NODES_MAX + 1))
    assert len(JumpBack(str(number) for number in range(RING_NODES_MAX))) == RING_NODES_MAX


@each
def test_values_do_not_change(kind: str) -> None:
    places = KINDS[kind](NAMES, epoch=4)
    before = places.to_bytes()
    more = places.add("node-7")
    assert (len(places), len(more), places.epoch, more.epoch) == (7, 8, 4, 5)
    fewer = more.remove("node-7")
    assert fewer.epoch == 6
    assert places.to_bytes() == before
    for made in (places, KINDS[kind]()):
        with pytest.raises(TypeError, match="immutable"):
            made.__init__(["other"])
    with pytest.raises(AttributeError):
        places.names = ()
    with pytest.raises(AttributeError):
        places.anything = 1


@each
def test_equal_by_content_and_not_by_epoch(kind: str) -> None:
    places = KINDS[kind](NAMES)
    same = KINDS[kind](list(NAMES), epoch=9)
    assert places == same
    assert hash(places) == hash(same)
    assert places.fingerprint == same.fingerprint
    assert places.to_bytes() != same.to_bytes()
    other = KINDS[kind](NAMES[:6])
    assert places != other
    assert places.fingerprint != other.fingerprint
    assert places != "ring"
    assert places != Ring(NAMES)


@pytest.mark.parametrize("kind", ["Rendezvous", "Maglev", "SlotMap"])
def test_the_order_of_the_nodes_has_no_meaning(kind: str) -> None:
    assert KINDS[kind](NAMES) == KINDS[kind](reversed(NAMES))
    assert KINDS[kind]({"b": 2, "a": 1}) == KINDS[kind]([Member("a"), Member("b", 2)])


@each
def test_changes_that_cannot_be(kind: str) -> None:
    places = KINDS[kind](NAMES)
    with pytest.raises(InvalidArgument, match="already"):
        places.add("node-3")
    with pytest.raises(InvalidArgument, match="already"):
        places.add(Member("node-3"))
    with pytest.raises(TypeError, match="Member"):
        places.add(Member("new"), weight=1)
    for change in (places.remove, lambda name: places.with_weight(name, 1)):
        with pytest.raises(InvalidArgument, match="no node"):
            change("node-9")
        with pytest.raises(TypeError, match="str"):
            change(3)


@each_weighted
def test_weights_can_change(kind: str) -> None:
    places = KINDS[kind](NAMES)
    heavy = places.with_weight("node-2", 3)
    assert heavy.members[2] == Member("node-2", 3)
    assert heavy.epoch == 1
    keys = [f"key-{number}" for number in range(3000)]
    assert heavy.node_many(keys).count("node-2") > 2 * places.node_many(keys).count("node-2")
    assert heavy.add("x", weight=2, zone="east").members[-1] == Member("x", 2, "east")
    with pytest.raises(InvalidArgument, match="above 0"):
        places.with_weight("node-2", 0)


@each
def test_pickle_and_copy(kind: str) -> None:
    places = KINDS[kind](NAMES, epoch=3).add(Member("größe", zone="west"))
    for other in (pickle.loads(pickle.dumps(places)), copy.copy(places), copy.deepcopy(places)):
        assert other == places
        assert (other.epoch, other.members) == (4, places.members)
        assert other.node_many(KEYS) == places.node_many(KEYS)


# The byte form


def sealed(content: bytes) -> bytes:
    """A byte form of this content whose check is right."""
    return content + struct.pack("<Q", hash64(content))


@each
def test_the_byte_form_says_it_all(kind: str) -> None:
    places = KINDS[kind](NAMES, epoch=3)
    form = places.to_bytes()
    for data in (form, bytearray(form), memoryview(form), array("B", form)):
        again = type(places).from_bytes(data)
        assert again == places
        assert again.to_bytes() == form
        assert again.node_many(KEYS) == places.node_many(KEYS)


@each
@settings(max_examples=60)
@given(data=st.data())
def test_no_altered_or_cut_byte_form_is_taken(kind: str, data: st.DataObject) -> None:
    places = KINDS[kind](NAMES[:3])
    form = places.to_bytes()
    at = data.draw(st.integers(0, len(form) - 1))
    with pytest.raises(InvalidArgument, match="not the byte form"):
        type(places).from_bytes(form[:at])
    with pytest.raises(InvalidArgument, match="not the byte form"):
        type(places).from_bytes(form + bytes([at % 256]))
    altered = bytearray(form)
    altered[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidArgument, match="not the byte form"):
        type(places).from_bytes(altered)
    # With a check that fits, it is refused or means just what it says; it never breaks.
    content = bytes(altered[:-8])
    try:
        other = type(places).from_bytes(sealed(content))
    except (InvalidArgument, LimitExceeded):
        return
    assert other.to_bytes() == sealed(content)


@each
def test_a_newer_form_and_another_kind_are_named(kind: str) -> None:
    places = KINDS[kind](NAMES)
    form = bytearray(places.to_bytes())
    form[4:6] = (2).to_bytes(2, "little")
    with pytest.raises(InvalidArgument, match="version 2, and this release reads version 1"):
        type(places).from_bytes(sealed(bytes(form[:-8])))
    other: Any = Jump if kind != "Jump" else JumpBack
    with pytest.raises(InvalidArgument, match=f"one of {other.__name__}"):
        type(places).from_bytes(other(NAMES).to_bytes())
    with pytest.raises(InvalidArgument, match="begins with"):
        type(places).from_bytes(Ring(NAMES).to_bytes())
    with pytest.raises(TypeError, match="bytes-like"):
        type(places).from_bytes("QPLC")


@pytest.mark.parametrize(
    ("kind", "nodes", "options"),
    [(SlotMap, ["a"], {"slots": 0}), (Maglev, ["a"], {"table_size": 4}), (Ketama, {"a": 1.5}, {})],
)
def test_what_could_not_be_made_has_nothing_to_look_up(kind: Any, nodes: Any, options: dict[str, Any]) -> None:
    """Even for a caller who takes the object without the constructor."""
    made = kind.__new__(kind)
    with pytest.raises(InvalidArgument):
        made.__init__(nodes, **options)
    with pytest.raises(EmptyRing):
        made["k"]
    if kind is SlotMap:
        with pytest.raises(InvalidArgument, match="slot"):
            kind.__new__(kind).owner(0)


def test_a_form_out_of_order_is_not_canonical() -> None:
    form = Rendezvous(["a", "b"]).to_bytes()
    swapped = form[:40] + form[51:62] + form[40:51]
    assert len(form) == len(swapped) + 8
    with pytest.raises(InvalidArgument, match="canonical"):
        Rendezvous.from_bytes(sealed(swapped))


def test_every_process_agrees() -> None:
    """Fingerprints and owners from a process of another hash seed are the same."""
    code = (
        "from quorate.ring import *\n"
        f"names = {NAMES!r}; keys = {KEYS!r}\n"
        "for kind in (Jump, JumpBack, Rendezvous, Maglev, Ketama, SlotMap):\n"
        "    places = kind(names).add('more')\n"
        "    print(places.fingerprint, hash64(' '.join(places.node_many(keys))))\n"
    )
    house = str(Path(quorate.__file__).parents[1])
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": house}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    expected = []
    for kind in (Jump, JumpBack, Rendezvous, Maglev, Ketama, SlotMap):
        places: Any = kind(NAMES).add("more")
        expected.append(f"{places.fingerprint} {hash64(' '.join(places.node_many(KEYS)))}")
    assert done.stdout.splitlines() == expected
