"""Operations as values: ``from quorate import op``. For transactions and for pipelining.

    client.submit(op.put("k", b"v")).result()
    client.transaction().when(op.version("k") == 0).then(op.put("k", b"first")).otherwise(op.get("k")).commit()

An operation knows its arguments, how it is written as a command of its own or as a part of a transaction, and how what
became of it is read. It knows nothing of who sends it; the namespace comes from the client that does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, final

from quorate.client.keys import Key, Value, key_of, range_of, value_of
from quorate.errors import InvalidArgument, LimitExceeded
from quorate.store import KeyValue, commands
from quorate.store.views import Result, Status

__all__ = [
    "Condition",
    "Operation",
    "Swap",
    "compare_and_set",
    "create_revision",
    "delete",
    "delete_range",
    "exists",
    "get",
    "increment",
    "missing",
    "mod_revision",
    "put",
    "range",
    "session",
    "value",
    "version",
]

T = TypeVar("T")
_INT64 = 1 << 63


@dataclass(frozen=True)
class Swap:
    """What :meth:`Client.compare_and_set` came to; true if it was done.

    ``revision`` is the key's ``mod_revision`` now: the new one, or the one that stood in the way (0: there is no key).
    """

    done: bool
    revision: int

    def __bool__(self) -> bool:
        return self.done


class Operation(Generic[T]):
    """One operation, made by a function of this module. ``T`` is what it gives.

    >>> put("rate", b"100"), increment("hits", 2)
    (put('rate', b'100'), increment('hits', 2))
    """

    __slots__ = ("_arguments", "_command", "_name", "_outcome", "_part", "_part_outcome")

    def __init__(
        self,
        name: str,
        arguments: tuple[Any, ...],
        command: Callable[..., bytes] | None,
        outcome: Callable[[Result], T] | None,
        part: Callable[[bytes], bytes] | None,
        part_outcome: Callable[[Any], Any] | None = None,
    ) -> None:
        self._name = name
        self._arguments = arguments
        self._command = command
        self._outcome = outcome
        self._part = part
        self._part_outcome = part_outcome

    def command(self, prefix: bytes, **head: Any) -> bytes:
        """The operation as a command; ``head``: fence, session, owned."""
        if self._command is None:
            raise InvalidArgument(f"{self!r} is a part of a transaction; alone it is the client's {self._name}()")
        return self._command(prefix, **head)

    def outcome(self, result: Result) -> T:
        """What a result that was checked means."""
        assert self._outcome is not None, "only what has a command is asked for its outcome"
        return self._outcome(result)

    def part(self, prefix: bytes) -> bytes:
        """The operation within a transaction."""
        if self._part is None:
            raise InvalidArgument(f"{self!r} stands alone; inside a transaction say it by when() and then()")
        return self._part(prefix)

    def part_outcome(self, found: Any) -> Any:
        """What the store says of this part."""
        return found if self._part_outcome is None else self._part_outcome(found)

    def __repr__(self) -> str:
        return f"{self._name}({', '.join(_shown(each) for each in self._arguments)})"


def _shown(argument: Any) -> str:
    text = repr(argument)
    return text if len(text) <= 60 else f"{text[:50]}…"


def _revision(result: Result) -> int:
    return result.revision


def put(key: Key, value: Value, *, owned: bool = False) -> Operation[int]:
    """Sets a key; gives the revision (within a transaction None: it has one revision for all).

    ``owned``: the key belongs to the session that writes it, and goes with it.
    """
    content = value_of(value)
    key_of(key)

    def command(prefix: bytes, owned: bool = owned, **head: Any) -> bytes:
        return commands.put(key_of(key, prefix), content, owned=owned, **head)

    def part(prefix: bytes) -> bytes:
        return commands.do_put(key_of(key, prefix), content, owned=owned)

    return Operation("put", (key, content), command, _revision, part)


def delete(key: Key) -> Operation[bool]:
    """Deletes a key; gives whether it was there."""
    key_of(key)

    def command(prefix: bytes, owned: bool = False, **head: Any) -> bytes:
        return commands.delete(key_of(key, prefix), **head)

    return Operation(
        "delete",
        (key,),
        command,
        lambda result: result.number == 1,
        lambda prefix: commands.do_delete(key_of(key, prefix)),
    )


def delete_range(start: Key = "", end: Key = "", *, prefix: Key | None = None, limit: int = 0) -> Operation[int]:
    """Deletes the keys with start <= key < end, or those with a prefix; gives how many.

    One entry of the log deletes a bounded number (the cluster's limit DELETE_RANGE_KEYS); call it again until it gives
    0, or use the client's ``delete_range``, which does.
    """
    range_of(start, end, prefix, b"")
    most = _limit_of(limit)

    def command(namespace: bytes, owned: bool = False, **head: Any) -> bytes:
        return commands.delete_range(*range_of(start, end, prefix, namespace), limit=most, **head)

    def part(namespace: bytes) -> bytes:
        return commands.do_delete_range(*range_of(start, end, prefix, namespace), most)

    return Operation(
        "delete_range",
        (start, end) if prefix is None else (prefix,),
        command,
        lambda result: result.number,
        part,
        lambda found: found[0],
    )


def increment(key: Key, by: int = 1, *, owned: bool = False) -> Operation[int]:
    """Adds to a key that holds a decimal integer of 64 bits, or is not there, which counts as 0; gives the sum."""
    key_of(key)
    if isinstance(by, bool) or not isinstance(by, int) or not -_INT64 <= by < _INT64:
        raise InvalidArgument(f"increment adds an integer of 64 bits, not {by!r}")

    def command(prefix: bytes, owned: bool = owned, **head: Any) -> bytes:
        return commands.increment(key_of(key, prefix), by, owned=owned, **head)

    def outcome(result: Result) -> int:
        return result.number - 2 * _INT64 if result.number >= _INT64 else result.number

    return Operation(
        "increment",
        (key, by),
        command,
        outcome,
        lambda prefix: commands.do_increment(key_of(key, prefix), by, owned=owned),
    )


def compare_and_set(key: Key, value: Value, mod_revision: int, *, owned: bool = False) -> Operation[Swap]:
    """Sets a key if its ``mod_revision`` is this one (0: if there is no such key); gives a :class:`Swap`."""
    content = value_of(value)
    key_of(key)
    expected = _number(mod_revision, "mod_revision")

    def command(prefix: bytes, owned: bool = owned, **head: Any) -> bytes:
        return commands.compare_and_set(key_of(key, prefix), content, expected, owned=owned, **head)

    def outcome(result: Result) -> Swap:
        if result.status is Status.COMPARE_FAILED:
            return Swap(False, result.number)
        return Swap(True, result.revision)

    return Operation("compare_and_set", (key, content, mod_revision), command, outcome, None)


def get(key: Key) -> Operation[KeyValue | None]:
    """Reads a key inside a transaction, as the parts before it left it."""
    key_of(key)

    def found(value: Any) -> KeyValue | None:
        if value is False:
            raise LimitExceeded(f"the results of the transaction are too long for {key!r}; read it by itself")
        kept: KeyValue | None = value
        return kept

    return Operation("get", (key,), None, None, lambda prefix: commands.do_get(key_of(key, prefix)), found)


def range(start: Key = "", end: Key = "", *, prefix: Key | None = None, limit: int = 0) -> Operation[list[KeyValue]]:
    """Reads the keys with start <= key < end, or those with a prefix, inside a transaction."""
    range_of(start, end, prefix, b"")
    most = _limit_of(limit)

    def found(value: Any) -> list[KeyValue]:
        rows, more = value
        if more and not (most and len(rows) == most):
            raise LimitExceeded("the results of the transaction are too long for this range; read it by itself")
        kept: list[KeyValue] = rows
        return kept

    return Operation(
        "range",
        (start, end) if prefix is None else (prefix,),
        None,
        None,
        lambda namespace: commands.do_range(*range_of(start, end, prefix, namespace), most),
        found,
    )


# Conditions


@final
class Condition:
    """What must hold for a transaction to take its first branch. Made by comparing: ``version("k") == 0``."""

    __slots__ = ("_key", "_operand", "_relation", "_target")

    def __init__(self, key: Key, target: str, relation: str, operand: int | bytes) -> None:
        self._key = key
        self._target = target
        self._relation = relation
        self._operand = operand

    def encoded(self, prefix: bytes) -> bytes:
        """The condition as the store reads it."""
        return commands.compare(key_of(self._key, prefix), self._target, self._relation, self._operand)

    def __bool__(self) -> bool:
        raise InvalidArgument(f"{self!r} is judged by the cluster; hand it to when(), do not ask it here")

    def __repr__(self) -> str:
        return f"{self._target}({self._key!r}) {self._relation} {_shown(self._operand)}"


@final
class _Target:
    """A property of a key, to be compared."""

    __slots__ = ("_key", "_target")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, key: Key, target: str) -> None:
        key_of(key)
        self._key = key
        self._target = target

    def _compare(self, relation: str, operand: object) -> Condition:
        if self._target == "value":
            return Condition(self._key, "value", relation, value_of(operand))  # type: ignore[arg-type]
        return Condition(self._key, self._target, relation, _number(operand, self._target))

    def __eq__(self, operand: object) -> Condition:  # type: ignore[override]
        return self._compare("==", operand)

    def __ne__(self, operand: object) -> Condition:  # type: ignore[override]
        return self._compare("!=", operand)

    def __lt__(self, operand: object) -> Condition:
        return self._compare("<", operand)

    def __gt__(self, operand: object) -> Condition:
        return self._compare(">", operand)

    def __repr__(self) -> str:
        return f"{self._target}({self._key!r})"


def value(key: Key) -> _Target:
    """The value of a key, to be compared: ``value("k") == b"1"``. No value equals that of a key that is not there.

    >>> value("k") == b"1"
    value('k') == b'1'
    """
    return _Target(key, "value")


def mod_revision(key: Key) -> _Target:
    """The revision that wrote a key last, 0 if it is not there."""
    return _Target(key, "mod_revision")


def create_revision(key: Key) -> _Target:
    """The revision that made a key, 0 if it is not there."""
    return _Target(key, "create_revision")


def version(key: Key) -> _Target:
    """How often a key was written since it was made, 0 if it is not there."""
    return _Target(key, "version")


def session(key: Key) -> _Target:
    """The id of the session that owns a key, 0 if none does."""
    return _Target(key, "session")


def exists(key: Key) -> Condition:
    """Whether a key is there."""
    return version(key) > 0


def missing(key: Key) -> Condition:
    """Whether a key is not there."""
    return Condition(key, "version", "==", 0)


def _number(operand: object, what: str) -> int:
    if isinstance(operand, bool) or not isinstance(operand, int) or not 0 <= operand < 2 * _INT64:
        raise InvalidArgument(f"{what} is an integer from 0 to 2**64 - 1, not {operand!r}")
    return operand


def _limit_of(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit < 1 << 32:
        raise InvalidArgument(f"a limit is an integer from 0 (none) to 2**32 - 1, not {limit!r}")
    return limit
