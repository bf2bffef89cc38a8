"""A session as a user holds it. Knows nothing of how it is kept alive."""

from __future__ import annotations

import time
from types import TracebackType
from typing import final

from quorate.api.core import Core
from quorate.client.backend import Lane
from quorate.client.flow import run

__all__ = ["Session"]


class SessionView:
    """What a session tells, the same in threads and in asyncio."""

    def __init__(self, core: Core, lane: Lane) -> None:
        self._core = core
        self._lane = lane

    @property
    def id(self) -> int:
        """The id by which keys and locks name their owner."""
        return self._lane.session

    @property
    def ttl(self) -> float:
        """Seconds after which the cluster takes the session for lost when it hears nothing."""
        return self._lane.ttl

    @property
    def alive(self) -> bool:
        """Whether it is certainly alive, by the local clock and without asking anybody."""
        return self._lane.held()

    @property
    def remaining(self) -> float:
        """Seconds for which it is certainly alive if nothing more is heard from the cluster; 0 if it is not."""
        return max(self._lane.deadline - time.monotonic(), 0.0) if self._lane.held() else 0.0

    def __repr__(self) -> str:
        state = f"alive for {self.remaining:.1f} s at least" if self.alive else "not certainly alive"
        return f"<{type(self).__name__} {self.id}, ttl {self.ttl:g} s, {state}>"


@final
class Session(SessionView):
    """Keys and locks can belong to a session, and go with it: when it is closed, or ``ttl`` seconds after its process
    stopped to answer for it. Kept alive natively, also while this process does not run any Python.

    A context manager. Made by :meth:`Client.session`.
    """

    def close(self, *, timeout: float | None = None) -> None:
        """Ends it, with the keys and locks that belong to it. Does nothing the second time."""
        run(self._core.backend.close_lane(self._lane, self._core.seconds(timeout)))

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
