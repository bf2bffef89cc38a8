"""Processes that obey lines of JSON, and that never outlive the one that started them, however it ends.

Knows nothing of nodes or networks.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

from quorate.errors import NodeFailed, RequestTimeout

__all__ = ["Child", "ChildFailed", "follow_parent"]

PR_SET_PDEATHSIG: Final = 1
PARENT: Final = "QUORATE_TORTURE_PARENT"
END_SECONDS: Final = 10.0


def follow_parent() -> None:
    """In a child: asks the kernel (Linux) to kill this process with its parent, also while it is stopped by SIGSTOP.

    Elsewhere the end of standard input has to do.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.environ.get(PARENT) != str(os.getppid()):
            os.kill(os.getpid(), signal.SIGKILL)  # it went before we asked


class ChildFailed(NodeFailed):
    """A child reports an error; ``said`` is its whole answer."""

    def __init__(self, name: str, said: dict[str, Any]) -> None:
        super().__init__(f"{name}: {said['error']}")
        self.said = said


class Child:
    """A module of ours that runs as a process. The thread that starts it has to outlive it (the kernel's rule)."""

    def __init__(self, name: str, module: str) -> None:
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self.paused = False
        self._module = module
        self._read = b""
        self._owed = 0  # answers that were asked for and not waited for

    @property
    def running(self) -> bool:
        """Whether there is a process, which may be paused."""
        return self.process is not None and self.process.poll() is None

    def begin(
        self, settings: dict[str, Any], *, environment: Mapping[str, str] = {}, errors: IO[bytes] | None = None
    ) -> None:
        """Starts it, with the settings as its first line."""
        # Found by the same path as here, however this process found it.
        path = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        self._read, self._owed, self.paused = b"", 0, False
        self.process = subprocess.Popen(
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": path, PARENT: str(os.getpid()), **environment},
            bufsize=0,
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )
        self.send(settings)

    def send(self, what: dict[str, Any]) -> None:
        """One line, without waiting for an answer."""
        if self.process is None or self.process.stdin is None:
            raise NodeFailed(f"{self.name} is not running")
        try:
            self.process.stdin.write(json.dumps(what).encode() + b"\n")
        except BrokenPipeError:
            raise NodeFailed(f"{self.name} has ended") from None

    def answer(self, timeout: float) -> dict[str, Any]:
        """The next line that it says. Raises ChildFailed if it reports an error, NodeFailed if it has ended."""
        if self.process is None or self.process.stdout is None:
            raise NodeFailed(f"{self.name} is not running")
        deadline = time.monotonic() + timeout
        descriptor = self.process.stdout.fileno()
        while b"\n" not in self._read:
            if not select.select([descriptor], [], [], max(deadline - time.monotonic(), 0.0))[0]:
                raise RequestTimeout(f"{self.name} said nothing for {timeout:g} s")
            more = os.read(descriptor, 1 << 16)
            if not more:
                raise NodeFailed(f"{self.name} has ended")
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise ChildFailed(self.name, found)
        return found

    def ask(self, what: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Sends a line and waits for its answer, behind those that were owed."""
        if not self.running or self.paused:
            raise NodeFailed(f"{self.name} is {'paused' if self.paused else 'not running'}")
        self.send(what)
        while self._owed:
            self._owed -= 1
            with contextlib.suppress(NodeFailed):
                self.answer(timeout)
        return self.answer(timeout)

    def tell(self, what: dict[str, Any]) -> None:
        """Sends a line whose answer is of no interest, and may take long."""
        self.send(what)
        self._owed += 1

    def pause(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)
        self.paused = False

    def _signal(self, number: int) -> None:
        if self.running and self.process is not None:
            self.process.send_signal(number)

    def end(self, *, kill: bool = False) -> None:
        """Ends it: by the end of its input, which it follows in order; or at once. Does nothing if there is none."""
        process = self.process
        if process is None:
            return
        if kill or self.paused:
            process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.process, self.paused = None, False
