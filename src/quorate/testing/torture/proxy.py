"""The network between the nodes: a process that every connection goes through, and that cuts, delays and breaks them.

Each node is advertised to all others by an address of this process, which passes bytes on to where the node really
listens. A member says in its hello who it is, so that every pair has its own fate, and each direction for itself;
what does not begin with such a hello is a client. Works without any privilege, on any system.

A cut direction keeps its bytes, as TCP does that sends again: healed, they arrive late. Or all connections of the pair
break. Loss is what TCP makes of it: a pause of the whole direction, doubled with each further loss.

Run as a process of its own, it obeys lines of JSON and answers each by one; :class:`Network` is the other end of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any, Final

from quorate.testing.torture.children import Child, follow_parent

__all__ = ["CLIENT", "Network"]

CLIENT: Final = ""
"""Stands for all clients in a pair."""
HEADER: Final = 24
HELLO: Final = 1
HELLO_BYTES: Final = HEADER + 25
"""Frame header, u8 version, 16 bytes cluster, u64 node: see docs/internals/runtime.md."""
HELD_BYTES: Final = 1 << 20
"""Of one direction; then its sender is not read from, as by a full window."""
RESEND_SECONDS: Final = 0.2
"""The shortest time after which TCP sends a lost packet again (Linux)."""


@dataclass
class Fate:
    """What becomes of the bytes from one node to another."""

    cut: bool = False
    delay_ms: float = 0.0
    loss: float = 0.0
    resets: float = 0.0


class Way(asyncio.Protocol):
    """One end of a connection, and the queue of bytes that came from it and go to the other end."""

    def __init__(self, connection: Connection, *, front: bool) -> None:
        self.connection = connection
        self.front = front
        self.transport: asyncio.Transport | None = None
        self.queue: deque[tuple[float, bytes]] = deque()
        self.held = 0
        self.last = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.ended = False
        self.full = False  # the other end takes no more

    @property
    def other(self) -> Way:
        return self.connection.back if self.front else self.connection.front

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.front:
            self.connection.service.connections.add(self.connection)

    def data_received(self, data: bytes) -> None:
        now = self.connection.service.loop.time()
        fate = self.connection.fate(self)
        at = now
        if fate is not None:
            draw = self.connection.service.random
            if fate.resets and draw.random() < fate.resets:
                self.connection.break_()
                return
            if fate.delay_ms:
                at += fate.delay_ms * draw.uniform(0.5, 1.5) / 1000
            wait = RESEND_SECONDS
            while fate.loss and draw.random() < fate.loss:
                at += wait
                wait *= 2
        self.last = max(at, self.last)
        self.queue.append((self.last, data))
        self.held += len(data)
        self.pump()

    def pump(self) -> None:
        """Passes on what is due."""
        target = self.other.transport
        now = self.connection.service.loop.time()
        fate = self.connection.fate(self)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if target is not None and not (fate is not None and fate.cut) and self.connection.known:
            while self.queue and self.queue[0][0] <= now and not self.full:
                data = self.queue.popleft()[1]
                self.held -= len(data)
                if not target.is_closing():
                    target.write(data)
            if self.queue and not self.full:
                self.timer = self.connection.service.loop.call_at(self.queue[0][0], self.pump)
            if self.ended and not self.queue:
                target.close()
        elif not self.connection.known:
            self.connection.identify()
        if self.transport is not None and not self.ended:
            if self.held > HELD_BYTES:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def pause_writing(self) -> None:
        self.other.full = True

    def resume_writing(self) -> None:
        self.other.full = False
        self.other.pump()

    def eof_received(self) -> bool:
        self.ended = True
        self.pump()
        return True  # the other direction goes on, until it ends too

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = True
        self.transport = None
        if self.other.transport is None and (self.connection.known or self.front):
            self.connection.forget()
        else:
            self.pump()


class Connection:
    """From whoever connected to the front address of a node (``front``) to that node (``back``)."""

    def __init__(self, service: Service, target: str) -> None:
        self.service = service
        self.source: str | None = None
        self.target = target
        self.known = False
        self.front = Way(self, front=True)
        self.back = Way(self, front=False)
        self.task: asyncio.Task[None] | None = None

    def fate(self, way: Way) -> Fate | None:
        if self.source is None:
            return None
        pair = (self.source, self.target) if way.front else (self.target, self.source)
        return self.service.fates.get(pair)

    def identify(self) -> None:
        """Who connected, once enough has come to know; then the way to the node is opened."""
        if self.source is not None:
            return
        came = b"".join(data for _, data in self.front.queue)
        if len(came) >= 5 and (came[:3] != b"QRT" or came[4] != HELLO):
            self.source = CLIENT
        elif len(came) >= HELLO_BYTES:
            number = int.from_bytes(came[HELLO_BYTES - 8 : HELLO_BYTES], "little")
            self.source = self.service.names.get(number, CLIENT)
        elif self.front.ended:
            self.forget()
            return
        else:
            return
        self.task = self.service.loop.create_task(self.open())

    async def open(self) -> None:
        host, _, port = self.service.backs[self.target].rpartition(":")
        try:
            await self.service.loop.create_connection(lambda: self.back, host, int(port))
        except OSError:
            self.break_()
            return
        self.known = True
        self.front.pump()
        self.back.pump()

    def break_(self) -> None:
        """As by a reset: at once, and what is on its way is lost."""
        for way in (self.front, self.back):
            way.queue.clear()
            if way.transport is not None:
                way.transport.abort()
        self.forget()

    def forget(self) -> None:
        self.service.connections.discard(self)
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()
        for way in (self.front, self.back):
            if way.timer is not None:
                way.timer.cancel()


class Service:
    """All addresses and connections, in the process of the network."""

    def __init__(self, seed: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.random = random.Random(f"{seed}/network")
        self.names: dict[int, str] = {}
        self.backs: dict[str, str] = {}
        self.fates: dict[tuple[str, str], Fate] = {}
        self.connections: set[Connection] = set()
        self.servers: list[asyncio.Server] = []

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        what = order["what"]
        if what == "open":
            name = order["name"]
            self.names[order["id"]] = name
            self.backs[name] = order["back"]
            server = await self.loop.create_server(lambda: Connection(self, name).front, "127.0.0.1", 0)
            self.servers.append(server)
            return {"front": f"127.0.0.1:{server.sockets[0].getsockname()[1]}"}
        if what == "set":
            for source, target in order["pairs"]:
                fate = self.fates.setdefault((source, target), Fate())
                for name, value in order["fate"].items():
                    setattr(fate, name, value)
            if order["breaks"]:
                pairs = {tuple(each) for each in order["pairs"]}
                for each in [one for one in self.connections if (one.source, one.target) in pairs]:
                    each.break_()
        elif what == "mend":
            for pair in [tuple(each) for each in order["pairs"]] if order["pairs"] is not None else list(self.fates):
                for name in order["names"]:
                    setattr(self.fates.get(pair, Fate()), name, getattr(Fate(), name))
        for each in list(self.connections):
            each.front.pump()
            each.back.pump()
        return {"connections": len(self.connections)}


async def serve() -> None:
    """Obeys standard input until it ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    service = Service(json.loads(await reader.readline())["seed"])
    while line := await reader.readline():
        print(json.dumps(await service.obey(json.loads(line))), flush=True)


