"""The backend over a node of this process: reads come from its copy, everything else goes through its loop.

Knows nothing of arguments as users write them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, final

from quorate.client.backend import Events, Lane, Member, Rows
from quorate.client.flow import Answer, Flow, Pause
from quorate.errors import NoQuorum, NotLeader, QuorateError, Rejected
from quorate.runtime.node import NativeNode
from quorate.store import KeyValue, Reader
from quorate.store.views import Acquisition, Permit, Result, SessionView

__all__ = ["EmbeddedBackend"]

LAST_SECONDS: Final = 0.05
"""With less time than this left, a question is not asked again: the answer would come too late to be told."""
RETRY_SECONDS: Final = 0.01
"""How long a question waits for another leader before it is asked again."""


@final
class EmbeddedBackend:
    """What a client does with its cluster, through one of the cluster's nodes in this process."""

    def __init__(self, node: NativeNode, *, owns: bool = False) -> None:
        self.node: Final = node
        self._owns = owns
        self._closed = False
        self._reader: Reader | None = None  # of the run that was read last

    # Writing

    def write(self, command: bytes, timeout: float, lane: Lane | None = None) -> Flow[Result]:
        """See :class:`~quorate.client.backend.Backend`."""
        answer = yield from self._asked(lambda run, left: run.propose(command, left), timeout)
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

    def _asked(self, send: Callable[[Any, float], Answer], timeout: float) -> Flow[Any]:
        """Asks, and asks again while it is proven that nothing happened."""
        deadline = time.monotonic() + timeout
        while True:
            run = self._run()
            try:
                return (yield send(run, max(deadline - time.monotonic(), 0.0)))
            except (NotLeader, NoQuorum):
                if deadline - time.monotonic() <= LAST_SECONDS:
                    raise
            yield Pause(RETRY_SECONDS)

    def _run(self) -> Any:
        self._open()
        return self.node._running()

    def _open(self) -> None:
        if self._closed:
            raise Rejected("the client is closed")

    # Reading

    def _fresh(self, local: bool, timeout: float) -> Flow[Reader]:
        """The node's copy, once it is as new as it has to be."""
        run = self._run()
        reader: Reader = run.reader
        if local and (reader is self._reader or self._reader is None):
            self._reader = reader
            return reader
        # Linearizable (dissertation §6.4); or the node was started again, and may be behind what was read before.
        yield from self.barrier(timeout)
        self._reader = reader = self._run().reader
        return reader

    def barrier(self, timeout: float) -> Flow[int]:
        """See :class:`~quorate.client.backend.Backend`."""
        answer = yield from self._asked(lambda run, left: run.barrier(left), timeout)
        found: int = answer[0]
        return found

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

    def granted(self, session: int, acquisition: int, timeout: float) -> Flow[Acquisition | None]:
        """See :class:`~quorate.client.backend.Backend`."""
        raise NotImplementedError

    def events(self, start: bytes, end: bytes, after: int, permits: bool, timeout: float) -> Flow[Events]:
        """See :class:`~quorate.client.backend.Backend`."""
        raise NotImplementedError

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
        self._open()
        return self.node.status()
        yield

    def members(self, timeout: float) -> Flow[list[Member]]:
        """See :class:`~quorate.client.backend.Backend`."""
        self._open()
        leader = self.node.status()["leader"]
        return [
            Member(id, name, str(address), True, name == leader)
            for id, (name, address) in sorted(self.node.members.items())
        ]
        yield

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
        if not self._closed:
            self._closed = True
            if self._owns:
                self.node.stop()

    def __repr__(self) -> str:
        return f"{'closed, ' if self._closed else ''}embedded in {self.node!r}"
