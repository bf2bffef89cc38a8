"""The cluster that is tortured: nodes as processes behind the proxy, each with its directory; begun, ended, exchanged.

Knows what can be done to a node, and nothing of when or why.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shutil
import socket
import string
import time
from pathlib import Path
from typing import IO, Any, Final

from quorate.config import RaftConfig
from quorate.errors import NoQuorum, QuorateError
from quorate.runtime.membership import member_id
from quorate.testing.torture.children import Child
from quorate.testing.torture.proxy import Network

__all__ = ["CONFIG", "Cluster", "Node"]

CONFIG: Final = RaftConfig(
    snapshot_log_bytes=64 << 10, compaction_tail=200, compaction_tail_bytes=64 << 10, snapshot_chunk_bytes=16 << 10
)
"""Snapshots and compaction all the time, so that a node that was away for seconds needs one, in several chunks."""
SEGMENT_BYTES: Final = 256 << 10
START_SECONDS: Final = 60.0


class Node:
    """One member, or one that was. ``back`` is where it listens, ``front`` where the others believe it to be."""

    def __init__(self, name: str, id: int, home: Path, network: Network, *, first: bool) -> None:
        self.name: Final = name
        self.id: Final = id
        self.first: Final = first
        self.home: Final = home
        self.data: Final = home / "data"
        # Bound and not listening: nobody else is given the port, and the node can bind it too, by SO_REUSEADDR.
        self.port = socket.socket()
        self.port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port.bind(("127.0.0.1", 0))
        self.back: Final = f"127.0.0.1:{self.port.getsockname()[1]}"
        self.front: Final = network.open(name, id, self.back)
        self.child: Final = Child(f"node {name}", "quorate.testing.torture.node")
        self.small_disk = False
        self.starts = 0

    @property
    def running(self) -> bool:
        """Whether its process is there and not paused."""
        return self.child.running and not self.child.paused

    def close(self) -> None:
        """Ends its process, and gives the port back."""
        with contextlib.suppress(OSError):
            self.child.end(kill=True)
        self.port.close()


class Cluster:
    """A cluster of ``count`` nodes below ``directory``. A context manager that ends all processes."""

    def __init__(self, count: int, directory: Path, network: Network, *, environment: dict[str, str]) -> None:
        self.directory: Final = directory
        self.network: Final = network
        self._environment = environment
        self._names = iter(_names())
        self.nodes: Final[dict[str, Node]] = {}
        """The members now, by name."""
        self.former: Final[list[Node]] = []
        self.first: Final[list[Node]] = []
        self._logs: list[IO[bytes]] = []
        for number in range(1, count + 1):
            node = self._made(number)
            self.first.append(node)
            self.nodes[node.name] = node

    def _made(self, id: int | None = None) -> Node:
        name = next(self._names)
        home = self.directory / name
        home.mkdir()
        return Node(name, member_id(name) if id is None else id, home, self.network, first=id is not None)

    # Life

    def start(self) -> None:
        """Starts all, and waits for a leader. Raises NoQuorum, NodeFailed."""
        for node in self.nodes.values():
            self.begin(node)
        for node in self.nodes.values():
            node.child.answer(START_SECONDS)
        self.settle(START_SECONDS)

    def begin(self, node: Node) -> None:
        """Starts a node's process; its first answer says whether the node runs."""
        members = {each.id: (each.name, each.front) for each in (self.first if node.first else [node])}
        joined = [] if node.first else [each.front for each in self.nodes.values() if each is not node]
        node.starts += 1
        log = (node.home / "log").open("ab")
        self._logs.append(log)
        node.child.begin(
            {
                "name": node.name,
                "id": node.id,
                "members": members,
                "join": joined,
                "listen": node.back,
                "data_dir": str(node.data),
                "config": dataclasses.asdict(CONFIG),
                "segment_bytes": SEGMENT_BYTES,
            },
            environment={name: value.format(home=node.home) for name, value in self._environment.items()},
            errors=log,
        )

    def bring_back(self, node: Node) -> None:
        """Starts a node that does not run, on its data. Raises NodeFailed (StorageError in its words) if it cannot."""
        if node.child.paused:
            node.child.resume()
        if not node.child.running:
            node.child.end()
            self.begin(node)
            node.child.answer(START_SECONDS)

    def close(self) -> None:
        """Ends every process and closes every file."""
        for node in [*self.nodes.values(), *self.former]:
            node.close()
        for log in self._logs:
            log.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # What is there

    @property
    def url(self) -> str:
        """For clients."""
        return f"quorate://{','.join(each.front for each in self.nodes.values())}"

    @property
    def running(self) -> list[Node]:
        """The members whose processes run."""
        return [each for each in self.nodes.values() if each.running]

    def status(self, node: Node, timeout: float = 5.0) -> dict[str, Any]:
        """What a node says of itself. Raises NodeFailed, RequestTimeout."""
        return node.child.ask({"what": "status"}, timeout)

    def leader(self) -> Node | None:
        """Who leads in the newest term that anybody running knows of, at this moment."""
        best: tuple[int, str | None] = (0, None)
        for node in self.running:
            try:
                seen = self.status(node)
            except QuorateError:
                continue
            if seen["leader"] is not None:
                best = max(best, (seen["term"], seen["leader"]), key=lambda each: each[0])
        return self.nodes.get(best[1]) if best[1] is not None else None

    def settle(self, seconds: float) -> None:
        """Waits until every member runs, knows a leader and has caught up. Raises NoQuorum if they do not in time."""
        deadline = time.monotonic() + seconds
        for node in list(self.nodes.values()):
            while True:
                left = deadline - time.monotonic()
                try:
                    node.child.ask({"what": "ready", "seconds": max(min(left, 5.0), 0.1)}, timeout=START_SECONDS)
                    break
                except QuorateError as error:
                    if left <= 0 or not node.running:
                        raise NoQuorum(f"{node.name} is not ready after {seconds:g} s: {error}") from None

    # Members

    def add(self, client: Any, seconds: float) -> Node:
        """A new member, once it votes. Raises what the client does."""
        node = self._made()
        try:
            self.begin(node)
            node.child.answer(START_SECONDS)
            client.add_member(node.name, node.front, promote=True, timeout=seconds)
        except BaseException:
            node.close()
            self.former.append(node)
            raise
        self.nodes[node.name] = node
        return node

    def replace(self, client: Any, old: Node, seconds: float) -> Node:
        """A new member in the place of another, whose process has ended."""
        node = self._made()
        try:
            joined = self.nodes.pop(old.name)
            self.former.append(joined)
            self.begin(node)
            node.child.answer(START_SECONDS)
            client.replace_member(old.name, node.name, node.front, timeout=seconds)
        except BaseException:
            node.close()
            self.former.append(node)
            raise
        self.nodes[node.name] = node
        self._forget(old)
        return node

    def remove(self, client: Any, node: Node, seconds: float) -> None:
        """Takes a member out, and then its process away."""
        client.remove_member(node.name, timeout=seconds)
        self.former.append(self.nodes.pop(node.name))
        self._forget(node)

    def _forget(self, node: Node) -> None:
        node.close()
        shutil.rmtree(node.data, ignore_errors=True)

    def words(self, node: Node) -> str:
        """The end of what a node wrote to its log."""
        with contextlib.suppress(OSError):
            return (node.home / "log").read_bytes()[-2000:].decode(errors="replace")
        return ""


def _names() -> itertools.chain[str]:
    letters = string.ascii_lowercase
    return itertools.chain(letters, (f"{first}{second}" for first in letters for second in letters))
