"""A member of a cluster in the hands of a test: it says what the test wants, and when, in the frames of nodes.

Between members each connection has one direction: the node's own comes to ``FakeMember.accept``, and what the fake one
says goes over a connection that ``FakeMember.connect`` makes.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from types import TracebackType
from typing import Any

from quorate.raft import Message, decode, encode
from quorate.runtime.addresses import Address
from quorate.runtime.node import NativeNode, cluster_of
from runtime.client_wire import FRAME_HEADER, frame

KIND_HELLO, KIND_RAFT, KIND_GOODBYE = 1, 2, 11
INCARNATION = 77
PATIENCE = 20.0
NEWER = 1 << 40
"""The index of a configuration that the node does not know yet: the fake member may have got its incarnation by it."""

GOODBYE = frame(KIND_GOODBYE, b"")


class FakeMember:
    """``id`` of ``node``'s first members, whose address is that of ``listener``."""

    def __init__(self, node: NativeNode, id: int, listener: socket.socket) -> None:
        self.node, self.id = node, id
        self.cluster = cluster_of(node.first_members)
        listener.settimeout(PATIENCE)
        self._stack = contextlib.ExitStack()
        self._listener = self._stack.enter_context(listener)
        self._data = b""
        self._from_node: socket.socket | None = None

    def __enter__(self) -> FakeMember:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def hello(self) -> bytes:
        """What a connection to the node begins with."""
        numbers = struct.pack("<QQQQ", self.id, INCARNATION, self.node.id, NEWER)
        return frame(KIND_HELLO, b"\x01" + self.cluster + numbers)

    def message(self, type: str, **fields: Any) -> bytes:
        """A frame with a message of the protocol."""
        made = Message.make(type, sender=self.id, receiver=self.node.id, incarnation=INCARNATION, **fields)
        return frame(KIND_RAFT, encode(made))

    def connect(self, *frames: bytes) -> socket.socket:
        """A new connection to the node. The hello and ``frames`` arrive together, so that one turn reads them."""
        address = self.node.first_members[self.node.id][1]
        assert isinstance(address, Address)
        made = self._stack.enter_context(socket.create_connection((address.host, address.port), timeout=PATIENCE))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.sendall(self.hello() + b"".join(frames))
        return made

    def accept(self) -> None:
        """Takes the connection that the node makes."""
        self._from_node = self._stack.enter_context(self._listener.accept()[0])
        self._from_node.settimeout(PATIENCE)
        assert self._frame()[0] == KIND_HELLO
        self._from_node.sendall(self.hello())

    def _frame(self) -> tuple[int, bytes]:
        assert self._from_node is not None
        while True:
            if len(self._data) >= FRAME_HEADER:
                size = FRAME_HEADER + int.from_bytes(self._data[8:12], "little")
                if len(self._data) >= size:
                    whole, self._data = self._data[:size], self._data[size:]
                    return whole[4], whole[FRAME_HEADER:]
            more = self._from_node.recv(1 << 16)
            assert more, "the node ended its connection"
            self._data += more

    def heard(self, type: str) -> Message:
        """The next message of a type; others are skipped."""
        while True:
            kind, body = self._frame()
            if kind == KIND_RAFT:
                found = decode(body)
                assert isinstance(found, Message)
                if found.type == type:
                    return found
