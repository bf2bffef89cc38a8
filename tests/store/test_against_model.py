"""The compiled store against the model in plain Python, over random histories with snapshots in between."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from quorate.store import Store, commands
from quorate.store.views import RWLOCK_CAPACITY, Limit, PermitKind, Status
from store.store_model import Model, Operation, encode

KEYS = st.sampled_from(
    [b"a", b"a/1", b"a/2", b"a/\x00", b"a/longer/path/1", b"a/longer/path/2", b"b", b"\xff", b"n1", b"n2"]
)
VALUES = st.sampled_from(
    [b"", b"0", b"7", b"-12", b"x", b"9223372036854775807", b"-9223372036854775808", b"v" * 40, b"w" * 80]
)
NAMES = st.sampled_from([b"lock", b"pool", b"rw", b"lock", b"pool", b"rw", b"lock2", b"chief"])
INCREMENTS = st.sampled_from([1, -1, 100, 2**63 - 1, -(2**63)])
SMALL_LIMITS = {
    Limit.KEYS: 8,
    Limit.VALUE_BYTES: 60,
    Limit.KEY_BYTES: 15,
    Limit.DELETE_RANGE_KEYS: 3,
    Limit.TRANSACTION_OPERATIONS: 3,
    Limit.SESSIONS: 4,
    Limit.SESSION_KEYS: 3,
    Limit.SESSION_RESULTS: 3,
    Limit.SESSION_PERMITS: 4,
    Limit.PERMITS: 4,
    Limit.PERMIT_WAITERS: 3,
    Limit.IDLE_PERMITS: 1,
}


class StoreAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.model = Model(self.store.limits)
        self.log: list[bytes] = []
        self.watch = self.store.watch(after=0, permits=True)
        self.watched: list[Any] = []
        self.watched_from = 0

    def apply(self, operation: Operation) -> Any:
        command = encode(operation)
        assert commands.validate(command) is None
        self.log.append(command)
        if (
            operation[0] == "session_end"
        ):  # both sides call the one that ends `session`, but the model's envelope has one too
            arguments = dict(operation[1])
            operation = "session_end", {"session_": arguments["session"], "reason": arguments["reason"]}
        expected = self.model.apply(operation)
        result = self.store.apply(self.model.index, 1, command)
        assert (result.status, result.flags, result.revision, result.number) == expected, operation
        return result

    @initialize(small=st.booleans(), sessions=st.integers(1, 4))
    def begin(self, small: bool, sessions: int) -> None:
        if small:
            self.apply(("set_limits", {"limits": SMALL_LIMITS}))
        for nonce in range(1, sessions + 1):
            self.session_open(nonce, 10_000)

    def some_session(self, data: st.DataObject) -> int:
        """Rarely one that is not open."""
        known = list(self.model.sessions)
        return data.draw(st.sampled_from(known * 7 + [999_999]))

    def envelope(self, data: st.DataObject, *, needs_session: bool = False) -> dict[str, Any]:
        """Session, and often a number: mostly the next one, sometimes one that must be refused or was applied."""
        if not needs_session and data.draw(st.integers(0, 2)) == 0:
            return {}
        session = self.some_session(data)
        found = self.model.sessions.get(session)
        if data.draw(st.integers(0, 3)) == 0:
            return {"session": session}
        applied, mark = (found.applied, found.mark) if found else (0, 0)
        number = max(1, applied + data.draw(st.sampled_from([1, 1, 1, 1, 1, 1, 1, 1, 0, -1, -2, 2])))
        mark = max(0, min(number - 1, data.draw(st.sampled_from([mark, mark, applied, applied - 1, number - 1]))))
        return {"session": session, "number": number, "mark": mark}

    def fence(self, data: st.DataObject) -> dict[str, Any]:
        if data.draw(st.integers(0, 4)):
            return {}
        name = data.draw(NAMES)
        tokens = [place.token for place in self.model.permits[name].holders] if name in self.model.permits else []
        return {"fence": (name, data.draw(st.sampled_from([*tokens, 1])))}

    @rule(data=st.data(), key=KEYS, value=VALUES)
    def put(self, data: st.DataObject, key: bytes, value: bytes) -> None:
        envelope = self.envelope(data)
        owned = bool(envelope) and data.draw(st.booleans())
        self.apply(("put", {"key": key, "value": value, "owned": owned, **envelope, **self.fence(data)}))

    @rule(data=st.data(), key=KEYS)
    def delete(self, data: st.DataObject, key: bytes) -> None:
        self.apply(("delete", {"key": key, **self.envelope(data), **self.fence(data)}))

    @rule(data=st.data(), start=KEYS, end=st.one_of(st.just(b""), KEYS), limit=st.integers(0, 4))
    def delete_range(self, data: st.DataObject, start: bytes, end: bytes, limit: int) -> None:
        self.apply(("delete_range", {"start": start, "end": end, "limit": limit, **self.envelope(data)}))

    @rule(data=st.data(), key=KEYS, value=VALUES)
    def compare_and_set(self, data: st.DataObject, key: bytes, value: bytes) -> None:
        mod = self.model.keys[key].mod if key in self.model.keys else 0
        envelope = self.envelope(data)
        owned = bool(envelope) and data.draw(st.booleans())
        given = {
            "key": key,
            "value": value,
            "mod_revision": data.draw(st.sampled_from([mod, mod, 0, 3])),
            "owned": owned,
        }
        self.apply(("compare_and_set", {**given, **envelope, **self.fence(data)}))

    @rule(data=st.data(), key=KEYS, by=INCREMENTS)
    def increment(self, data: st.DataObject, key: bytes, by: int) -> None:
        self.apply(("increment", {"key": key, "by": by, **self.envelope(data)}))

    def part(self, data: st.DataObject, owned: bool) -> Any:
        key = data.draw(KEYS)
        return data.draw(
            st.sampled_from(
                [
                    ("put", {"key": key, "value": data.draw(VALUES), "owned": owned}),
                    ("delete", {"key": key}),
                    ("increment", {"key": key, "by": data.draw(INCREMENTS), "owned": owned}),
                    ("delete_range", {"start": key, "end": key + b"\x00"}),
                    ("get", {"key": key}),
                    ("range", {"start": key, "limit": 3}),
                ]
            )
        )

    @rule(data=st.data())
    def transaction(self, data: st.DataObject) -> None:
        envelope = self.envelope(data)
        compares = []
        for _ in range(data.draw(st.integers(0, 2))):
            key, target = data.draw(KEYS), data.draw(st.sampled_from(["value", "mod_revision", "version", "session"]))
            row = self.model.keys.get(key)
            operand: Any = row.mod if row and target == "mod_revision" else data.draw(st.integers(0, 3))
            compares.append(
                (
                    key,
                    target,
                    data.draw(st.sampled_from(["==", "!=", "<", ">"])),
                    data.draw(VALUES) if target == "value" else operand,
                )
            )
        branches = []
        for _ in range(2):
            parts: list[Any] = []
            for _ in range(data.draw(st.integers(0, 3))):
                part = self.part(data, bool(envelope) and data.draw(st.booleans()))
                touched = part[1].get("key", part[1].get("start"))
                if all(touched != other[1].get("key", other[1].get("start")) for other in parts):
                    parts.append(part)
            branches.append(parts)
        given = {"compares": compares, "then": branches[0], "otherwise": branches[1]}
        self.apply(("transaction", {**given, **envelope, **self.fence(data)}))

    @rule(nonce=st.integers(1, 5), ttl_ms=st.sampled_from([400, 500, 10_000, 3_600_000, 3_600_001]))
    def session_open(self, nonce: int, ttl_ms: int) -> None:
        self.apply(("session_open", {"nonce": bytes([nonce]) * 16, "ttl_ms": ttl_ms}))

    @rule(data=st.data(), reason=st.integers(1, 4))
    def session_end(self, data: st.DataObject, reason: int) -> None:
        if data.draw(st.integers(0, 2)):  # not so often that nothing grows
            return
        session = self.some_session(data)
        self.apply(("session_end", {"session": session, "reason": reason}))

    @rule(
        data=st.data(),
        name=NAMES,
        acquisition=st.integers(1, 4),
        wait=st.sampled_from([True, True, True, False]),
        value=VALUES,
    )
    def acquire(self, data: st.DataObject, name: bytes, acquisition: int, wait: bool, value: bytes) -> None:
        mutex, election = (PermitKind.MUTEX, 1, 1), (PermitKind.ELECTION, 1, 1)
        reader, writer = (PermitKind.RWLOCK, RWLOCK_CAPACITY, 1), (PermitKind.RWLOCK, RWLOCK_CAPACITY, RWLOCK_CAPACITY)
        one, two, other = (PermitKind.SEMAPHORE, 3, 1), (PermitKind.SEMAPHORE, 3, 2), (PermitKind.SEMAPHORE, 4, 3)
        usual = {b"pool": [one, two], b"rw": [reader, reader, writer], b"chief": [election]}.get(name, [mutex])
        kind, capacity, units = data.draw(st.sampled_from(usual * 6 + [mutex, election, reader, writer, one, other]))
        given = {"name": name, "acquisition": acquisition, "kind": kind, "capacity": capacity, "units": units}
        envelope = self.envelope(data, needs_session=True)
        self.apply(("acquire", {**given, "wait": wait, "value": value, **envelope}))

    @rule(data=st.data(), name=st.sampled_from([b"pool", b"rw"]), large=st.booleans())
    def crowd(self, data: st.DataObject, name: bytes, large: bool) -> None:
        """A new acquisition of a permit that many want, so that its queue grows."""
        if not self.model.sessions:
            return
        session = data.draw(st.sampled_from(list(self.model.sessions)))
        kind, capacity = (PermitKind.SEMAPHORE, 3) if name == b"pool" else (PermitKind.RWLOCK, RWLOCK_CAPACITY)
        units = (2 if name == b"pool" else capacity) if large else 1
        given = {"name": name, "kind": kind, "capacity": capacity, "units": units, "wait": True, "value": b""}
        self.apply(("acquire", {**given, "session": session, "acquisition": 100 + self.model.index}))

    @rule(data=st.data(), operation=st.sampled_from(["release", "cancel"]))
    def move_up(self, data: st.DataObject, operation: str) -> None:
        """One of those who hold or wait gives up."""
        places = [place for permit in self.model.permits.values() for place in permit.queue]
        if places:
            place = data.draw(st.sampled_from(places))
            self.apply((operation, {"session": place.session, "acquisition": place.acquisition}))

    @rule(data=st.data(), operation=st.sampled_from(["release", "cancel"]), acquisition=st.integers(1, 4))
    def give_up(self, data: st.DataObject, operation: str, acquisition: int) -> None:
        self.apply((operation, {"acquisition": acquisition, **self.envelope(data, needs_session=True)}))

    @rule(data=st.data(), acquisition=st.integers(1, 4), value=VALUES)
    def holder_value(self, data: st.DataObject, acquisition: int, value: bytes) -> None:
        envelope = self.envelope(data, needs_session=True)
        self.apply(("holder_value", {"value": value, "acquisition": acquisition, **envelope}))

    @rule(data=st.data(), name=NAMES)
    def force_release(self, data: st.DataObject, name: bytes) -> None:
        tokens = [place.token for place in self.model.permits[name].holders] if name in self.model.permits else []
        token = data.draw(st.sampled_from([0, 1, *tokens]))
        self.apply(("force_release", {"name": name, "reason": b"stuck", "token": token, **self.envelope(data)}))

    @rule(by=st.integers(1, 70_000))
    def restored(self, by: int) -> None:
        """The store is saved and restored in chunks of any size, and goes on as if nothing had been."""
        data = b"".join(self.store.snapshot())
        self.store = Store.restore([data[i : i + by] for i in range(0, len(data), by)])
        assert b"".join(self.store.snapshot()) == data
        self.watch = self.store.watch(after=self.model.index, permits=True)
        self.watched = []
        self.watched_from = self.model.index

    @rule(most=st.integers(1, 5))
    def collect(self, most: int) -> None:
        for event in self.watch.collect(most):
            self.watched.append((event.revision, event.kind, event.name, event.session, event.acquisition, event.token))
        expected = [event for event in self.model.events if event[0] > self.watched_from]
        assert self.watched == expected[: len(self.watched)]
        following = expected[len(self.watched)][0] if len(self.watched) < len(expected) else self.model.index + 1
        assert self.watch.revision < following

    @invariant()
    def same(self) -> None:
        reader = self.store.reader
        rows, more = reader.range()
        assert not more
        assert reader.count() == len(self.model.keys)
        assert [
            (row.key, row.value, row.create_revision, row.mod_revision, row.version, row.session) for row in rows
        ] == [
            (key, row.value, row.create, row.mod, row.version, row.session)
            for key, row in sorted(self.model.keys.items())
        ]
        assert [(view.id, view.ttl_ms, view.applied, view.mark) for view in reader.sessions()] == [
            (id, session.ttl_ms, session.applied, session.mark) for id, session in sorted(self.model.sessions.items())
        ]
        for name in (b"lock", b"lock2", b"pool", b"rw", b"chief"):
            found, permit = reader.permit(name), self.model.permits.get(name)
            assert (found is None) == (permit is None), name
            if found is None or permit is None:
                continue
            assert (found.kind, found.capacity, found.held, found.token, found.reason) == (
                permit.kind, permit.capacity, permit.held, permit.token, permit.reason,
            )  # fmt: skip
            assert [(it.session, it.acquisition, it.token, it.units, it.value) for it in found.queue] == [
                (it.session, it.acquisition, it.token, it.units, it.value) for it in [*permit.holders, *permit.waiters]
            ]
            for place in permit.queue:
                shown = reader.acquisition(place.session, place.acquisition)
                assert shown is not None
                assert (shown.name, shown.token) == (name, place.token)
        for (session, acquisition), (name, token, reason) in self.model.revoked.items():
            shown = reader.acquisition(session, acquisition)
            assert shown is not None
            assert (shown.state, shown.name, shown.token, shown.reason) == ("revoked", name, token, reason)
        figures = self.store.figures()
        assert figures["owned"] == sum(row.session != 0 for row in self.model.keys.values())
        assert figures["acquired"] == sum(len(permit.queue) for permit in self.model.permits.values())
        assert figures["results"] == sum(len(session.results) for session in self.model.sessions.values())
        assert figures["idle"] == sum(permit.idle_since != 0 for permit in self.model.permits.values())

    @invariant()
    def tokens_and_capacity(self) -> None:
        for permit in self.model.permits.values():
            assert permit.held <= permit.capacity
            if permit.capacity == 1:
                assert len(permit.holders) <= 1

    def teardown(self) -> None:
        """A second store that is fed the same entries in other batches has the same bytes."""
        other = Store()
        index, step = 1, 1
        while index <= len(self.log):
            batch = self.log[index - 1 : index - 1 + step]
            other.apply_batch(index, 1, batch)
            index += len(batch)
            step = step * 3 % 7 + 1
        assert b"".join(other.snapshot()) == b"".join(self.store.snapshot())


StoreAgainstModel.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestStoreAgainstModel = StoreAgainstModel.TestCase


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_long_histories() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        StoreAgainstModel, settings=settings(max_examples=500, stateful_step_count=120, deadline=None)
    )


def test_the_model_tells_a_wrong_store_apart() -> None:
    """The comparison can fail: a store that missed an entry is found out."""
    store, model = Store(), Model(Store().limits)
    model.apply(("put", {"key": b"a", "value": b"1"}))
    assert model.apply(("put", {"key": b"a", "value": b"2"}))[0] == Status.OK
    store.apply(1, 1, commands.put(b"a", b"1"))
    found = store.reader.get("a")
    assert found is not None
    assert found.value != model.keys[b"a"].value
