"""SlotMap: caps never passed, movement at its lower bound, the same plan everywhere."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import ceil
from typing import Any

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from quorate.errors import EmptyRing, InvalidArgument
from quorate.limits import SLOTS_MAX
from quorate.ring import Member, Plan, SlotMap, SlotMove
from quorate.ring.slot_plan import NOBODY, caps, planned

NAMES = [f"n{number}" for number in range(12)]
WEIGHTS = st.one_of(st.just(1.0), st.integers(1, 5).map(float), st.floats(0.01, 100), st.floats(1e-9, 1e6))
MEMBERS = st.dictionaries(st.sampled_from(NAMES), WEIGHTS, max_size=12)


def exact_caps(slots: int, members: dict[str, float]) -> dict[str, int]:
    total = sum(map(Fraction, members.values()))
    return {name: ceil(slots * Fraction(weight) / total) for name, weight in members.items()}


def lower_bound(before: SlotMap, members: dict[str, float]) -> int:
    """What any map within the caps moves at least: slots of nodes that are gone, and what is above a cap."""
    if not members:
        return before.slots if len(before) else 0
    limit = exact_caps(before.slots, members)
    held = before.counts()
    return before.slots - sum(min(held.get(name, 0), cap) for name, cap in limit.items())


def slow_plan(owners: list[int], weights: list[float]) -> list[int]:
    """The rule of slot_plan.py step by step: keep the first slots up to the cap; then each free slot's receiver is the
    node furthest below its share; receivers take the free slots in order of both."""
    total = sum(map(Fraction, weights))
    share = [len(owners) * Fraction(weight) / total for weight in weights]
    held = [0] * len(weights)
    after = list(owners)
    for slot, owner in enumerate(owners):
        if owner != NOBODY and held[owner] < ceil(share[owner]):
            held[owner] += 1
        else:
            after[slot] = NOBODY
    takes = [0] * len(weights)
    for _ in range(after.count(NOBODY)):
        node = max(range(len(weights)), key=lambda i: (share[i] - held[i] - takes[i], -i))
        takes[node] += 1
    receivers = iter([node for node, count in enumerate(takes) for _ in range(count)])
    return [next(receivers) if owner == NOBODY else owner for owner in after]


@settings(max_examples=150)
@given(data=st.data(), weights=st.lists(WEIGHTS, min_size=1, max_size=8))
def test_plans_follow_the_rule(data: st.DataObject, weights: list[float]) -> None:
    owner = st.one_of(st.integers(0, len(weights) - 1), st.just(NOBODY))
    owners = data.draw(st.lists(owner, min_size=1, max_size=60))
    assert planned(owners, weights) == slow_plan(owners, weights)


@settings(max_examples=100)
@given(slots=st.integers(1, 3000), members=MEMBERS.filter(bool))
def test_caps_are_exact(slots: int, members: dict[str, float]) -> None:
    limit = exact_caps(slots, members)
    assert caps(slots, list(members.values())) == list(limit.values())
    places = SlotMap(members, slots=slots)
    assert places.caps() == limit
    assert all(count <= limit[name] for name, count in places.counts().items())
    # A first map is even: each share rounded up or down.
    total = sum(map(Fraction, members.values()))
    for name, count in places.counts().items():
        assert abs(count - slots * Fraction(members[name]) / total) < 1


@settings(max_examples=150)
@given(slots=st.integers(1, 700), history=st.lists(MEMBERS, min_size=2, max_size=6), seed=st.integers(0, 9))
def test_each_plan_moves_the_least(slots: int, history: list[dict[str, float]], seed: int) -> None:
    places = SlotMap(history[0], slots=slots, seed=seed)
    for epoch, members in enumerate(history[1:], 1):
        plan = places.plan(members)
        after = plan.after
        assert plan.before is places
        assert after.epoch == epoch
        assert len(plan.moves) == lower_bound(places, members)
        expected = [
            SlotMove(slot, places.owner(slot), after.owner(slot))
            for slot in range(slots)
            if places.owner(slot) != after.owner(slot)
        ]
        assert list(plan.moves) == expected
        limit = exact_caps(slots, members) if members else {}
        assert all(count <= limit[name] for name, count in after.counts().items())
        assert sum(after.counts().values()) == (slots if members else 0)
        # Another process that has the map and the members has the plan.
        shuffled = dict(reversed(members.items()))
        again = SlotMap.from_bytes(places.to_bytes()).plan([Member(*pair) for pair in shuffled.items()])
        assert again.after.to_bytes() == after.to_bytes()
        assert again.moves == plan.moves
        places = after


class History(RuleBasedStateMachine):
    """Nodes come, go and change their weights for ever; the promises hold after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.places = SlotMap(slots=331)
        self.members: dict[str, float] = {}
        self.moved = 0
        self.bound = 0

    def change(self, after: SlotMap) -> None:
        self.bound = lower_bound(self.places, self.members)
        self.moved = sum(after.owner(slot) != self.places.owner(slot) for slot in range(331))
        assert after.epoch == self.places.epoch + 1
        self.places = after

    @rule(name=st.sampled_from(NAMES), weight=WEIGHTS)
    def add_or_reweigh(self, name: str, weight: float) -> None:
        known = name in self.members
        self.members[name] = weight
        self.change(self.places.with_weight(name, weight) if known else self.places.add(name, weight=weight))

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        if self.members.pop(name, None) is None:
            with pytest.raises(InvalidArgument):
                self.places.remove(name)
        else:
            self.change(self.places.remove(name))

    @invariant()
    def promises(self) -> None:
        assert self.moved == self.bound
        assert set(self.places) == set(self.members)
        if self.members:
            limit = exact_caps(331, self.members)
            assert all(count <= limit[name] for name, count in self.places.counts().items())


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_a_new_node_takes_from_those_above_their_caps_only() -> None:
    places = SlotMap([f"n{number:03}" for number in range(100)])
    assert Counter(places.counts().values()) == {164: 84, 163: 16}
    plan = places.plan([*places.names, "new"])
    assert repr(plan) == "<Plan epoch 0 to 1: 84 of 16384 slots move>"
    assert {move.target for move in plan.moves} == {"new"}
    assert max(plan.after.counts().values()) == 163


