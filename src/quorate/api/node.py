"""A node in this process, as people write it: names instead of numbers, and a client to talk to it.

The node itself is `runtime.NativeNode`. Knows nothing of what clients ask.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, final

from quorate.api.client import Client
from quorate.api.core import Core
from quorate.client.embedded import EmbeddedBackend
from quorate.client.flow import run, seconds
from quorate.config import RaftConfig
from quorate.errors import ConfigError
from quorate.runtime.node import NativeNode
from quorate.storage.directory import Identity

__all__ = ["Node", "local"]

_QUICK: Final = RaftConfig(election_timeout_min_ms=100, election_timeout_max_ms=110)
"""A node that is alone has nobody to wait for."""


def _identity(data_dir: str | os.PathLike[str] | None) -> Identity | None:
    """Whose data lies in a directory, None if it is new."""
    if data_dir is None:
        return None
    file = Path(data_dir) / "IDENTITY"
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    return Identity.decode(content, file=str(file))


def _numbered(name: str, members: Mapping[str, str], identity: Identity | None) -> dict[int, tuple[str, str]]:
    """Ids for the first start, the same on every node because they follow the order of the names.

    A directory knows its own id, which was given by the cluster if the node joined later.
    """
    numbered = {id: (each, members[each]) for id, each in enumerate(sorted(members), 1)}
    if identity is None or numbered.get(identity.node, ("", ""))[0] == name:
        return numbered
    others = {id: member for id, member in numbered.items() if member[0] != name and id != identity.node}
    return {**others, identity.node: (name, members[name])}


@final
class Node:
    """One member of a cluster, in this process.

    * ``name``: of this member, as it stands in ``members``, which maps every member's name, this one's too, to its
      address: ``host:port``, ``[IPv6]:port`` or ``unix:/path``. The list serves the first start; who is a member
      afterwards stands in the log. Without ``members`` the node is a cluster by itself.
    * ``join``: addresses of running members instead, for a node that is none yet; somebody adds it with
      ``client.add_member(name, address)``.
    * ``listen``: where to listen, if that is not this member's address; also a listening socket, which the node takes.
    * ``data_dir``: where the data is kept. ``durability="memory"`` instead keeps nothing, for tests and caches.
    * ``insecure=True``: allows an address that other hosts can reach. There is no authentication yet.
    * ``config``: times and sizes of the protocol (:class:`quorate.RaftConfig`).

    Raises ConfigError for settings that cannot work. A context manager: :meth:`start` and :meth:`stop`.

    >>> with Node("a", durability="memory") as node:
    ...     node.wait_ready()
    ...     client = node.client()
    ...     client.put("greeting", b"hello") > 0
    True
    """

    def __init__(
        self,
        name: str,
        *,
        listen: str | socket.socket | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        members: Mapping[str, str] | None = None,
        join: str | Sequence[str] | None = None,
        durability: Literal["fsync", "memory"] = "fsync",
        insecure: bool = False,
        config: RaftConfig | None = None,
    ) -> None:
        kept: dict[str, Any] = {"data_dir": data_dir, "durability": durability, "insecure": insecure}
        identity = _identity(data_dir)
        if join is not None:
            if members is not None:
                raise ConfigError(
                    "a node is one of the first members (members=), or joins them later (join=), not both"
                )
            if listen is None:
                raise ConfigError("a node that joins has to listen where the others find it: listen='host:port'")
            others = [join] if isinstance(join, str) else list(join)
            id = identity.node if identity is not None else None
            self._native = NativeNode(name, id, {}, join=others, listen=listen, config=config, **kept)
            return
        alone = members is None
        if members is None:
            members = {name: listen if isinstance(listen, str) else "unix:/nowhere"}
        if name not in members:
            raise ConfigError(f"members must name this node, {name!r}, with its address; they are {sorted(members)}")
        where: str | socket.socket | None = "" if listen is None else listen
        if alone:
            where = listen
            config = config or _QUICK
        numbered = _numbered(name, members, identity)
        id = next(id for id, (each, _) in numbered.items() if each == name)
        self._native = NativeNode(name, id, numbered, listen=where, config=config, **kept)

    @property
    def name(self) -> str:
        """The name of this member."""
        return self._native.name

    @property
    def address(self) -> str:
        """Where others find it, as it was told at its first start."""
        return str(self._native.first_members[self._native.id][1])

    @property
    def running(self) -> bool:
        """Whether it was started and has neither been stopped nor failed."""
        return self._native.running

    def start(self) -> Node:
        """Opens the data, listens, and runs; does nothing if it runs. Returns at once, also without a leader.

        Raises ConfigError (address taken, directory open elsewhere), StorageError (damaged data).
        """
        self._native.start()
        return self

    def stop(self) -> None:
        """Ends it and closes the data. Whoever waits gets NodeFailed. Does nothing the second time."""
        self._native.stop()

    def __enter__(self) -> Node:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Waits until this node knows a leader and has applied everything that was acknowledged before.

        Raises NoQuorum after ``timeout`` seconds, NodeFailed if the node stopped.
        """
        run(Core(EmbeddedBackend(self._native)).ready(seconds(timeout)))

    def client(self) -> Client:
        """A client that talks to the cluster through this node. Close it when it is not needed, or stop the node."""
        return Client(Core(EmbeddedBackend(self._native)))

    def status(self) -> dict[str, Any]:
        """What an operator would ask: role, term, leader, commit, applied, connections, queues, disk. Does not wait."""
        return self._native.status()

    def __repr__(self) -> str:
        return repr(self._native).replace("NativeNode", "Node", 1)


def local() -> Client:
    """A client of a cluster of one that lives in this process and keeps nothing: for development and tests.

    It excludes nobody outside of this process, which is why it is never chosen unasked. Closing the client ends it.

    >>> import quorate
    >>> with quorate.local() as client:
    ...     client.put("k", b"v") > 0
    True
    """
    node = NativeNode(
        "local", 1, {1: ("local", "unix:/nowhere")}, durability="memory", listen=None, config=_QUICK
    )  # fmt: skip
    return Client(Core(EmbeddedBackend(node.start(), owns=True)))
