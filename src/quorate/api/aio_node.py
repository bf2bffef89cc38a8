"""A node in this process for programs in asyncio: opening and closing, which touch the disk, leave the event loop
free."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, final

from quorate.api import node as threaded
from quorate.api.aio_client import Client, _Connecting
from quorate.api.core import Core
from quorate.client.embedded import EmbeddedBackend
from quorate.client.flow import seconds
from quorate.client.waker import Waker

__all__ = ["Node", "local"]


@final
class Node:
    """As :class:`quorate.Node`, with the same arguments: ``async with Node(...) as node``.

    >>> import quorate.aio
    >>> async def example():
    ...     async with quorate.aio.Node("a", durability="memory") as node:
    ...         await node.wait_ready()
    ...         async with node.client() as client:
    ...             return await client.increment("starts")
    >>> asyncio.run(example())
    1
    """

    def __init__(self, name: str, **arguments: Any) -> None:
        self._node = threaded.Node(name, **arguments)

    @property
    def name(self) -> str:
        """The name of this member."""
        return self._node.name

    @property
    def address(self) -> str:
        """Where others find it, as it was told at its first start."""
        return self._node.address

    @property
    def running(self) -> bool:
        """Whether it was started and has neither been stopped nor failed."""
        return self._node.running

    async def start(self) -> Node:
        """Opens the data, listens, and runs; does nothing if it runs."""
        await asyncio.get_running_loop().run_in_executor(None, self._node.start)
        return self

    async def stop(self) -> None:
        """Ends it and closes the data. Does nothing the second time."""
        await asyncio.get_running_loop().run_in_executor(None, self._node.stop)

    async def __aenter__(self) -> Node:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def wait_ready(self, timeout: float = 10.0) -> None:
        """Waits until this node knows a leader and has applied everything that was acknowledged before."""
        waker = Waker()
        try:
            await waker.run(Core(EmbeddedBackend(self._node._native)).ready(seconds(timeout)))
        finally:
            waker.close()

    def client(self) -> Client:
        """A client that talks to the cluster through this node."""
        return Client(Core(EmbeddedBackend(self._node._native)))

    def status(self) -> dict[str, Any]:
        """What an operator would ask. Does not wait."""
        return self._node.status()

    def __repr__(self) -> str:
        return f"aio.{self._node!r}"


def local() -> _Connecting:
    """As :func:`quorate.local`: ``async with quorate.aio.local() as client``."""
    return _Connecting(lambda: threaded.local()._core)
