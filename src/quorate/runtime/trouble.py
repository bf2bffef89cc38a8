"""What strangers and clients do that they should not, told through ``logging``: once in a while, however often it is.

The native loop only counts (``status()``); a thread looks at the counters now and then. Knows nothing of connections.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any, Final

from quorate.errors import QuorateError

__all__ = ["TROUBLE", "Trouble", "TroubleLog"]

INTERVAL_SECONDS: Final = 10.0
"""What there is to say is said once in this time."""
LOOK_SECONDS: Final = 1.0

TROUBLE: Final = {
    # counter in status(): what to look at
    "connections.wrong_cluster": "refused connections: the members given to this node and to the caller differ, or an "
    "address leads to another cluster: compare --members on all nodes",
    "connections.not_member": "refused connections: a node that is no member wants to connect, or an address leads to "
    "the wrong node: compare --members on all nodes",
    "connections.newer_version": "refused connections: a caller speaks a newer version: upgrade this node",
    "connections.stranger": "refused connections: something that is no Quorate connects to this address",
    "connections.damaged": "refused connections: bytes arrived damaged: look at the network",
    "connections.too_large": "refused connections: a caller claims frames over the bound",
    "connections.flood": "refused connections: too many connections at once",
    "connections.slow": "refused connections: connections that did not finish what they began were closed",
    "clients.turned_away": "refused clients: there are as many as this node takes (max_clients); they try other nodes",
    "clients.wrong_cluster": "refused clients: a client looks for another cluster: compare the addresses it has",
    "clients.newer_version": "refused clients: a client speaks a newer version: upgrade this node",
    "clients.malformed": "refused clients: a client sent what is no question",
    "clients.too_large": "refused clients: a client claims a question over the bound",
    "clients.slow": "refused clients: a client did not finish what it began to send",
    "clients.stuck": "refused clients: a client does not read its answers: look whether its process hangs",
    "clients.overloaded": "refused questions: more is asked than this node gets done",
}


class Trouble:
    """Compares the counters with those of the last time.

    >>> trouble = Trouble()
    >>> trouble.look({"clients": {"stuck": 2}}, now=100.0)
    [('clients.stuck', 2)]
    >>> trouble.look({"clients": {"stuck": 3}}, now=101.0), trouble.look({"clients": {"stuck": 3}}, now=111.0)
    ([], [('clients.stuck', 1)])
    """

    def __init__(self) -> None:
        self._counted: dict[str, int] = {}
        self._said_at = float("-inf")

    def look(self, status: Mapping[str, Any], now: float) -> list[tuple[str, int]]:
        """(counter, how much more) of what is worth a word now."""
        if now - self._said_at < INTERVAL_SECONDS:
            return []
        found = []
        for counter in TROUBLE:
            group, name = counter.split(".")
            seen = status.get(group, {}).get(name, 0)
            if seen > self._counted.get(counter, 0):
                found.append((counter, seen - self._counted.get(counter, 0)))
                self._counted[counter] = seen
        if found:
            self._said_at = now
        return found


class TroubleLog:
    """The thread that looks at a running node. It does not keep the node alive, and ends with it."""

    def __init__(self, run: Any, name: str) -> None:
        self._run = weakref.ref(run)
        self._name = name
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name=f"quorate-log-{name}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stops looking. Does nothing the second time."""
        self._ended.set()

    def _look(self) -> None:
        log = logging.getLogger("quorate.node")
        trouble = Trouble()
        while not self._ended.wait(LOOK_SECONDS):
            run = self._run()
            if run is None or not run.alive:
                return
            try:
                status = run.status()
            except QuorateError:
                return  # it ended meanwhile
            for counter, more in trouble.look(status, time.monotonic()):
                fields = {"node": self._name, "kind": counter.split(".")[1], "count": more}
                log.warning(TROUBLE[counter], extra={"fields": fields})
            del run
