"""Nodes that say what a test wants them to: they speak the frames of clients, and keep nothing."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from quorate.storage._io import checksum

KIND_CLIENT, KIND_WELCOME, KIND_ASK, KIND_ANSWER, KIND_NEWS, KIND_REFUSAL = 3, 4, 5, 6, 7, 10
PROPOSE, READ, QUERY, WATCH, AWAIT, RENEW, STATUS, MEMBERS = range(1, 9)
DONE, NO_LEADER, NOT_LEADER, OVERLOADED = 1, 2, 3, 4
CLUSTER = b"cluster of tests"


def frame(kind: int, payload: bytes) -> bytes:
    """A frame as csrc/frame.h describes it."""
    front = b"QRT" + bytes([1, kind, 0, 0, 0]) + struct.pack("<I", len(payload))
    back = struct.pack("<Q", 0) + payload
    return front + struct.pack("<I", checksum(front + back)) + back


@dataclass
class Ask:
    """A question as it came."""

    id: int
    patience_ms: int
    kind: int
    body: bytes


Answer = tuple[int, int, bytes] | None
"""(outcome, index, result), or None for no answer."""


@dataclass
class FakeNode:
    """Listens on a port of the system's choice, and answers by ``handler``, which runs in a thread for each connection.

    ``office`` is (leader, term), ``members`` maps ids to (name, address). STATUS needs it only if not ``lively``.
    """

    id: int
    office: tuple[int, int] = (1, 1)
    cluster: bytes = CLUSTER
    members: dict[int, tuple[str, str]] = field(default_factory=dict)
    handler: Callable[[FakeNode, Ask], Answer] = lambda node, ask: (DONE, 7, b"")
    lively: bool = True
    refusal: str | None = None
    asked: list[Ask] = field(default_factory=list)
    hellos: list[bytes] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._lock = threading.Lock()
        self._stopped = False
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def __enter__(self) -> FakeNode:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """No listener and no connection is left."""
        # Closing a socket does not wake who waits in it.
        with self._lock:
            self._stopped = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()

    def again(self) -> None:
        """Listens on the same port, after :meth:`stop`."""
        self._stopped = False
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def cut(self) -> None:
        """Ends all connections."""
        with self._lock:
            connections, self.connections = self.connections, []
        for each in connections:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def tell(self, leader: int, term: int) -> None:
        """News of another office, on all connections."""
        self.office = (leader, term)
        self._everywhere(frame(KIND_NEWS, self._news()))

    def _everywhere(self, data: bytes) -> None:
        with self._lock:
            for each in self.connections:
                with contextlib.suppress(OSError):
                    each.sendall(data)

    def _news(self) -> bytes:
        members = self.members or {self.id: (f"n{self.id}", self.address)}
        body = struct.pack("<B16sQQQQH", 1, self.cluster, self.id, *self.office, 5, len(members))
        for id, (name, address) in members.items():
            body += (
                struct.pack("<QB", id, len(name)) + name.encode() + bytes([len(address)]) + address.encode() + b"\x01"
            )
        return body

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, EOFError):
            kind, payload = self._read(connection)
            assert kind == KIND_CLIENT
            self.hellos.append(payload)
            if self.refusal is not None:
                text = self.refusal.encode()
                connection.sendall(frame(KIND_REFUSAL, bytes([1, len(text)]) + text))
                return
            with self._lock:
                if self._stopped:
                    return
                connection.sendall(frame(KIND_WELCOME, self._news()))
                self.connections.append(connection)
            while True:
                kind, payload = self._read(connection)
                assert kind == KIND_ASK
                ask = Ask(*struct.unpack_from("<QIB", payload), payload[13:])
                if ask.kind == STATUS and self.lively:
                    answer: Answer = (DONE, 0, b"\0\0\0\0")
                else:
                    self.asked.append(ask)
                    answer = self.handler(self, ask)
                if answer is not None:
                    self.answer(connection, ask, *answer)

    def answer(self, connection: socket.socket, ask: Ask, outcome: int, index: int, result: bytes) -> None:
        head = struct.pack("<QBQQQ", ask.id, outcome, index, self.office[1], self.office[0])
        with self._lock:
            connection.sendall(frame(KIND_ANSWER, head + result))

    def _read(self, connection: socket.socket) -> tuple[int, bytes]:
        header = self._exactly(connection, 24)
        assert header[:4] == b"QRT\x01"
        payload = self._exactly(connection, struct.unpack_from("<I", header, 8)[0])
        assert checksum(header[:12] + header[16:] + payload) == struct.unpack_from("<I", header, 12)[0]
        return header[4], payload

    def _exactly(self, connection: socket.socket, count: int) -> bytes:
        found = b""
        while len(found) < count:
            more = connection.recv(count - len(found))
            if not more:
                raise EOFError
            found += more
        return found


def cluster_of_fakes(count: int = 3, **settings: object) -> list[FakeNode]:
    """Nodes 1 to ``count`` that know of each other."""
    made = [FakeNode(number + 1, **settings) for number in range(count)]  # type: ignore[arg-type]
    members = {node.id: (f"n{node.id}", node.address) for node in made}
    for node in made:
        node.members = members
    return made
