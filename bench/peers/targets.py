"""What the design wants of a cluster, held against a run: every figure is a ratio or a time of the same run.

Knows the rows and the names of Quorate's two contenders, and of those that it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Medians = Mapping[str, Mapping[str, Mapping[str, float]]]
EMBEDDED, REMOTE, FLOOR = "quorate-embedded", "quorate", "floor"


@dataclass(frozen=True)
class Target:
    """``figure``: from the medians of a run; raises KeyError if the run has not what it takes."""

    what: str
    figure: Callable[[Medians], float]
    limit: float
    unit: str
    least: bool = False
    """The limit is the least that is wanted, not the most."""


def _times(row: str, a: str, b: str, divisor_row: str = "") -> Callable[[Medians], float]:
    return lambda seen: seen[a][row]["p50"] / seen[b][divisor_row or row]["p50"]


def _p50(row: str, peer: str, scale: float) -> Callable[[Medians], float]:
    return lambda seen: seen[peer][row]["p50"] * scale


TARGETS = [
    Target("put, embedded, over the floor", _times("put", EMBEDDED, FLOOR), 1.4, "×"),
    Target("put, over sockets, over the floor", _times("put", REMOTE, FLOOR), 1.7, "×"),
    Target("put: etcd's time over Quorate's, over sockets", _times("put", "etcd", REMOTE), 2.5, "×", least=True),
    Target("1,024 puts awaited, embedded", lambda seen: seen[EMBEDDED]["put-1024"]["rate"], 1e5, "/s", least=True),
    Target("1,024 puts awaited, over sockets", lambda seen: seen[REMOTE]["put-1024"]["rate"], 1e5, "/s", least=True),
    Target("linearizable read, embedded", _p50("read", EMBEDDED, 1e6), 150, "µs"),
    Target("linearizable read, over sockets", _p50("read", REMOTE, 1e6), 250, "µs"),
    Target("lock and release, embedded, over the floor of a put", _times("lock", EMBEDDED, FLOOR, "put"), 2.9, "×"),
    Target("lock and release: kazoo's time over Quorate's", _times("lock", "zookeeper", EMBEDDED), 4, "×", least=True),
    Target("leader killed → next put, embedded", _p50("killed", EMBEDDED, 1e3), 100, "ms"),
    Target("leader killed → next put, over sockets", _p50("killed", REMOTE, 1e3), 100, "ms"),
    Target("leader paused → next put, embedded", _p50("paused", EMBEDDED, 1e3), 500, "ms"),
    Target("leader paused → next put, over sockets", _p50("paused", REMOTE, 1e3), 500, "ms"),
    Target("holder killed, a member on this host → next holder", _p50("inherited", EMBEDDED, 1e3), 50, "ms"),
    Target("holder killed, a client on this host → next holder", _p50("inherited", REMOTE, 1e3), 50, "ms"),
    Target("a served node at rest, of a core", lambda seen: seen[REMOTE]["rest"]["percent"] / 3, 1, "%"),
]


def judged(seen: Medians) -> list[list[str]]:
    """What, seen, wanted, and whether it was reached; only what the run measured."""
    rows = []
    for target in TARGETS:
        try:
            figure = target.figure(seen)
        except (KeyError, ZeroDivisionError):
            continue
        reached = figure >= target.limit if target.least else figure <= target.limit
        shown = f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"
        limit = f"{'at least' if target.least else 'at most'} {target.limit:,g} {target.unit}"
        rows.append([target.what, f"{shown} {target.unit}", limit, "yes" if reached else "**no**"])
    return rows
