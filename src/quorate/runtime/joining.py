"""How a node that is no member yet learns whose cluster it joins: it asks the members that it was told of.

Speaks the hello of a client (docs/internals/wire.md), once, before the node's own loop runs. Knows nothing of nodes.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from quorate.errors import ConfigError
from quorate.runtime.addresses import Address
from quorate.storage._io import checksum

__all__ = ["Welcome", "learn"]

KIND_CLIENT: Final = 3
KIND_WELCOME: Final = 4
KIND_REFUSAL: Final = 10
VERSION: Final = 1
HEADER: Final = 24
ANSWER_MAX: Final = 1 << 20
ASK_SECONDS: Final = 2.0
"""For one member; then the next is asked."""


@dataclass(frozen=True)
class Welcome:
    """What a member says of its cluster: its id, and (id, name, address, whether it votes) of the members."""

    cluster: bytes
    node: int
    leader: int
    members: tuple[tuple[int, str, str, bool], ...]

    @classmethod
    def decode(cls, data: bytes) -> Welcome:
        """Reads the payload of a welcome. Raises ConfigError if it is none."""
        try:
            version, cluster, node, leader, _, _, count = struct.unpack_from("<B16sQQQQH", data)
            at = struct.calcsize("<B16sQQQQH")
            members = []
            for _ in range(count):
                (id,) = struct.unpack_from("<Q", data, at)
                name = data[at + 9 : at + 9 + data[at + 8]]
                at += 9 + len(name)
                address = data[at + 1 : at + 1 + data[at]]
                at += 1 + len(address)
                members.append((id, name.decode(), address.decode(), bool(data[at] & 1)))
                at += 1
        except (struct.error, IndexError, UnicodeDecodeError):
            raise ConfigError("the answer is none of a Quorate node") from None
        if version != VERSION:
            raise ConfigError(f"the node speaks version {version} of the protocol, and this one version {VERSION}")
        return cls(cluster, node, leader, tuple(members))


def _frame(kind: int, payload: bytes) -> bytes:
    front = b"QRT\x01" + bytes([kind, 0, 0, 0]) + struct.pack("<I", len(payload))
    back = bytes(8) + payload
    return front + struct.pack("<I", checksum(front + back)) + back


def _receive(connection: socket.socket, count: int, deadline: float) -> bytes:
    found = b""
    while len(found) < count:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        part = connection.recv(count - len(found))
        if not part:
            raise ConfigError("the node closed the connection")
        found += part
    return found


def _read(connection: socket.socket, deadline: float) -> tuple[int, bytes]:
    head = _receive(connection, HEADER, deadline)
    if head[:3] != b"QRT":
        raise ConfigError("there is another program than a Quorate node")
    kind = head[4]
    length, crc = struct.unpack_from("<II", head, 8)
    if length > ANSWER_MAX:
        raise ConfigError("the answer is none of a Quorate node")
    payload = _receive(connection, length, deadline)
    if checksum(head[:12] + head[16:] + payload) != crc:
        raise ConfigError("the answer is damaged")
    return kind, payload


def ask_one(address: Address, seconds: float = ASK_SECONDS) -> Welcome:
    """What one node says. Raises ConfigError or OSError."""
    deadline = time.monotonic() + seconds
    if address.path is not None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        made = socket.create_connection((address.host, address.port), timeout=seconds)
    with made as connection:
        if address.path is not None:
            connection.settimeout(seconds)
            connection.connect(address.path)
        hello = bytes([VERSION]) + bytes(16) + secrets.token_bytes(16) + bytes(12) + b"\x07joining"
        connection.sendall(_frame(KIND_CLIENT, hello))
        kind, payload = _read(connection, deadline)
    if kind == KIND_REFUSAL and len(payload) >= 2:
        raise ConfigError(f"the node refuses: {payload[2 : 2 + payload[1]].decode(errors='replace')}")
    if kind != KIND_WELCOME:
        raise ConfigError("the answer is none of a Quorate node")
    return Welcome.decode(payload)


def learn(addresses: Sequence[Address], timeout: float = 10.0) -> Welcome:
    """Asks one address after the other until a member answers.

    Raises ConfigError that says what each of them answered, after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        answers = []
        for each in addresses:
            try:
                return ask_one(each, min(ASK_SECONDS, max(deadline - time.monotonic(), 0.1)))
            except (OSError, ConfigError) as error:  # noqa: PERF203
                answers.append(f"{each}: {error}")
        if time.monotonic() + 0.1 >= deadline:
            raise ConfigError(
                f"no member of the cluster to join answers ({'; '.join(answers)}); start one, or correct join="
            ) from None
        time.sleep(0.1)
