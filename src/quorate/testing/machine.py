"""State machines in the simulator: what one must have, and the registers that the simulator brings along.

Knows nothing of consensus: a state machine sees committed commands, in order.
"""

from __future__ import annotations

import struct
from typing import Any, Final, Protocol, final, runtime_checkable

__all__ = ["CAS", "READ", "WRITE", "Registers", "StateMachine"]


@runtime_checkable
class StateMachine(Protocol):
    """What can be put into a :class:`~quorate.testing.SimCluster`. It must be deterministic: no clock, no
    randomness."""

    def apply(self, index: int, command: bytes) -> Any:
        """Apply one committed command; the result goes to whoever proposed it. Indexes grow, with gaps."""

    def snapshot(self) -> bytes:
        """The whole state; must not be empty-handed about anything that decides later results."""

    def restore(self, data: bytes) -> None:
        """Become the state that ``snapshot`` gave, whatever the state is now."""


WRITE: Final = 1
CAS: Final = 2
READ: Final = 3

_COMMAND: Final = struct.Struct("<IIBIII")
_PAIR: Final = struct.Struct("<III")
_COUNTS: Final = struct.Struct("<II")


@final
class Registers:
    """Numbered registers of ints (0: nothing), with sessions: a command (client, number) takes effect once."""

    __slots__ = ("sessions", "values")

    def __init__(self) -> None:
        self.values: dict[int, int] = {}
        self.sessions: dict[int, tuple[int, int]] = {}

    @staticmethod
    def command(
        client: int, number: int, kind: int, key: int, value: int, expected: int = 0, padding: int = 0
    ) -> bytes:
        """A command: request ``number`` of ``client`` sets ``key`` to ``value`` (if it is ``expected``, for a CAS)."""
        return _COMMAND.pack(client, number, kind, key, value, expected) + bytes(padding)

    def apply(self, index: int, command: bytes) -> int:
        """1 if the register was set, else 0; the old answer if it was applied before."""
        client, number, kind, key, value, expected = _COMMAND.unpack_from(command)
        last, result = self.sessions.get(client, (0, 0))
        if number <= last:
            return result
        result = 1
        if kind == CAS and self.values.get(key, 0) != expected:
            result = 0
        else:
            self.values[key] = value
        self.sessions[client] = (number, result)
        return result

    def snapshot(self) -> bytes:
        parts = [_COUNTS.pack(len(self.values), len(self.sessions))]
        parts += [_PAIR.pack(key, value, 0) for key, value in sorted(self.values.items())]
        parts += [_PAIR.pack(client, *self.sessions[client]) for client in sorted(self.sessions)]
        return b"".join(parts)

    def restore(self, data: bytes) -> None:
        values, sessions = _COUNTS.unpack_from(data)
        rows = list(_PAIR.iter_unpack(data[_COUNTS.size :]))
        assert len(rows) == values + sessions, "a torn snapshot was loaded"
        self.values = {key: value for key, value, _ in rows[:values]}
        self.sessions = {client: (number, result) for client, number, result in rows[values:]}
