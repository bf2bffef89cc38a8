"""What the backends over a native engine share: the node's own questions, asked in this process or over a connection.

Knows neither where the engine is nor arguments as users write them. Bodies are made by `runtime.questions`, answers are
read by `store._decode`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from quorate.client.attendant import Attendant
from quorate.client.backend import Events, Lane, Member, Rows, State
from quorate.client.flow import Answer, Flow, Pause, run
from quorate.client.notices import Notices, notices_of, told
from quorate.client.outcomes import checked, error_of
from quorate.errors import (
    ConnectionLost,
    Indeterminate,
    InvalidArgument,
    NoQuorum,
    NotHappened,
    NotLeader,
    Overloaded,
    QuorateError,
    Rejected,
    SessionLost,
)
from quorate.runtime import questions
from quorate.runtime.membership import Manager
from quorate.runtime.questions import Kind
from quorate.store import KeyValue, Reader, _decode
from quorate.store.views import Acquisition, Permit, Result, SessionView

__all__ = ["EngineBackend"]

T = TypeVar("T")

LAST_SECONDS: Final = 0.05
"""With less time than this left, a question is not asked again: the answer would come too late to be told."""
RETRY_SECONDS: Final = 0.01
"""How long a question waits for another leader before it is asked again."""
MANY: Final = 16_384
"""Commands that are handed to a lane as one."""
TTL_SECONDS: Final = 10.0
"""Of the session in which a client writes what belongs to no other one."""
GOODBYE_SECONDS: Final = 1.0
"""How long closing a client waits for the end of its sessions; without it they end by themselves, after their ttl."""
ANSWER_BYTES: Final = 4 << 20
"""Rows in one answer; a range of more is read in pieces."""


_STATES: Final = {"connected": State.CONNECTED, "suspended": State.SUSPENDED, "stopped": State.LOST}


def own_label() -> str:
    """Who this process is, for people who look who holds a lock: host, process, program. At most 255 bytes."""
    path = Path(sys.argv[0] if sys.argv else "")
    program = path.parent.name if path.name == "__main__.py" else path.name
    if program in ("", "-", "-c", "-m"):
        program = "python"
    return f"{os.uname().nodename} {os.getpid()} {program}".encode(errors="replace")[:255].decode(errors="ignore")


_backends: weakref.WeakSet[EngineBackend] = weakref.WeakSet()


def _forked() -> None:
    for each in list(_backends):
        each._lock = threading.Lock()  # another thread may have held it at the time of the fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class EngineBackend:
    """A :class:`~quorate.client.backend.Backend` over an engine; subclasses say which one it is now."""

    def __init__(self, label: str = "") -> None:
        self._closed = False
        self._label = label or own_label()
        self._lock = threading.Lock()
        _backends.add(self)
        self._pooled: Lane | None = None  # the session in which this client writes
        self._pooled_of: Any = None  # the engine that it belongs to
        self._pools: dict[float, tuple[Any, Lane]] = {}  # for recipes: by ttl, the engine and its session
        self._attendant: Attendant | None = None
        # Those that were opened here and not closed, by their ids in notices; a session that is forgotten ends.
        self._lanes: weakref.WeakValueDictionary[int, Lane] = weakref.WeakValueDictionary()
        self._callbacks: list[Callable[[State], None]] = []
        self._watched: dict[int, tuple[Lane, list[Callable[[str], None]]]] = {}  # sessions whose fate is told, by id
        self._told: State | None = None
        self._notices: Notices | None = None

    def _engine(self) -> Any:
        """What is asked; raises if there is nobody to ask."""
        raise NotImplementedError

    def _open(self) -> None:
        if self._closed:
            raise Rejected("the client is closed")

    def load(self, commands: list[bytes], *, count: int, window: int, timeout: float) -> dict[str, Any]:
        """Keeps ``window`` of ``commands`` on their way natively, in turn and outside of a session, and measures them:
        see ``client/_load.pyx``. Blocks."""
        from quorate.client._load import load  # nobody else pays for it

        self._open()
        return load(self._engine(), commands, count=count, window=window, timeout=timeout)

    def _lane(self) -> Lane:
        """The pooled lane: a new one if there is none, or the session is over, or the engine is another one."""
        lane = self._pooled
        engine = self._engine()
        if lane is None or self._pooled_of is not engine or lane.state not in ("opening", "open"):
            with self._lock:
                self._open()
                lane = self._pooled
                if lane is None or self._pooled_of is not engine or lane.state not in ("opening", "open"):
                    if lane is not None:
                        self._lanes.pop(lane.id, None)
                    lane = engine.lane(TTL_SECONDS, label=self._label.encode()[:255])
                    self._lanes[lane.id] = lane
                    self._pooled = lane
                    self._pooled_of = engine
        return lane

    def _asked(self, send: Callable[[Any, float], Answer], timeout: float, *, harmless: bool = False) -> Flow[Any]:
        """Asks, and asks again while it is proven that nothing happened; what is ``harmless`` also if it is not
        known."""
        deadline = time.monotonic() + timeout
        while True:
            self._open()
            engine = self._engine()
            try:
                return (yield send(engine, max(deadline - time.monotonic(), 0.0)))
            except (NotLeader, NoQuorum):
                if deadline - time.monotonic() <= LAST_SECONDS:
                    raise
            except ConnectionLost:
                if not harmless or deadline - time.monotonic() <= LAST_SECONDS:
                    raise
            yield Pause(RETRY_SECONDS)

    def _read(self, kind: Kind, body: bytes, decode: Callable[[bytes], T], timeout: float) -> Flow[T]:
        _, found = yield from self._asked(lambda engine, left: engine.ask(kind, body, left), timeout, harmless=True)
        try:
            return decode(found)
        except InvalidArgument as error:
            raise ConnectionLost(f"the node's answer is not understood: {error}") from None

    # Writing

    def write(self, command: bytes, timeout: float, lane: Lane | None = None) -> Flow[Result]:
        """See :class:`~quorate.client.backend.Backend`."""
        self._open()
        if lane is not None:
            return Result.decode((yield lane.submit(command, timeout))[1])
        deadline = time.monotonic() + timeout
        left = timeout
        while True:
            try:
                return Result.decode((yield self._lane().submit(command, left))[1])
            except SessionLost as lost:  # noqa: PERF203
                # The session was not the caller's own, so that its loss is not theirs; and a new one may be tried once
                # it is proven that nothing was done in the old one (a retry never crosses sessions otherwise).
                left = deadline - time.monotonic()
                if not isinstance(lost.outcome, NotHappened):
                    raise Indeterminate(f"the client's session was lost on the way: {lost}") from lost
                if left <= LAST_SECONDS:
                    raise NotHappened(f"the client's session was lost on the way: {lost}") from lost

    def write_many(
        self, commands: Sequence[bytes], timeout: float, lane: Lane | None = None
    ) -> Flow[list[bytes | QuorateError]]:
        """See :class:`~quorate.client.backend.Backend`."""
        self._open()
        deadline = time.monotonic() + timeout
        through = self._lane() if lane is None else lane
        sent: deque[Answer] = deque()
        found: list[Any] = []
        refused: QuorateError | None = None
        for at in range(0, len(commands), MANY):
            piece = list(commands[at : at + MANY])
            while refused is None:
                try:
                    sent.append(through.submit_many(piece, max(deadline - time.monotonic(), 0.0)))
                    break
                except Overloaded as full:
                    # The queue is bounded: what was sent makes room.
                    if not sent or time.monotonic() >= deadline:
                        refused = full
                    else:
                        found += yield sent.popleft()
                except QuorateError as error:
                    refused = error
            if refused is not None:
                break
        while sent:
            found += yield sent.popleft()
        if refused is not None:
            found += [refused] * (len(commands) - len(found))
        if lane is None:
            for at, each in enumerate(found):
                if isinstance(each, SessionLost):
                    kind = NotHappened if isinstance(each.outcome, NotHappened) else Indeterminate
                    found[at] = kind(f"the client's session was lost on the way: {each}")
        return found

    # Reading

    def barrier(self, timeout: float) -> Flow[int]:
        """See :class:`~quorate.client.backend.Backend`."""
        answer = yield from self._asked(lambda engine, left: engine.barrier(left), timeout, harmless=True)
        found: int = answer[0]
        return found

    def copy(self) -> Reader | None:
        """See :class:`~quorate.client.backend.Backend`."""
        return None

    def get(self, key: bytes, local: bool, timeout: float) -> Flow[KeyValue | None]:
        """See :class:`~quorate.client.backend.Backend`."""
        body = questions.key_question(key, local=local)
        return (yield from self._read(Kind.QUERY, body, _decode.decode_key, timeout))[1]

    def range(self, start: bytes, end: bytes, limit: int, local: bool, timeout: float) -> Flow[Rows]:
        """See :class:`~quorate.client.backend.Backend`."""
        body = questions.range_question(start, end, limit=limit, bytes_most=ANSWER_BYTES, local=local)
        revision, more, rows = yield from self._read(Kind.QUERY, body, _decode.decode_range, timeout)
        return Rows(rows, more, revision)  # type: ignore[arg-type]

    def count(self, start: bytes, end: bytes, local: bool, timeout: float) -> Flow[int]:
        """See :class:`~quorate.client.backend.Backend`."""
        body = questions.count_question(start, end, local=local)
        return (yield from self._read(Kind.QUERY, body, _decode.decode_count, timeout))[1]

    def session_view(self, session: int, timeout: float) -> Flow[SessionView | None]:
        """See :class:`~quorate.client.backend.Backend`."""
        body = questions.session_question(session)
        return (yield from self._read(Kind.QUERY, body, _decode.decode_session, timeout))[1]

    def permit(self, name: bytes, limit: int, timeout: float) -> Flow[Permit | None]:
        """See :class:`~quorate.client.backend.Backend`."""
        body = questions.permit_question(name, limit=limit)
        return (yield from self._read(Kind.QUERY, body, lambda data: _decode.decode_permit(data, name), timeout))[1]

    def acquisition(self, session: int, acquisition: int, timeout: float) -> Flow[Acquisition | None]:
        """See :class:`~quorate.client.backend.Backend`."""
        body = questions.acquisition_question(session, acquisition)
        return (yield from self._place(Kind.QUERY, body, session, acquisition, timeout))

    def granted(self, session: int, acquisition: int, since: int, timeout: float) -> Flow[Acquisition | None]:
        """See :class:`~quorate.client.backend.Backend`."""
        body = questions.await_question(session, acquisition, min_revision=since)
        return (yield from self._place(Kind.AWAIT, body, session, acquisition, timeout))

    def _place(
        self, kind: Kind, body: bytes, session: int, acquisition: int, timeout: float
    ) -> Flow[Acquisition | None]:
        def decode(data: bytes) -> tuple[int, Acquisition | None]:
            return _decode.decode_acquisition(data, session, acquisition)

        return (yield from self._read(kind, body, decode, timeout))[1]

    def events(self, start: bytes, end: bytes, after: int, permits: bool, timeout: float) -> Flow[Events]:
        """See :class:`~quorate.client.backend.Backend`."""
        spaces = questions.WATCH_PERMITS if permits else questions.WATCH_KEYS
        body = questions.watch_question(start, end, after=after, spaces=spaces)
        compacted, complete, first, found = yield from self._read(Kind.WATCH, body, _decode.decode_events, timeout)
        return Events(found, complete, compacted, first)

    # Sessions

    def open_lane(self, ttl: float, label: str, timeout: float) -> Flow[Lane]:
        """See :class:`~quorate.client.backend.Backend`."""
        self._open()
        lane: Any = self._engine().lane(ttl, label=(label or self._label).encode()[:255], timeout=timeout)
        try:
            _, result = yield lane.opening
            checked(Result.decode(result))
        except BaseException:
            with contextlib.suppress(QuorateError):
                lane.close(timeout)
            raise
        with self._lock:
            self._lanes[lane.id] = lane
        found: Lane = lane
        return found

    def pooled(self, ttl: float) -> Lane:
        """See :class:`~quorate.client.backend.Backend`."""
        engine = self._engine()
        found = self._pools.get(ttl)
        if found is not None and found[0] is engine and found[1].state in ("opening", "open") and not self._closed:
            return found[1]
        with self._lock:
            self._open()
            found = self._pools.get(ttl)
            if found is not None and found[0] is engine and found[1].state in ("opening", "open"):
                return found[1]
            if found is not None:
                self._lanes.pop(found[1].id, None)
            lane: Lane = engine.lane(ttl, label=self._label.encode()[:255])
            self._lanes[lane.id] = lane
            self._pools[ttl] = (engine, lane)
            return lane

    def refusal(self, lane: Lane) -> QuorateError | None:
        """See :class:`~quorate.client.backend.Backend`."""
        if lane.state != "lost" or not lane.opening.done:
            return None
        try:
            _, result = lane.opening.wait(0.0)
        except QuorateError as error:
            return error
        return error_of(Result.decode(result))

    @property
    def attendant(self) -> Attendant:
        """See :class:`~quorate.client.backend.Backend`."""
        found = self._attendant
        if found is None:
            with self._lock:
                self._open()
                found = self._attendant
                if found is None:
                    found = self._attendant = Attendant()
        return found

    def close_lane(self, lane: Lane, timeout: float) -> Flow[None]:
        """See :class:`~quorate.client.backend.Backend`."""
        with self._lock:
            self._lanes.pop(lane.id, None)
            self._watched.pop(lane.id, None)
        try:
            yield lane.close(timeout)
        except SessionLost:
            pass  # it is over, which is what was asked for

    # Callbacks

    def on_state(self, callback: Callable[[State], None]) -> Callable[[], None]:
        """See :class:`~quorate.client.backend.Backend`."""
        self._open()
        with self._lock:
            self._callbacks.append(callback)
        self._listen(self._engine())

        def end() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)
                none_left = not self._callbacks
            if none_left and not self._watched and self._notices is not None:
                self._notices.forget(self._hear)
                self._notices = None

        return end

    def on_lane(self, lane: Lane, callback: Callable[[str], None]) -> Callable[[], None]:
        """See :class:`~quorate.client.backend.Backend`."""
        with self._lock:
            self._open()
            listens = self._notices is not None
            self._watched.setdefault(lane.id, (lane, []))[1].append(callback)
        if not listens:
            self._listen(self._engine())

        def end() -> None:
            with self._lock:
                _, callbacks = self._watched.get(lane.id, (lane, []))
                if callback in callbacks:
                    callbacks.remove(callback)
                if not callbacks and lane.state not in ("opening", "open"):
                    self._watched.pop(lane.id, None)  # else it is soon watched again

        return end

    def _listen(self, engine: Any) -> None:
        """Has the engine's notices told, if anybody wants to know."""
        if self._callbacks or self._watched:
            self._notices = notices_of(engine)
            self._notices.listen(self._hear)

    def _hear(self, notice: tuple[Any, ...]) -> None:
        self._tell_watchers(notice)
        state = None
        if notice[0] == "state":
            state = _STATES.get(notice[1])
        elif notice[0] == "lane" and notice[1] in self._lanes:
            if notice[2] == "lost":
                state = State.LOST
            elif notice[2] == "open" and self._told is State.LOST:
                state = State.CONNECTED
        if state is None or state == self._told:
            return
        self._told = state
        for callback in list(self._callbacks):
            told(callback, state)

    def _tell_watchers(self, notice: tuple[Any, ...]) -> None:
        with self._lock:
            watched = [(lane, list(callbacks)) for lane, callbacks in self._watched.values()]
        stopped = notice == ("state", "stopped")
        for lane, callbacks in watched:
            # What a full queue of notices dropped may have been the loss of any of them.
            lost = stopped or (lane.state == "lost" if notice[0] == "overflow" else notice == ("lane", lane.id, "lost"))
            what = "lost" if lost else notice[1] if notice[0] == "state" else None
            if lost:
                with self._lock:
                    self._watched.pop(lane.id, None)
            if what is not None:
                for callback in callbacks:
                    told(callback, what)

    # The cluster

    def status(self, timeout: float) -> Flow[dict[str, Any]]:
        """See :class:`~quorate.client.backend.Backend`."""
        return (yield from self._read(Kind.STATUS, b"", questions.decode_status, timeout))

    def _manager(self) -> Manager:
        def ask(kind: int, body: bytes, timeout: float) -> tuple[int, bytes | None]:
            found: tuple[int, bytes | None] = run(self._asked(lambda it, left: it.ask(kind, body, left), timeout))
            return found

        return Manager(ask)

    def members(self, timeout: float) -> list[Member]:
        """See :class:`~quorate.client.backend.Backend`."""
        return [
            Member(
                each.id, each.name, each.address, each.role == "voter", each.leader, each.connected, each.match,
                each.lag, each.trouble, ) for each in self._manager().members(timeout=timeout).members ]  # fmt: skip

    def change(
        self, what: str, name: str, address: str = "", timeout: float = 10.0, *, promote: bool = False, new: str = ""
    ) -> None:
        """See :class:`~quorate.client.backend.Backend`."""
        manager = self._manager()
        if what == "add":
            manager.add(name, address, promote=promote, timeout=timeout)
        elif what == "promote":
            manager.promote(name, timeout=timeout)
        elif what == "remove":
            manager.remove(name, timeout=timeout)
        elif what == "address":
            manager.change_address(name, address, timeout=timeout)
        else:
            manager.replace(name, new, address, timeout=timeout)

    def transfer(self, name: str | None, timeout: float) -> str:
        """See :class:`~quorate.client.backend.Backend`."""
        return self._manager().transfer(name, timeout=timeout).name

    def close(self) -> None:
        """See :class:`~quorate.client.backend.Backend`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            lanes = list(self._lanes.values())
            self._lanes.clear()
            self._callbacks.clear()
            self._watched.clear()
            self._pools.clear()
        if self._attendant is not None:
            self._attendant.close()
        if self._notices is not None:
            self._notices.forget(self._hear)
        deadline = time.monotonic() + GOODBYE_SECONDS
        endings = []
        for lane in lanes:
            with contextlib.suppress(QuorateError):
                endings.append(lane.close(GOODBYE_SECONDS))
        for ending in endings:
            with contextlib.suppress(QuorateError):
                ending.wait(max(deadline - time.monotonic(), 0.0))
        self._end()

    def _end(self) -> None:
        """Gives back what is the client's own, after its sessions have ended."""
