"""Commands that run for a while, as tests hold them: started, read line by line with patience, ended and cleaned up."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

QUORATE = [sys.executable, "-m", "quorate"]
PATIENCE = 60.0
"""Seconds for anything to happen on a machine that has much else to do."""


class Command:
    """A running command, whose lines of both outputs come through one queue. A context manager that kills it."""

    def __init__(self, *arguments: str, cwd: Path, **environment: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("QUORATE_")}
        self.process = subprocess.Popen(
            [*QUORATE, *arguments],
            cwd=cwd,
            env={**clean, "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.seen: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._threads = [
            threading.Thread(target=self._read, args=(each,), daemon=True)
            for each in (self.process.stdout, self.process.stderr)
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def lines(self) -> Iterator[str]:
        """Each further line; fails if none comes in time, ends with the command."""
        ends = 0
        while ends < 2:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"nothing more came; until then: {self.seen}") from None
            if line is None:
                ends += 1
                continue
            self.seen.append(line)
            yield line

    def line(self, part: str) -> str:
        """The next line that has this in it."""
        for line in self.lines():
            if part in line:
                return line
        raise AssertionError(f"{part!r} did not come: {self.seen}")

    def event(self, name: str, **wanted: Any) -> dict[str, Any]:
        """The next event of this name and with these fields, of a command that prints JSON."""
        for line in self.lines():
            found: dict[str, Any] = json.loads(line)
            if found["event"] == name and all(found.get(field) == value for field, value in wanted.items()):
                return found
        raise AssertionError(f"{name!r} did not come: {self.seen}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Its exit code after this signal."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join(PATIENCE)


def until(condition: Callable[[], Any]) -> Any:
    """Waits for a condition to give something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)
    return found


def is_alive(process: int) -> bool:
    """Whether there is such a process, and it is more than an entry that nobody has collected."""
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0]
        return state != "Z"
    return False


class _Local(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


def fetch(path: str, what: str, method: str = "GET") -> tuple[int, bytes]:
    """(code, body) over HTTP through a Unix socket."""
    connection = _Local(path)
    with contextlib.closing(connection):
        connection.request(method, what)
        answer = connection.getresponse()
        return answer.status, answer.read()
