"""A command that runs while something is held: signals go on to it, a loss ends it, and its exit code is ours.

Knows the keeper that holds the command, and of what is held only how long that is certain, and a bell that rings when
it is lost. Talks to no cluster.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Final

from quorate.cli._keeper import Keeper, now

__all__ = ["EX_TEMPFAIL", "EX_UNAVAILABLE", "Bell", "run_held"]

EX_UNAVAILABLE: Final = 69
"""As flock(1) and sysexits.h have it: what is needed is not there. Here: nobody answers."""
EX_TEMPFAIL: Final = 75
"""Try again later. Here: it was lost, and the command was ended."""
FORWARDED: Final = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH,
)  # fmt: skip

Tell = Callable[..., object]


class Bell:
    """What rings in other threads, and signals that come, as bytes of one descriptor. A context manager."""

    def __init__(self) -> None:
        self._heard, self._ring = os.pipe()
        for each in (self._heard, self._ring):
            os.set_blocking(each, False)
        self.reason: str | None = None
        """Why it rang first; None: it did not."""

    def fileno(self) -> int:
        return self._heard

    def ring(self, reason: str) -> None:
        """From any thread."""
        self.reason = self.reason or reason
        with contextlib.suppress(OSError):  # full: it is heard anyway
            os.write(self._ring, b"\0")

    def heard(self) -> list[int]:
        """The signals that came since."""
        with contextlib.suppress(BlockingIOError):
            return [number for number in os.read(self._heard, 4096) if number]
        return []

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Signals that would end this process come here meanwhile; ignored ones stay ignored."""
        before = {number: signal.getsignal(number) for number in FORWARDED}
        wake = signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _heard)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wake)

    def __enter__(self) -> Bell:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._heard)
        os.close(self._ring)


def _heard(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor has it."""


def run_held(
    keeper: Keeper,
    bell: Bell,
    command: Sequence[str],
    *,
    environment: dict[str, str],
    remaining: Callable[[], float],
    lease: float,
    grace: float,
    tell: Tell,
) -> int:
    """Runs the command until it ends, or until it must not run any more; gives the exit code for the shell.

    ``remaining``: seconds for which the lock is certainly held. ``tell(event, **fields)`` hears what happens.
    """
    with bell.signals():
        keeper.run(command, {**os.environ, **environment}, until=now() + remaining(), grace=grace)
        return _Run(keeper, bell, command, remaining, lease, tell).run()


class _Run:
    def __init__(
        self,
        keeper: Keeper,
        bell: Bell,
        command: Sequence[str],
        remaining: Callable[[], float],
        lease: float,
        tell: Tell,
    ) -> None:
        self.keeper = keeper
        self.bell = bell
        self.command = command
        self.remaining = remaining
        self.lease = lease
        self.tell = tell
        self.terminal = _own_terminal()
        self.group = 0
        self.lost = False

    def run(self) -> int:
        try:
            while True:
                select.select([self.keeper.fileno(), self.bell.fileno()], [], [], self.lease / 6)
                code = self._turn()
                if code is not None:
                    return code
        finally:
            if self.terminal:
                _take_terminal(os.getpgrp())

    def _turn(self) -> int | None:
        for number in self.bell.heard():
            self.keeper.forward(number)
        if self.bell.reason is not None and not self.lost:
            self._lose(self.bell.reason)
            self.keeper.end()
        elif not self.lost:
            self.keeper.hold(now() + self.remaining())
        if select.select([self.keeper.fileno()], [], [], 0)[0]:
            for said in self.keeper.said():
                code = self._hear(said)
                if code is not None:
                    return code
        return None

    def _lose(self, reason: str) -> None:
        self.lost = True
        self.tell("lost", reason=reason)

    def _hear(self, said: dict[str, Any]) -> int | None:
        if "started" in said:
            self.group = said["started"]
            self.tell("started", process=self.group)
        if "failed" in said:
            self.tell("failed", command=self.command[0], reason=os.strerror(said["failed"]))
            return 127 if said["failed"] == errno.ENOENT else 126
        if "late" in said and not self.lost:
            self._lose("the cluster has not been heard of for so long that its lease ends")
        if "stopped" in said and self.terminal:
            self._stop_too()
        if "exit" in said:
            code: int = said["exit"] if said["exit"] >= 0 else 128 - said["exit"]
            self.tell("ended", code=code)
            return EX_TEMPFAIL if self.lost else code
        if "gone" in said:
            if self.group:
                with contextlib.suppress(OSError):
                    os.killpg(self.group, signal.SIGKILL)
            self.tell("failed", command=self.command[0], reason="its keeper was killed")
            return EX_TEMPFAIL
        return None

    def _stop_too(self) -> None:
        """Ctrl-Z: the shell gets its terminal back. What is held is lost while we are stopped, after the lease."""
        _take_terminal(os.getpgrp())
        self.tell("stopped", lease=self.lease)
        os.kill(os.getpid(), signal.SIGSTOP)
        # Here the shell has continued us, in the foreground or not.
        if self.bell.reason is None and self.remaining() > 0:
            if _own_terminal():
                _take_terminal(self.group)
            self.keeper.forward(signal.SIGCONT)


def _own_terminal() -> bool:
    """Whether standard input is a terminal with us in its foreground."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _take_terminal(group: int) -> None:
    """Makes a group the foreground of our terminal, also from the background."""
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(0, group)
    finally:
        signal.signal(signal.SIGTTOU, before)
