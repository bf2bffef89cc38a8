"""What the backends over a native engine share: the node's own questions, asked in this process or over a connection.

Knows neither where the engine is nor arguments as users write them. Bodies are made by `runtime.questions`, answers are
read by `store._decode`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from quorate.client.backend import Events, Lane, Member, Rows
from quorate.client.flow import Answer, Flow, Pause
from quorate.errors import ConnectionLost, InvalidArgument, NoQuorum, NotLeader, QuorateError, Rejected
from quorate.runtime import questions
from quorate.runtime.questions import Kind
from quorate.store import KeyValue, Reader, _decode
from quorate.store.views import Acquisition, Permit, Result, SessionView

__all__ = ["EngineBackend"]

T = TypeVar("T")

LAST_SECONDS: Final = 0.05
"""With less time than this left, a question is not asked again: the answer would come too late to be told."""
RETRY_SECONDS: Final = 0.01
"""How long a question waits for another leader before it is asked again."""
ANSWER_BYTES: Final = 4 << 20
"""Rows in one answer; a range of more is read in pieces."""


class EngineBackend:
    """A :class:`~quorate.client.backend.Backend` over an engine; subclasses say which one it is now."""

    def __init__(self) -> None:
        self._closed = False

    def _engine(self) -> Any:
        """What is asked; raises if there is nobody to ask."""
        raise NotImplementedError

    def _open(self) -> None:
        if self._closed:
            raise Rejected("the client is closed")

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
        answer = yield from self._asked(lambda engine, left: engine.propose(command, left), timeout)
        return Result.decode(answer[1])

    def write_many(self, commands: Sequence[bytes], timeout: float, lane: Lane | None = None) -> Flow[list[Any]]:
        """See :class:`~quorate.client.backend.Backend`."""
        found: list[Any] = []
        for command in commands:
            try:
                found.append((yield from self.write(command, timeout, lane)))
            except QuorateError as error:  # noqa: PERF203
                found.append(error)
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
        raise NotImplementedError

    def close_lane(self, lane: Lane, timeout: float) -> Flow[None]:
        """See :class:`~quorate.client.backend.Backend`."""
        raise NotImplementedError

    # The cluster

    def status(self, timeout: float) -> Flow[dict[str, Any]]:
        """See :class:`~quorate.client.backend.Backend`."""
        return (yield from self._read(Kind.STATUS, b"", questions.decode_status, timeout))

    def members(self, timeout: float) -> Flow[list[Member]]:
        """See :class:`~quorate.client.backend.Backend`."""
        raise NotImplementedError

    def change(self, what: str, name: str, address: str | None, timeout: float) -> Flow[None]:
        """See :class:`~quorate.client.backend.Backend`."""
        raise NotImplementedError

    def transfer(self, name: str | None, timeout: float) -> Flow[None]:
        """See :class:`~quorate.client.backend.Backend`."""
        raise NotImplementedError

    def on_state(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """See :class:`~quorate.client.backend.Backend`."""
        raise NotImplementedError

    def close(self) -> None:
        """See :class:`~quorate.client.backend.Backend`."""
        self._closed = True
