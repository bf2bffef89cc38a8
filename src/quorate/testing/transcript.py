"""The last steps of each node, told as a story. Keeps objects and makes text only when it is asked to."""

from __future__ import annotations

from collections import deque
from typing import Any, final

__all__ = ["Transcript", "moment"]


def moment(true: int) -> str:
    """A true time in microseconds as seconds.

    >>> moment(12_345_678)
    '12.345678'
    """
    return f"{true // 1_000_000}.{true % 1_000_000:06d}"


@final
class Transcript:
    """The last ``limit`` steps of one node."""

    __slots__ = ("_name", "add", "steps")

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self.steps: deque[tuple[int, Any, Any]] = deque(maxlen=limit)
        self.add = self.steps.append
        """Called with (true time, event or a str that says what happened, update or None)."""

    def lines(self, limit: int | None = None) -> list[str]:
        """Oldest first; the lines after an event are what the node was asked to do."""
        found: list[str] = []
        for true, event, update in list(self.steps)[-limit if limit else None :]:
            found.append(f"{moment(true)} {self._name} {event if isinstance(event, str) else _event(event)}")
            if update is not None:
                found += [f"            {line}" for line in _duties(update)]
        return found


def _event(event: Any) -> str:
    message = getattr(event, "message", None)
    return f"receives {message!r}" if message is not None else repr(event)


def _duties(update: Any) -> list[str]:
    head = f"is {update.role} of term {update.term}, leader {update.leader or 'unknown'}, commit {update.commit}"
    lines = [head]
    if update.ticket:
        what = [] if update.hard_state is None else [repr(update.hard_state)]
        if update.entries:
            what.append(f"entries [{', '.join(f'{entry.index}@{entry.term}' for entry in update.entries)}]")
        lines.append(f"write {update.ticket}{'' if update.sync else ' (no sync)'}: {', '.join(what)}")
    if update.snapshot_chunk is not None:
        chunk = update.snapshot_chunk
        end = ", the last" if chunk.done else ""
        lines.append(f"chunk of snapshot ({chunk.index}, {chunk.term}) at {chunk.offset}, {len(chunk.data)} bytes{end}")
    lines += [f"send {message!r}" for message in update.messages]
    lines += [f"once durable, send {message!r}" for message in update.messages_after_persistence]
    if update.apply:
        lines.append(f"apply [{', '.join(f'{entry.index}@{entry.term}' for entry in update.apply)}]")
    lines += [repr(result) for result in (*update.reads, *update.proposals)]
    return lines
