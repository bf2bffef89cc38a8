"""Redis: one server that syncs each write, asked through redis-py. Knows the contract of a peer.

One server, because a Redis with replicas acknowledges before they have a write: beside three members that agree it
shows what a lock costs that nobody but one machine remembers.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Mapping, Sequence

from contract import LEASE, Client, Lock, Missing, Peer, Place, Turn, module_missing, package_version, program_missing
from measures import PATIENCE, flooded, locked

ONE = "one server, no failover"


class RedisLock(Lock):
    def __init__(self, client: RedisClient, name: str) -> None:
        # It is refreshed in another thread than the one that took it.
        self.lock = client.redis.lock(name, timeout=LEASE, blocking_timeout=PATIENCE, thread_local=False)

    def acquire(self) -> None:
        if not self.lock.acquire():
            raise TimeoutError("no lock")

    def release(self) -> None:
        self.lock.release()

    def refresh(self) -> None:
        self.lock.reacquire()


class RedisClient(Client):
    def __init__(self, place: Place) -> None:
        import redis

        self.port = place.ports[0][0]
        self.redis = redis.Redis("127.0.0.1", self.port)

    def put(self, key: str, value: bytes) -> None:
        self.redis.set(key, value)

    def read(self, key: str) -> None:
        self.redis.get(key)

    def flood(self, window: int, seconds: float) -> Turn:
        async def run() -> Turn:
            import redis.asyncio

            async with redis.asyncio.Redis(host="127.0.0.1", port=self.port, max_connections=window) as client:
                return await flooded(client.set, window, seconds)

        return asyncio.run(run())

    def lock_in_tasks(self, seconds: float) -> Turn:
        async def run() -> Turn:
            import redis.asyncio

            async with redis.asyncio.Redis(host="127.0.0.1", port=self.port) as client:
                return await locked(client.lock("lonely", timeout=LEASE, blocking_timeout=PATIENCE), seconds)

        return asyncio.run(run())

    def lock(self, name: str) -> Lock:
        return RedisLock(self, name)

    def close(self) -> None:
        self.redis.close()


class Redis(Peer):
    name = "redis"
    title = "Redis, one server"
    fsync = "fsync of one server"
    via = "redis-py; its lock polls every 100 ms"
    members = 1
    without: Mapping[str, str] = {"local": "reads are the server's", "killed": ONE, "paused": ONE}

    def missing(self) -> Sequence[Missing]:
        return [*program_missing("redis-server", "apt install redis-server"), *module_missing("redis")]

    def version(self) -> str:
        said = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
        return f"{said.split('v=')[1].split()[0]}, redis-py {package_version('redis')}"

    def command(self, place: Place, member: int) -> Sequence[str]:
        settings = {
            "port": place.ports[0][0],
            "bind": "127.0.0.1",
            "dir": place.folder,
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "logfile": place.folder / "redis.log",
        }
        return ["redis-server", *(str(part) for name, value in settings.items() for part in (f"--{name}", value))]

    def leader(self, place: Place) -> int | None:
        try:
            with socket.create_connection(("127.0.0.1", place.ports[0][0]), 1.0) as line:
                line.settimeout(1.0)
                line.sendall(b"PING\r\n")
                return 0 if line.recv(16).startswith(b"+PONG") else None
        except OSError:
            return None

    def client(self, place: Place) -> Client:
        return RedisClient(place)


PEERS = [Redis()]
