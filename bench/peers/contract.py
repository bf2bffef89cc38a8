"""What a peer has to say about itself to be measured beside the others: one file `peer_*.py` with a `Peer` in it.

A `Peer` tells the runner how its three members are started and who leads; its `Client` does, in a process of its own,
what programs do with it. Both are made from nothing but a `Place`, because the runner and the client are two processes.
Knows no peer and measures nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LEASE = 2.0
"""Seconds that a lock outlives its holder, where the holder's end is not seen, and the peer allows so few."""
ATTEMPT = 0.5
"""Seconds that a client waits for one answer before it asks the next member, where its library leaves that open."""


@dataclass(frozen=True)
class Place:
    """Where the members are. ``me``: which of them lives in this process, for peers that are embedded."""

    folder: Path
    ports: Sequence[Sequence[int]]
    """Of each member; how many, the peer says."""
    leader: int = 0
    me: int | None = None


@dataclass
class Turn:
    """What was measured: seconds of each operation, and how long all of them took together."""

    times: list[float]
    elapsed: float = 0.0


class Lock(ABC):
    """The lock of the peer's library, as one contender holds it."""

    @abstractmethod
    def acquire(self) -> None:
        """Waits for it as its library waits."""

    @abstractmethod
    def release(self) -> None: ...

    def refresh(self) -> None:  # noqa: B027 - most libraries do it themselves
        """Called every third of the lease while it is held, for libraries that leave this to their users."""


class Client(ABC):
    """A client in a process of its own, at first of the leader. Calls block, and raise what their library raises."""

    @abstractmethod
    def put(self, key: str, value: bytes) -> None:
        """As durable as the peer makes it."""

    @abstractmethod
    def flood(self, window: int, seconds: float) -> Turn:
        """Puts, ``window`` of them on their way, in the way of the library that keeps most of them so."""

    def read(self, key: str) -> None:
        """Linearizable."""
        raise NotImplementedError

    def local(self, key: str) -> None:
        """What the member, or the process, has at hand; may be old."""
        raise NotImplementedError

    def lock(self, name: str) -> Lock:
        raise NotImplementedError

    def lock_in_tasks(self, seconds: float) -> Turn:
        """The lock of the library for asyncio: acquire and release, one after the other."""
        raise NotImplementedError

    def contend(self, contenders: int, seconds: float) -> Turn:
        """Hand-overs of one lock between so many; threads, unless the library is one for asyncio."""
        from measures import contended

        number = self._number = getattr(self, "_number", 0) + 1
        return contended(lambda: self.lock(f"contended-{number}"), contenders, seconds)

    def leader(self) -> int | None:
        """Which member leads as far as this one knows, for peers that are embedded."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None: ...


@dataclass
class Missing:
    """Why a peer cannot be measured here."""

    what: str
    how: str
    """How to get it: this program installs nothing."""


class Peer(ABC):
    """A peer. ``name`` is for the command line, ``title`` for the table."""

    name: str
    title: str
    fsync: str
    """What a put has reached when it is acknowledged."""
    via: str
    """The client library, and what was set otherwise than by default."""
    members = 3
    ports_each = 1
    embedded = False
    """Members live in the processes of clients: there is no other way to ask them."""
    warm_seconds = 0.3
    """Of puts before the first measurement; more where a just-in-time compiler has to see them."""
    without: Mapping[str, str] = {}
    """Rows that this peer has not, each with the reason."""

    @abstractmethod
    def missing(self) -> Sequence[Missing]:
        """What is not there; must not raise, import or start anything that is not."""

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def client(self, place: Place) -> Client:
        """In the client's process. For an embedded peer also its member ``place.me``."""

    def prepare(self, place: Place) -> None:  # noqa: B027 - most need none
        """Writes configuration, before members start."""

    def command(self, place: Place, member: int) -> Sequence[str]:
        """Starts a member, on its data if there is any. Not for embedded peers."""
        raise NotImplementedError

    def leader(self, place: Place) -> int | None:
        """Who leads, if all members are there and agree; asked again until they do. Not for embedded peers."""
        raise NotImplementedError


def module_missing(name: str, package: str | None = None) -> list[Missing]:
    """Whether a Python package can be imported, without doing it."""
    from importlib.util import find_spec

    try:
        found = find_spec(name) is not None
    except (ImportError, ValueError):
        found = False
    return [] if found else [Missing(f"the Python package {package or name}", f"pip install {package or name}")]


def program_missing(name: str, how: str) -> list[Missing]:
    from shutil import which

    return [] if which(name) else [Missing(f"the program {name} on PATH", how)]


def package_version(name: str) -> str:
    from importlib import metadata

    return metadata.version(name)


def found_peers() -> list[Peer]:
    """One of each file `peer_*.py` beside this one, in the order of their names; a file may have several."""
    import importlib

    made: list[Peer] = []
    for file in sorted(Path(__file__).parent.glob("peer_*.py")):
        made += importlib.import_module(file.stem).PEERS
    return made
