"""Quorate twice: the leader in the client's process, and a client over sockets of `quorate serve`.

Single calls are those of the client for threads, windows those of the client for asyncio, all with default settings.
Knows the contract of a peer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from contract import LEASE, Client, Lock, Missing, Peer, Place, Turn, module_missing
from measures import PATIENCE, flooded, locked

if TYPE_CHECKING:
    import quorate.aio

NAMES = "abc"


def members(place: Place) -> dict[str, str]:
    return {NAMES[each]: f"127.0.0.1:{ports[0]}" for each, ports in enumerate(place.ports)}


class QuorateLock(Lock):
    def __init__(self, lock: Any) -> None:
        self.lock = lock

    def acquire(self) -> None:
        self.lock.acquire(timeout=PATIENCE)

    def release(self) -> None:
        self.lock.release()


class QuorateClient(Client):
    def __init__(self, place: Place, peer: QuoratePeer) -> None:
        import quorate

        self.members = members(place)
        self.node = None
        if place.me is not None:
            name = NAMES[place.me]
            self.node = quorate.Node(name, members=self.members, data_dir=place.folder / name)
            self.node.start()
            self.client = self.node.client()
        else:
            self.client = quorate.connect(f"quorate://{','.join(self.members.values())}")
            self.client.wait_ready(PATIENCE)

    def put(self, key: str, value: bytes) -> None:
        self.client.put(key, value)

    def read(self, key: str) -> None:
        self.client.get(key)

    def local(self, key: str) -> None:
        self.client.get(key, consistency="local")

    def in_asyncio(self, work: Callable[[quorate.aio.Client], Coroutine[Any, Any, Turn]]) -> Turn:
        """With a client for asyncio, in an event loop of its own."""
        import quorate.aio

        async def run() -> Turn:
            if self.node is None:
                async with quorate.aio.connect(f"quorate://{','.join(self.members.values())}") as client:
                    await client.wait_ready(PATIENCE)
                    return await work(client)
            # The node is one for threads and for asyncio: its clients stand on the same.
            return await work(quorate.aio.Client(self.client._core))

        return asyncio.run(run())

    def flood(self, window: int, seconds: float) -> Turn:
        return self.in_asyncio(lambda client: flooded(client.put, window, seconds))

    def lock_in_tasks(self, seconds: float) -> Turn:
        return self.in_asyncio(lambda client: locked(client.lock("lonely", lease=LEASE), seconds))

    def lock(self, name: str) -> Lock:
        return QuorateLock(self.client.lock(name, lease=LEASE))

    def leader(self) -> int | None:
        if self.node is None:
            raise NotImplementedError
        status = self.node.status()
        name = status["leader"]
        return NAMES.index(name) if name in self.members else None

    def close(self) -> None:
        self.client.close()
        if self.node is not None:
            self.node.stop()


class QuoratePeer(Peer):
    fsync = "fsync on a majority"

    def __init__(self, name: str, title: str, via: str, *, embedded: bool) -> None:
        self.name, self.title, self.via, self.embedded = name, title, via, embedded

    def missing(self) -> Sequence[Missing]:
        return module_missing("quorate")

    def version(self) -> str:
        from quorate.raft import BUILD
        from quorate.version import __version__

        return f"{__version__}, build {BUILD}"

    def command(self, place: Place, member: int) -> Sequence[str]:
        name = NAMES[member]
        everyone = ",".join(f"{each}={address}" for each, address in members(place).items())
        where = ["--name", name, "--members", everyone, "--data-dir", str(place.folder / name)]
        return [sys.executable, "-m", "quorate", "serve", *where, "--log-level", "warning"]

    def leader(self, place: Place) -> int | None:
        import quorate

        said = set()
        try:
            for address in members(place).values():
                with quorate.connect(f"quorate://{address}/?follow=no", timeout=1.0) as client:
                    said.add(client.status()["leader"])
        except quorate.QuorateError:
            return None
        found = said.pop()
        return NAMES.index(found) if not said and found in members(place) else None

    def client(self, place: Place) -> Client:
        return QuorateClient(place, self)


PEERS = [
    QuoratePeer("quorate-embedded", "Quorate, embedded", "in the leader's process, defaults", embedded=True),
    QuoratePeer("quorate", "Quorate, over sockets", "quorate.connect, defaults", embedded=False),
]
