"""What the methods of a client do, as flows: one definition for `Client` and its asyncio twin.

Checks arguments, puts the namespace in front of keys and takes it off again, and makes typed errors of what the store
refuses. Knows nothing of threads and event loops, nor of what carries a flow out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

from quorate.api.op import Operation, delete_range
from quorate.client.backend import Backend, Lane, Member
from quorate.client.flow import Flow, Pause, seconds
from quorate.client.keys import Fence, Key, fence_of, key_of, range_of, value_of
from quorate.client.outcomes import checked, error_of
from quorate.errors import (
    Indeterminate,
    InvalidArgument,
    NoQuorum,
    NotHappened,
    Overloaded,
    QuorateError,
    Rejected,
    RequestTimeout,
)
from quorate.limits import LABEL_BYTES_MAX
from quorate.runtime.addresses import parse_address
from quorate.store import KeyValue, Reader, commands
from quorate.store.views import Result, ResultFlag

__all__ = ["TIMEOUT", "Committed", "Core", "Found", "TransactionParts"]

T = TypeVar("T")

TIMEOUT: Final = 5.0
"""Seconds that a call waits unless it is told otherwise."""

CONSISTENCIES: Final = ("linearizable", "local")


class Found(list[KeyValue]):
    """The keys that a range read found, in order: a list, with two things more.

    ``more``: whether ``limit`` left keys out. ``revision``: everything up to it was seen.
    """

    def __init__(self, rows: Iterable[KeyValue] = (), *, more: bool = False, revision: int = 0) -> None:
        super().__init__(rows)
        self.more = more
        self.revision = revision


class Committed:
    """What a transaction came to; true if its conditions held.

    ``revision`` is that of everything it wrote, ``results`` has one thing for each operation of the branch that was
    taken: None for a put, a bool for a delete, the sum for an increment, the number for a delete of a range, a KeyValue
    or None for a get, a list for a range.
    """

    def __init__(self, succeeded: bool, revision: int, results: tuple[Any, ...] | None) -> None:
        self.succeeded: Final = succeeded
        self.revision: Final = revision
        self._results = results

    @property
    def results(self) -> tuple[Any, ...]:
        """Raises Rejected if it was done, but what it read was too long to be kept until the answer could be
        delivered."""
        if self._results is None:
            raise Rejected(f"done at revision {self.revision}, but what it read is not kept any more; read it again")
        return self._results

    def __bool__(self) -> bool:
        return self.succeeded

    def __repr__(self) -> str:
        return f"Committed(succeeded={self.succeeded}, revision={self.revision}, results={self._results!r})"


class TransactionParts:
    """The three lists of a transaction, by the methods that fill them."""

    def __init__(self) -> None:
        self._when: list[Any] = []
        self._then: list[Operation[Any]] = []
        self._otherwise: list[Operation[Any]] = []

    def _add(self, to: list[Any], parts: tuple[Any, ...], kind: type) -> None:
        for part in parts:
            if not isinstance(part, kind):
                hint = (
                    "compare something, as op.version(key) == 0" if kind is not Operation else "as op.put(key, value)"
                )
                raise InvalidArgument(f"{part!r} is no {kind.__name__.lower()}: write {hint}")
            to.append(part)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(when={self._when}, then={self._then}, otherwise={self._otherwise})"


def _is_local(consistency: str) -> bool:
    if consistency not in CONSISTENCIES:
        raise InvalidArgument(f"consistency is {' or '.join(map(repr, CONSISTENCIES))}, not {consistency!r}")
    return consistency == "local"


def pairs_of(pairs: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """(key, value) each, of a mapping or of pairs."""
    return iter(pairs.items() if isinstance(pairs, Mapping) else pairs)


class Core:
    """A backend and a namespace; each method gives a flow."""

    __slots__ = ("backend", "prefix", "timeout")

    def __init__(self, backend: Backend, prefix: bytes = b"", timeout: float = TIMEOUT) -> None:
        self.backend = backend
        self.prefix = prefix
        self.timeout = timeout

    def inside(self, prefix: Key) -> Core:
        """The same inside a namespace."""
        return Core(self.backend, key_of(prefix, self.prefix), self.timeout)

    def seconds(self, timeout: float | None) -> float:
        """The time limit of a call: the one given, or the client's own."""
        return self.timeout if timeout is None else seconds(timeout)

    def __repr__(self) -> str:
        inside = f", namespace {self.prefix!r}" if self.prefix else ""
        return f"Client {self.backend!r}{inside}"

    # Writing

    def write(
        self, operation: Operation[T], timeout: float | None, if_fence: Fence | None = None, lane: Lane | None = None
    ) -> Flow[T]:
        """An operation as a command of its own."""
        if not isinstance(operation, Operation):
            raise InvalidArgument(f"{operation!r} is no operation: make one as op.put(key, value)")
        head: dict[str, Any] = {}
        if if_fence is not None:
            head["fence"] = fence_of(if_fence, self.prefix)
        if lane is not None:
            head["session"] = lane.session
            head["owned"] = True
        command = operation.command(self.prefix, **head)
        result = yield from self.backend.write(command, self.seconds(timeout), lane)
        return operation.outcome(checked(result))

    def delete_range(
        self, start: Key, end: Key, prefix: Key | None, timeout: float | None, if_fence: Fence | None, lane: Lane | None
    ) -> Flow[int]:
        """Deletes piece by piece until nothing is left."""
        total = 0
        piece = delete_range(start, end, prefix=prefix)
        first, last = range_of(start, end, prefix, self.prefix)
        fence = fence_of(if_fence, self.prefix)
        head: dict[str, Any] = {} if lane is None else {"session": lane.session}
        while True:
            command = commands.delete_range(first, last, fence=fence, **head)
            try:
                result = checked((yield from self.backend.write(command, self.seconds(timeout), lane)))
            except NotHappened as error:
                if not total:
                    raise
                raise Indeterminate(f"{total} keys are deleted, and then: {error}") from error
            total += piece.outcome(result)
            if not result.more:
                return total

    def put_many(
        self,
        pairs: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
        timeout: float | None,
        if_fence: Fence | None,
        lane: Lane | None,
    ) -> Flow[list[int]]:
        """Puts, one after the other, without waiting in between."""
        fence = fence_of(if_fence, self.prefix)
        head: dict[str, Any] = {} if fence is None else {"fence": fence}
        if lane is not None:
            head.update(session=lane.session, owned=True)
        prefix = self.prefix
        make = commands.put
        encoded = [make(key_of(key, prefix), value_of(value), **head) for key, value in pairs_of(pairs)]
        found = yield from self.backend.write_many(encoded, self.seconds(timeout), lane)
        outcomes: list[int | QuorateError] = []
        first: QuorateError | None = None
        for one in found:
            if isinstance(one, bytes):
                if one[0] == 0:  # Status.OK, without making a Result of each
                    outcomes.append(int.from_bytes(one[2:10], "little"))
                    continue
                error = error_of(Result.decode(one)) or QuorateError("an unexpected result")
            else:
                error = one
            first = first or error
            outcomes.append(error)
        if first is None:
            return outcomes  # type: ignore[return-value]
        first.outcomes = outcomes
        written = sum(1 for one in outcomes if isinstance(one, int))
        at = outcomes.index(first)
        told = (
            f"{first} (put_many: {written} of {len(outcomes)} pairs were written, pair {at} is the first that was "
            "not or may not have been; .outcomes has a revision or an error for each)"
        )
        first.args = (told,)
        raise first

    def commit(
        self, parts: TransactionParts, timeout: float | None, if_fence: Fence | None, lane: Lane | None
    ) -> Flow[Committed]:
        """A transaction."""
        prefix = self.prefix
        head: dict[str, Any] = {} if lane is None else {"session": lane.session}
        command = commands.transaction(
            [each.encoded(prefix) for each in parts._when],
            [each.part(prefix) for each in parts._then],
            [each.part(prefix) for each in parts._otherwise],
            fence=fence_of(if_fence, prefix),
            **head,
        )
        result = checked((yield from self.backend.write(command, self.seconds(timeout), lane)))
        if ResultFlag.SHORT in result.flags:
            return Committed(result.succeeded, result.revision, None)
        from quorate.store._decode import decode_parts

        branch = parts._then if result.succeeded else parts._otherwise
        found = decode_parts(result.body, len(prefix))
        results = tuple(part.part_outcome(one) for part, (_, one) in zip(branch, found, strict=True))
        return Committed(result.succeeded, result.revision, results)

    # Reading

    def nearby(self, consistency: str) -> Reader | None:
        """What can be read without waiting for anything, so that no flow is needed: ``get`` is to be quick."""
        return self.backend.copy() if consistency == "local" else None

    def read(self, reader: Reader, key: Key) -> KeyValue | None:
        """A key as this reader has it."""
        row = reader.get(key_of(key, self.prefix))
        return row.without(len(self.prefix)) if self.prefix and row is not None else row

    def get(self, key: Key, consistency: str, timeout: float | None) -> Flow[KeyValue | None]:
        """A key, or None."""
        row = yield from self.backend.get(key_of(key, self.prefix), _is_local(consistency), self.seconds(timeout))
        return row.without(len(self.prefix)) if self.prefix and row is not None else row

    def range(
        self, start: Key, end: Key, prefix: Key | None, limit: int, consistency: str, timeout: float | None
    ) -> Flow[Found]:
        """Keys in order, in as many pieces as answers have to have."""
        local = _is_local(consistency)
        first, last = range_of(start, end, prefix, self.prefix)
        if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit < 1 << 32:
            raise InvalidArgument(f"a limit is an integer from 0 (none) to 2**32 - 1, not {limit!r}")
        found = Found()
        while True:
            piece = yield from self.backend.range(
                first, last, limit and limit - len(found), local, self.seconds(timeout)
            )
            skip = len(self.prefix)
            found.extend([row.without(skip) for row in piece.rows] if skip else piece.rows)
            found.revision = found.revision or piece.revision
            if not piece.more or len(found) == limit:
                found.more = piece.more
                return found
            first = piece.rows[-1].key + b"\x00"

    def count(self, start: Key, end: Key, prefix: Key | None, consistency: str, timeout: float | None) -> Flow[int]:
        """How many keys."""
        first, last = range_of(start, end, prefix, self.prefix)
        return (yield from self.backend.count(first, last, _is_local(consistency), self.seconds(timeout)))

    def ready(self, timeout: float | None) -> Flow[None]:
        """Waits until the cluster answers and can decide."""
        deadline = time.monotonic() + self.seconds(timeout)
        while True:
            left = deadline - time.monotonic()
            try:
                yield from self.backend.barrier(max(left, 0.0))
                return
            except (RequestTimeout, Overloaded) as error:
                # A leader that has just lost its majority does not know yet.
                if left <= 0:
                    raise NoQuorum("nobody could decide within the time; a majority of the members must run") from error
            yield Pause(0.02)

    # Sessions

    def open_session(self, ttl: float, label: str, timeout: float | None) -> Flow[Lane]:
        """A session of its own."""
        if not isinstance(label, str) or len(label.encode(errors="replace")) > LABEL_BYTES_MAX:
            raise InvalidArgument(f"a label is text of at most {LABEL_BYTES_MAX} bytes, not {label!r}")
        limit = seconds(ttl)
        if not limit:
            raise InvalidArgument("a ttl is a number of seconds above 0")
        return self.backend.open_lane(limit, label, self.seconds(timeout))

    # The cluster

    def status(self, timeout: float | None) -> Flow[dict[str, Any]]:
        """Figures."""
        return self.backend.status(self.seconds(timeout))

    def members(self, timeout: float | None) -> list[Member]:
        """Members. Blocks, as what follows does."""
        return self.backend.members(self.seconds(timeout))

    def change(
        self, what: str, name: str, address: str = "", timeout: float = 10.0, *, promote: bool = False, new: str = ""
    ) -> None:
        """A change of membership."""
        _name_of_member(name)
        if what in ("add", "address", "replace"):
            parse_address(address)
        if what == "replace":
            _name_of_member(new)
        self.backend.change(what, name, address, seconds(timeout), promote=promote, new=new)

    def transfer(self, name: str | None, timeout: float) -> str:
        """A hand-over of the leader's office."""
        if name is not None:
            _name_of_member(name)
        return self.backend.transfer(name, seconds(timeout))


def _name_of_member(name: str) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidArgument(f"a member is named by a str, not {name!r}")
