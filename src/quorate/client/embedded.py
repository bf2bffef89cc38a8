"""The backend over a node of this process: reads come from its copy, everything else goes through its loop.

Knows nothing of arguments as users write them.
"""

from __future__ import annotations

from typing import Any, Final, final

from quorate.client.backend import Rows
from quorate.client.engine import EngineBackend
from quorate.client.flow import Flow
from quorate.runtime.node import NativeNode
from quorate.store import KeyValue, Reader
from quorate.store.views import Acquisition, Permit, SessionView

__all__ = ["EmbeddedBackend"]


@final
class EmbeddedBackend(EngineBackend):
    """What a client does with its cluster, through one of the cluster's nodes in this process."""

    def __init__(self, node: NativeNode, *, owns: bool = False, label: str = "") -> None:
        super().__init__(label)
        self.node: Final = node
        self._owns = owns
        self._reader: Reader | None = None  # of the run that was read last
        self._heard: Any = None  # the run whose notices are told

    def _engine(self) -> Any:
        run = self.node._running()
        if not run.alive:
            run.barrier(0.0).wait()  # stopped, or of the parent process: it says which
        if run is not self._heard:
            self._heard = run
            self._listen(run)
        return run

    # Reading

    def copy(self) -> Reader | None:
        """See :class:`~quorate.client.backend.Backend`."""
        self._open()
        reader: Reader = self._engine().reader
        return reader if reader is self._reader else None

    def _fresh(self, local: bool, timeout: float) -> Flow[Reader]:
        """The node's copy, once it is as new as it has to be."""
        self._open()
        reader: Reader = self._engine().reader
        if local and (reader is self._reader or self._reader is None):
            self._reader = reader
            return reader
        # Linearizable (dissertation §6.4); or the node was started again, and may be behind what was read before.
        while True:
            engine = self._engine()
            yield from self.barrier(timeout)
            if self._engine() is engine:  # else it was started again meanwhile, and the answer may be of the old one
                self._reader = reader = engine.reader
                return reader

    def get(self, key: bytes, local: bool, timeout: float) -> Flow[KeyValue | None]:
        """See :class:`~quorate.client.backend.Backend`."""
        return (yield from self._fresh(local, timeout)).get(key)

    def range(self, start: bytes, end: bytes, limit: int, local: bool, timeout: float) -> Flow[Rows]:
        """See :class:`~quorate.client.backend.Backend`."""
        reader = yield from self._fresh(local, timeout)
        revision = reader.revision
        rows, more = reader.range(start, end, limit=limit)
        return Rows(rows, more, revision)

    def count(self, start: bytes, end: bytes, local: bool, timeout: float) -> Flow[int]:
        """See :class:`~quorate.client.backend.Backend`."""
        return (yield from self._fresh(local, timeout)).count(start, end)

    def session_view(self, session: int, timeout: float) -> Flow[SessionView | None]:
        """See :class:`~quorate.client.backend.Backend`."""
        return (yield from self._fresh(False, timeout)).session(session)

    def permit(self, name: bytes, limit: int, timeout: float) -> Flow[Permit | None]:
        """See :class:`~quorate.client.backend.Backend`."""
        return (yield from self._fresh(False, timeout)).permit(name, limit)

    def acquisition(self, session: int, acquisition: int, timeout: float) -> Flow[Acquisition | None]:
        """See :class:`~quorate.client.backend.Backend`."""
        return (yield from self._fresh(False, timeout)).acquisition(session, acquisition)

    # The cluster

    def status(self, timeout: float) -> Flow[dict[str, Any]]:
        """See :class:`~quorate.client.backend.Backend`."""
        self._open()
        return self.node.status()
        yield

    def _end(self) -> None:
        if self._owns:
            self.node.stop()

    def __repr__(self) -> str:
        return f"{'closed, ' if self._closed else ''}embedded in {self.node!r}"
