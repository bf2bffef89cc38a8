"""What is measured of each peer, in the order in which a turn measures it. Knows no peer."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from members import Running


@dataclass(frozen=True)
class Effort:
    """How long a turn takes: seconds of each measurement."""

    turn: float
    rest: float
    settle: float


Figures = Mapping[str, float]
Measure = Callable[[Running, Effort], "Figures | None"]


@dataclass(frozen=True)
class Row:
    """A column of a table, and a panel of the plot.

    ``group``: which table. ``kind``: which of the peer's ``without`` it falls under. ``figure``: the number that ratios
    are of. ``more``: the greater one is the better one. ``unit``: how figures are shown.
    """

    name: str
    group: str
    title: str
    measure: Measure
    kind: str
    figure: str = "p50"
    more: bool = False
    unit: str = "time"


def _asked(do: str, share: float = 1.0, **arguments: Any) -> Measure:
    return lambda running, effort: running.main.ask(do, seconds=effort.turn * share, **arguments)


def _rest(running: Running, effort: Effort) -> Figures:
    running.rest(effort.settle)
    return running.rest(effort.rest)


def _inherited(running: Running, effort: Effort) -> Figures | None:
    holder = running.beside()
    holder.ask("hold", name="inherited")
    delay = random.uniform(0.3, 1.0)
    found: Figures | None = running.main.ask("inherit", name="inherited", holder=holder.process.pid, delay=delay)
    for member, each in running.inside.items():
        if each is holder:
            running.restart(member)
    return found


def _struck(number: int) -> Measure:
    """The leader is struck, and a client that knew of nothing goes on; embedded: a client in another member."""

    def measure(running: Running, effort: Effort) -> Figures | None:
        leader = running.lasting_leader()
        client = running.beside()
        found: Figures | None = client.ask("strike", member=running.pid(leader), number=int(number), leader=leader)
        if number == signal.SIGKILL:
            running.restart(leader)
        return found

    return measure


PUTS, READS, LOCKS, FAILURES = (
    "Durable puts",
    "Reads, and rest",
    "The lock of each library",
    "Failures",
)
ROWS = [
    Row("put", PUTS, "one at a time, p50 / p99", _asked("put"), "put"),
    Row("put-64", PUTS, "64 outstanding, puts/s", _asked("flood", window=64), "put", "rate", True, "rate"),
    Row("put-1024", PUTS, "1,024 outstanding, puts/s", _asked("flood", window=1024), "put", "rate", True, "rate"),
    Row("read", READS, "linearizable, p50 / p99", _asked("read", 0.5), "read"),
    Row("local", READS, "local, p50 / p99", _asked("local", 0.3), "local"),
    Row("lock", LOCKS, "acquire + release, p50 / p99", _asked("lock"), "lock"),
    Row("lock-aio", LOCKS, "the same in asyncio", _asked("lock_in_tasks"), "lock-aio"),
    Row("contend-2", LOCKS, "hand-over, 2 contenders, p50 / p99", _asked("contend", contenders=2), "contend"),
    Row("contend-8", LOCKS, "hand-over, 8", _asked("contend", contenders=8), "contend"),
    Row("contend-64", LOCKS, "hand-over, 64", _asked("contend", contenders=64), "contend"),
    Row("rest", READS, "all members at rest: % of a core, MiB", _rest, "rest", "percent", unit="rest"),
    Row("inherited", FAILURES, "holder of a lock killed → next holder", _inherited, "inherited", unit="one"),
    Row("killed", FAILURES, "leader killed → next put", _struck(signal.SIGKILL), "killed", unit="one"),
    Row("paused", FAILURES, "leader paused → next put", _struck(signal.SIGSTOP), "paused", unit="one"),
]
"""The last one leaves its cluster behind as nothing else could use it."""
