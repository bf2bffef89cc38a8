"""What a workload is: what its clients do turn by turn, what they do at the end, and how its history is judged.

One file each beside this one. A :class:`Hand` is one client with its dice; everything that it does to the cluster goes
through :meth:`Hand.attempt`, which writes it down.
"""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from quorate.errors import Indeterminate, NodeFailed, NotHappened, QuorateError, SessionLost
from quorate.testing.torture.record import Done, Record

__all__ = ["Attempt", "Hand", "Problem", "Settings", "Workload"]

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """What all workloads of a run share."""

    seed: int
    stale_reads: bool = False
    """A deliberate mistake, to see that it is caught: reads that claim to be linearizable are local ones."""


@dataclass(frozen=True)
class Problem:
    """What a history shows that must not be. ``rule`` is its name, ``detail`` what contradicts what."""

    rule: str
    detail: str


@dataclass(frozen=True)
class Attempt(Generic[T]):
    """What became of an operation; true if it was acknowledged."""

    outcome: str
    value: T | None = None

    def __bool__(self) -> bool:
        return self.outcome == "ok"


def outcome_of(error: QuorateError) -> str:
    """What an error proves, by the contract of :mod:`quorate.errors`: ``fail`` or ``unknown``."""
    if isinstance(error, (SessionLost, NodeFailed)):
        return outcome_of(error.outcome) if error.outcome is not None else "unknown"
    if isinstance(error, Indeterminate):
        return "unknown"
    if isinstance(error, NotHappened):
        return "fail"
    return "unknown"


class Hand:
    """One client, which does one thing after the other. ``client`` is a :class:`quorate.Client`."""

    def __init__(self, name: str, client: Any, record: Record, seed: int, pinned: Any = None) -> None:
        self.name = name
        self.client = client
        self.pinned = pinned
        """A client that asks one node alone, in a run with stale reads; else None."""
        self.record = record
        self.random = random.Random(f"{seed}/{name}")
        self.memory: dict[str, Any] = {}
        """Where a workload keeps what belongs to this client."""

    def wait(self, seconds: float) -> None:
        """Holds still; not for long, because the end of the run waits for it."""
        if seconds:
            time.sleep(seconds)

    def attempt(
        self,
        load: str,
        key: str,
        kind: str,
        argument: Any,
        act: Callable[[], T],
        *,
        result: Callable[[T], Any] = lambda value: value,
        read: bool = False,
    ) -> Attempt[T]:
        """Does it and writes it down. ``result`` makes what is recorded of what came; a ``read`` that fails changed
        nothing, whatever the error."""
        number = self.record.invoke(self.name, load, key, kind, argument)
        try:
            value = act()
        except QuorateError as error:
            outcome = "fail" if read else outcome_of(error)
            self.record.reply(number, outcome, error=f"{type(error).__name__}: {error}")
            return Attempt(outcome)
        self.record.reply(number, "ok", result(value))
        return Attempt("ok", value)


class Workload(ABC):
    """One kind of use of the cluster. An instance is shared by all its hands, each in a thread of its own."""

    name: ClassVar[str]
    claim: ClassVar[str]
    """What the check shows, in words."""
    hands: ClassVar[int] = 3
    pause: ClassVar[float] = 0.02
    """Mean seconds between two turns of a hand."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def turn(self, hand: Hand) -> None:
        """One thing that one client does, or a few that belong together."""

    def finish(self, hand: Hand) -> None:  # noqa: B027
        """After the healing, by one hand alone: what shows that nothing was lost."""

    def leave(self, hand: Hand) -> None:  # noqa: B027
        """The end of each hand, before :meth:`finish`: gives back what it holds."""

    @classmethod
    @abstractmethod
    def check(cls, history: Sequence[Done]) -> list[Problem]:
        """Judges the operations of this workload alone."""
