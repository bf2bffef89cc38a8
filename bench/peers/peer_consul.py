"""Consul: three servers, asked through their HTTP interface with nothing but the standard library.

A lock is what Consul's documentation makes of a session and a key: acquire, else wait for the key to change, and ask
again. Its lock delay keeps the default of 15 s, and 10 s is the least that a session may live. Knows the contract of a
peer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from contract import ATTEMPT, Client, Lock, Missing, Peer, Place, Turn, program_missing
from measures import PATIENCE, flooded

SESSION_SECONDS = 10.0
HTTP, RPC, SERF_LAN, SERF_WAN = range(4)


class ConsulError(Exception):
    pass


class Http:
    """One kept connection of each thread to a server."""

    def __init__(self, port: int, timeout: float) -> None:
        self.port = port
        self.timeout = timeout
        self.kept = threading.local()

    def ask(self, method: str, path: str, body: bytes = b"", *, missing: bool = False) -> tuple[Any, int]:
        """What it answers, and its index. ``missing``: that there is no such key is an answer."""
        line = getattr(self.kept, "line", None)
        if line is None:
            line = self.kept.line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        try:
            line.request(method, path, body)
            answer = line.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            line.close()
            self.kept.line = None
            raise
        if answer.status == 404 and missing:
            return None, int(answer.headers.get("X-Consul-Index", 0))
        if answer.status != 200:
            raise ConsulError(f"{answer.status} {said[:200]!r}")
        return json.loads(said), int(answer.headers.get("X-Consul-Index", 0))


class ConsulLock(Lock):
    def __init__(self, client: ConsulClient, name: str) -> None:
        self.http = Http(client.ports[0], 2 * PATIENCE)
        self.path = f"/v1/kv/locks/{name}"
        options = json.dumps({"TTL": f"{SESSION_SECONDS:g}s", "Behavior": "release"}).encode()
        self.session = self.http.ask("PUT", "/v1/session/create", options)[0]["ID"]

    def acquire(self) -> None:
        while not self.http.ask("PUT", f"{self.path}?acquire={self.session}")[0]:
            row, index = self.http.ask("GET", f"{self.path}?consistent", missing=True)
            if row is None or not row[0].get("Session"):
                time.sleep(0.05)  # its lock delay: held by nobody, and given to nobody
                continue
            self.http.ask("GET", f"{self.path}?index={index}&wait=1s", missing=True)

    def release(self) -> None:
        if not self.http.ask("PUT", f"{self.path}?release={self.session}")[0]:
            raise ConsulError("it was not held")

    def refresh(self) -> None:
        self.http.ask("PUT", f"/v1/session/renew/{self.session}")


class ConsulClient(Client):
    def __init__(self, place: Place) -> None:
        order = [place.leader, *(each for each in range(len(place.ports)) if each != place.leader)]
        self.ports = [place.ports[each][HTTP] for each in order]
        self.https = [Http(port, ATTEMPT) for port in self.ports]

    def put(self, key: str, value: bytes) -> None:
        try:
            if not self.https[0].ask("PUT", f"/v1/kv/{key}", value)[0]:
                raise ConsulError("not put")
        except (OSError, http.client.HTTPException, ConsulError):
            self.https.append(self.https.pop(0))
            raise

    def read(self, key: str) -> None:
        base64.b64decode(self.https[0].ask("GET", f"/v1/kv/{key}?consistent")[0][0]["Value"])

    def local(self, key: str) -> None:
        base64.b64decode(self.https[0].ask("GET", f"/v1/kv/{key}?stale")[0][0]["Value"])

    def flood(self, window: int, seconds: float) -> Turn:
        async def run() -> Turn:
            lines: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.LifoQueue()
            made = [await asyncio.open_connection("127.0.0.1", self.ports[0]) for _ in range(window)]
            for each in made:
                lines.put_nowait(each)

            async def put(key: str, value: bytes) -> None:
                reader, writer = await lines.get()
                head = f"PUT /v1/kv/{key} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(value)}\r\n\r\n"
                writer.write(head.encode() + value)
                answer = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(answer.partition(b"content-length:")[2].split(b"\r\n")[0])
                said = await reader.readexactly(length)
                if b" 200 " not in answer.split(b"\r\n")[0] or not said.startswith(b"true"):
                    raise ConsulError(f"{answer[:60]!r} {said[:60]!r}")
                lines.put_nowait((reader, writer))

            try:
                return await flooded(put, window, seconds)
            finally:
                for _, writer in made:
                    writer.close()

        return asyncio.run(run())

    def lock(self, name: str) -> Lock:
        return ConsulLock(self, name)

    def close(self) -> None:
        pass


class Consul(Peer):
    name = "consul"
    title = "Consul"
    fsync = "fsync on a majority"
    via = f"HTTP; session of {SESSION_SECONDS:g} s, lock delay 15 s"
    ports_each = 4
    without: Mapping[str, str] = {"lock-aio": "asked by threads alone"}

    def missing(self) -> Sequence[Missing]:
        return program_missing("consul", "its makers' packages (developer.hashicorp.com/consul/install), on PATH")

    def version(self) -> str:
        said = subprocess.run(["consul", "version"], capture_output=True, text=True, check=True).stdout
        return said.split()[1].removeprefix("v")

    def prepare(self, place: Place) -> None:
        for member, ports in enumerate(place.ports):
            settings = {
                "server": True,
                "bootstrap_expect": self.members,
                "node_name": f"m{member}",
                "data_dir": str(place.folder / f"m{member}"),
                "bind_addr": "127.0.0.1",
                "client_addr": "127.0.0.1",
                "ports": {
                    "http": ports[HTTP],
                    "server": ports[RPC],
                    "serf_lan": ports[SERF_LAN],
                    "serf_wan": ports[SERF_WAN],
                    "dns": -1,
                    "grpc_tls": -1,
                },
                "retry_join": [f"127.0.0.1:{each[SERF_LAN]}" for each in place.ports],
                "retry_interval": "1s",
                "limits": {"http_max_conns_per_client": 4096},
                "performance": {"raft_multiplier": 1},
                "disable_update_check": True,
                "log_level": "ERROR",
            }
            (place.folder / f"m{member}.json").write_text(json.dumps(settings))

    def command(self, place: Place, member: int) -> Sequence[str]:
        return ["consul", "agent", "-config-file", str(place.folder / f"m{member}.json")]

    def leader(self, place: Place) -> int | None:
        said = set()
        with contextlib.suppress(OSError, http.client.HTTPException, ConsulError, ValueError):
            for ports in place.ports:
                said.add(Http(ports[HTTP], 1.0).ask("GET", "/v1/status/leader")[0])
            addresses = [f"127.0.0.1:{ports[RPC]}" for ports in place.ports]
            if len(said) == 1 and (found := said.pop()) in addresses:
                return addresses.index(found)
        return None

    def client(self, place: Place) -> Client:
        return ConsulClient(place)


PEERS = [Consul()]
