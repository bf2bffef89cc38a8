"""The nodes of `quorate up` as processes: started, asked how they are, started again when they end, and ended.

No thread: one loop looks at everything, and hands what happened to a function. Knows nothing of what is shown.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from quorate.cli._up_home import Home, Place
from quorate.errors import QuorateError

__all__ = ["Nodes"]

ASK_SECONDS: Final = 0.5
"""How often each node is asked how it is."""
TURN_SECONDS: Final = 0.1
STOP_SECONDS: Final = 5.0
"""For a node to end by itself, before it is killed."""
EARLY_SECONDS: Final = 2.0
"""A node that fails sooner after its start than this will fail again; one that somebody ends does not count."""
EARLY_ENDS_MAX: Final = 3

Tell = Callable[..., object]


class NodeGone(QuorateError):
    """A node ends again and again; the message says what it said last."""


class Child:
    """One node: its process, and our end of the line to it."""

    def __init__(self, place: Place, arguments: list[str]) -> None:
        self.place: Final = place
        self.status: dict[str, Any] = {}
        self.asked = False
        self.early_ends = 0
        self.starts = 0
        self._arguments = arguments
        self._received = b""
        self.start()

    def start(self) -> None:
        self.line, theirs = socket.socketpair()
        self.line.setblocking(False)
        self.status, self.asked, self._received = {}, False, b""
        self.log_begins = self.place.log.stat().st_size if self.place.log.exists() else 0
        environment = {name: value for name, value in os.environ.items() if not name.startswith("QUORATE_")}
        with theirs, self.place.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "quorate", "serve", *self._arguments,
                 "--attend", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[theirs.fileno()], env=environment,
                start_new_session=True,  # so that Ctrl-C reaches us alone, and we stop them in order
            )  # fmt: skip
        self.started_at = time.monotonic()
        self.starts += 1

    def ask(self) -> None:
        if not self.asked:
            with contextlib.suppress(OSError):
                self.line.send(b"?")
                self.asked = True

    def listen(self) -> None:
        try:
            self._received += self.line.recv(1 << 16)
        except OSError:
            return
        *lines, self._received = self._received.split(b"\n")
        for each in lines:
            self.status, self.asked = json.loads(each), False

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def last_words(self) -> str:
        """The last line that this run of the node logged."""
        with contextlib.suppress(OSError), self.place.log.open("rb") as log:
            log.seek(self.log_begins)
            lines = log.read()[-4096:].decode(errors="replace").split("\n")
            return next((each for each in reversed(lines) if each.strip()), "")
        return ""


class Nodes:
    """All nodes of a home; a context manager that ends them. ``tell(event, **fields)`` hears what happens:

    ``started`` (node, process, address), ``leader`` (node, term), ``no leader``, ``ended`` (node, process, reason),
    ``restarted`` (node, process), ``stopped``.
    """

    def __init__(self, home: Home, tell: Tell, settings: list[str]) -> None:
        self.home: Final = home
        self.tell: Final = tell
        members = ",".join(f"{each.name}={each.address}" for each in home.places)
        self.children: Final[list[Child]] = []
        self._leader: tuple[str, int] | None = None
        self._ask_at = 0.0
        try:
            for place in home.places:
                arguments = ["--name", place.name, "--members", members, "--data-dir", str(place.data_dir), *settings]
                self.children.append(Child(place, arguments))
                tell("started", node=place.name, process=self.children[-1].process.pid, address=place.address)
        except BaseException:
            self.stop()
            raise

    @property
    def leader(self) -> str | None:
        """The node that led last, once there was one."""
        return self._leader[0] if self._leader else None

    def turn(self) -> None:
        """Waits a moment, and takes in what happened. Raises NodeGone if a node does not stay."""
        now = time.monotonic()
        if now >= self._ask_at:
            self._ask_at = now + ASK_SECONDS
            for child in self.children:
                child.ask()
        ready, _, _ = select.select([child.line for child in self.children], [], [], TURN_SECONDS)
        for child in self.children:
            if child.line in ready:
                child.listen()
            code = child.process.poll()
            if code is not None:
                self._ended(child, code)
            elif child.line in ready and not child.status:
                time.sleep(0.01)  # its end is closed and the process is about to be gone
            if child.early_ends and child.process.poll() is None and now - child.started_at > EARLY_SECONDS:
                child.early_ends = 0
        self._look_for_leader()

    def _ended(self, child: Child, code: int) -> None:
        name = child.place.name
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        self.tell("ended", node=name, process=child.process.pid, reason=reason)
        child.line.close()
        if code > 0 and time.monotonic() - child.started_at < EARLY_SECONDS:
            child.early_ends += 1
            if child.early_ends >= EARLY_ENDS_MAX or child.starts == 1:
                raise NodeGone(f"node {name} does not stay: {child.last_words() or reason}. Its log: {child.place.log}")
        child.start()
        self.tell("restarted", node=name, process=child.process.pid)

    def _look_for_leader(self) -> None:
        """Who leads in the newest term that anybody knows of; told once."""
        known = [
            (status["term"], status["leader"])
            for child in self.children
            if (status := child.status).get("leader") and status["leader"] != (self._gone(status["leader"]))
        ]
        term, name = max(known, default=(0, None))
        if name is not None and self._leader != (name, term):
            self._leader = (name, term)
            self.tell("leader", node=name, term=term)

    def _gone(self, name: str) -> str | None:
        """The name if that node has not answered since its start, so that what others say of it may be old."""
        return next((name for child in self.children if child.place.name == name and not child.status), None)

    def stop(self) -> None:
        """Ends all, also those that somebody has paused; kills what does not end. Leaves none behind."""
        for child in self.children:
            child.signal(signal.SIGCONT)
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for child in self.children:
            try:
                child.process.wait(max(deadline - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                child.signal(signal.SIGKILL)
                child.process.wait()
            child.line.close()

    def __enter__(self) -> Nodes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
