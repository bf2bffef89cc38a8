"""The status of nodes as Prometheus text, by prometheus-client (``pip install 'quorate[metrics]'``).

Knows how the figures of ``status()`` are called and what they mean; nothing of how they came here, or of HTTP.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from quorate.errors import ConfigError
from quorate.version import __version__

__all__ = ["CONTENT_TYPE", "metrics_available", "metrics_text"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

MISSING: Final = "Prometheus text needs prometheus-client: pip install 'quorate[metrics]'"

ROLES: Final = ("follower", "pre_candidate", "candidate", "leader")

FIGURES: Final[tuple[tuple[str, str, str, str], ...]] = (
    # (where in status(), name, kind, meaning); a dot goes one level down
    ("term", "term", "gauge", "Raft term that this node is in."),
    ("commit", "commit_index", "gauge", "Log index up to which this node knows entries to be committed."),
    ("applied", "applied_index", "gauge", "Log index up to which this node's store has applied."),
    ("last_index", "last_index", "gauge", "Index of the last entry of this node's log."),
    ("durable_index", "durable_index", "gauge", "Index up to which this node's own log is on disk."),
    ("elections", "elections", "counter", "Elections that this node began."),
    ("leader_changes", "leader_changes", "counter", "Times that this node saw another leader."),
    ("uptime", "uptime_seconds", "gauge", "Seconds since this node was started."),
    ("sessions", "sessions", "gauge", "Sessions of clients, as this node's store has them."),
    ("disk.full", "disk_full", "gauge", "1 while there is no room for the next segment of the log."),
    ("disk.durable", "durable", "gauge", "1 if acknowledged writes are on disk, 0 with durability=memory."),
    ("disk.bytes", "disk_written_bytes", "counter", "Payload written to the log since the start."),
    ("disk.batches", "disk_batches", "counter", "Batches written to the log; entries that come together share one."),
    ("disk.sync_max_us", "disk_sync_longest_seconds", "gauge", "The longest fdatasync of the log since the start."),
    ("queues.output_bytes", "output_queued_bytes", "gauge", "Bytes encoded for other members or clients, not sent."),
    ("memory.resident", "memory_resident_bytes", "gauge", "Memory that the process occupies."),
    ("memory.log_bytes", "memory_log_bytes", "gauge", "Payload of the part of the log that is held in memory."),
    ("memory.log_entries", "memory_log_entries", "gauge", "Entries of the log that are held in memory."),
    ("turns", "loop_turns", "counter", "Turns of the node's native loop."),
)
FOLLOWER: Final = (
    ("match", "follower_match_index", "Entries up to here are known to be on the follower's disk. Leader only."),
    ("lag", "follower_lag_entries", "Entries of the leader that a follower is not known to have. Leader only."),
    ("silent", "follower_silent_seconds", "Seconds since the leader heard from a follower. Leader only."),
)
PRESENT: Final = ("members", "strangers", "clients")
"""Connections that are there; the other numbers under ``connections`` count what has happened."""


def metrics_available() -> bool:
    """Whether prometheus-client is there."""
    return importlib.util.find_spec("prometheus_client") is not None


def metrics_text(statuses: Sequence[Mapping[str, Any]]) -> bytes:
    """What ``status()`` of some nodes gave, as text for a scrape. Figures that one does not have are left out.

    Raises ConfigError if prometheus-client is not installed.

    >>> 'quorate_term{node="a"} 3.0' in metrics_text([{"name": "a", "term": 3}]).decode().splitlines()
    True
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        raise ConfigError(MISSING) from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(statuses))
    return generate_latest(registry)


class _Once:
    """A collector of what was seen once; the library's interface asks for ``collect``."""

    def __init__(self, statuses: Sequence[Mapping[str, Any]]) -> None:
        self.statuses = statuses

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

        def gauge(name: str, meaning: str, *labels: str) -> Any:
            return GaugeMetricFamily(f"quorate_{name}", meaning, labels=["node", *labels])

        info = gauge("info", "What runs here.", "version", "durability", "poller")
        figures = {
            name: (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(
                f"quorate_{name}", meaning, labels=["node"]
            )
            for _, name, kind, meaning in FIGURES
        }
        roles = gauge("role", "1 for the role that the node has.", "role")
        leader = gauge("leader_known", "1 if the node knows a leader, and which.", "leader")
        syncs = Metric("quorate_disk_sync_seconds", "How long fdatasync of the log takes, lately.", "summary")
        followers = {figure: gauge(name, meaning, "follower") for figure, name, meaning in FOLLOWER}
        queues = gauge("queue_depth", "What waits inside the node.", "queue")
        present = gauge("connections", "Connections that are open.", "kind")
        events = CounterMetricFamily(
            "quorate_connection_events",
            "What happened on connections; sent and received: messages.",
            labels=["node", "event"],
        )
        clients = gauge("clients", "Connections of clients that are open.")
        asked = CounterMetricFamily(
            "quorate_client_events",
            "What clients did, and what was done to them; sent and received: bytes.",
            labels=["node", "event"],
        )
        for seen in self.statuses:
            node = str(seen.get("name", ""))
            words = [str(seen.get(each, "")) for each in ("durability", "poller")]
            info.add_metric([node, str(seen.get("version", __version__)), *words], 1.0)
            for path, name, _, _ in FIGURES:
                found = _at(seen, path)
                if found is not None:
                    figures[name].add_metric([node], found / 1e6 if path.endswith("_us") else float(found))
            if "role" in seen:
                for role in ROLES:
                    roles.add_metric([node, role], float(seen["role"] == role))
            if "leader" in seen:
                leader.add_metric([node, str(seen["leader"] or "")], float(bool(seen["leader"])))
            _add_syncs(syncs, node, seen.get("disk") or {})
            for follower, known in (seen.get("followers") or {}).items():
                for figure, family in followers.items():
                    if known.get(figure) is not None:
                        family.add_metric([node, follower], known[figure])
            for queue, depth in (seen.get("queues") or {}).items():
                if queue != "output_bytes":
                    queues.add_metric([node, queue], depth)
            for kind, count in (seen.get("connections") or {}).items():
                if isinstance(count, int):
                    (present if kind in PRESENT else events).add_metric([node, kind], count)
            for kind, count in (seen.get("clients") or {}).items():
                if kind == "connected":
                    clients.add_metric([node], count)
                else:
                    asked.add_metric([node, kind], count)
        yield from (info, *figures.values(), roles, leader, syncs, *followers.values(), queues, present, events)
        yield from (clients, asked)


def _add_syncs(syncs: Any, node: str, disk: Mapping[str, Any]) -> None:
    if "syncs" not in disk:
        return
    name = "quorate_disk_sync_seconds"
    for quantile, figure in (("0.5", "sync_p50_us"), ("0.99", "sync_p99_us")):
        syncs.add_sample(name, {"node": node, "quantile": quantile}, disk[figure] / 1e6)
    syncs.add_sample(f"{name}_count", {"node": node}, disk["syncs"])
    syncs.add_sample(f"{name}_sum", {"node": node}, disk["sync_sum_us"] / 1e6)


def _at(status: Mapping[str, Any], path: str) -> float | None:
    found: Any = status
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, (int, float)) else None
