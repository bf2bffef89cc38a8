"""A node's status as Prometheus text, by prometheus-client (``pip install 'quorate[metrics]'``).

Knows how the figures of ``status()`` are called and what they mean; nothing of how they came here, or of HTTP.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
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


def metrics_text(status: Mapping[str, Any]) -> bytes:
    """What ``status()`` gave, as text for a scrape. Figures that it does not have are left out.

    Raises ConfigError if prometheus-client is not installed.

    >>> 'quorate_term{node="a"} 3.0' in metrics_text({"name": "a", "term": 3}).decode().splitlines()
    True
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        raise ConfigError(MISSING) from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(status))
    return generate_latest(registry)


class _Once:
    """A collector of one status; the library's interface asks for ``collect``."""

    def __init__(self, status: Mapping[str, Any]) -> None:
        self.status = status

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        seen = self.status
        node = [str(seen.get("name", ""))]
        yield InfoMetricFamily(
            "quorate",
            "What runs here.",
            value={
                "node": node[0],
                "version": str(seen.get("version", __version__)),
                "durability": str(seen.get("durability", "")),
                "poller": str(seen.get("poller", "")),
            },
        )
        for path, name, kind, meaning in FIGURES:
            found = _at(seen, path)
            if found is None:
                continue
            value = found / 1e6 if path.endswith("_us") else float(found)
            family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            made = family(f"quorate_{name}", meaning, labels=["node"])
            made.add_metric(node, value)
            yield made
        if "role" in seen:
            roles = GaugeMetricFamily("quorate_role", "1 for the role that the node has.", labels=["node", "role"])
            for role in ROLES:
                roles.add_metric([*node, role], float(seen["role"] == role))
            yield roles
        if "leader" in seen:
            leader = GaugeMetricFamily(
                "quorate_leader_known", "1 if this node knows a leader, and which.", labels=["node", "leader"]
            )
            leader.add_metric([*node, str(seen["leader"] or "")], float(bool(seen["leader"])))
            yield leader
        yield from self._tables(node)

    def _tables(self, node: list[str]) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

        seen = self.status
        disk = seen.get("disk") or {}
        if "syncs" in disk:
            times = Metric(
                "quorate_disk_sync_seconds", "How long fdatasync of the log takes; quantiles: lately.", "summary"
            )
            labels = {"node": node[0]}
            for quantile, figure in (("0.5", "sync_p50_us"), ("0.99", "sync_p99_us")):
                times.add_sample("quorate_disk_sync_seconds", {**labels, "quantile": quantile}, disk[figure] / 1e6)
            times.add_sample("quorate_disk_sync_seconds_count", labels, disk["syncs"])
            times.add_sample("quorate_disk_sync_seconds_sum", labels, disk["sync_sum_us"] / 1e6)
            yield times
        for figure, name, meaning in FOLLOWER:
            family = GaugeMetricFamily(f"quorate_{name}", meaning, labels=["node", "follower"])
            for follower, known in (seen.get("followers") or {}).items():
                if known.get(figure) is not None:
                    family.add_metric([*node, follower], known[figure])
            yield family
        queues = GaugeMetricFamily("quorate_queue_depth", "What waits inside the node.", labels=["node", "queue"])
        for queue, depth in (seen.get("queues") or {}).items():
            if queue != "output_bytes":
                queues.add_metric([*node, queue], depth)
        yield queues
        present = GaugeMetricFamily("quorate_connections", "Connections that are open.", labels=["node", "kind"])
        events = CounterMetricFamily(
            "quorate_connection_events",
            "What happened on connections; sent and received: messages.",
            labels=["node", "event"],
        )
        for kind, count in (seen.get("connections") or {}).items():
            if not isinstance(count, int):
                continue
            if kind in PRESENT:
                present.add_metric([*node, kind], count)
            else:
                events.add_metric([*node, kind], count)
        yield present
        yield events


def _at(status: Mapping[str, Any], path: str) -> float | None:
    found: Any = status
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, (int, float)) else None
