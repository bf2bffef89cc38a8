"""A small client that speaks the frames of docs/internals/wire.md, for tests of the node's side of them."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass

from quorate.runtime.addresses import Address, parse_address
from quorate.runtime.node import NativeNode
from quorate.storage._io import checksum

KIND_CLIENT, KIND_WELCOME, KIND_ASK, KIND_ANSWER, KIND_NEWS, KIND_REFUSAL = 3, 4, 5, 6, 7, 10
DONE, NO_LEADER, OVERLOADED, STOPPED_BEFORE, EXPIRED, MALFORMED = 1, 2, 4, 10, 12, 15
FRAME_HEADER = 24


def frame(kind: int, payload: bytes, *, length: int | None = None, version: int = 1, crc: int | None = None) -> bytes:
    """A frame as csrc/frame.h describes it, or one that is wrong in a given place."""
    front = b"QRT" + bytes([version, kind, 0, 0, 0]) + struct.pack("<I", len(payload) if length is None else length)
    back = struct.pack("<Q", 0) + payload
    return front + struct.pack("<I", checksum(front + back) if crc is None else crc) + back


def client_hello(
    cluster: bytes = bytes(16), *, version: int = 1, label: bytes = b"test", process: int | None = None, birth: int = 0
) -> bytes:
    number = os.getpid() if process is None else process
    body = bytes([version]) + cluster + os.urandom(16) + struct.pack("<IQ", number, birth) + bytes([len(label)]) + label
    return frame(KIND_CLIENT, body)


def ask_frame(id: int, kind: int, body: bytes = b"", patience: float = 20.0) -> bytes:
    return frame(KIND_ASK, struct.pack("<QIB", id, int(patience * 1000), kind) + body)


@dataclass(frozen=True)
class Answer:
    id: int
    outcome: int
    index: int
    term: int
    leader: int
    result: bytes


@dataclass(frozen=True)
class News:
    cluster: bytes
    node: int
    leader: int
    term: int
    applied: int
    members: dict[int, tuple[str, str, int]]


@dataclass(frozen=True)
class Refusal:
    reason: int
    text: str


def decode_news(body: bytes) -> News:
    assert body[0] == 1
    node, leader, term, applied, count = struct.unpack_from("<QQQQH", body, 17)
    at = 51
    members = {}
    for _ in range(count):
        (id,) = struct.unpack_from("<Q", body, at)
        at += 8
        texts = []
        for _ in range(2):
            texts.append(body[at + 1 : at + 1 + body[at]].decode())
            at += 1 + body[at]
        members[id] = (texts[0], texts[1], body[at])
        at += 1
    assert at == len(body)
    return News(body[1:17], node, leader, term, applied, members)


class Gone(Exception):
    """The node ended the connection."""


class WireClient:
    """One connection. ``receive`` gives what the node says, one frame after the other."""

    def __init__(self, node: NativeNode | str, *, hello: bytes | None = None, small_window: bool = False) -> None:
        address = parse_address(node) if isinstance(node, str) else node.first_members[node.id][1]
        assert isinstance(address, Address)
        self.socket = socket.socket()
        if small_window:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(20)
        self.socket.connect((address.host, address.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""
        self._id = 0
        self.answers: dict[int, Answer] = {}
        self.news: list[News] = []
        self.send(client_hello() if hello is None else hello)

    def __enter__(self) -> WireClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, kind: int, body: bytes = b"", patience: float = 20.0) -> int:
        self._id += 1
        self.send(ask_frame(self._id, kind, body, patience))
        return self._id

    def receive(self) -> Answer | News | Refusal:
        """Raises Gone at the end of the connection."""
        while True:
            if len(self._data) >= FRAME_HEADER:
                kind = self._data[4]
                (length,) = struct.unpack_from("<I", self._data, 8)
                if len(self._data) >= FRAME_HEADER + length:
                    whole, self._data = self._data[: FRAME_HEADER + length], self._data[FRAME_HEADER + length :]
                    body = whole[FRAME_HEADER:]
                    assert frame(kind, body) == whole
                    return self._decoded(kind, body)
            try:
                more = self.socket.recv(1 << 20)
            except ConnectionError:
                more = b""
            if not more:
                raise Gone
            self._data += more

    def _decoded(self, kind: int, body: bytes) -> Answer | News | Refusal:
        if kind == KIND_ANSWER:
            answer = Answer(*struct.unpack_from("<QBQQQ", body), body[33:])
            self.answers[answer.id] = answer
            return answer
        if kind in (KIND_WELCOME, KIND_NEWS):
            self.news.append(decode_news(body))
            return self.news[-1]
        assert kind == KIND_REFUSAL
        assert len(body) == 2 + body[1]
        return Refusal(body[0], body[2:].decode())

    def answer(self, id: int) -> Answer:
        """Waits for the answer to a question; others that come meanwhile are kept."""
        while id not in self.answers:
            self.receive()
        return self.answers.pop(id)

    def welcome(self) -> News:
        found = self.receive()
        assert isinstance(found, News)
        return found

    def over(self) -> Refusal | None:
        """Waits for the end of the connection: why, if the node said so."""
        said = None
        try:
            while True:
                found = self.receive()
                if isinstance(found, Refusal):
                    said = found
        except Gone:
            return said
