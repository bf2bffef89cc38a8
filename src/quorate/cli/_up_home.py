"""Where `quorate up` keeps a cluster: a directory with a note of how many nodes there are and on which ports.

Knows files and ports, and nothing of processes. Everything that cannot work is a ConfigError that says what to do.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from quorate.errors import ConfigError
from quorate.version import __version__

__all__ = ["NAMES", "Home", "Place"]

NAMES: Final = "abcdefghi"
FORMAT: Final = 1
"""Of the note. One of another format belongs to another version of Quorate."""
NOTE: Final = "quorate-up.json"
HOST: Final = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Where one node lives."""

    name: str
    address: str
    data_dir: Path
    log: Path


class Home:
    """The directory, locked, and its ports, reserved, for as long as it is open; a context manager.

    ``port`` is the first node's, the others follow; 0 lets the system choose, None takes the ones of the note. A port
    is held by a socket that is bound and does not listen: the node can have it, and an outgoing connection cannot.
    """

    def __init__(self, path: Path, *, nodes: int | None, port: int | None) -> None:
        self.path: Final = path
        self._lock = -1
        self._sockets: list[socket.socket] = []
        try:
            with _explained(path):
                self.is_new = self._open()
            ports = self._ports(nodes, port)
            self.places: Final = [
                Place(name, f"{HOST}:{each}", path / name, path / f"{name}.log")
                for name, each in zip(NAMES, ports, strict=False)
            ]
            if self.is_new:
                with _explained(path):
                    self._write({"format": FORMAT, "version": __version__, "ports": ports})
        except BaseException:
            self.close()
            raise

    def _open(self) -> bool:
        """Takes the lock. Returns whether the directory is new."""
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{self.path} is a file; say another --dir")
        self.path.mkdir(parents=True, exist_ok=True)
        is_new = not (self.path / NOTE).exists()
        others = {each.name for each in self.path.iterdir()} - {"LOCK"}
        if is_new and others:
            raise ConfigError(
                f"{self.path} is not empty, and was not made by quorate up (it has {min(others)!r}). Say another "
                "--dir, or an empty one"
            )
        self._lock = os.open(self.path / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 100).decode(errors="replace").strip()
            raise ConfigError(
                f"quorate up already runs in {self.path} (process {holder}); stop it, or say another --dir and --port"
            ) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, str(os.getpid()).encode())
        return is_new

    def _ports(self, nodes: int | None, port: int | None) -> list[int]:
        if self.is_new:
            count, first = nodes or 3, 7400 if port is None else port
            if first + count > 65536:
                raise ConfigError(f"{count} ports from {first} on are more than there are; say a lower --port")
            return [self._reserve(first + number if first else 0) for number in range(count)]
        ports = self._read()
        if nodes is not None and nodes != len(ports):
            raise ConfigError(
                f"{self.path} holds a cluster of {len(ports)} nodes, not {nodes}: leave --nodes out, or say another "
                "--dir for a new cluster"
            )
        if port and port != ports[0]:
            raise ConfigError(
                f"the cluster in {self.path} has the ports {', '.join(map(str, ports))}: leave --port out, or say "
                "another --dir for a new cluster"
            )
        return [self._reserve(each) for each in ports]

    def _read(self) -> list[int]:
        path = self.path / NOTE
        try:
            note = json.loads(path.read_bytes())
            made, version = int(note["format"]), str(note["version"])
            ports = [int(each) for each in note["ports"]] if made == FORMAT else []
        except (ValueError, KeyError, TypeError):
            raise ConfigError(
                f"{path} is damaged: say another --dir, or remove {self.path} if its data may go"
            ) from None
        if made != FORMAT:
            age = "an older" if made < FORMAT else "a newer"
            raise ConfigError(
                f"{self.path} was made by {age} version of Quorate ({version}; this is {__version__}): use that "
                "version, or say another --dir for a new cluster"
            )
        return ports

    def _write(self, note: dict[str, Any]) -> None:
        new = self.path / f"{NOTE}.new"
        new.write_text(json.dumps(note) + "\n", encoding="utf-8")
        new.replace(self.path / NOTE)

    def _reserve(self, port: int) -> int:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._sockets.append(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConfigError(
                    f"port {port} is taken by another program: stop it, or start a new cluster with another --port and "
                    "--dir"
                ) from None
            raise ConfigError(f"port {port} cannot be used: {error.strerror}; say another --port") from None
        found: int = made.getsockname()[1]
        return found

    @property
    def url(self) -> str:
        """What a client connects to."""
        return "quorate://" + ",".join(each.address for each in self.places)

    def close(self) -> None:
        """Gives ports and lock back."""
        for each in self._sockets:
            each.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Home:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def _explained(path: Path) -> Any:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; say another --dir") from None
