"""Small clusters for the tests of the runtime: nodes of one process on ports that the system chose."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from quorate.config import RaftConfig
from quorate.runtime.node import NativeNode
from quorate.storage import Faults

NAMES = "abcdefg"
PATIENT = RaftConfig(election_timeout_min_ms=300, election_timeout_max_ms=600)
"""For machines that have more to do than these tests: an unwanted election would fail them."""
T = TypeVar("T")


def free_sockets(count: int) -> list[socket.socket]:
    """Listening sockets on ports of the system's choice; kept open until a node takes them, so nobody else does."""
    made = [socket.socket() for _ in range(count)]
    for each in made:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        each.bind(("127.0.0.1", 0))
        each.listen(128)
    return made


def members_of(addresses: Iterable[str]) -> dict[int, tuple[str, str]]:
    return {number + 1: (NAMES[number], address) for number, address in enumerate(addresses)}


class Cluster:
    """``count`` nodes that are started together, each with ``settings``; with ``path`` they keep their data there."""

    def __init__(self, count: int = 3, path: Path | None = None, *, faults: bool = False, **settings: Any) -> None:
        sockets = free_sockets(count)
        members = members_of(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
        self.nodes: dict[str, NativeNode] = {}
        self.faults: dict[str, Faults] = {}
        for (id, (name, _)), listener in zip(members.items(), sockets, strict=True):
            storage: dict[str, Any] = {"durability": "memory"}
            if faults:
                self.faults[name] = Faults()
            if path is not None:
                storage = {"data_dir": path / name, "segment_bytes": 1 << 20, "faults": self.faults.get(name)}
            self.nodes[name] = NativeNode(
                name, id, members, listen=listener, **{"config": PATIENT, **storage, **settings}
            )

    def __enter__(self) -> Cluster:
        for node in self.nodes.values():
            node.start()
        return self

    def __exit__(self, *exception: object) -> None:
        for node in self.nodes.values():
            node.stop()

    @property
    def running(self) -> list[NativeNode]:
        return [node for node in self.nodes.values() if node.running]

    def leader(self, timeout: float = 10.0) -> NativeNode:
        """The node that leads in the newest term, once the running ones agree."""

        def agreed() -> NativeNode | None:
            seen = [
                each for each in (node.status() for node in self.running) if each["standing"] in ("voter", "learner")
            ]
            names = {each["leader"] for each in seen}
            if len(names) == 1 and len({each["term"] for each in seen}) == 1 and None not in names:
                found = self.nodes[names.pop()]
                return found if found.running else None
            return None

        return until(agreed, timeout)


def until(condition: Callable[[], T | None], timeout: float = 10.0) -> T:
    """Waits for a condition to give something."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)
