"""The line between `quorate up` and the nodes that it started: a socket pair that each child holds one end of.

The parent asks with one byte, the child answers with one line of JSON: its status, and how long a round of the quorum
took. When the parent is gone, however it went, the child reads an end and stops; a child that cannot even read is
killed by the kernel. Knows nothing of terminals or of starting processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from quorate.errors import QuorateError

__all__ = ["Attendant", "die_with_parent"]

ROUND_SECONDS: Final = 0.3
"""For a quorum to answer, before the line says that it does not."""
PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process with the one that started it (Linux), also while it is stopped."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)  # it went before we asked


class Attendant:
    """The child's end. ``status`` and ``barrier`` are the node's; ``stop`` is called when the parent is gone."""

    def __init__(
        self,
        descriptor: int,
        *,
        status: Callable[[], dict[str, Any]],
        barrier: Callable[[float], object],
        stop: Callable[[], object],
    ) -> None:
        self._line = socket.socket(fileno=descriptor)
        self._line.setblocking(True)
        self._status = status
        self._barrier = barrier
        self._stop = stop
        threading.Thread(target=self._run, name="quorate-attend", daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while self._line.recv(64):
                self._line.sendall(json.dumps(self._answer()).encode() + b"\n")
        self._stop()

    def _answer(self) -> dict[str, Any]:
        try:
            begin = time.perf_counter()
            try:
                self._barrier(ROUND_SECONDS)
                took: float | None = time.perf_counter() - begin
            except QuorateError:
                took = None
            return {**self._status(), "round_seconds": took}
        except QuorateError as error:
            return {"error": str(error)}
