"""Members and clients of a peer as processes of this machine: started, killed, paused, and ended whatever happens.

Each process is signalled by its own id and by nothing else, and dies with this one (Linux). Knows the contract of a
peer and no peer.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from beside import processor_seconds, resident_bytes
from contract import Peer, Place

PATIENCE = 60.0
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Failed(Exception):
    """A peer did not do what it was told; the others are measured nevertheless."""


def _dies_with_us() -> None:
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _started(command: list[str], log: Path, **settings: Any) -> subprocess.Popen[bytes]:
    # What was found from here has to be found from there.
    path = os.pathsep.join(os.path.abspath(each) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the runner, which ends the others
            preexec_fn=_dies_with_us,
            cwd=log.parent,
            env={**os.environ, "PYTHONPATH": path},
            **settings,
        )


def ended(process: subprocess.Popen[bytes]) -> None:
    """At once: the data is thrown away."""
    if process.poll() is None:
        process.kill()
    process.wait()


class Asked:
    """A client's process: `worker.py`."""

    def __init__(self, peer: Peer, place: Place, log: Path) -> None:
        self.log = log
        self._read = b""
        worker = Path(__file__).with_name("worker.py")
        self.process = _started(
            [sys.executable, str(worker)], log, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._write(
            {
                "peer": peer.name,
                "folder": str(place.folder),
                "ports": [list(each) for each in place.ports],
                "leader": place.leader,
                "me": place.me,
            }
        )

    def ready(self) -> Asked:
        self._answer(PATIENCE)
        return self

    def _write(self, what: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(what).encode() + b"\n")
        except BrokenPipeError:
            raise Failed(f"a client has ended: {_last(self.log)}") from None

    def _answer(self, timeout: float) -> Any:
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._read:
            if not select.select([self.process.stdout], [], [], max(deadline - time.monotonic(), 0.0))[0]:
                raise Failed(f"a client said nothing for {timeout:g} s")
            more = os.read(self.process.stdout.fileno(), 1 << 16)
            if not more:
                raise Failed(f"a client has ended: {_last(self.log)}")
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        said = json.loads(line)
        if "error" in said:
            raise Failed(said["error"])
        return None if "none" in said else said["is"]

    def ask(self, do: str, timeout: float = 3 * PATIENCE, **arguments: Any) -> Any:
        """What the client's process measured; None if the peer has no such thing."""
        self._write({"do": do, **arguments})
        return self._answer(timeout)

    def close(self) -> None:
        ended(self.process)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


class Running:
    """A peer with all its members, in a folder of its own; a context manager. ``main`` is the client of the leader."""

    def __init__(self, peer: Peer, folder: Path) -> None:
        self.peer = peer
        folder.mkdir()
        # Bound and not listening: nobody else is given the ports, and members can bind them too, by SO_REUSEADDR.
        self.kept = [socket.socket() for _ in range(peer.members * peer.ports_each)]
        for each in self.kept:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        many = [each.getsockname()[1] for each in self.kept]
        ports = [many[first : first + peer.ports_each] for first in range(0, len(many), peer.ports_each)]
        self.place = Place(folder, ports)
        self.log = folder / "log"
        self.log.touch()
        self.servers: dict[int, subprocess.Popen[bytes]] = {}
        self.inside: dict[int, Asked] = {}
        self.clients: list[Asked] = []

    def __enter__(self) -> Running:
        try:
            self.peer.prepare(self.place)
            for member in range(self.peer.members):
                self._begin(member)
            for each in self.inside.values():
                each.ready()
            self.main = self.at_leader()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for client in [*self.clients, *self.inside.values()]:
            client.close()
        for server in self.servers.values():
            ended(server)
        for each in self.kept:
            each.close()

    def _begin(self, member: int) -> None:
        if self.peer.embedded:
            place = Place(self.place.folder, self.place.ports, 0, member)
            self.inside[member] = Asked(self.peer, place, self.log)
        else:
            command = [str(part) for part in self.peer.command(self.place, member)]
            self.servers[member] = _started(command, self.log, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def leader(self) -> int:
        """Waits until all members are there and agree."""

        def look() -> int | None:
            if not self.peer.embedded:
                for member, server in self.servers.items():
                    if server.poll() is not None:
                        raise Failed(f"member {member} has ended by itself: {_last(self.log)}")
                return self.peer.leader(self.place)
            said = {each.ask("leader") for each in self.inside.values()}
            return said.pop() if len(said) == 1 else None

        found: int = until(look, "no leader that all members agree on")
        return found

    def lasting_leader(self) -> int:
        """One that was it half a second ago too: a member that has just come back may upset the others."""
        leader = self.leader()
        while True:
            time.sleep(0.5)
            before, leader = leader, self.leader()
            if before == leader:
                return leader

    def client(self, leader: int) -> Asked:
        """One more client, of the leader first of all; not for embedded peers."""
        made = Asked(self.peer, Place(self.place.folder, self.place.ports, leader), self.log)
        self.clients.append(made)
        return made.ready()

    def at_leader(self) -> Asked:
        """The leader's own process for embedded peers, else a client's."""
        leader = self.leader()
        return self.inside[leader] if self.peer.embedded else self.client(leader)

    def beside(self) -> Asked:
        """A client that is not the leader's process."""
        leader = self.leader()
        if self.peer.embedded:
            return next(each for member, each in self.inside.items() if member != leader)
        return self.client(leader)

    def pid(self, member: int) -> int:
        return self.inside[member].process.pid if self.peer.embedded else self.servers[member].pid

    def restart(self, member: int) -> None:
        """A member that was killed, on its data; waits until all are there."""
        if self.peer.embedded:
            self.inside[member].close()
            self._begin(member)
            self.inside[member].ready()
        else:
            ended(self.servers[member])
            self._begin(member)
        self.leader()

    def rest(self, seconds: float) -> dict[str, float]:
        """What all members together cost while nobody asks: per cent of a core, and bytes of memory."""
        members = [self.pid(member) for member in range(self.peer.members)]
        before, begin = sum(map(processor_seconds, members)), time.monotonic()
        time.sleep(seconds)
        used, took = sum(map(processor_seconds, members)) - before, time.monotonic() - begin
        return {"percent": 100 * used / took, "bytes": sum(map(resident_bytes, members))}


def until(look: Callable[[], Any], trouble: str, seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.02)
    raise Failed(f"{trouble} within {seconds:g} s")
