"""A node as Python holds it: what it is made of, start and stop, questions with a time limit.

The run itself is native (`_node`, `_loop`); this file reads settings, opens files and sockets, and asks again where
that is proven to be safe. What users hold is `quorate.Node`, which is made of it.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal, final

from quorate.config import RaftConfig
from quorate.errors import ConfigError, InvalidArgument, NodeFailed, NoQuorum, NotHappened, NotLeader, QuorateError
from quorate.limits import MEMBERS_MAX, NODE_NAME_MAX
from quorate.runtime import _node
from quorate.runtime._lane import Lane
from quorate.runtime._requests import Door, Pending
from quorate.runtime.addresses import Address, listen_on, parse_address
from quorate.runtime.joining import learn
from quorate.runtime.membership import REQUEST_TRANSFER, Manager, Member, Membership, encode_place, member_id
from quorate.runtime.trouble import TroubleLog
from quorate.storage import Faults, Storage
from quorate.store import Reader
from quorate.store.views import Result
from quorate.version import __version__

__all__ = ["NativeNode"]

LEADER: Final = 3
"""The role of an office that means leading."""
LAST_SECONDS: Final = 0.05
"""With less time than this left, a question is not asked again."""
RETRY_SECONDS: Final = 0.05
"""How long a question waits for another leader before it is asked again."""


def cluster_of(members: Mapping[int, tuple[str, Address]]) -> bytes:
    """A cluster id that all nodes come to by themselves from the same first list of members."""
    text = "\n".join(f"{id} {members[id][0]}" for id in sorted(members))
    return hashlib.blake2b(text.encode(), digest_size=16, person=b"quorate cluster").digest()


@final
class NativeNode:
    """One member of a cluster, in this process.

    * ``name``, ``id``: of this member; ``members`` maps every id, this one's too, to (name, address). The list serves
      the first start; who is a member afterwards stands in the log, and where they are. The addresses given here are
      tried too, so that a cluster that moved as a whole finds itself.
    * ``join``: addresses of running members, for a node that is none yet (``members`` may then be empty, and ``id``
      None for the one that :meth:`add_member` draws from the name). It starts without a vote, and waits to be added.
    * ``data_dir``, or ``durability="memory"``: which keeps nothing, for tests and caches.
    * ``listen``: where to listen if that is not the own address in ``members``; or a listening socket, which the node
      takes; None for a cluster of one.
    * ``cluster``: 16 bytes that are the same on all members. None: made from the ids and names of ``members``.
    * ``max_clients``: connections of clients that are taken; one more is told to try another node.
    * ``insecure``: allows an address that other hosts can reach. ``faults`` makes the disk fail, for tests.

    Raises ConfigError for settings that cannot work. A context manager: :meth:`start` and :meth:`stop`.

    >>> from quorate.store import commands
    >>> with NativeNode("a", 1, {1: ("a", "unix:/unused")}, durability="memory", listen=None) as node:
    ...     node.execute(commands.put("greeting", "hello")).status.name
    ...     node.reader.get("greeting").value
    'OK'
    b'hello'
    """

    def __init__(
        self,
        name: str,
        id: int | None,
        members: Mapping[int, tuple[str, str]],
        *,
        join: Sequence[str] = (),
        data_dir: str | os.PathLike[str] | None = None,
        durability: Literal["fsync", "memory"] = "fsync",
        listen: str | socket.socket | None = "",
        config: RaftConfig | None = None,
        cluster: bytes | None = None,
        insecure: bool = False,
        max_clients: int = 4096,
        segment_bytes: int | None = None,
        faults: Faults | None = None,
    ) -> None:
        if id is None:
            id = member_id(name)
        joins = bool(join)
        if joins and id not in members:
            if not listen:
                raise ConfigError("a node that joins has to listen where the others find it: listen='host:port'")
            own = listen if isinstance(listen, str) else _address_of(listen)
            members = {**members, id: (name, own)}
        if id not in members or members[id][0] != name:
            raise ConfigError(f"members must name this node: {id}: ({name!r}, address); or join= an address of one")
        if len(members) > MEMBERS_MAX:
            raise ConfigError(f"there are at most {MEMBERS_MAX} members, not {len(members)}")
        names = [each for each, _ in members.values()]
        if len(set(names)) != len(names) or not all(0 < len(each.encode()) <= NODE_NAME_MAX for each in names):
            raise ConfigError(f"names of members differ and have 1 to {NODE_NAME_MAX} bytes: {sorted(names)}")
        if durability == "fsync" and data_dir is None:
            raise ConfigError('a node keeps its data in data_dir; durability="memory" is for one that keeps nothing')
        if durability == "memory" and data_dir is not None:
            raise ConfigError('durability="memory" keeps nothing, so data_dir would mislead')
        if listen is None and len(members) > 1:
            raise ConfigError("a node with other members has to listen")
        if cluster is not None and len(cluster) != 16:
            raise InvalidArgument(f"a cluster id has 16 bytes, not {len(cluster)}")
        if not 0 <= max_clients <= 65_536:
            raise InvalidArgument(f"a node takes 0 to 65,536 clients, not {max_clients}")
        self.name: Final = name
        self.id: Final = id
        self.first_members: Final = {each: (called, parse_address(at)) for each, (called, at) in members.items()}
        self.join: Final = tuple(parse_address(each) for each in join)
        self.config: Final = config or RaftConfig()
        self.durability: Final = durability
        self.data_dir: Final = data_dir
        self._cluster = cluster
        self._insecure = insecure
        self._max_clients = max_clients
        self._segment_bytes = segment_bytes
        self._faults = faults
        self._listen = listen
        self._lock = threading.Lock()
        self._run: Any = None  # _node.Running
        self._trouble: TroubleLog | None = None
        self._started_at = 0.0

    # Life

    def start(self) -> NativeNode:
        """Opens the data, listens, and starts the thread. Returns at once, also without a leader; does nothing twice.

        Raises ConfigError (address taken, directory open elsewhere), StorageError (damaged data).
        """
        with self._lock:
            if self.running:
                return self
            if self._run is not None:
                self._run.stop()
            self._run = self._open()
            self._run.start(self.name)
            self._trouble = TroubleLog(self._run, self.name)
            self._started_at = time.monotonic()
        return self

    def _open(self) -> Any:
        with contextlib.ExitStack() as undo:
            notify = _notifier()
            for descriptor in set(notify):
                undo.callback(os.close, descriptor)
            listener = -1
            if self._listen is not None:
                opened = self._listener()
                undo.callback(opened.close)
                listener = opened.fileno()
            stored = self._cluster
            if stored is None and not self._is_old():
                stored = learn(self.join).cluster if self.join else cluster_of(self.first_members)
            storage = undo.enter_context(
                Storage(
                    self.data_dir,
                    node=self.id,
                    name=self.name,
                    cluster=stored,
                    durability=self.durability,
                    segment_bytes=self._segment_bytes,
                    notify_fd=notify[1],
                    faults=self._faults,
                )
            )
            made = _node.Running(
                id=self.id,
                storage=storage,
                voters=() if self.join else sorted(self.first_members),
                places={id: encode_place(called, str(address)) for id, (called, address) in self.first_members.items()},
                listener=listener,
                config=self.config,
                seed=secrets.randbits(63),
                notify=notify,
                payload_max=self.config.max_message_bytes,
                clients_most=self._max_clients,
                texts={
                    "name": self.name,
                    "durability": self.durability,
                    "version": __version__,
                    "poller": _node.poller_kind(),
                },
            )
            undo.pop_all()
            if self._listen is not None:
                opened.detach()
            return made

    def _is_old(self) -> bool:
        return self.data_dir is not None and os.path.exists(os.path.join(self.data_dir, "IDENTITY"))

    def _listener(self) -> socket.socket:
        if isinstance(self._listen, socket.socket):
            # A socket serves one start; later ones listen where it did.
            given, self._listen = self._listen, _address_of(self._listen)
            if not self._insecure and not parse_address(self._listen).is_local():
                raise ConfigError(f"{self._listen} can be reached from other hosts; insecure=True allows it")
            given.setblocking(False)
            return given
        address = parse_address(self._listen) if self._listen else self.first_members[self.id][1]
        return listen_on(address, insecure=self._insecure)

    def stop(self, *, hand_over: float = 1.0) -> None:
        """Ends the thread and closes the data. Whoever waits gets NodeFailed. Does nothing the second time.

        A leader hands its office over first, if another member takes it within ``hand_over`` seconds, so that the
        others need no election.
        """
        with self._lock:
            if self._trouble is not None:
                self._trouble.end()
            if self._run is not None:
                if hand_over > 0 and self.running:
                    self._hand_over(self._run, hand_over)
                self._run.stop()

    def _hand_over(self, run: Any, patience: float) -> None:
        if run.office()[0] != LEADER or len(Membership.decode(run.roster()).members) < 2:
            return
        with contextlib.suppress(QuorateError):
            run.ask(REQUEST_TRANSFER, bytes(8), patience).wait()

    def __enter__(self) -> NativeNode:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the thread runs."""
        return self._run is not None and bool(self._run.alive) and self._run.failed is None

    def _running(self) -> Any:
        run = self._run
        if run is None:
            raise NodeFailed("the node is not started; use start() or with", outcome=NotHappened("nothing was done"))
        if run.failed is not None:
            raise run.failed
        return run

    # Questions

    def propose(self, command: bytes, *, timeout: float = 5.0) -> Pending:
        """Hands a command (:mod:`quorate.store.commands`) in and returns at once; ``wait()`` of the answer gives
        (index, encoded result).

        Raises InvalidArgument for bytes that are no command, Overloaded if the queue is full.
        """
        found: Pending = self._running().propose(command, _seconds(timeout))
        return found

    def ask(self, kind: int, body: bytes = b"", *, timeout: float = 5.0) -> Pending:
        """Puts a question of any kind (docs/internals/wire.md) and returns at once; ``wait()`` of the answer gives
        (log index, result). :mod:`quorate.runtime.questions` makes bodies and reads results.

        Raises Overloaded if the queue is full; a body that is not understood makes ``wait()`` raise InvalidArgument.
        """
        found: Pending = self._running().ask(kind, body, _seconds(timeout))
        return found

    def execute(self, command: bytes, *, timeout: float = 5.0) -> Result:
        """Applies a command on a majority, durably, and returns its result as of this node.

        While it is proven that nothing happened, and only then, it is asked again until the time is over. Raises
        NoQuorum, NotLeader or Overloaded (nothing happened), RequestTimeout or ConnectionLost (not known), NodeFailed
        (its ``outcome`` says).
        """
        return Result.decode(self._ask(timeout, lambda run, left: run.propose(command, left))[1])

    def barrier(self, *, timeout: float = 5.0) -> int:
        """Returns once :attr:`reader` shows everything that was acknowledged anywhere before the call: its index.

        A read behind it is linearizable (dissertation §6.4). Raises as :meth:`execute`; nothing is changed in any case.
        """
        found: int = self._ask(timeout, lambda run, left: run.barrier(left))[0]
        return found

    def _ask(self, timeout: float, ask: Any) -> Any:
        deadline = time.monotonic() + _seconds(timeout)
        while True:
            run = self._running()
            seen = run.office()
            try:
                left = max(deadline - time.monotonic(), 0.0)
                return ask(run, left).wait()
            except (NotLeader, NoQuorum):
                # Asked at the last moment, the same refusal would come too late and look like an unknown outcome.
                left = deadline - time.monotonic() - LAST_SECONDS
                if left <= RETRY_SECONDS:
                    raise
                run.wait_change(seen, RETRY_SECONDS)

    def lane(self, ttl: float = 10.0, *, label: bytes = b"", margin: float | None = None, timeout: float = 5.0) -> Lane:
        """Opens a session whose commands are applied exactly once, in order, and which is kept alive; returns at once.

        ``ttl`` in seconds; ``margin``: how much earlier than the cluster it is taken for lost here (None: a tenth).
        """
        found: Lane = self._running().lane(ttl, label=label, margin=margin, timeout=_seconds(timeout))
        return found

    def door(self) -> Door:
        """The way in for native code that puts questions in by itself (``client/_load.pyx``). Of this start alone."""
        found: Door = self._running().door()
        return found

    # Members

    def _manager(self) -> Manager:
        def ask(kind: int, body: bytes, timeout: float) -> tuple[int, bytes | None]:
            found: tuple[int, bytes | None] = self._ask(timeout, lambda run, left: run.ask(kind, body, left))
            return found

        return Manager(ask)

    def members(self, *, timeout: float = 5.0, local: bool = False) -> tuple[Member, ...]:
        """The members as the leader sees them: roles, addresses, how far behind, and what is wrong with one.

        ``local``: as this node knows them, also without a leader. Raises NoQuorum, RequestTimeout.
        """
        return self._manager().members(timeout=_seconds(timeout), local=local).members

    def add_member(
        self, name: str, address: str, *, id: int | None = None, promote: bool = True, timeout: float = 60.0
    ) -> Member:
        """Adds a member, which is started with ``join=``; returns once it has caught up and votes.

        See :class:`~quorate.runtime.membership.Manager` for this and the following; all of them can be called on any
        member, and again after an error.
        """
        return self._manager().add(name, address, id=id, promote=promote, timeout=_seconds(timeout))

    def promote_member(self, who: int | str, *, timeout: float = 60.0) -> Member:
        """Makes a learner a voter, once it has caught up."""
        return self._manager().promote(who, timeout=_seconds(timeout))

    def demote_member(self, who: int | str, *, timeout: float = 10.0) -> Member:
        """Makes a voter a learner."""
        return self._manager().demote(who, timeout=_seconds(timeout))

    def remove_member(self, who: int | str, *, force: bool = False, timeout: float = 10.0) -> None:
        """Takes a member out, by id or name, whether it runs or not."""
        self._manager().remove(who, force=force, timeout=_seconds(timeout))

    def replace_member(
        self, old: int | str, name: str, address: str, *, id: int | None = None, timeout: float = 60.0
    ) -> Member:
        """Puts a new member in the place of another in one step, through a joint configuration."""
        return self._manager().replace(old, name, address, id=id, timeout=_seconds(timeout))

    def change_address(self, who: int | str, address: str, *, timeout: float = 10.0) -> Member:
        """Says that a member is found somewhere else."""
        return self._manager().change_address(who, address, timeout=_seconds(timeout))

    def transfer_leadership(self, to: int | str | None = None, *, timeout: float = 5.0) -> Member:
        """Hands leadership over, to the best of the others or to one by name; returns who leads then."""
        return self._manager().transfer(to, timeout=_seconds(timeout))

    @property
    def reader(self) -> Reader:
        """Reads this node's copy, from any thread, also after the node has stopped. It may be behind others."""
        found: Reader = self._running().reader
        return found

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Waits until this node knows a leader and has applied everything that was acknowledged before.

        Raises NoQuorum after ``timeout`` seconds, NodeFailed if the node stopped.
        """
        self.barrier(timeout=timeout)

    def status(self) -> dict[str, Any]:
        """What an operator would ask: role, term, leader, commit, applied, connections, queues, disk."""
        run = self._running()
        return {
            "name": self.name,
            "id": self.id,
            "durability": self.durability,
            "uptime": time.monotonic() - self._started_at if run.alive else 0.0,
            "poller": _node.poller_kind(),
            **run.status(),
        }

    def __repr__(self) -> str:
        if not self.running:
            failed = self._run is not None and self._run.failed is not None
            return f"NativeNode({self.name!r}, id={self.id}, {'failed' if failed else 'stopped'})"
        seen = self.status()
        return (
            f"NativeNode({self.name!r}, id={self.id}, {seen['role']} of term {seen['term']}, "
            f"leader {seen['leader']!r}, applied {seen['applied']})"
        )


def _seconds(timeout: float) -> float:
    if not 0 <= timeout < 1e9:
        raise InvalidArgument(f"a timeout is a finite number of seconds, at least 0, not {timeout!r}")
    return float(timeout)


def _notifier() -> tuple[int, int]:
    """(reading end, writing end): an eventfd where there is one."""
    if hasattr(os, "eventfd"):
        made = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return made, made
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    return reading, writing


def _address_of(listener: socket.socket) -> str:
    found = listener.getsockname()
    if isinstance(found, (str, bytes)):
        return f"unix:{os.fsdecode(found)}"
    return str(Address(found[0], found[1]))


atexit.register(_node.stop_all)
os.register_at_fork(after_in_child=_node.abandon_all)