def test_the_same_members_move_nothing() -> None:
    places = SlotMap({"a": 1, "b": 2.5})
    plan = places.plan({"b": 2.5, "a": 1})
    assert plan.moves == ()
    assert plan.after == places
    assert plan.after.epoch == places.epoch + 1
    assert isinstance(plan, Plan)


def test_without_nodes_slots_belong_to_nobody() -> None:
    empty = SlotMap(slots=4)
    assert (empty.owner(3), empty.counts(), empty.ranges()) == (None, {}, [(0, 4, None)])
    with pytest.raises(EmptyRing):
        empty["a"]
    plan = empty.plan(["a"])
    assert plan.moves == tuple(SlotMove(slot, None, "a") for slot in range(4))
    back = plan.after.plan([])
    assert back.moves == tuple(SlotMove(slot, "a", None) for slot in range(4))
    assert back.after == empty
    assert SlotMap.from_bytes(empty.to_bytes()) == empty


@given(key=st.text(max_size=30).filter(str.isascii), slots=st.integers(1, SLOTS_MAX), seed=st.integers(0, 1 << 64 - 1))
@settings(max_examples=25)
def test_a_key_has_one_slot_for_ever(key: str, slots: int, seed: int) -> None:
    slot = (xxhash.xxh3_64_intdigest(key.encode(), seed) >> 32) * slots >> 32
    for places in (SlotMap(["a"], slots=slots, seed=seed), SlotMap(slots=slots, seed=seed)):
        assert places.slot(key) == slot
    assert SlotMap(["a", "b"], slots=64).slot("x") == SlotMap(["c"], slots=64).slot(b"x")


def test_readers_agree_with_each_other() -> None:
    places = SlotMap({"a": 1, "b": 2, "c": 3}, slots=100).remove("b").add("d")
    assert sum(places.counts().values()) == 100
    for name, count in places.counts().items():
        slots = places.slots_of(name)
        assert len(slots) == count
        assert all(places.owner(slot) == name for slot in slots)
    runs = places.ranges()
    assert [run[0] for run in runs[1:]] == [run[1] for run in runs[:-1]]
    assert (runs[0][0], runs[-1][1]) == (0, 100)
    assert [name for start, stop, name in runs for _ in range(start, stop)] == [places.owner(n) for n in range(100)]
    for number in range(200):
        key = str(number)
        assert places[key] == places.owner(places.slot(key)) == places.nodes(key, 3)[0]


def test_replicas_of_a_slot_do_not_depend_on_history() -> None:
    one = SlotMap(["a", "b", "c", "d"], slots=128)
    other = SlotMap(["d", "c"], slots=128).add("a").add("b")
    for number in range(200):
        key = str(number)
        mine = [name for name in one.nodes(key, 4) if name not in (one[key], other[key])]
        assert mine == [name for name in other.nodes(key, 4) if name not in (one[key], other[key])]


@pytest.mark.parametrize("slots", [0, -1, SLOTS_MAX + 1])
def test_slots_out_of_bounds(slots: int) -> None:
    with pytest.raises(InvalidArgument, match=f"slots must be from 1 to {SLOTS_MAX}"):
        SlotMap(["a"], slots=slots)


def test_arguments_out_of_bounds() -> None:
    places = SlotMap(["a"], slots=8)
    with pytest.raises(TypeError, match="int"):
        SlotMap(["a"], slots=8.0)  # type: ignore[arg-type]
    for slot in (-1, 8, 1 << 70):
        with pytest.raises(InvalidArgument, match="from 0 to 7"):
            places.owner(slot)
    with pytest.raises(InvalidArgument, match="no node"):
        places.slots_of("b")
    with pytest.raises(InvalidArgument, match="twice"):
        places.plan(["a", "a"])
    with pytest.raises(InvalidArgument, match="last one"):
        SlotMap(["a"], slots=8, epoch=(1 << 64) - 1).plan(["b"])


def test_a_form_above_a_cap_is_refused() -> None:
    form = bytearray(SlotMap(["a", "b"], slots=4).to_bytes())
    owners = slice(len(form) - 8 - 8, len(form) - 8)

    def sealed(*numbers: int) -> bytes:
        form[owners] = b"".join(number.to_bytes(2, "little") for number in numbers)
        return bytes(form[:-8]) + xxhash.xxh3_64_intdigest(bytes(form[:-8])).to_bytes(8, "little")

    assert SlotMap.from_bytes(sealed(1, 0, 1, 0)).owner(0) == "b"
    cases: list[tuple[tuple[int, ...], str]] = [
        ((0, 0, 0, 1), "cap of 2"),
        ((0, 1, 2, 1), "node 2"),
        ((0, 1, NOBODY, 1), "node"),
    ]
    for numbers, match in cases:
        with pytest.raises(InvalidArgument, match=match):
            SlotMap.from_bytes(sealed(*numbers))
    nobody: Any = SlotMap(slots=1).to_bytes()
    assert SlotMap.from_bytes(nobody).owner(0) is None
