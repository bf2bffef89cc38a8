"""Addresses as people write them: ``host:port``, ``[::1]:port``, ``unix:/path``; resolving names, and listening.

Knows sockets of Python, and nothing of nodes. The native side gets numbers and descriptors.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass

from quorate.errors import ConfigError

__all__ = ["Address", "listen_on", "parse_address"]

BACKLOG = 128


@dataclass(frozen=True)
class Address:
    """Where a node listens: a host (name or number) and a port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def resolve(self) -> tuple[str, int, int]:
        """(numeric host, port, scope). Raises ConfigError if the name is not known."""
        found = _numbers(self)[0][4]
        return str(found[0]).partition("%")[0], int(found[1]), int(found[3]) if len(found) > 3 else 0

    def is_local(self) -> bool:
        """Whether only programs of this host can reach it."""
        if self.path is not None:
            return True
        return all(ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_loopback for one in _numbers(self))


def _numbers(
    address: Address,
) -> list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]]]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"the host of {address} cannot be found: {error}") from None
    return found  # type: ignore[return-value]


def parse_address(text: str) -> Address:
    """Reads an address. Raises ConfigError that shows the forms.

    >>> parse_address("127.0.0.1:7401"), str(parse_address("[::1]:7401")), parse_address("unix:/run/q.sock").path
    (Address(host='127.0.0.1', port=7401, path=None), '[::1]:7401', '/run/q.sock')
    """
    if text.startswith("unix:"):
        path = text[5:].removeprefix("//")
        if not path:
            raise ConfigError(f"{text!r} names no path; write unix:/path/to/socket")
        return Address(path=path)
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"{text!r} is no address; write host:port, [IPv6]:port or unix:/path")
    return Address(host, int(port))


def listen_on(address: Address, *, insecure: bool = False) -> socket.socket:
    """A listening socket that does not block.

    Raises ConfigError for a taken or foreign address, and, unless ``insecure``, for one that other hosts can reach:
    there is no authentication yet, so whoever reaches a node may read and write everything.
    """
    if not insecure and not address.is_local():
        raise ConfigError(
            f"{address} can be reached from other hosts, and nothing authenticates them yet. Listen on a loopback "
            "address or a Unix socket, or say insecure=True if the network is closed to everybody else"
        )
    if address.path is not None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        _remove_stale(address.path)
        where: object = address.path
    else:
        found = _numbers(address)[0]
        made = socket.socket(found[0], socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        where = found[4]
    try:
        made.bind(where)  # type: ignore[arg-type]
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"{address} is taken by another program; stop it, or choose another port") from None
        raise ConfigError(f"cannot listen on {address}: {error.strerror or error}") from None
    return made


def _remove_stale(path: str) -> None:
    """A socket file that a killed node left; one that somebody answers at stays."""
    if not os.path.exists(path):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass  # not a socket, or not ours: bind says what is wrong
