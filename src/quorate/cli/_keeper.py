"""The keeper of a command: a small process that runs it in a group of its own, and ends the group at a deadline.

`quorate lock` holds the lock, the keeper holds the command. It is told again and again until when the lock is
certainly held, and needs neither network nor lock to act: when that time comes near without a later one, it sends TERM,
and KILL at the latest when it is there. So the command ends in time also if the holder hangs or is stopped, and at once
if it is killed.

Knows nothing of locks. One thread, forked before there are others.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final, NoReturn

from quorate.cli._attend import die_with_parent

__all__ = ["Keeper", "now"]

_MESSAGE_BYTES_MAX: Final = 1 << 22
HEARD: Final = (
    signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds of a clock that all processes share, and that counts the time in which the machine was suspended."""
    return time.clock_gettime(_CLOCK)


class Keeper:
    """The holder's end of the line. ``fileno()`` is readable when :meth:`said` has something.

    Make it before the process has threads. A context manager: leaving it ends the keeper, and the command with it.
    """

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._received = b""
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self._process = os.fork()
        if not self._process:
            self._line.close()
            _be_keeper(theirs, parent)
        theirs.close()

    def fileno(self) -> int:
        return self._line.fileno()

    def run(self, command: Sequence[str], environment: dict[str, str], *, until: float, grace: float) -> None:
        """Starts the command. ``until``: as :meth:`hold`. ``grace``: seconds between TERM and KILL."""
        self._tell(run=list(command), environment=environment, until=_finite(until), grace=grace)

    def hold(self, until: float) -> None:
        """The command may run until this time of :func:`now`."""
        self._tell(until=_finite(until))

    def forward(self, number: int) -> None:
        """A signal to the command's group."""
        self._tell(signal=number)

    def end(self) -> None:
        """The command may not run any more: TERM now, KILL after the grace."""
        self._tell(end=True)

    def said(self) -> list[dict[str, Any]]:
        """What came since: ``started`` (process), ``failed`` (errno), ``stopped``, ``late`` (the deadline came near),
        ``exit`` (as subprocess has it). A keeper that is gone said ``gone``."""
        piece = self._line.recv(1 << 16)
        if not piece:
            return [{"gone": True}]
        *lines, self._received = (self._received + piece).split(b"\n")
        return [json.loads(line) for line in lines]

    def _tell(self, **what: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # said() tells that it is gone
            self._line.sendall(json.dumps(what).encode() + b"\n")

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *exception: object) -> None:
        self._line.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._process, 0)


def _finite(until: float) -> float | None:
    return until if math.isfinite(until) else None


def _be_keeper(line: socket.socket, parent: int) -> NoReturn:
    """The life of the forked process."""
    code = 70
    try:
        os.setpgid(0, 0)  # no signal of the terminal is meant for it
        _Loop(line, parent).run()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


class _Loop:
    """Looks at the line, at the command and at the clock, until the command or the holder ends."""

    def __init__(self, line: socket.socket, parent: int) -> None:
        self.line = line
        self.parent = parent
        self.received = b""
        self.process: subprocess.Popen[bytes] | None = None
        self.until = math.inf
        self.grace = 0.0
        self.kill_at = math.inf
        """Finite once TERM was sent."""
        self.woken, wake = os.pipe()
        for each in (self.woken, wake):
            os.set_blocking(each, False)
        for number in HEARD:
            if signal.getsignal(number) is not signal.SIG_IGN:  # what is ignored stays so in the command, as for nohup
                signal.signal(number, _heard)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def run(self) -> None:
        poll = select.poll()
        poll.register(self.line, select.POLLIN)
        poll.register(self.woken, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll(self._patience()):
                if descriptor == self.woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.woken, 4096)
                elif not self._listen():
                    self._signal(signal.SIGKILL)
                    return
            if self._watch_command():
                return
            self._watch_clock()

    def _patience(self) -> float | None:
        """Milliseconds until there is something to do."""
        if self.process is None:
            return None
        at = self.kill_at if math.isfinite(self.kill_at) else self.until - self.grace
        return max((at - now()) * 1000, 0) + 1 if math.isfinite(at) else None

    def _listen(self) -> bool:
        """Does what the holder says; False when it is gone."""
        try:
            piece = self.line.recv(1 << 16)
        except ConnectionResetError:
            return False
        if not piece or len(self.received) > _MESSAGE_BYTES_MAX:
            return False
        *lines, self.received = (self.received + piece).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "until" in said:
                self.until = math.inf if said["until"] is None else said["until"]
            if "run" in said:
                self.grace = said["grace"]
                self._start(said["run"], said["environment"])
            if "signal" in said:
                self._signal(said["signal"])
            if "end" in said:
                self._end(now() + self.grace)
        return True

    def _start(self, command: list[str], environment: dict[str, str]) -> None:
        keeper = os.getpid()
        terminal = _is_foreground(self.parent)

        def before() -> None:  # this process has one thread, so anything may be done here
            os.setpgid(0, 0)
            if terminal:
                signal.signal(signal.SIGTTOU, signal.SIG_IGN)
                os.tcsetpgrp(0, os.getpid())
                signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            die_with_parent(keeper)

        try:
            self.process = subprocess.Popen(command, env=environment, preexec_fn=before)
        except OSError as error:
            self._tell(failed=error.errno)
        else:
            self._tell(started=self.process.pid)

    def _watch_command(self) -> bool:
        """Whether it has ended, and that was told."""
        if self.process is None:
            return False
        process = self.process.pid
        if not os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            with contextlib.suppress(ChildProcessError):  # it has exited since
                if os.waitid(os.P_PID, process, os.WSTOPPED | os.WNOHANG):
                    self._tell(stopped=True)
            return False
        if math.isfinite(self.kill_at):
            # Whatever it left behind; nobody else can have got the number of the group before the exit is collected.
            self._signal(signal.SIGKILL)
        self._tell(exit=self.process.wait())
        with contextlib.suppress(OSError):
            self.line.shutdown(socket.SHUT_WR)
            while self.line.recv(1 << 16):  # to close with something unread would lose what was told
                pass
        return True

    def _watch_clock(self) -> None:
        at = now()
        if at >= self.kill_at:
            self._signal(signal.SIGKILL)
            self.kill_at = at + 1.0  # until it is seen to have ended
        elif self.process is not None and at >= self.until - self.grace and math.isinf(self.kill_at):
            self._tell(late=True)
            self._end(min(self.until, at + self.grace))

    def _end(self, kill_at: float) -> None:
        if math.isinf(self.kill_at):
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a stopped one could not hear it
            self.kill_at = kill_at

    def _signal(self, number: int) -> None:
        """To the group of the command, which exists as long as we have not collected the command's exit."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)

    def _tell(self, **what: Any) -> None:
        with contextlib.suppress(OSError):
            self.line.sendall(json.dumps(what).encode() + b"\n")


def _heard(number: int, frame: FrameType | None) -> None:
    """Signals are written to the wake-up descriptor; a handler is reset in the command, other than "ignored"."""


def _is_foreground(process: int) -> bool:
    """Whether standard input is a terminal whose foreground is the group of this process."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgid(process)
    except OSError:
        return False
