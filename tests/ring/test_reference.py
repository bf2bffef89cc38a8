"""The compiled ring answers as its specification, over random members, weights, zones, keys and histories."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from quorate.ring import Member, Ring
from quorate.ring.reference import ReferenceRing
from ring_strategies import KEYS, MEMBERS, NAMES, SEEDS, VNODES, WEIGHTS, both, member_lists


@given(member_lists(min_size=1), VNODES, SEEDS, st.lists(KEYS, max_size=20))
def test_owners(members: list[Member], vnodes: int, seed: int, keys: list[str | bytes]) -> None:
    ring, reference = both(members, vnodes, seed)
    owners = [reference[key] for key in keys]
    assert [ring[key] for key in keys] == owners
    assert [ring.node(key) for key in keys] == owners
    assert ring.node_many(keys) == owners
    assert [ring.hash(key) for key in keys] == [reference.hash(key) for key in keys]


@given(member_lists(), VNODES, SEEDS)
def test_points_ranges_and_shares(members: list[Member], vnodes: int, seed: int) -> None:
    ring, reference = both(members, vnodes, seed)
    assert ring.points() == reference.points()
    assert ring.ranges() == reference.ranges()
    assert ring.share() == reference.share()
    assert list(ring) == list(reference)
    assert len(ring) == len(reference)


@given(member_lists(min_size=1, max_size=24), st.integers(1, 8), SEEDS, KEYS, st.data())
def test_preference_lists(members: list[Member], vnodes: int, seed: int, key: str | bytes, data: st.DataObject) -> None:
    ring, reference = both(members, vnodes, seed)
    n = data.draw(st.integers(1, len(members)))
    zones = data.draw(st.booleans())
    found = ring.nodes(key, n, zones=zones)
    assert found == reference.nodes(key, n, zones=zones)
    assert found[0] == ring[key]
    assert len(set(found)) == n


@settings(max_examples=50)
@given(st.integers(17, 80), st.integers(1, 5), KEYS, st.booleans(), st.data())
def test_long_preference_lists(size: int, zone_count: int, key: str | bytes, zones: bool, data: st.DataObject) -> None:
    members = [Member(f"n{place}", zone=f"z{place % zone_count}" if place % 7 else None) for place in range(size)]
    ring, reference = both(members, 3, 0)
    n = data.draw(st.integers(1, size))
    assert ring.nodes(key, n, zones=zones) == reference.nodes(key, n, zones=zones)


@given(member_lists(), member_lists(), VNODES, SEEDS, st.data())
def test_diff(before: list[Member], after: list[Member], vnodes: int, seed: int, data: st.DataObject) -> None:
    # Some members stay as they are, as they do in life.
    kept = data.draw(st.lists(st.sampled_from(before), unique_by=id)) if before else []
    after = [*kept, *(member for member in after if member.name not in {it.name for it in kept})]
    (ring, reference), (other, other_reference) = both(before, vnodes, seed), both(after, vnodes, seed)
    moves = ring.diff(other)
    assert moves == reference.diff(other_reference)
    assert [(m.start, m.end, m.target, m.source) for m in moves] == [tuple(m) for m in other.diff(ring)]


OPERATIONS = st.one_of(
    st.tuples(st.just("add"), MEMBERS),
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.just("weigh"), st.tuples(NAMES, WEIGHTS)),
)


@settings(max_examples=200)
@given(member_lists(max_size=5), st.lists(OPERATIONS, max_size=15), VNODES, SEEDS)
def test_history(start: list[Member], history: list[tuple[str, object]], vnodes: int, seed: int) -> None:
    """After any history a ring is the one that is made at once of the members that are left."""
    ring = Ring(start, vnodes=vnodes, seed=seed)
    members = {member.name: member for member in start}
    changes = 0
    for operation, what in history:
        if operation == "add" and isinstance(what, Member) and what.name not in members:
            ring = ring.add(what)
            members[what.name] = what
        elif operation == "remove" and members:
            name = what if what in members else sorted(members)[len(str(what)) % len(members)]
            ring = ring.remove(name)
            del members[name]
        elif operation == "weigh" and members:
            wanted, weight = what  # type: ignore[misc]
            name = wanted if wanted in members else max(members)
            ring = ring.with_weight(name, weight)
            members[name] = Member(name, weight, members[name].zone)
        else:
            continue
        changes += 1
    fresh, reference = both(list(members.values()), vnodes, seed)
    assert ring == fresh
    assert hash(ring) == hash(fresh)
    assert ring.fingerprint == fresh.fingerprint
    assert ring.epoch == changes
    assert ring.members == fresh.members
    assert ring.points() == fresh.points() == reference.points()
    # The index is built by another way than the points, so that lookups are compared for themselves.
    ends = [position + step for position, _ in ring.points() for step in (0, 1) if position + step < 2**64]
    if ends:
        assert owners_at(ring, ends) == owners_at(fresh, ends)
    if members:
        everyone = len(members)
        assert ring.nodes("k", everyone, zones=True) == fresh.nodes("k", everyone, zones=True)


def owners_at(ring: Ring, positions: list[int]) -> list[int]:
    from array import array

    return list(ring.index_many(array("Q", positions), hashed=True))


class FewBits(ReferenceRing):
    """A hash of four bits: nearly every point is tied with another."""

    def raw_hash(self, data: bytes, seed: int) -> int:
        return super().raw_hash(data, seed) >> 60 << 60


@given(st.permutations([f"n{place}" for place in range(6)]), st.integers(1, 6))
def test_ties_do_not_remember_their_history(order: list[str], gone: int) -> None:
    """The rule for ties that the specification states; csrc/tests/test_points.c holds the compiled points to it."""
    ring = FewBits({}, vnodes=8)
    for name in order:
        ring.add(name)
    for name in order[:gone]:
        ring.remove(name)
    fresh = FewBits(dict.fromkeys(sorted(order[gone:]), 1.0), vnodes=8)
    assert ring.points() == fresh.points()
    assert ring.ranges() == fresh.ranges()
