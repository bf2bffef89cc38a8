"""The backend over a cluster that is reached through sockets. Knows nothing of arguments as users write them."""

from __future__ import annotations

from typing import Any, Final, final

from quorate.client.engine import EngineBackend
from quorate.client.flow import Flow
from quorate.client.remote import Remote

__all__ = ["RemoteBackend"]


@final
class RemoteBackend(EngineBackend):
    """What a client does with its cluster, through connections that follow the leader by themselves."""

    def __init__(self, remote: Remote) -> None:
        super().__init__(remote.label)
        self.remote: Final = remote

    def _engine(self) -> Any:
        return self.remote

    def status(self, timeout: float) -> Flow[dict[str, Any]]:
        """See :class:`~quorate.client.backend.Backend`."""
        found = yield from super().status(timeout)
        names = {id: name for id, name, _, _ in self.remote.members()}
        leader = found.get("leader") or 0
        return {**found, "leader": names.get(leader) or leader or None}

    def _end(self) -> None:
        self.remote.close()

    def __repr__(self) -> str:
        return f"{'closed, ' if self._closed else ''}{self.remote!r}"
