"""The store in plain Python, as slow and as obvious as possible: what it says, the compiled one must do.

An operation is a name of `quorate.store.commands` and its keyword arguments, so that both sides are given the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from quorate.store import commands
from quorate.store.views import RWLOCK_CAPACITY, EventKind, Limit, PermitKind, ResultFlag, Status

Operation = tuple[str, dict[str, Any]]


def encode(operation: Operation) -> bytes:
    name, arguments = operation
    if name == "transaction":
        arguments = dict(arguments)
        arguments["compares"] = [commands.compare(*compare) for compare in arguments["compares"]]
        for branch in ("then", "otherwise"):
            arguments[branch] = [getattr(commands, "do_" + part)(**given) for part, given in arguments[branch]]
    return getattr(commands, name)(**arguments)


@dataclass
class Key:
    value: bytes
    create: int
    mod: int
    version: int
    session: int


@dataclass
class Place:
    session: int
    acquisition: int
    units: int
    queued_at: int
    value: bytes
    token: int = 0


@dataclass
class Permit:
    kind: int
    capacity: int
    id: int
    queue: list[Place] = field(default_factory=list)
    token: int = 0
    idle_since: int = 0
    reason: bytes = b""

    @property
    def holders(self) -> list[Place]:
        return sorted((place for place in self.queue if place.token), key=lambda place: (place.token, place.queued_at))

    @property
    def waiters(self) -> list[Place]:
        return [place for place in self.queue if not place.token]

    @property
    def held(self) -> int:
        return sum(place.units for place in self.holders)


@dataclass
class Session:
    ttl_ms: int
    nonce: bytes
    applied: int = 0
    mark: int = 0
    results: dict[int, tuple[Status, ResultFlag, int, int]] = field(default_factory=dict)


class Refused(Exception):
    def __init__(self, status: Status, number: int = 0) -> None:
        super().__init__(status, number)
        self.status = status
        self.number = number


class Model:
    def __init__(self, limits: dict[Limit, int]) -> None:
        self.index = 0
        self.limits = dict(limits)
        self.keys: dict[bytes, Key] = {}
        self.sessions: dict[int, Session] = {}
        self.permits: dict[bytes, Permit] = {}
        self.revoked: dict[tuple[int, int], tuple[bytes, int, bytes]] = {}
        self.events: list[tuple[int, EventKind, bytes, int, int, int]] = []

    # ---- entries ------------------------------------------------------------------------------------------------

    def apply(self, operation: Operation) -> tuple[Status, ResultFlag, int, int]:
        """Status, flags, revision and number."""
        name, arguments = operation
        arguments = dict(arguments)
        self.index += 1
        session = arguments.get("session", 0)
        number = arguments.pop("number", None)
        mark = arguments.pop("mark", 0)
        if session and session not in self.sessions:
            return Status.SESSION_LOST, ResultFlag(0), self.index, 0
        if number is not None:
            owner = self.sessions[session]
            if mark <= owner.applied:
                owner.mark = max(owner.mark, mark)
                owner.results = {n: result for n, result in owner.results.items() if n > owner.mark}
            if number <= owner.mark:
                return Status.BELOW_MARK, ResultFlag(0), self.index, owner.mark
            if number <= owner.applied:
                status, flags, revision, was = owner.results[number]
                return status, flags | ResultFlag.REPLAYED, revision, was
            if number != owner.applied + 1:
                return Status.GAP, ResultFlag(0), self.index, owner.applied + 1
            if number - owner.mark > self.limits[Limit.SESSION_RESULTS]:
                return Status.WINDOW_FULL, ResultFlag(0), self.index, self.limits[Limit.SESSION_RESULTS]
        self.flags = ResultFlag(0)
        try:
            fence = arguments.pop("fence", None)
            if fence is not None and not self.holds(*fence):
                raise Refused(Status.FENCED)
            status, result = Status.OK, getattr(self, "do_" + name)(**arguments)
        except Refused as refused:
            status, result = refused.status, refused.number
        answer = status, self.flags, self.index, result
        if number is not None:
            owner.applied = number
            owner.results[number] = answer
        return answer

    def event(self, kind: EventKind, name: bytes, session: int = 0, acquisition: int = 0, token: int = 0) -> None:
        self.events.append((self.index, kind, name, session, acquisition, token))

    def holds(self, name: bytes, token: int) -> bool:
        return name in self.permits and any(place.token == token for place in self.permits[name].holders)

    # ---- keys ---------------------------------------------------------------------------------------------------

    def check_puts(self, puts: list[tuple[bytes, bytes, int]]) -> None:
        """All keys are different."""
        fresh = owned = 0
        for key, value, owner in puts:
            if len(key) > self.limits[Limit.KEY_BYTES]:
                raise Refused(Status.LIMIT, Limit.KEY_BYTES)
            if len(value) > self.limits[Limit.VALUE_BYTES]:
                raise Refused(Status.LIMIT, Limit.VALUE_BYTES)
            fresh += key not in self.keys
            if key not in self.keys and len(self.keys) + fresh > self.limits[Limit.KEYS]:
                raise Refused(Status.LIMIT, Limit.KEYS)
            if owner and (key not in self.keys or self.keys[key].session != owner):
                owned += 1
                if sum(row.session == owner for row in self.keys.values()) + owned > self.limits[Limit.SESSION_KEYS]:
                    raise Refused(Status.LIMIT, Limit.SESSION_KEYS)

    def write(self, key: bytes, value: bytes, owner: int) -> None:
        old = self.keys.get(key)
        create, version = (old.create, old.version + 1) if old else (self.index, 1)
        self.keys[key] = Key(value, create, self.index, version, owner)
        self.event(EventKind.PUT, key, owner)

    def remove(self, key: bytes, kind: EventKind = EventKind.DELETE) -> int:
        if key not in self.keys:
            return 0
        self.event(kind, key, self.keys.pop(key).session)
        return 1

    def sum(self, key: bytes, by: int) -> int:
        text = self.keys[key].value if key in self.keys else b"0"
        if not re.fullmatch(rb"-?[0-9]{1,19}", text) or not -(2**63) <= int(text) < 2**63:
            raise Refused(Status.NOT_A_NUMBER)
        total = int(text) + by
        if not -(2**63) <= total < 2**63:
            raise Refused(Status.OVERFLOW)
        return total

    def do_put(self, key: bytes, value: bytes, session: int = 0, owned: bool = False) -> int:
        self.check_puts([(key, value, session if owned else 0)])
        self.write(key, value, session if owned else 0)
        return 0

    def do_delete(self, key: bytes, session: int = 0) -> int:
        return self.remove(key)

    def do_delete_range(self, start: bytes, end: bytes = b"", limit: int = 0, session: int = 0) -> int:
        found = sorted(key for key in self.keys if key >= start and (not end or key < end))
        most = min(limit or 1 << 62, self.limits[Limit.DELETE_RANGE_KEYS])
        for key in found[:most]:
            self.remove(key)
        if len(found) > most:
            self.flags |= ResultFlag.MORE
        return min(len(found), most)

    def do_compare_and_set(
        self, key: bytes, value: bytes, mod_revision: int, session: int = 0, owned: bool = False
    ) -> int:
        mod = self.keys[key].mod if key in self.keys else 0
        if mod != mod_revision:
            raise Refused(Status.COMPARE_FAILED, mod)
        return self.do_put(key, value, session, owned)

    def do_increment(self, key: bytes, by: int, session: int = 0, owned: bool = False) -> int:
        total = self.sum(key, by)
        self.do_put(key, b"%d" % total, session, owned)
        return total % 2**64

    def compare(self, key: bytes, target: str, relation: str, operand: Any) -> bool:
        row = self.keys.get(key)
        if target == "value":
            if row is None:
                return relation == "!="
            left: Any = row.value
        else:
            left = getattr(row, {"mod_revision": "mod", "create_revision": "create"}.get(target, target)) if row else 0
        return {"==": left == operand, "!=": left != operand, "<": left < operand, ">": left > operand}[relation]

    def do_transaction(self, compares: list[Any], then: list[Any], otherwise: list[Any], session: int = 0) -> int:
        most = self.limits[Limit.TRANSACTION_OPERATIONS]
        if max(len(compares), len(then), len(otherwise)) > most:
            raise Refused(Status.LIMIT, Limit.TRANSACTION_OPERATIONS)
        succeeded = all(self.compare(*compare) for compare in compares)
        branch = then if succeeded else otherwise
        puts = []
        for name, given in branch:  # a refusal is the one of the first part that is refused
            owner = session if given.get("owned") else 0
            if name == "put":
                puts.append((given["key"], given["value"], owner))
            elif name == "increment":
                puts.append((given["key"], b"%d" % self.sum(given["key"], given["by"]), owner))
            self.check_puts(puts)
        if succeeded:
            self.flags |= ResultFlag.SUCCEEDED
        for name, given in branch:
            owner = session if given.get("owned") else 0
            if name == "put":
                self.write(given["key"], given["value"], owner)
            elif name == "increment":
                self.write(given["key"], b"%d" % self.sum(given["key"], given["by"]), owner)
            elif name == "delete":
                self.remove(given["key"])
            elif name == "delete_range":
                flags = self.flags
                self.do_delete_range(**given)
                self.flags = flags
        return len(branch)

    # ---- sessions -----------------------------------------------------------------------------------------------

    def do_session_open(self, nonce: bytes, ttl_ms: int) -> int:
        for id, session in self.sessions.items():
            if session.nonce == nonce:
                self.flags |= ResultFlag.REPLAYED
                return id
        for limit, wrong in (
            (Limit.SESSION_TTL_MIN_MS, ttl_ms < self.limits[Limit.SESSION_TTL_MIN_MS]),
            (Limit.SESSION_TTL_MAX_MS, ttl_ms > self.limits[Limit.SESSION_TTL_MAX_MS]),
            (Limit.SESSIONS, len(self.sessions) >= self.limits[Limit.SESSIONS]),
        ):
            if wrong:
                raise Refused(Status.LIMIT, limit)
        self.sessions[self.index] = Session(ttl_ms, nonce)
        return self.index

    def places_of(self, session: int) -> list[tuple[bytes, Place]]:
        found = [(name, place) for name, permit in self.permits.items() for place in permit.queue]
        return sorted(
            ((name, place) for name, place in found if place.session == session), key=lambda it: it[1].acquisition
        )

    def do_session_end(self, session_: int, reason: int) -> int:
        if session_ not in self.sessions:
            raise Refused(Status.NOT_FOUND)
        mine = self.places_of(session_)
        revoked = [key for key in self.revoked if key[0] == session_]
        owned = sorted(key for key, row in self.keys.items() if row.session == session_)
        for name, place in mine:
            self.permits[name].queue.remove(place)
            if place.token:
                self.event(EventKind.RELEASE, name, place.session, place.acquisition, place.token)
        for name, _ in mine:
            if name in self.permits:
                self.hand_over(name)
        for key in owned:
            self.remove(key, EventKind.EXPIRE)
        for gone in revoked:
            del self.revoked[gone]
        del self.sessions[session_]
        return len(mine) + len(revoked) + len(owned)

    # ---- permits ------------------------------------------------------------------------------------------------

    def find(self, session: int, acquisition: int) -> tuple[bytes, Place] | None:
        return next((it for it in self.places_of(session) if it[1].acquisition == acquisition), None)

    def hand_over(self, name: bytes) -> None:
        permit = self.permits[name]
        for place in permit.waiters:
            if permit.held + place.units > permit.capacity:
                break
            place.token = permit.token = self.index
            self.event(EventKind.GRANT, name, place.session, place.acquisition, place.token)
        if not permit.queue and not permit.idle_since:
            permit.idle_since = self.index
        idle = sorted(
            (it for it in self.permits.items() if it[1].idle_since), key=lambda it: (it[1].idle_since, it[1].id)
        )
        for forgotten, _ in idle[: max(0, len(idle) - self.limits[Limit.IDLE_PERMITS])]:
            del self.permits[forgotten]

    def do_acquire(
        self,
        name: bytes,
        session: int,
        acquisition: int,
        kind: int,
        capacity: int,
        units: int,
        wait: bool,
        value: bytes,
    ) -> int:
        if (session, acquisition) in self.revoked:
            raise Refused(Status.REVOKED_BY_FORCE, self.revoked[session, acquisition][1])
        found = self.find(session, acquisition)
        if found:
            permit, place = self.permits[found[0]], found[1]
            if found[0] != name or permit.kind != kind:
                raise Refused(Status.ACQUISITION_CONFLICT)
            if permit.capacity != capacity:
                raise Refused(Status.CAPACITY_MISMATCH, permit.capacity)
            if place.units != units:
                upgrade = kind == PermitKind.RWLOCK and place.units == 1
                raise Refused(Status.UPGRADE_REFUSED if upgrade else Status.ACQUISITION_CONFLICT)
            if not place.token:
                raise Refused(Status.QUEUED, place.queued_at)
            self.flags |= ResultFlag.GRANTED
            return place.token
        fresh = name not in self.permits
        permit = self.permits.get(name) or Permit(kind, capacity, self.index)
        free = not permit.waiters and permit.held + units <= permit.capacity
        mine = len(self.places_of(session)) + sum(key[0] == session for key in self.revoked)
        for status, number, wrong in (
            (Status.KIND_MISMATCH, permit.kind, permit.kind != kind),
            (Status.CAPACITY_MISMATCH, permit.capacity, permit.capacity != capacity),
            (Status.WOULD_BLOCK, 0, not free and not wait),
            (Status.LIMIT, Limit.PERMITS, fresh and len(self.permits) >= self.limits[Limit.PERMITS]),
            (Status.LIMIT, Limit.SESSION_PERMITS, mine >= self.limits[Limit.SESSION_PERMITS]),
            (
                Status.LIMIT,
                Limit.PERMIT_WAITERS,
                not free and len(permit.waiters) >= self.limits[Limit.PERMIT_WAITERS],
            ),
        ):
            if wrong:
                raise Refused(status, number)
        self.permits[name] = permit
        permit.idle_since = 0
        permit.queue.append(Place(session, acquisition, units, self.index, value))
        if not free:
            self.event(EventKind.WAIT, name, session, acquisition)
            raise Refused(Status.QUEUED, self.index)
        permit.queue[-1].token = permit.token = self.index
        self.flags |= ResultFlag.GRANTED
        self.event(EventKind.GRANT, name, session, acquisition, self.index)
        return self.index

    def give_up(self, session: int, acquisition: int, waiting_too: bool) -> int:
        if (session, acquisition) in self.revoked:
            raise Refused(Status.REVOKED_BY_FORCE, self.revoked.pop((session, acquisition))[1])
        found = self.find(session, acquisition)
        if found is None or not (found[1].token or waiting_too):
            raise Refused(Status.NOT_HELD)
        name, place = found
        self.permits[name].queue.remove(place)
        if place.token:
            self.event(EventKind.RELEASE, name, session, acquisition, place.token)
        self.hand_over(name)
        return place.token

    def do_release(self, session: int, acquisition: int) -> int:
        return self.give_up(session, acquisition, False)

    def do_cancel(self, session: int, acquisition: int) -> int:
        return self.give_up(session, acquisition, True)

    def do_holder_value(self, value: bytes, session: int, acquisition: int) -> int:
        found = self.find(session, acquisition)
        if found is None or not found[1].token:
            raise Refused(Status.NOT_HELD)
        found[1].value = value
        self.event(EventKind.VALUE, found[0], session, acquisition, found[1].token)
        return found[1].token

    def do_force_release(self, name: bytes, reason: bytes, token: int = 0, session: int = 0) -> int:
        if name not in self.permits:
            raise Refused(Status.NOT_FOUND)
        permit = self.permits[name]
        taken = [place for place in permit.holders if token in (0, place.token)]
        if not taken:
            raise Refused(Status.NOT_HELD)
        for place in taken:
            permit.queue.remove(place)
            self.revoked[place.session, place.acquisition] = name, place.token, reason
            self.event(EventKind.REVOKE, name, place.session, place.acquisition, place.token)
        permit.reason = reason
        self.hand_over(name)
        return len(taken)

    # ---- the cluster --------------------------------------------------------------------------------------------

    def do_set_limits(self, limits: dict[Limit, int], session: int = 0) -> int:
        self.limits.update(limits)
        return 0


__all__ = ["RWLOCK_CAPACITY", "Model", "Operation", "encode"]
