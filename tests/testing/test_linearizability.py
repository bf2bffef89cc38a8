"""The judge is judged: known histories, good and bad, and a brute-force oracle for small ones."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.testing.history import NEVER, History, Operation
from quorate.testing.linearizability import MUTEX, REGISTER, Model, Prepared, bounded, check


def history(*lines: str) -> list[Operation]:
    """Each line is one client: ``w5 r5 -- w7? c5,7`` with call and reply at the columns where a word begins and ends.

    ``?`` ends an operation that never replied; ``c5,7`` is a successful cas, ``x5,7`` a failed one; ``r-`` reads
    nothing.
    """
    operations = []
    places = len(max(lines, key=len)) + 1
    for client, line in enumerate(lines):
        start = 0
        for word in line.split():
            start = line.index(word, start)
            end = start + len(word)
            body = word.strip("[]?.").replace(".", "")
            call, reply = (start * len(lines) + client) * 2, (end * len(lines) + client) * 2 - 1
            reply = NEVER if word.endswith("?") else reply
            if body[0] == "r":
                value = None if body[1:] == "-" else int(body[1:])
                operations.append(Operation(client, "x", "read", None, value, call, reply))
            elif body[0] == "w":
                operations.append(Operation(client, "x", "write", int(body[1:]), None, call, reply))
            else:
                expected, new = (None if part == "-" else int(part) for part in body[1:].split(","))
                result = None if reply == NEVER else body[0] == "c"
                operations.append(Operation(client, "x", "cas", (expected, new), result, call, reply))
            start = end
    assert places
    return operations


GOOD = {
    "nothing": [""],
    "reads of an empty register": ["r-  r-", "  r-"],
    "a read during a write sees the old value": ["w1  w2......", "      r1..   "],
    "a read during a write sees the new value": ["w1  w2......", "      r2..   "],
    "old after new is fine while both reads overlap": ["w1  w2..........", "      r2......  ", "      r1......   "],
    "a lost write that nobody saw": ["w1  w2?         ", "       r1  r1 r1"],
    "a lost write that took effect late": ["w1  w2?         ", "       r1  r2 r2"],
    "a lost write takes effect after its client's crash": ["w1 w2?", "       r1 w3 r3 r2"],
    "cas passes a value on": ["w1 c1,2 c2,3", "            r3"],
    "a failed cas sees another value": ["w1   x9,2 ", "           r1"],
    "a lost cas that took effect": ["w1 c1,2?", "          r1 r2"],
    "a read put before the write that replied first": ["w1  w2....     ", "     r1........"],
    "a lost chain: write, then cas of it": ["w1?      ", "   c1,2? ", "         r2"],
    "the same value twice": ["w1 w1 r1", "   w2......", "         r1 "],
}
BAD = {
    "a read of a value never written": ["w1 r2"],
    "a stale read": ["w1 w2 ", "       r1"],
    "a read of nothing after a write": ["w1   ", "    r-"],
    "new, then old": ["w1 w2......... ", "    r2         ", "        r1     "],
    "a lost update": ["c-,1    ", "c-,2    "],
    "a value from the future": ["r1    ", "    w1"],
    "a lost value from the future": ["r1    ", "    w1?"],
    "a lost write seen, then unseen": ["w1 w2?      ", "      r2 r1 "],
    "cas from a value that was not there": ["w1 w2 c1,3"],
    "a failed cas that should not have failed": ["w1 x1,2"],
    "two reads that disagree on the order of two writes": [
        "w1.............",
        "w2.............",
        "   r1..... r2  ",
        "   r2..... r1  ",
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories_pass(name: str) -> None:
    verdict = check(history(*GOOD[name]))
    assert verdict, verdict.explain()


@pytest.mark.parametrize("name", BAD)
def test_bad_histories_are_seen(name: str) -> None:
    verdict = check(history(*BAD[name]))
    assert verdict.linearizable is False
    assert "not linearizable at" in verdict.explain()


def oracle(operations: list[Operation], model: Model) -> bool:
    """Try every order of every subset that holds all that replied. For a handful of operations only."""
    done = [operation for operation in operations if operation.reply != NEVER]
    lost = [operation for operation in operations if operation.reply == NEVER]
    for count in range(len(lost) + 1):
        for chosen in itertools.combinations(lost, count):
            for order in itertools.permutations(done + list(chosen)):
                if any(b.reply < a.call for a, b in itertools.combinations(order, 2)):
                    continue
                state = model.initial
                for operation in order:
                    possible, state = model.step(state, operation)
                    if not possible:
                        break
                else:
                    return True
    return False


@st.composite
def small_histories(draw: st.DrawFn) -> list[Operation]:
    count = draw(st.integers(1, 6))
    places = draw(st.permutations(range(2 * count)))
    distinct = draw(st.booleans())
    operations = []
    for number in range(count):
        call, reply = sorted(places[2 * number : 2 * number + 2])
        kind = draw(st.sampled_from(["read", "write", "cas"]))
        value = number + 1 if distinct else draw(st.integers(1, 2))
        lost = kind != "read" and draw(st.integers(0, 3)) == 0
        seen = draw(st.one_of(st.none(), st.integers(1, count if distinct else 2)))
        argument = {"read": None, "write": value, "cas": (seen, value)}[kind]
        result = seen if kind == "read" else None if lost or kind == "write" else draw(st.booleans())
        operations.append(Operation(number, "x", kind, argument, result, call, NEVER if lost else reply))
    return operations


@given(small_histories())
def test_agrees_with_brute_force(operations: list[Operation]) -> None:
    expected = oracle(operations, REGISTER)
    assert check(operations).linearizable is expected
    assert check(operations, REGISTER._replace(prepare=Prepared)).linearizable is expected


def simulated(seed: int, count: int, clients: int, keys: int) -> list[Operation]:
    """A history of a real register: each operation takes effect at one moment inside its span; some get no reply."""
    rng = random.Random(seed)
    moments: list[tuple[float, int, int, str]] = []
    for number in range(count):
        start = number / clients + rng.random()
        effect = start + rng.random() * 2
        moments += [
            (start, 0, number, "call"),
            (effect, 1, number, "effect"),
            (effect + rng.random(), 2, number, "reply"),
        ]
    moments.sort()
    kinds = ["read", "write", "cas"]
    plan = [(rng.randrange(keys), rng.choice(kinds), rng.random() < 0.02) for _ in range(count)]
    recorder, state, tokens, results = History(), {}, {}, {}
    for _, _, number, what in moments:
        key, kind, lost = plan[number]
        if what == "call":
            argument = None if kind == "read" else number if kind == "write" else (state.get(key), number)
            tokens[number] = (recorder.invoke(number, key, kind, argument), argument)
        elif what == "effect":
            argument = tokens[number][1]
            if kind == "read":
                results[number] = state.get(key)
            elif kind == "write":
                state[key] = argument
            else:
                results[number] = state.get(key) == argument[0]
                if results[number]:
                    state[key] = argument[1]
        elif lost:
            recorder.unknown(tokens[number][0])
        else:
            recorder.ok(tokens[number][0], results.get(number))
    return recorder.operations()


def test_a_long_history_and_one_wrong_reply_in_it() -> None:
    operations = simulated(seed=1, count=20_000, clients=8, keys=20)
    assert check(operations)
    reads = [number for number, operation in enumerate(operations) if operation.kind == "read" and operation.result]
    wrong = reads[len(reads) // 2]
    earliest = min(o.argument for o in operations if o.kind == "write" and o.key == operations[wrong].key)
    operations[wrong] = operations[wrong]._replace(result=earliest)
    assert check(operations).linearizable is False


@pytest.mark.parametrize(("count", "clients", "keys"), [(10_000, 10, 5), (10_000, 20, 20)])
def test_lost_writes_beside_failed_swaps_do_not_make_it_slow(count: int, clients: int, keys: int) -> None:
    operations = simulated(seed=3, count=count, clients=clients, keys=keys)
    assert sum(operation.reply == NEVER for operation in operations) > 100
    verdict = check(operations)
    assert verdict, verdict.explain()


def test_a_lost_write_explains_one_failed_swap_and_no_more() -> None:
    # One write without reply: the value may leave 1 once, and comes back only by somebody who wrote it.
    assert check(history("w1 w2?         ", "       x1,3    "))
    assert check(history("w1 w2?              ", "       x1,3 c1,4    ")).linearizable is False
    assert check(history("w1 w2?                   ", "       x1,3 w5 x5,6      ")).linearizable is False
    assert check(history("w1 w2? w8?               ", "           x1,3 w5 x5,6  "))
    # A lost compare-and-set leaves the value that it expects, and no other one.
    assert check(history("w1 c1,2?       ", "         x1,3  "))
    assert check(history("w1 c7,2?       ", "         x1,3  ")).linearizable is False
    # What has not been called yet explains nothing.
    assert check(history("w1 x1,3      ", "          w2?")).linearizable is False


@pytest.mark.slow
def test_a_hundred_thousand_operations() -> None:
    assert check(simulated(seed=2, count=100_000, clients=10, keys=50))
    assert check(simulated(seed=2, count=30_000, clients=6, keys=1))


def test_bounded_leaves_out_only_what_nobody_saw() -> None:
    operations = history("w1  w2?         ", "w3?     r1  r2 r2")
    kept, ghosts, rest = bounded(operations)
    assert not ghosts
    assert not rest
    assert [operation.argument for operation in kept if operation.kind == "write"] == [1, 2]
    assert all(operation.reply != NEVER for operation in kept)


def test_a_mutex_held_by_two_is_seen() -> None:
    def op(client: int, kind: str, call: int, reply: int) -> Operation:
        return Operation(client, "lock", kind, None, None, call, reply)

    assert check([op(1, "acquire", 1, 2), op(1, "release", 3, 6), op(2, "acquire", 4, 7)], MUTEX)
    assert check([op(1, "acquire", 1, 2), op(2, "acquire", 3, 4)], MUTEX).linearizable is False
    assert check([op(1, "acquire", 1, NEVER), op(2, "acquire", 3, 4)], MUTEX)


def test_gives_up_rather_than_run_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorate.testing.linearizability.CONFIGURATIONS_MAX", 100)
    lost = [Operation(n, "x", "write", n % 3, None, n, NEVER) for n in range(20)]
    verdict = check([*lost, Operation(99, "x", "read", None, 7, 100, 101)])
    assert verdict.linearizable is None
    assert not verdict
    assert "undecided" in verdict.explain()


def test_history_survives_a_file(tmp_path) -> None:
    recorder = History()
    first = recorder.invoke("a", "x", "write", 1)
    second = recorder.invoke("b", "x", "cas", (1, 2))
    recorder.ok(first)
    recorder.unknown(second)
    third = recorder.invoke("c", "x", "read")
    recorder.failed(third)
    recorder.invoke("d", "y", "write", 3)
    recorder.save(tmp_path / "history.jsonl")
    assert History.load(tmp_path / "history.jsonl") == recorder.operations()
    assert [operation.reply for operation in recorder] == [3, NEVER, NEVER]
