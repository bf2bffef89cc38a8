"""Simulated clients of the registers: what they ask, how they retry, and what they may conclude. Feeds the history.

A client runs one request at a time. A write is numbered within the client's session, so it can be sent again to any
node without taking effect twice; when a client gives up on one whose outcome it does not know, it goes on as a new
client. Knows of a node only that it takes proposals and reads.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final, final

from quorate.raft import ReadIndex
from quorate.testing.history import History
from quorate.testing.machine import CAS, WRITE, Registers

if TYPE_CHECKING:
    from quorate.testing.cluster import SimCluster
    from quorate.testing.node import SimNode

__all__ = ["Clients", "Request"]

ATTEMPTS_MAX: Final = 6
OPEN, DONE = 0, 1


class Request:
    """One attempt's worth of state of one operation; whoever proposes to the cluster makes one.

    ``on_done(result)``: it was applied. ``on_refused(status)``: proven that this attempt appended nothing that lasts.
    ``on_unknown()``: the attempt may or may not take effect.
    """

    __slots__ = ("floor", "id", "node", "state")

    def __init__(self, id: int, node: int) -> None:
        self.id = id
        self.node = node
        self.state = OPEN
        self.floor = 0
        """For a read: the highest index that was acknowledged to anybody before it began."""

    def on_done(self, result: Any) -> None:
        raise NotImplementedError

    def on_refused(self, status: str) -> None:
        raise NotImplementedError

    def on_unknown(self) -> None:
        raise NotImplementedError


@final
class _Attempt(Request):
    """One attempt of a simulated client."""

    __slots__ = ("client",)

    def __init__(self, id: int, node: int, client: _Client) -> None:
        super().__init__(id, node)
        self.client = client

    def on_done(self, result: Any) -> None:
        self.client.done(self, result)

    def on_refused(self, status: str) -> None:
        self.client.failed(self, proven=True)

    def on_unknown(self) -> None:
        self.client.failed(self, proven=False)


@final
class _Client:
    """One client, one request at a time."""

    __slots__ = (
        "attempt",
        "attempts",
        "command",
        "doubt",
        "kind",
        "load",
        "number",
        "session",
        "target",
        "token",
        "value",
    )

    def __init__(self, load: Clients, session: int) -> None:
        self.load = load
        self.session = session
        self.number = 0
        self.target = 0
        self.attempt: _Attempt | None = None

    def start(self, _: Any = None) -> None:
        """Begin the next operation."""
        load = self.load
        if load.stopped:
            load.idle.append(self)
            return
        rng = load.random
        key = rng.randrange(load.keys)
        self.attempts, self.doubt = 0, False
        if rng.random() < load.reads:
            self.kind = "read"
            self.token = load.history.invoke(self.session, key, "read")
            self.value = key
        else:
            self.number += 1
            load.values += 1
            padding = rng.randrange(load.padding) if load.padding else 0
            if rng.random() < 0.2 and load.last_seen.get(key):
                expected = load.last_seen[key]
                self.kind = "cas"
                self.command = Registers.command(self.session, self.number, CAS, key, load.values, expected, padding)
                self.token = load.history.invoke(self.session, key, "cas", (expected, load.values))
            else:
                self.kind = "write"
                self.command = Registers.command(self.session, self.number, WRITE, key, load.values, 0, padding)
                self.token = load.history.invoke(self.session, key, "write", load.values)
            self.value = key
        self.send()

    def send(self, _: Any = None) -> None:
        """One attempt, at the node believed to lead, or any."""
        load = self.load
        cluster = load.cluster
        self.attempts += 1
        node = load.choose(self.target)
        if node is None:
            self.attempt = _Attempt(0, 0, self)
            cluster.after(100_000, self.expire, self.attempt)
            return
        attempt = self.attempt = _Attempt(cluster.next_request(), node.id, self)
        cluster.after(load.timeout_us, self.expire, attempt)
        if self.kind == "read":
            cluster.requests[attempt.id] = attempt
            attempt.floor = cluster.acknowledged
            id = attempt.id
            node.feed(lambda now: ReadIndex(id, now=now))
        else:
            cluster.propose_request(node, attempt, self.command)

    def expire(self, attempt: _Attempt) -> None:
        """No answer came in time."""
        if self.attempt is attempt and attempt.state == OPEN:
            self.failed(attempt, proven=attempt.node == 0)

    def done(self, attempt: _Attempt, result: Any) -> None:
        """The operation took effect."""
        if self.attempt is not attempt or attempt.state != OPEN:
            return
        load = self.load
        self.close(attempt)
        self.target = attempt.node
        if self.kind == "read":
            value = result or None
            if value:
                load.last_seen[self.value] = value
            load.history.ok(self.token, value)
        elif self.kind == "cas":
            load.history.ok(self.token, bool(result))
        else:
            load.history.ok(self.token)
        load.completed += 1
        load.cluster.after(load.think(), self.start, None)

    def close(self, attempt: _Attempt) -> None:
        """Whatever comes of this attempt from now on is ignored."""
        attempt.state = DONE
        self.attempt = None
        self.load.cluster.requests.pop(attempt.id, None)

    def failed(self, attempt: _Attempt, *, proven: bool) -> None:
        """This attempt came to nothing, as far as is known; ``proven``: it will never take effect."""
        if self.attempt is not attempt or attempt.state != OPEN:
            return
        load = self.load
        self.close(attempt)
        self.doubt = self.doubt or not proven
        self.target = 0
        if self.attempts < ATTEMPTS_MAX and not load.stopped:
            load.cluster.after(load.backoff(), self.send, None)
            return
        if self.kind == "read" or not self.doubt:
            load.history.failed(self.token)
        else:
            load.history.unknown(self.token)
            load.sessions += 1
            self.session, self.number = load.sessions, 0
        load.cluster.after(load.think(), self.start, None)


@final
class Clients:
    """Closed-loop clients over a few registers, ``rate`` operations a second in all when nothing is in the way."""

    __slots__ = (
        "_pause_us",
        "cluster",
        "completed",
        "history",
        "idle",
        "keys",
        "last_seen",
        "padding",
        "random",
        "reads",
        "sessions",
        "stopped",
        "timeout_us",
        "values",
    )

    def __init__(
        self,
        cluster: SimCluster,
        history: History,
        *,
        count: int,
        rate: float,
        keys: int,
        reads: float,
        padding: int = 0,
        timeout_us: int = 1_000_000,
    ) -> None:
        self.cluster = cluster
        self.history = history
        self.random = random.Random(f"{cluster.seed}/clients")
        self.keys = keys
        self.reads = reads
        self.padding = padding
        self.timeout_us = timeout_us
        self.values = 0
        self.sessions = count
        self.completed = 0
        self.stopped = False
        self.idle: list[_Client] = []
        self.last_seen: dict[int, int] = {}
        """Per register some value that was read: what a cas expects."""
        self._pause_us = int(2_000_000 * count / rate)
        for number in range(count):
            cluster.after(self.think(), _Client(self, number + 1).start, None)

    def begin(self) -> None:
        """Go on after :meth:`stop`."""
        self.stopped = False
        idle, self.idle = self.idle, []
        for client in idle:
            self.cluster.after(self.think(), client.start, None)

    def stop(self) -> None:
        """Each client ends what it is at, and begins nothing new."""
        self.stopped = True

    def think(self) -> int:
        """Microseconds until a client's next operation."""
        return int(self.random.random() * self._pause_us)

    def backoff(self) -> int:
        """Microseconds until the next attempt."""
        return 5_000 + int(self.random.random() * 60_000)

    def choose(self, wish: int) -> SimNode | None:
        """The node to ask: mostly the one that answered last or that leads, sometimes any that runs."""
        cluster = self.cluster
        if self.random.random() < 0.25:
            wish = 0
        elif not wish:
            wish = cluster.guess_leader()
        node = cluster.nodes.get(wish)
        if node is None or node.raft is None:
            running = [node for node in cluster.nodes.values() if node.raft is not None]
            return self.random.choice(running) if running else None
        return node
