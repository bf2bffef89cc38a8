"""Short words for tests that wait for something."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from quorate.client.flow import run
from quorate.client.outcomes import checked
from quorate.store import commands


def until(what: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What it gives, as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.002)
    return found


class Aside(threading.Thread):
    """Something that is done in another thread. :meth:`result` waits for it, and raises what it raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._found: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._found = self._call()
        except BaseException as error:
            self._error = error

    @property
    def waits(self) -> bool:
        return self.is_alive()

    def result(self) -> Any:
        self.join(30)
        assert not self.is_alive(), "it did not come to an end"
        if self._error is not None:
            raise self._error
        return self._found


def queue_of(client: Any, name: str) -> tuple[int, int]:
    """(holders, waiters) of a permit, as the cluster has it."""

    core = getattr(client, "_thing", client)._core
    found = run(core.backend.permit(core.prefix + name.encode(), 10, 20.0))
    return (found.holders, found.waiters) if found else (0, 0)


def forced(client: Any, name: str, reason: str) -> None:
    """An operator takes a permit away from all who hold it."""

    core = getattr(client, "_thing", client)._core
    checked(run(core.backend.write(commands.force_release(core.prefix + name.encode(), reason), 20.0)))
