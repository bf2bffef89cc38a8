"""Real clusters for tests: each node is a process of this machine that can be killed, paused and started again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, final

from quorate.config import RaftConfig
from quorate.errors import ConfigError, InvalidArgument, NodeFailed, NoQuorum, RequestTimeout

__all__ = ["ProcessCluster"]

LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


@final
class _Process:
    """One node: its process, while there is one, and the port that is kept for it."""

    def __init__(self, name: str, id: int) -> None:
        self.name = name
        self.id = id
        # Bound and not listening: nobody else is given the port, and the node can bind it too, by SO_REUSEADDR.
        self.port = socket.socket()
        self.port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.port.getsockname()[1]}"
        self.process: subprocess.Popen[bytes] | None = None
        self.paused = False
        self._read = b""

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def begin(self, settings: dict[str, Any]) -> None:
        # Found by the same path as here, whatever the tests did to it.
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        self._read = b""
        self.paused = False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "quorate.testing._served"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=0,
            start_new_session=True,  # Ctrl-C in the terminal of the tests is not for it
        )
        self._write(settings)

    def _write(self, what: dict[str, Any]) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(what).encode() + b"\n")
        except BrokenPipeError:
            raise NodeFailed(f"node {self.name} has ended") from None

    def answer(self, timeout: float) -> dict[str, Any]:
        """The next line that it says."""
        assert self.process is not None
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout
        descriptor = self.process.stdout.fileno()
        while b"\n" not in self._read:
            if not select.select([descriptor], [], [], max(deadline - time.monotonic(), 0.0))[0]:
                raise RequestTimeout(f"node {self.name} said nothing for {timeout:g} s")
            more = os.read(descriptor, 1 << 16)
            if not more:
                raise NodeFailed(f"node {self.name} has ended; what it said stands in the output of the tests")
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise NodeFailed(f"node {self.name}: {found['error']}")
        return found

    def ask(self, timeout: float, what: str) -> dict[str, Any]:
        if not self.running or self.paused:
            raise NodeFailed(f"node {self.name} is {'paused' if self.paused else 'not running'}")
        self._write({"what": what, "timeout": timeout})
        return self.answer(timeout + 5.0)

    def end(self, *, kill: bool) -> None:
        process = self.process
        if process is None:
            return
        if kill or self.paused:
            process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.process = None
        self.paused = False


@final
class ProcessCluster:
    """A cluster of real nodes on this machine, one process each, on ports that are free. A context manager.

    * ``nodes``: how many, named a, b, c …, or their names.
    * ``directory``: where they keep their data; None: a temporary one, which goes with the cluster.
    * ``durability="memory"``: keeps nothing. A node that was killed cannot come back then.
    * ``config``: times and sizes of the protocol.

    >>> with ProcessCluster() as cluster:
    ...     killed = cluster.leader()
    ...     cluster.kill(killed)
    ...     cluster.leader() != killed
    True
    """

    def __init__(
        self,
        nodes: int | Iterable[str] = 3,
        *,
        directory: str | os.PathLike[str] | None = None,
        durability: Literal["fsync", "memory"] = "fsync",
        config: RaftConfig | None = None,
    ) -> None:
        names = list(LETTERS[:nodes]) if isinstance(nodes, int) else list(nodes)
        if not names or len(set(names)) != len(names) or (isinstance(nodes, int) and len(names) != nodes):
            raise InvalidArgument(f"a cluster has 1 to {len(LETTERS)} nodes, or names that differ, not {nodes!r}")
        self._config = dataclasses.asdict(config or RaftConfig())
        self._durability = durability
        self._given = directory
        self._directory: Path | None = None
        self._nodes: dict[str, _Process] = {}
        self._names = tuple(names)
        self._clients: list[Any] = []

    # Life

    def start(self, timeout: float = 30.0) -> ProcessCluster:
        """Starts all nodes, and waits until they have a leader. Does nothing if they were started.

        Raises NoQuorum if there is none in time, NodeFailed if a node cannot start.
        """
        if self._nodes:
            return self
        if self._durability == "fsync":
            self._directory = Path(self._given or tempfile.mkdtemp(prefix="quorate-"))
        try:
            self._nodes = {name: _Process(name, id) for id, name in enumerate(self._names, 1)}
            for name in self._names:
                self._begin(name)
            for name in self._names:
                self._nodes[name].answer(timeout)
            self.wait_ready(timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def _begin(self, name: str) -> None:
        node = self._nodes[name]
        node.begin(
            {
                "name": name,
                "id": node.id,
                "members": {each.id: (each.name, each.address) for each in self._nodes.values()},
                "data_dir": None if self._directory is None else str(self._directory / name),
                "durability": self._durability,
                "config": self._config,
            }
        )

    def stop(self) -> None:
        """Ends all nodes, and the clients that came from here. Does nothing the second time."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        for node in self._nodes.values():
            with contextlib.suppress(OSError):
                node.end(kill=True)
            node.port.close()
        self._nodes = {}
        if self._directory is not None and self._given is None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> ProcessCluster:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What is there

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes' names."""
        return self._names

    @property
    def members(self) -> dict[str, str]:
        """The address of each node."""
        return {name: self._node(name).address for name in self._names}

    @property
    def url(self) -> str:
        """What :func:`quorate.connect` takes."""
        return f"quorate://{','.join(self.members.values())}"

    @property
    def running(self) -> tuple[str, ...]:
        """The nodes that are neither killed nor paused."""
        return tuple(name for name, node in self._nodes.items() if node.running and not node.paused)

    def client(self) -> Any:
        """A client of the cluster (:class:`quorate.Client`). It is closed with the cluster, if it was not before."""
        from quorate.api.connect import connect

        made = connect(self.url)
        self._clients.append(made)
        return made

    def status(self, name: str, timeout: float = 10.0) -> dict[str, Any]:
        """What a node says of itself. Raises NodeFailed if it does not run."""
        return self._node(name).ask(timeout, "status")

    def leader(self, timeout: float = 10.0) -> str:
        """The leader's name, once the nodes that run agree on one of them. Raises NoQuorum if they do not in time."""
        deadline = time.monotonic() + timeout
        while True:
            seen = [self.status(name) for name in self.running]
            leaders = {each["leader"] for each in seen}
            if len(leaders) == 1 and len({each["term"] for each in seen}) == 1 and leaders <= set(self.running):
                found: str = leaders.pop()
                return found
            if time.monotonic() >= deadline:
                raise NoQuorum(f"the nodes that run, {', '.join(self.running)}, agree on no leader among them")
            time.sleep(0.01)

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Waits until every running node knows a leader and is up to date. Raises NoQuorum if they do not in time."""
        deadline = time.monotonic() + timeout
        for name in self.running:
            try:
                self._node(name).ask(max(deadline - time.monotonic(), 0.1), "ready")
            except (NodeFailed, RequestTimeout) as error:  # noqa: PERF203
                if not self._node(name).running:
                    raise
                raise NoQuorum(f"not ready within {timeout:g} s: {error}") from None

    # What tests do to it

    def kill(self, name: str) -> None:
        """Ends a node at once, as ``kill -9`` or a loss of power of the process does: it gets no chance to clean up."""
        self._node(name).end(kill=True)

    def stop_node(self, name: str) -> None:
        """Ends a node in an orderly way."""
        self._node(name).end(kill=False)

    def restart(self, name: str, timeout: float = 30.0) -> None:
        """Starts a node that was ended, on its data; a running one is killed first. It may still have to catch up."""
        if self._durability == "memory":
            raise ConfigError('a node that kept nothing cannot come back as the same member; use durability="fsync"')
        node = self._node(name)
        node.end(kill=True)
        self._begin(name)
        node.answer(timeout)

    def pause(self, name: str) -> None:
        """Stops a node's process as it is (SIGSTOP): it answers nobody, and does not know."""
        node = self._node(name)
        if not node.running or node.process is None:
            raise NodeFailed(f"node {name} is not running")
        node.process.send_signal(signal.SIGSTOP)
        node.paused = True

    def resume(self, name: str) -> None:
        """Lets a paused node go on."""
        node = self._node(name)
        if node.running and node.process is not None:
            node.process.send_signal(signal.SIGCONT)
        node.paused = False

    def _node(self, name: str) -> _Process:
        try:
            return self._nodes[name]
        except KeyError:
            known = f"the nodes are {', '.join(self._nodes)}" if self._nodes else "the cluster is not started"
            raise InvalidArgument(f"there is no node {name!r}; {known}") from None

    def __repr__(self) -> str:
        def state(name: str) -> str:
            node = self._nodes.get(name)
            return "stopped" if node is None or not node.running else "paused" if node.paused else node.address

        return f"<ProcessCluster {', '.join(f'{name}: {state(name)}' for name in self._names)}>"
