"""Watches as users hold them: iterators of changes that can be closed, resumed, and that tell when history is gone.

What a watch does is one flow for threads and for asyncio; this file has it and its face for threads. Each look at the
history is a question of its own (`Backend.events`), so a watch lives through elections, lost connections and other
nodes: nothing is kept open on the other side.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, TypeVar, final

from quorate.api.core import Core
from quorate.client.flow import Flow, Pause, Step, run, seconds
from quorate.client.keys import Key, key_of, prefix_end
from quorate.errors import Compacted, Indeterminate, InvalidArgument, NoQuorum, NotLeader, Overloaded, RequestTimeout
from quorate.store.views import EventKind

__all__ = ["Event", "Watch", "WatchCore"]

T = TypeVar("T")

LOOK_SECONDS: Final = 30.0
"""How long one question for further events stays open."""
SLICE_SECONDS: Final = 0.2
"""How soon an iterating thread notices that another one closed the watch."""
PAUSE_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Event:
    """A change of one key.

    ``kind`` is EventKind.PUT, DELETE, or EXPIRE (deleted with its session). ``value`` is the new one, or the last one
    of a key that was deleted. ``last_of_revision``: no further event of this watch has this revision.
    """

    kind: EventKind
    key: bytes
    value: bytes
    revision: int
    version: int
    session: int
    last_of_revision: bool


class WatchCore:
    """Where a watch stands, and how it goes on."""

    def __init__(self, core: Core, key: Key, prefix: bool, revision: int | None) -> None:
        if not isinstance(prefix, bool):
            raise InvalidArgument(f'prefix is True or False: watch("config/", prefix=True), not prefix={prefix!r}')
        if revision is not None and (isinstance(revision, bool) or not isinstance(revision, int) or revision < 0):
            raise InvalidArgument(
                f"revision is that of the last change that is known already, or None, not {revision!r}"
            )
        name = core.prefix if prefix and not key else key_of(key, core.prefix)
        self.backend = core.backend
        self.skip = len(core.prefix)
        self.start = name
        self.end = prefix_end(name) if prefix else name + b"\x00"
        self.shown = f"{key!r}{', prefix=True' if prefix else ''}"
        self.after = revision  # everything up to it has been asked for
        self.seen = revision or 0  # everything up to it has been handed out
        self.events: deque[Event] = deque()
        self.closed = False

    def begin(self, timeout: float) -> Flow[None]:
        """From now on, unless it was told from where."""
        if self.after is None:
            self.after = self.seen = yield from self.backend.barrier(timeout)

    def look(self, timeout: float) -> Flow[None]:
        """Fetches events; none after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while not self.events and not self.closed:
            assert self.after is not None, "a watch begins before it looks"
            left = deadline - time.monotonic()
            if left < 0:
                return
            try:
                found = yield from self.backend.events(self.start, self.end, self.after, False, left)
            except (NotLeader, NoQuorum, Overloaded, Indeterminate):
                # Nobody to ask now; nothing is missed, because the next question begins where this one did.
                yield Pause(max(min(PAUSE_SECONDS, left), 0.0))
                continue
            if found.compacted:
                raise Compacted(
                    f"what happened after revision {self.after} is not kept any more; read the keys anew, and watch "
                    "from the revision of that read",
                    first_available=found.first_available,
                )
            self.after = found.complete
            for each in found.events:
                self.events.append(
                    Event(
                        each.kind, each.name[self.skip :], each.value, each.revision, each.version, each.session,
                        each.last_of_revision,
                    )
                )  # fmt: skip
            if not self.events:
                self.seen = self.after

    def taken(self) -> Event:
        """The next event that was fetched."""
        event = self.events.popleft()
        if not self.events:
            assert self.after is not None, "what has events has asked"
            self.seen = self.after
        elif event.last_of_revision:
            self.seen = event.revision
        return event

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"after revision {self.seen}"
        return f"<Watch {self.shown}, {state}, {len(self.events)} events fetched>"


class _Ended(Exception):
    """The watch was closed by another thread."""


@final
class Watch:
    """An iterator of the changes of a key, or of all keys with a prefix: in order, without gaps, for ever.

    A context manager; :meth:`close` from any thread ends it. :attr:`revision` is where to resume:
    ``client.watch(key, revision=watch.revision)`` goes on behind what was handed out, in this process or another one.
    Raises Compacted if that history is gone: then read the keys, and watch from the ``revision`` of that read.

    One thread at a time iterates. Made by :meth:`Client.watch`.
    """

    def __init__(self, core: Core, key: Key, prefix: bool, revision: int | None, timeout: float | None) -> None:
        self._core = WatchCore(core, key, prefix, revision)
        run(self._core.begin(core.seconds(timeout)))

    @property
    def revision(self) -> int:
        """Every change up to this one has been handed out."""
        return self._core.seen

    def next(self, timeout: float = 5.0) -> Event | None:
        """The next change, or None if there is none within ``timeout`` seconds, or the watch is closed."""
        limit = seconds(timeout)
        if not self._core.events and not self._core.closed:
            try:
                self._carry(self._core.look(limit))
            except _Ended:
                return None
        return self._core.taken() if self._core.events and not self._core.closed else None

    def _carry(self, flow: Flow[None]) -> None:
        step = next(flow, None)
        while step is not None:
            try:
                answer = self._taken(step)
            except _Ended:
                flow.close()
                raise
            except BaseException as error:
                following = _stepped(flow.throw, error)
            else:
                following = _stepped(flow.send, answer)
            step = following

    def _taken(self, step: Step) -> Any:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        while True:
            try:
                return step.wait(SLICE_SECONDS)
            except RequestTimeout:  # noqa: PERF203
                if self._core.closed:
                    raise _Ended from None
                if step.done:
                    return step.wait(0.0)

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> Event:
        while not self._core.closed:
            event = self.next(LOOK_SECONDS)
            if event is not None:
                return event
        raise StopIteration

    def close(self) -> None:
        """Ends it: a thread that iterates comes out of its loop. Does nothing the second time."""
        self._core.closed = True

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._core)


def _stepped(go_on: Any, what: Any) -> Step | None:
    try:
        step: Step = go_on(what)
    except StopIteration:
        return None
    return step
