"""etcd: three members, asked through gRPC.

Single calls and windows go through gRPC stubs with the messages that aetcd brings, because its wrapper would add to
them; locks are aetcd's own. (python-etcd3 brings messages that protobuf since 4.x refuses, and waits for a lock by any
event.) Knows the contract of a peer.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contract import ATTEMPT, LEASE, Client, Lock, Missing, Peer, Place, Turn, module_missing, package_version
from contract import program_missing as program
from measures import PATIENCE, contended_by_tasks, flooded, locked


class EtcdLock(Lock):
    def __init__(self, client: EtcdClient, name: str) -> None:
        self.client = client
        self.lock = client.aetcd.lock(name.encode(), int(LEASE))

    def acquire(self) -> None:
        if not self.client.carry_out(self.lock.acquire(timeout=PATIENCE)):
            raise TimeoutError("no lock")

    def release(self) -> None:
        self.client.carry_out(self.lock.release())

    def refresh(self) -> None:
        self.client.carry_out(self.lock.refresh())


class EtcdClient(Client):
    def __init__(self, place: Place) -> None:
        import aetcd
        import grpc
        from aetcd import rpc

        self.rpc = rpc
        order = [place.leader, *(each for each in range(len(place.ports)) if each != place.leader)]
        self.targets = [f"127.0.0.1:{place.ports[each][0]}" for each in order]
        self.channels = [grpc.insecure_channel(each) for each in self.targets]
        self.stubs = [rpc.KVStub(each) for each in self.channels]
        # aetcd lives in an event loop, and so do its leases; a thread has it.
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.aetcd = self.carry_out(self._opened(aetcd, place.ports[place.leader][0]))
        self.number = 0

    async def _opened(self, aetcd: Any, port: int) -> Any:
        client = aetcd.Client("127.0.0.1", port)
        await client.connect()
        return client

    def carry_out(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(2 * PATIENCE)

    def put(self, key: str, value: bytes) -> None:
        import grpc

        request = self.rpc.PutRequest(key=key.encode(), value=value)
        try:
            self.stubs[0].Put(request, timeout=ATTEMPT)
        except grpc.RpcError:
            # The next one first from now on, as clients that know several addresses do.
            self.stubs.append(self.stubs.pop(0))
            raise

    def read(self, key: str) -> None:
        self.stubs[0].Range(self.rpc.RangeRequest(key=key.encode()))

    def local(self, key: str) -> None:
        self.stubs[0].Range(self.rpc.RangeRequest(key=key.encode(), serializable=True))

    def flood(self, window: int, seconds: float) -> Turn:
        async def run() -> Turn:
            stub, request = self.aetcd.kvstub, self.rpc.PutRequest

            async def put(key: str, value: bytes) -> None:
                await stub.Put(request(key=key.encode(), value=value))

            return await flooded(put, window, seconds)

        found: Turn = self.carry_out(run())
        return found

    def lock(self, name: str) -> Lock:
        return EtcdLock(self, name)

    def lock_in_tasks(self, seconds: float) -> Turn:
        found: Turn = self.carry_out(locked(self.aetcd.lock(b"lonely", int(LEASE)), seconds))
        return found

    def contend(self, contenders: int, seconds: float) -> Turn:
        self.number += 1
        name = f"contended-{self.number}".encode()

        class Contender:
            def __init__(self, lock: Any) -> None:
                self.lock = lock

            async def acquire(self) -> None:
                if not await self.lock.acquire(timeout=PATIENCE):
                    raise TimeoutError("no lock")

            async def release(self) -> None:
                await self.lock.release()

        # A lease that is not refreshed while its holder waits must not end in the queue of 64.
        found: Turn = self.carry_out(
            contended_by_tasks(lambda: Contender(self.aetcd.lock(name, 30)), contenders, seconds)
        )
        return found

    def close(self) -> None:
        for each in self.channels:
            each.close()


class Etcd(Peer):
    name = "etcd"
    title = "etcd"
    fsync = "fsync on a majority"
    via = "gRPC stubs, locks of aetcd"
    ports_each = 2

    def missing(self) -> Sequence[Missing]:
        return [
            *program("etcd", "apt install etcd-server, or a newer build from the project, first on PATH"),
            *module_missing("aetcd"),
            *module_missing("grpc", "grpcio"),
        ]

    def version(self) -> str:
        said = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True).stdout
        return f"{said.split()[2]}, aetcd {package_version('aetcd')}"

    def command(self, place: Place, member: int) -> Sequence[str]:
        client, peer = (f"http://127.0.0.1:{port}" for port in place.ports[member])
        everyone = ",".join(f"m{each}=http://127.0.0.1:{ports[1]}" for each, ports in enumerate(place.ports))
        return [
            "etcd",
            *("--name", f"m{member}"),
            *("--data-dir", str(place.folder / f"m{member}")),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", everyone, "--initial-cluster-state", "new"),
            *("--log-level", "error"),
        ]

    def leader(self, place: Place) -> int | None:
        ids: list[str] = []
        leaders: set[str] = set()
        for ports in place.ports:
            request = urllib.request.Request(f"http://127.0.0.1:{ports[0]}/v3/maintenance/status", b"{}")
            try:
                with urllib.request.urlopen(request, timeout=1.0) as answer:
                    said = json.load(answer)
            except (OSError, urllib.error.URLError, ValueError):
                return None
            ids.append(said["header"]["member_id"])
            leaders.add(said.get("leader", "0"))
        leader = leaders.pop()
        return ids.index(leader) if not leaders and leader in ids else None

    def client(self, place: Place) -> Client:
        return EtcdClient(place)

    def prepare(self, place: Place) -> None:
        Path(place.folder).mkdir(exist_ok=True)


PEERS = [Etcd()]