class Network:
    """The process of the network, as the cluster has it. A context manager that ends it."""

    def __init__(self, seed: int, errors: IO[bytes] | None = None) -> None:
        self._child = Child("network", "quorate.testing.torture.proxy")
        self._child.begin({"seed": seed}, errors=errors)

    def _tell(self, **order: Any) -> dict[str, Any]:
        return self._child.ask(order, timeout=30.0)

    def open(self, name: str, id: int, back: str) -> str:
        """An address by which everybody else reaches the node that listens at ``back``."""
        found: str = self._tell(what="open", name=name, id=id, back=back)["front"]
        return found

    def set(self, pairs: Iterable[tuple[str, str]], *, breaks: bool = False, **fate: Any) -> None:
        """Sets fields of the :class:`Fate` of these (source, target); ``breaks`` ends their connections at once."""
        self._tell(what="set", pairs=list(pairs), fate=fate, breaks=breaks)

    def mend(self, pairs: Iterable[tuple[str, str]] | None = None, *names: str) -> None:
        """Takes the fields ``names`` back (all if none are named) of these pairs; None: of all."""
        self._tell(what="mend", pairs=None if pairs is None else list(pairs), names=names or tuple(Fate().__dict__))

    def close(self) -> None:
        """Ends the process."""
        self._child.end()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


if __name__ == "__main__":
    follow_parent()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())
