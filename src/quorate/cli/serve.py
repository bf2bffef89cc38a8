"""``quorate serve``: one node of a cluster as a process of its own, until it is told to stop.

Reads settings, starts the node, tells systemd, HTTP and the log what becomes of it. What a node is, is below.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from quorate.cli._attend import Attendant, die_with_parent
from quorate.cli._logs import begin
from quorate.cli._settings import MembersOption, RaftOption, raft_config, read_file
from quorate.cli._systemd import Notifier
from quorate.config import RaftConfig
from quorate.errors import ConfigError, QuorateError
from quorate.runtime.health import Health
from quorate.runtime.metrics import metrics_available
from quorate.runtime.node import NativeNode
from quorate.version import __version__

__all__ = ["serve"]

LOOK_SECONDS: Final = 0.25
"""How often the node is looked at: a few times a second, which costs nothing that one could measure."""
LEADERLESS_SECONDS: Final = 5.0
"""So long without a leader is worth a warning."""

FILE_SETTINGS: Final = {
    "name": str,
    "join": str,
    "listen": str,
    "max_clients": int,
    "data_dir": str,
    "durability": str,
    "insecure": bool,
    "http": str,
    "log_level": str,
    "log_format": str,
}


def _load(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.default_map = {**(ctx.default_map or {}), **read_file(value, FILE_SETTINGS)}


@click.command()
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), envvar="QUORATE_CONFIG", is_eager=True,
    expose_value=False, callback=_load, metavar="FILE", help="TOML file with these settings.",
)  # fmt: skip
@click.option("--name", envvar="QUORATE_NAME", required=True, help="Name of this node, one of the members.")
@click.option(
    "--members", type=MembersOption(), envvar="QUORATE_MEMBERS", metavar="A=HOST:PORT,…",
    help="All members of the first start, this node too; the same on each.  [default: this node alone]",
)  # fmt: skip
@click.option(
    "--join", envvar="QUORATE_JOIN", metavar="ADDRESS,…",
    help="In place of --members: running members of a cluster that this node will be added to.",
)  # fmt: skip
@click.option(
    "--listen", envvar="QUORATE_LISTEN", metavar="ADDRESS",
    help="host:port, [IPv6]:port or unix:/path.  [default: this node's address in --members]",
)  # fmt: skip
@click.option("--data-dir", envvar="QUORATE_DATA_DIR", type=click.Path(path_type=Path), help="Where it keeps its data.")
@click.option(
    "--durability", envvar="QUORATE_DURABILITY", type=click.Choice(["fsync", "memory"]), default="fsync",
    show_default=True, help="memory keeps nothing, for caches and tests.",
)  # fmt: skip
@click.option(
    "--insecure", envvar="QUORATE_INSECURE", is_flag=True,
    help="Listen where other hosts can reach it: nothing authenticates them yet.",
)  # fmt: skip
@click.option(
    "--max-clients", envvar="QUORATE_MAX_CLIENTS", type=click.IntRange(0, 65536), default=4096, show_default=True,
    help="Connections of clients; one more is told to try another node.",
)  # fmt: skip
@click.option("--http", envvar="QUORATE_HTTP", metavar="ADDRESS", help="Serve /live, /ready and /metrics there.")
@click.option(
    "--raft", type=RaftOption(), envvar="QUORATE_RAFT", multiple=True,
    help="A setting of the protocol, as heartbeat_ms=100; as often as needed.",
)  # fmt: skip
@click.option(
    "--log-level", envvar="QUORATE_LOG_LEVEL", type=click.Choice(["debug", "info", "warning", "error"]),
    default="info", show_default=True,
)  # fmt: skip
@click.option(
    "--log-format", envvar="QUORATE_LOG_FORMAT", type=click.Choice(["text", "json"]), default="text",
    show_default=True, help="Lines of key=value, or of JSON; on standard error.",
)  # fmt: skip
@click.option("--attend", type=(int, int), hidden=True, help="Descriptor and process of `quorate up`.")
def serve(
    name: str,
    members: dict[str, str] | None,
    join: str | None,
    listen: str | None,
    data_dir: Path | None,
    durability: str,
    insecure: bool,
    max_clients: int,
    http: str | None,
    raft: tuple[tuple[str, Any], ...],
    log_level: str,
    log_format: str,
    attend: tuple[int, int] | None,
) -> None:
    """Run one node, until SIGTERM or SIGINT.

    Each setting comes from its flag, else from its environment variable (QUORATE_NAME, QUORATE_MEMBERS,
    QUORATE_DATA_DIR, …), else from the TOML file of --config, else from its default.

    Exit codes: 0 stopped by a signal; 1 the node failed, and the last line says why; 2 the settings cannot work.
    """
    if attend is not None:
        die_with_parent(attend[1])
    log = begin(sys.stderr, level=log_level, form=log_format)
    node = make_node(
        name, members, join, listen=listen, data_dir=data_dir, durability=durability, insecure=insecure,
        max_clients=max_clients, config=raft_config(raft),
    )  # fmt: skip
    with _Signals() as signals, contextlib.ExitStack() as parts:
        with explained(data_dir):
            parts.enter_context(node)
        if http is not None:
            parts.enter_context(
                Health(
                    http, live=lambda: node.running, ready=lambda seconds: node.wait_ready(timeout=seconds),
                    status=node.status, insecure=insecure,
                )
            )  # fmt: skip
            if not metrics_available():
                log.warning("/metrics needs prometheus-client: pip install 'quorate[metrics]'")
        if attend is not None:
            Attendant(
                attend[0], status=node.status, barrier=lambda seconds: node.barrier(timeout=seconds), stop=signals.wake
            )
        code = Watch(node, log, Notifier()).run(signals)
    raise SystemExit(code)


def make_node(
    name: str,
    members: Mapping[str, str] | None,
    join: str | None,
    *,
    listen: str | None,
    data_dir: Path | None,
    durability: str,
    insecure: bool,
    max_clients: int,
    config: RaftConfig,
) -> NativeNode:
    """The node that these settings describe. Raises ConfigError that says which setting to change."""
    own, numbered = (None, {}) if join else _numbered(name, members, listen)
    if join and members is not None:
        raise ConfigError("say --members (all nodes of the first start) or --join (a running cluster), not both")
    if join and listen is None:
        raise ConfigError("a node that joins needs --listen HOST:PORT, where the others will find it")
    if durability == "fsync" and data_dir is None:
        raise ConfigError("say --data-dir DIR, where the node keeps its data; or --durability memory to keep nothing")
    if durability == "memory" and data_dir is not None:
        raise ConfigError("--durability memory keeps nothing: leave --data-dir out, or --durability")
    return NativeNode(
        name,
        own,
        numbered,
        join=(join or "").replace(",", " ").split(),
        data_dir=data_dir,
        durability="memory" if durability == "memory" else "fsync",
        listen=listen or "",
        config=config,
        insecure=insecure,
        max_clients=max_clients,
    )


def _numbered(
    name: str, members: Mapping[str, str] | None, listen: str | None
) -> tuple[int, dict[int, tuple[str, str]]]:
    """The own id, and all members by ids that every node comes to by itself: in the order of their names."""
    if members is None:
        if listen is None:
            raise ConfigError("say --members NAME=HOST:PORT,… (of all nodes), or --listen HOST:PORT for a single node")
        members = {name: listen}
    if name not in members:
        raise ConfigError(
            f"node {name!r} is not among the members {', '.join(sorted(members))}: say one of them as --name, or add "
            f"{name}=HOST:PORT to --members on every node; a node for a cluster that runs already takes --join"
        )
    numbered = {number: (each, members[each]) for number, each in enumerate(sorted(members), 1)}
    return next(number for number, (each, _) in numbered.items() if each == name), numbered


@contextlib.contextmanager
def explained(data_dir: Path | None) -> Iterator[None]:
    """An error of the system about the data directory, with what to do about it."""
    try:
        yield
    except OSError as error:
        where = error.filename or data_dir
        advice = {
            errno.EACCES: "give the directory to the user that runs quorate, or choose another --data-dir",
            errno.EPERM: "give the directory to the user that runs quorate, or choose another --data-dir",
            errno.EROFS: "the file system is read-only; choose another --data-dir",
            errno.ENOTDIR: "a file is in the way; choose another --data-dir",
            errno.EEXIST: "a file is in the way; choose another --data-dir",
            errno.ENOSPC: "make room, then start again",
        }.get(error.errno or 0)
        if advice is None:
            raise
        raise ConfigError(f"{where}: {error.strerror}; {advice}") from error


class _Signals:
    """SIGTERM and SIGINT as something to wait for, beside a call from another thread."""

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)
        self.stopping = False
        self._before: list[Any] = []

    def __enter__(self) -> _Signals:
        self._before = [(each, signal.signal(each, self._note)) for each in (signal.SIGTERM, signal.SIGINT)]
        self._wakeup = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for each, before in self._before:
            signal.signal(each, before)
        self._reading.close()
        self._writing.close()

    def _note(self, number: int, frame: object) -> None:
        self.stopping = True

    def wake(self) -> None:
        """From any thread: stop."""
        self.stopping = True
        with contextlib.suppress(OSError):
            self._writing.send(b"!")

    def wait(self, seconds: float) -> bool:
        """Whether it is time to stop."""
        if not self.stopping:
            select.select([self._reading], [], [], seconds)
        return self.stopping


class Watch:
    """Looks at a running node a few times a second and says what changed; says nothing while nothing does.

    What strangers and clients do that they should not, the node itself logs.
    """

    def __init__(self, node: NativeNode, log: logging.Logger, notifier: Notifier) -> None:
        self.node = node
        self.log = log
        self.notifier = notifier
        self.office: tuple[Any, ...] = ()
        self.leaderless_since: float | None = time.monotonic()
        self.warned = False
        self.full = False

    def say(self, level: int, words: str, **fields: Any) -> None:
        self.log.log(level, words, extra={"fields": {"node": self.node.name, **fields}})

    def run(self, signals: _Signals) -> int:
        """Until a signal (0) or the end of the node by itself (1)."""
        node = self.node
        self.say(
            logging.INFO,
            "started",
            version=__version__,
            process=os.getpid(),
            members=",".join(f"{name}={address}" for name, address in node.first_members.values()),
            data_dir=node.data_dir,
            durability=node.durability,
        )
        self.notifier.tell(READY="1", STATUS="looking for a leader")
        beat = time.monotonic()
        while not signals.wait(LOOK_SECONDS):
            try:
                self.look(node.status(), time.monotonic())
            except QuorateError as error:
                self.say(logging.ERROR, "the node failed", error=error)
                self.notifier.tell(STATUS=f"failed: {error}")
                return 1
            if self.notifier.watchdog and time.monotonic() - beat > self.notifier.watchdog / 2:
                beat = time.monotonic()
                self.notifier.tell(WATCHDOG="1")
        self.notifier.tell(STOPPING="1")
        self.say(logging.INFO, "stopping")
        return 0

    def look(self, seen: Mapping[str, Any], now: float) -> None:
        """Compares with the last time, and says what is different."""
        office = (seen["role"], seen["term"], seen["leader"])
        if office != self.office:
            if seen["leader"] is not None and (not self.office or office[1:] != self.office[1:]):
                self.say(logging.INFO, "leader", leader=seen["leader"], term=seen["term"], role=seen["role"])
                self.notifier.tell(STATUS=f"{seen['role']} of term {seen['term']}, leader {seen['leader']}")
            elif self.office and self.office[2] is not None and seen["leader"] is None:
                self.say(logging.INFO, "no leader", term=seen["term"], role=seen["role"])
            self.office = office
        self.look_for_quorum(seen, now)
        if seen["disk"]["full"] != self.full:
            self.full = seen["disk"]["full"]
            if self.full:
                self.say(logging.WARNING, "no room on the disk for the log: make room, the node goes on by itself")
            else:
                self.say(logging.INFO, "there is room on the disk again")

    def look_for_quorum(self, seen: Mapping[str, Any], now: float) -> None:
        if seen["leader"] is not None:
            if self.warned:
                self.say(logging.INFO, "there is a leader again", leader=seen["leader"], term=seen["term"])
            self.leaderless_since, self.warned = None, False
            return
        if self.leaderless_since is None:
            self.leaderless_since = now
        if not self.warned and now - self.leaderless_since >= LEADERLESS_SECONDS:
            self.warned = True
            if self.node.join:
                self.say(
                    logging.WARNING,
                    f"no leader for {LEADERLESS_SECONDS:.0f} s: if this node is no member yet, say on another machine: "
                    f"quorate members add {self.node.name} ADDRESS",
                )
                return
            members = len(self.node.first_members)
            self.say(
                logging.WARNING,
                f"no leader for {LEADERLESS_SECONDS:.0f} s: a majority of the members must run and reach each other. "
                "Start the others, or compare --members and addresses",
                reached=seen["connections"]["members"] + 1,
                members=members,
                needed=members // 2 + 1,
            )
