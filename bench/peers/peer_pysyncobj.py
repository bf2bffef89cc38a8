"""PySyncObj: three members, each in a process of Python, because that is how it lives. Knows the contract of a peer.

Once as its documentation shows it, once tuned for puts one at a time (entries are sent at once, and not every tenth of
a second), once for many (sent every millisecond, in batches): no setting is good at both. None of them writes anything
to disk: its journal is never synced, and off by default.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from contract import LEASE, Client, Lock, Missing, Peer, Place, Turn, module_missing, package_version
from measures import PATIENCE, flooded_by_callbacks

POLL_SECONDS = 0.005
NO_AIO = "it has none for asyncio"


class SyncLock(Lock):
    def __init__(self, client: SyncClient, name: str) -> None:
        self.locks = client.locks
        self.name = name

    def acquire(self) -> None:
        # The library knows no waiting; a user asks again.
        deadline = time.monotonic() + 2 * PATIENCE
        while not self.locks.tryAcquire(self.name, sync=True, timeout=PATIENCE):
            if time.monotonic() > deadline:
                raise TimeoutError("no lock")
            time.sleep(POLL_SECONDS)

    def release(self) -> None:
        self.locks.release(self.name, sync=True, timeout=PATIENCE)


class SyncClient(Client):
    """A member and its client: the only client that it has."""

    def __init__(self, place: Place, settings: Mapping[str, Any]) -> None:
        from pysyncobj import SyncObj, SyncObjConf
        from pysyncobj.batteries import ReplDict, ReplLockManager

        assert place.me is not None
        self.addresses = [f"127.0.0.1:{ports[0]}" for ports in place.ports]
        mine = self.addresses[place.me]
        self.keys = ReplDict()
        self.locks = ReplLockManager(autoUnlockTime=LEASE, selfID=f"{mine}-{time.time_ns()}")
        others = [each for each in self.addresses if each != mine]
        self.node = SyncObj(mine, others, consumers=[self.keys, self.locks], conf=SyncObjConf(**settings))

    def put(self, key: str, value: bytes) -> None:
        self.keys.set(key, value, sync=True, timeout=2.0)

    def local(self, key: str) -> None:
        self.keys.get(key)

    def flood(self, window: int, seconds: float) -> Turn:
        def begin(key: str, value: bytes, answered: Callable[[], None]) -> None:
            self.keys.set(key, value, callback=lambda result, error: answered())

        return flooded_by_callbacks(begin, window, seconds)

    def lock(self, name: str) -> Lock:
        return SyncLock(self, name)

    def leader(self) -> int | None:
        found = self.node._getLeader() if self.node.isReady() else None
        return self.addresses.index(found.address) if found is not None else None

    def close(self) -> None:
        self.node.destroy()


class PySyncObj(Peer):
    embedded = True
    fsync = "nothing on disk: memory of a majority"

    def __init__(
        self, name: str, title: str, via: str, settings: Mapping[str, Any], without: Mapping[str, str]
    ) -> None:
        self.name, self.title, self.via, self.settings = name, title, via, settings
        self.without = {
            "read": "it has no linearizable read",
            "contend": "its lock has no wait",
            "lock-aio": NO_AIO,
            **without,
        }

    def missing(self) -> Sequence[Missing]:
        return module_missing("pysyncobj")

    def version(self) -> str:
        return package_version("pysyncobj")

    def client(self, place: Place) -> Client:
        return SyncClient(place, self.settings)


PEERS = [
    PySyncObj("pysyncobj", "PySyncObj, as documented", "in the leader's process, defaults", {}, {}),
    PySyncObj(
        "pysyncobj-one",
        "PySyncObj, tuned for one",
        "in the leader's process, appendEntriesUseBatch=False",
        {"appendEntriesUseBatch": False},
        {},
    ),
    PySyncObj(
        "pysyncobj-many",
        "PySyncObj, tuned for many",
        "in the leader's process, autoTickPeriod and appendEntriesPeriod 1 ms",
        {"autoTickPeriod": 0.001, "appendEntriesPeriod": 0.001},
        dict.fromkeys(("local", "lock", "rest", "inherited", "killed", "paused"), "only its puts are measured"),
    ),
]
