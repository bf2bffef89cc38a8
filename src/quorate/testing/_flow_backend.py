"""The backend of a FlowRig's client, and its attendant: what recipes use of `quorate.client`, over a store at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from quorate.client.backend import Events, Lane, Rows, State
from quorate.client.flow import Flow, Pause
from quorate.client.outcomes import error_of
from quorate.errors import Compacted, Indeterminate, NotHappened, QuorateError, SessionLost
from quorate.store import KeyValue, Reader
from quorate.store.views import Acquisition, Permit, Result, SessionView
from quorate.testing._flow_lanes import Parked, RigLane

if TYPE_CHECKING:
    from quorate.testing.flows import FlowClient, FlowTask

__all__ = ["RigAttendant", "RigBackend", "RigErrand"]

T = TypeVar("T")

TTL_SECONDS: Final = 10.0
"""Of the session in which a client writes what belongs to no other one."""


class RigErrand:
    """See :class:`quorate.client.attendant.Errand`."""

    def __init__(self) -> None:
        self.task: FlowTask[Any] | None = None
        self.call: Callable[[], Any] | None = None
        self.at = 0.0
        self.cancelled = False

    @property
    def done(self) -> bool:
        return self.task.done if self.task is not None else self.call is None

    def cancel(self) -> None:
        self.cancelled = True
        self.call = None
        if self.task is not None and not self.task.flow.gi_running:  # type: ignore[attr-defined]
            self.task.cancel()


class RigAttendant:
    """See :class:`quorate.client.attendant.Attendant`: its flows are tasks of the rig."""

    def __init__(self, client: FlowClient) -> None:
        self._client = client

    def start(self, flow: Flow[Any]) -> RigErrand:
        errand = RigErrand()
        errand.task = self._client.rig.spawn(flow, self._client, "in the background")
        return errand

    def at(self, seconds: float, call: Callable[[], Any]) -> RigErrand:
        errand = RigErrand()
        errand.at, errand.call = seconds, call
        self._client.timers.append(errand)
        return errand

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        function(*arguments)


class RigBackend:
    """See :class:`quorate.client.backend.Backend`; what recipes use of it."""

    def __init__(self, client: FlowClient) -> None:
        self._client = client
        self._rig = client.rig
        self.attendant: Any = RigAttendant(client)
        self._pools: dict[float, RigLane] = {}
        self._writing: RigLane | None = None
        self._closed = False

    # Sessions

    def pooled(self, ttl: float) -> RigLane:
        lane = self._pools.get(ttl)
        if lane is None or lane.state not in ("open", "opening"):
            lane = self._pools[ttl] = self._client.lane(ttl)
        return lane

    def refusal(self, lane: Any) -> QuorateError | None:
        return error_of(Result.decode(lane.opening.wait(0.0)[1])) if lane.state == "lost" else None

    def open_lane(self, ttl: float, label: str, timeout: float) -> Flow[Lane]:
        lane = self._client.lane(ttl, label)
        refused = self.refusal(lane)
        if refused is not None:
            raise refused
        yield Pause(0.0)
        return lane

    def close_lane(self, lane: Any, timeout: float) -> Flow[None]:
        yield lane.close(timeout)

    def on_lane(self, lane: Any, callback: Callable[[str], None]) -> Callable[[], None]:
        entry = (lane, callback)
        self._client.listeners.append(entry)

        def end() -> None:
            if entry in self._client.listeners:
                self._client.listeners.remove(entry)

        return end

    def on_state(self, callback: Callable[[State], None]) -> Callable[[], None]:
        return lambda: None

    # Writing

    def write(self, command: bytes, timeout: float, lane: Any = None) -> Flow[Result]:
        if lane is None:
            if self._writing is None or self._writing.state != "open":
                self._writing = self._client.lane(TTL_SECONDS)
            try:
                return Result.decode((yield self._writing.submit(command, timeout))[1])
            except SessionLost as lost:
                kind = NotHappened if isinstance(lost.outcome, NotHappened) else Indeterminate
                raise kind(f"the client's session was lost on the way: {lost}") from lost
        return Result.decode((yield lane.submit(command, timeout))[1])

    def write_many(
        self, commands: Sequence[bytes], timeout: float, lane: Any = None
    ) -> Flow[list[bytes | QuorateError]]:
        found: list[bytes | QuorateError] = []
        through = lane or self.pooled(TTL_SECONDS)
        for sent in [through.submit(command, timeout) for command in commands]:
            try:
                found.append((yield sent)[1])
            except QuorateError as error:  # noqa: PERF203
                found.append(error)
        return found

    # Reading

    def _read(self, look: Callable[[Reader], T], timeout: float) -> Flow[T]:
        found: T = yield Parked(self._client, lambda: (True, look(self._rig.store.reader)), self._rig.now + timeout)
        return found

    def copy(self) -> Reader | None:
        return self._rig.store.reader

    def get(self, key: bytes, local: bool, timeout: float) -> Flow[KeyValue | None]:
        return self._read(lambda reader: reader.get(key), timeout)

    def range(self, start: bytes, end: bytes, limit: int, local: bool, timeout: float) -> Flow[Rows]:
        return self._read(lambda reader: Rows(*reader.range(start, end, limit=limit), reader.revision), timeout)

    def count(self, start: bytes, end: bytes, local: bool, timeout: float) -> Flow[int]:
        return self._read(lambda reader: reader.count(start, end), timeout)

    def barrier(self, timeout: float) -> Flow[int]:
        return self._read(lambda reader: reader.revision, timeout)

    def session_view(self, session: int, timeout: float) -> Flow[SessionView | None]:
        return self._read(lambda reader: reader.session(session), timeout)

    def permit(self, name: bytes, limit: int, timeout: float) -> Flow[Permit | None]:
        return self._read(lambda reader: reader.permit(name, limit), timeout)

    def acquisition(self, session: int, acquisition: int, timeout: float) -> Flow[Acquisition | None]:
        return self._read(lambda reader: reader.acquisition(session, acquisition), timeout)

    def granted(self, session: int, acquisition: int, since: int, timeout: float) -> Flow[Acquisition | None]:
        def look() -> tuple[bool, Acquisition | None]:
            found = self._rig.store.reader.acquisition(session, acquisition)
            return found is None or found.state != "waiting", found

        answer: Any = yield Parked(self._client, look, self._rig.now + timeout)
        return answer  # type: ignore[no-any-return]

    def events(self, start: bytes, end: bytes, after: int, permits: bool, timeout: float) -> Flow[Events]:
        store = self._rig.store

        def look() -> tuple[bool, Events]:
            watch = store.watch(start, end, after=after, keys=not permits, permits=permits)
            try:
                found = watch.collect()
            except Compacted as gone:
                return True, Events([], after, True, gone.first_available or 0)
            return bool(found), Events(found, watch.revision if found else store.reader.revision, False, 0)

        answer: Any = yield Parked(self._client, look, self._rig.now + timeout)
        return answer  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"a rig, as {self._client.label!r}"
