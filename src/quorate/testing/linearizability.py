"""Is a history linearizable? Judges what clients saw; knows nothing of how it came about.

The search is Wing and Gong's ("Testing and verifying concurrent objects", 1993) in the just-in-time form of Lowe
("Testing for linearizability", 2017): walk through the calls and replies in order and keep the set of *configurations*
that are still possible, each a state of the object and the set of open operations that have already taken effect in
it. Only when an operation replies must it have taken effect, so only then are others put before it. Two things keep
the set small:

- each key is judged alone (linearizability is local: Herlihy and Wing 1990, theorem 1);
- open operations have small slot numbers that are reused, so that a configuration is an int of as many bits as there
are
  operations open at once, however long the history is.

An operation without reply stays open for ever and would double the set again and again. For a register whose writes
have unique values :func:`bounded` takes all of these out first: a write that somebody saw happened before that reader's
reply, and one that nobody saw is a *ghost*. A ghost matters only where a compare-and-set failed, which proves that the
value was another one, and not which. All ghosts are alike there, so that it is enough to count how many were needed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from quorate.testing.history import NEVER, Operation

__all__ = ["MUTEX", "REGISTER", "Model", "Verdict", "bounded", "check", "check_key"]

State: TypeAlias = Hashable
Step: TypeAlias = Callable[[Any, Operation], "tuple[bool, Any]"]
CONFIGURATIONS_MAX: Final = 200_000
"""The search gives up, and says so, when more configurations than this are possible at once."""


class Prepared(NamedTuple):
    """The history of one key, sorted by what it costs to judge.

    ``ghosts``: see :func:`bounded`. ``rest``: what is left out at first, as if it had not happened; what passes without
    it is linearizable, and what does not pass is judged again with it.
    """

    operations: list[Operation]
    ghosts: Sequence[Operation] = ()
    rest: Sequence[Operation] = ()


class Model(NamedTuple):
    """A sequential object: its first state, and what one operation does to a state.

    ``step(state, operation)`` returns whether the operation may answer as it did in this state, and the state after it.
    If ``operation.reply`` is NEVER any answer is possible. States must be hashable.
    """

    initial: State
    step: Step
    is_read: Callable[[Operation], bool] = lambda operation: False
    """True only for an operation that changes no state at all, whenever it happens."""
    prepare: Callable[[list[Operation]], Prepared] = lambda operations: Prepared(operations)
    """Makes the history of one key cheaper to judge, without another outcome."""


@dataclass(frozen=True)
class Verdict:
    """What :func:`check` found. ``linearizable`` is None if the search gave up on a key (and no other key is wrong)."""

    linearizable: bool | None
    operations: int
    key: Hashable = None
    operation: Operation | None = None
    states: tuple[State, ...] = ()
    pending: tuple[Operation, ...] = field(default=(), repr=False)
    before: tuple[Operation, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        return self.linearizable is True

    def explain(self) -> str:
        """A few lines for a person: which reply cannot be explained, and from what."""
        if self.linearizable:
            return f"{self.operations} operations are linearizable"
        what = "not linearizable" if self.linearizable is False else "undecided (too many operations open at once)"
        lines = [f"key {self.key!r} is {what} at: {self.operation!r}"]
        lines.append(f"  possible states before it: {', '.join(map(repr, self.states)) or 'none'}")
        lines += [f"  open then:   {operation!r}" for operation in self.pending]
        lines += [f"  done before: {operation!r}" for operation in self.before]
        return "\n".join(lines)


def _register(value: Any, operation: Operation) -> tuple[bool, Any]:
    kind = operation.kind
    if kind == "read":
        return operation.reply == NEVER or operation.result == value, value
    if kind == "write":
        return True, operation.argument
    if kind == "cas":
        expected, new = operation.argument
        happens = value == expected
        if operation.reply != NEVER and bool(operation.result) != happens:
            return False, value
        return True, new if happens else value
    raise ValueError(f"a register has read, write and cas, not {kind!r}")


def _reads_register(operation: Operation) -> bool:
    return operation.kind == "read" or (operation.kind == "cas" and operation.result is False)


def _mutex(holder: Any, operation: Operation) -> tuple[bool, Any]:
    if operation.kind == "acquire":
        return holder is None, operation.client
    if operation.kind == "release":
        return holder == operation.client, None
    raise ValueError(f"a mutex has acquire and release, not {operation.kind!r}")


def bounded(operations: list[Operation]) -> Prepared:
    """Give every operation of a register with unique values an end, or take it out.

    Ghosts are writes without reply whose value nobody saw, where a failed cas may need them; otherwise they are of no
    consequence and left out. If two writes have the same value nothing is changed. ``operations`` are those of one key.
    """
    if all(operation.reply != NEVER for operation in operations):
        return Prepared(operations)
    written = [_new_value(operation) for operation in operations if operation.kind != "read"]
    if len({None, *written}) != len(written) + 1:
        return Prepared(operations)
    # A failed cas tells something of the value that it expected; a write of that one is not like the others.
    failed = {each.argument[0] for each in operations if each.kind == "cas" and each.result is False}
    observed: dict[Any, int] = {}
    kept = operations
    # An open cas that was observed is itself an observer, with a new bound: repeat until nothing changes.
    while True:
        for operation in kept:
            seen = operation.result if operation.kind == "read" else _expected(operation)
            if seen is not None and operation.reply < observed.get(seen, NEVER):
                observed[seen] = operation.reply
        after = [
            operation._replace(result=True, reply=observed[_new_value(operation)])
            if operation.reply == NEVER and observed.get(_new_value(operation), 0) > operation.call
            else operation
            for operation in kept
            if operation.kind != "read" or operation.reply != NEVER
        ]
        if after == kept:
            break
        kept = after
    if not failed:
        return Prepared([each for each in kept if each.reply != NEVER])
    unseen = [each for each in kept if each.reply == NEVER]
    return Prepared(
        [each for each in kept if each.reply != NEVER],
        [each for each in unseen if _new_value(each) not in failed],
        [each for each in unseen if _new_value(each) in failed],
    )


def _new_value(operation: Operation) -> Any:
    return operation.argument[1] if operation.kind == "cas" else operation.argument


def _expected(operation: Operation) -> Any:
    return operation.argument[0] if operation.kind == "cas" and operation.result is True else None


REGISTER: Final = Model(None, _register, _reads_register, bounded)
"""One value, None at first; ``read``, ``write``, ``cas``."""
MUTEX: Final = Model(None, _mutex)
"""A lock: ``acquire`` and ``release`` by ``client``; a reply means that it was done."""


def check(operations: Iterable[Operation], model: Model = REGISTER) -> Verdict:
    """Judge a history, each key alone; returns the first key that is wrong, or a verdict that is true.

    >>> def op(client, kind, argument, result, call, reply):
    ...     return Operation(client, "x", kind, argument, result, call, reply)
    >>> bool(check([op(1, "write", 5, None, 1, 2), op(2, "read", None, 5, 3, 4)]))
    True
    >>> stale = check([op(1, "write", 5, None, 1, 2), op(2, "read", None, None, 3, 4)])
    >>> print(stale.explain())
    key 'x' is not linearizable at: client 2 [3, 4] read() of 'x' → None
      possible states before it: 5
      done before: client 1 [1, 2] write(5) of 'x'
    """
    by_key: dict[Hashable, list[Operation]] = {}
    count = 0
    for operation in operations:
        by_key.setdefault(operation.key, []).append(operation)
        count += 1
    undecided = None
    for of_key in by_key.values():
        verdict = check_key(of_key, model)
        if verdict.linearizable is False:
            return verdict
        if verdict.linearizable is None:
            undecided = verdict
    return Verdict(True, count) if undecided is None else undecided


def check_key(operations: list[Operation], model: Model = REGISTER) -> Verdict:
    """Judge the history of one object."""
    prepared = model.prepare(operations)
    verdict = _search(prepared.operations, model, prepared.ghosts)
    if verdict or not prepared.rest:
        return verdict
    return _search([*prepared.operations, *prepared.rest], model, prepared.ghosts)


class _Blank:
    """The value of a register after a ghost: one that nobody saw and nobody expects. It equals itself alone."""

    def __repr__(self) -> str:
        return "a value that nobody saw"


BLANK: Final = _Blank()


class _Ghosts:
    """Which ghosts there are at a place of the history.

    A plain write can take place in any state, once: it counts how many a configuration has used, and the fewest is
    best. A cas can take place in one state alone, which a register with unique values leaves for ever.
    """

    def __init__(self, ghosts: Sequence[Operation]) -> None:
        self.calls = sorted(each.call for each in ghosts if each.kind == "write")
        self.of_state: dict[Any, int] = {}
        for each in ghosts:
            if each.kind == "cas":
                expected = each.argument[0]
                self.of_state[expected] = min(each.call, self.of_state.get(expected, NEVER))

    def step(self, state: Any, used: int, now: int) -> int | None:
        """How many plain writes are used after one more ghost; None if there is none for this state."""
        if self.of_state.get(state, NEVER) < now:
            return used
        if used < len(self.calls) and self.calls[used] < now:
            return used + 1
        return None


def _search(prepared: list[Operation], model: Model, ghosts: Sequence[Operation]) -> Verdict:
    step, is_read = model.step, model.is_read
    haunted = _Ghosts(ghosts) if ghosts else None
    # `bounded` may give a write the reply of its first observer, never the place of a call: no reply ties with a call.
    events = [(operation.call, 1, number) for number, operation in enumerate(prepared)]
    events += [(operation.reply, 0, number) for number, operation in enumerate(prepared) if operation.reply != NEVER]
    events.sort()

    slot_of = [0] * len(prepared)
    free: list[int] = []
    slots = 0
    open_: dict[int, Operation] = {}  # slot bit → operation that may change the state
    open_reads: dict[int, Operation] = {}
    configurations: dict[tuple[int, Any], int] = {(0, model.initial): 0}  # → ghosts used, the fewest
    for place, is_call, number in events:
        operation = prepared[number]
        if is_call:
            if free:
                bit = free.pop()
            else:
                bit = 1 << slots
                slots += 1
            slot_of[number] = bit
            if is_read(operation):
                # A read takes effect in a configuration as soon as it can: that never takes a possibility away.
                open_reads[bit] = operation
                configurations = {
                    (mask | bit if step(state, operation)[0] else mask, state): used
                    for (mask, state), used in configurations.items()
                }
            else:
                open_[bit] = operation
            continue
        bit = slot_of[number]
        after: dict[tuple[int, Any], int] = {}
        todo = list(configurations.items())
        seen = dict(configurations)
        while todo:
            (mask, state), used = todo.pop()
            if used > seen[mask, state]:
                continue  # found again with fewer ghosts
            if mask & bit:
                left = (mask & ~bit, state)
                if used < after.get(left, NEVER):
                    after[left] = used
                continue
            thens = []
            for other, candidate in open_.items():
                if not mask & other:
                    possible, then = step(state, candidate)
                    if possible:
                        thens.append((mask | other, then, used))
            if haunted is not None and state is not BLANK:
                then_used = haunted.step(state, used, place)
                # Only a compare-and-set that failed, and would succeed in this state, needs one.
                if then_used is not None and any(
                    not mask & read_bit and read.kind == "cas" and not step(state, read)[0]
                    for read_bit, read in open_reads.items()
                ):
                    thens.append((mask, BLANK, then_used))
            for then_mask, then, then_used in thens:
                for read_bit, read in open_reads.items():
                    if not then_mask & read_bit and step(then, read)[0]:
                        then_mask |= read_bit
                configuration = (then_mask, then)
                if then_used < seen.get(configuration, NEVER):
                    seen[configuration] = then_used
                    todo.append((configuration, then_used))
            if len(seen) > CONFIGURATIONS_MAX:
                return _verdict(None, prepared, operation, configurations, {**open_, **open_reads})
        open_.pop(bit, None)
        open_reads.pop(bit, None)
        if not after:
            return _verdict(False, prepared, operation, configurations, {**open_, **open_reads})
        free.append(bit)
        configurations = after
    return Verdict(True, len(prepared))


def _verdict(
    linearizable: bool | None,
    operations: list[Operation],
    operation: Operation,
    configurations: Iterable[tuple[int, Any]],
    open_: dict[int, Operation],
) -> Verdict:
    before = sorted((each for each in operations if each.reply < operation.call), key=lambda each: each.reply)
    states = {repr(state): state for _, state in configurations}
    return Verdict(
        linearizable,
        len(operations),
        operation.key,
        operation,
        tuple(states[name] for name in sorted(states)),
        tuple(open_.values()),
        tuple(before[-6:]),
    )
