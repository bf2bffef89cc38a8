"""The one Python thread of an engine that runs callbacks: native threads put notices into a queue, this thread takes
them.

It is started for the first listener, and ends with the last one or with the engine. A callback that raises is logged,
and harms nobody else; one that blocks delays the others, never the engine.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any, final

from quorate.errors import QuorateError

__all__ = ["Notices", "notices_of", "told"]

Listener = Callable[[tuple[Any, ...]], None]
"""Gets ("state", "connected" | "suspended" | "stopped"), ("leader", name or None, term), ("lane", id, state), or
("overflow",)."""

LOOK_SECONDS = 5.0
"""How long the thread may outlive its last listener."""

_log = logging.getLogger("quorate.client")
_lock = threading.Lock()
_all: weakref.WeakKeyDictionary[Any, Notices] = weakref.WeakKeyDictionary()


def notices_of(engine: Any) -> Notices:
    """What tells of an engine; one for all who ask, because an engine's notices come once."""
    with _lock:
        found = _all.get(engine)
        if found is None:
            found = _all[engine] = Notices(weakref.ref(engine))
        return found


@final
class Notices:
    """Hands an engine's notices to listeners. All methods may be called from any thread."""

    def __init__(self, engine: weakref.ref[Any]) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._thread: threading.Thread | None = None

    def listen(self, listener: Listener) -> None:
        """From now on; does nothing if it listens already."""
        with self._lock:
            if listener not in self._listeners:
                self._listeners.append(listener)
            if self._thread is None:
                self._thread = threading.Thread(target=self._deliver, name="quorate-calls", daemon=True)
                self._thread.start()

    def forget(self, listener: Listener) -> None:
        """No more; one call may still be under way."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def _deliver(self) -> None:
        while True:
            engine = self._engine()
            with self._lock:
                if engine is None or not self._listeners:
                    self._thread = None
                    return
            try:
                alive = engine.alive
                found = engine.notices(LOOK_SECONDS if alive else 0.0)
            except QuorateError:  # stopped meanwhile, or a forked child
                alive, found = False, []
            for notice in found:
                self._tell(notice)
            if not alive:
                self._tell(("state", "stopped"))
                with self._lock:
                    self._thread = None
                    self._listeners.clear()
                return
            del engine

    def _tell(self, notice: tuple[Any, ...]) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            told(listener, notice)


def told(callback: Callable[[Any], None], what: Any) -> None:
    """Calls back, and logs what the callback raises."""
    try:
        callback(what)
    except Exception:
        _log.exception("a callback raised, told of %r", what)
