"""Judges a record: what the workloads say, and what must hold of the cluster. From the events alone, so that a history
can be judged again from its file.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from quorate.testing.torture.record import Done, operations
from quorate.testing.torture.workloads import WORKLOADS, Problem

__all__ = ["RECOVERY_SECONDS", "Report", "judge"]

RECOVERY_SECONDS: Final = 30.0
"""Within so long after a fault is healed an operation that is begun then has to be acknowledged. Generous: a machine
with much other work is slow, and a cluster that hangs stays so."""


@dataclass
class Report:
    """What a run came to. True if nothing is wrong."""

    head: dict[str, Any]
    seconds: float
    whole: bool
    """Whether the run came to its end, or the record is of one that was broken off."""
    problems: list[Problem] = field(default_factory=list)
    loads: list[dict[str, Any]] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    """For each kind; ``each`` has every single one."""
    each: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    instead: dict[str, str] = field(default_factory=dict)
    """What was done in another way than is best, and why."""
    errors: dict[str, int] = field(default_factory=dict)
    leaders: int = 0
    terms: int = 0
    refused: int = 0
    converged: bool | None = None
    """None if nobody looked, because the run did not come so far."""

    def __bool__(self) -> bool:
        return not self.problems

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"passed": bool(self), **asdict(self)}


def judge(events: Sequence[dict[str, Any]]) -> Report:
    """Judges everything. Takes some seconds for 100,000 operations."""
    head = {name: value for name, value in events[0].items() if name not in ("t", "event")}
    report = Report(head, max(each["t"] for each in events), _phase(events, "done"))
    history = list(operations(events))
    report.errors = dict(Counter(each.error.partition(":")[0] for each in history if each.outcome != "ok"))
    for name in head.get("workloads", []):
        _judge_load(report, name, [each for each in history if each.load == name])
    _judge_cluster(report, events)
    _measure(report, events, history)
    return report


def _phase(events: Sequence[dict[str, Any]], name: str) -> bool:
    return any(each["event"] == "phase" and each["name"] == name for each in events)


def _judge_load(report: Report, name: str, history: list[Done]) -> None:
    work = WORKLOADS[name]
    found = work.check(history)
    if not report.whole:  # what is read back at the end says nothing of a run that had none
        found = [each for each in found if "read back" not in each.detail]
    report.problems += [Problem(f"{name}: {each.rule}", each.detail) for each in found]
    outcomes = Counter(each.outcome for each in history)
    report.loads.append(
        {
            "name": name,
            "claim": work.claim,
            "operations": len(history),
            "ok": outcomes["ok"],
            "fail": outcomes["fail"],
            "unknown": outcomes["unknown"],
            "problems": len(found),
        }
    )


def _judge_cluster(report: Report, events: Sequence[dict[str, Any]]) -> None:
    leaders: dict[int, str] = {}
    changes = 0
    for each in events:
        event = each["event"]
        if event == "odd":
            report.problems.append(
                Problem(f"unexpected: {each['what']}", f"{each['node'] or ''} {each['error']}".strip())
            )
        elif event == "refused":
            report.refused += 1
        elif event == "instead":
            report.instead[each["kind"]] = each["reason"]
        elif event == "skipped":
            report.skipped[each["kind"]] = each["reason"]
        elif event == "office" and each["role"] == "leader":
            changes += 1
            known = leaders.setdefault(each["term"], each["node"])
            if known != each["node"]:
                report.problems.append(
                    Problem("one leader a term", f"{known} and {each['node']} both led term {each['term']}")
                )
        elif event == "digests":
            sums = {one.get("sha256") or one["error"] for one in each["digests"].values()}
            report.converged = report.converged is not False and len(sums) == 1
            if not report.converged:
                report.problems.append(Problem("convergence", f"in {each['of']}: {each['digests']}"))
    report.skipped |= report.head.get("missing", {})
    report.leaders, report.terms = changes, max(leaders, default=0)


def _measure(report: Report, events: Sequence[dict[str, Any]], history: list[Done]) -> None:
    """For each fault: new leaders in it, the longest time in which nothing was acknowledged, and the time until
    something was that began after its end."""
    ends = sorted(each.ended for each in history if each.outcome == "ok" and each.kind != "read")
    replies = sorted((each.began, each.ended) for each in history if each.outcome == "ok" and each.kind != "read")
    begun = {each["number"]: each for each in events if each["event"] == "fault"}
    offices = [each["t"] for each in events if each["event"] == "office" and each["role"] == "leader"]
    kinds: dict[str, dict[str, Any]] = {}
    until = max((each.ended for each in history if each.outcome == "ok"), default=0.0)
    for each in events:
        if each["event"] != "healed":
            continue
        fault = begun[each["number"]]
        outage = _longest_gap(ends, fault["t"], each["t"])
        at = bisect.bisect_left(replies, (each["t"], 0.0))
        recovery = min((ended - each["t"] for _, ended in replies[at : at + 200]), default=None)
        if (recovery is None and until > each["t"] + RECOVERY_SECONDS) or (recovery or 0.0) > RECOVERY_SECONDS:
            report.problems.append(
                Problem("recovery", f"nothing was acknowledged for {RECOVERY_SECONDS:g} s after {fault}")
            )
        row = kinds.setdefault(
            each["kind"], {"kind": each["kind"], "times": 0, "elections": 0, "outages": [], "recoveries": []}
        )
        row["times"] += 1
        report.each.append(
            {
                "number": each["number"],
                "kind": each["kind"],
                "node": fault["node"],
                "begin": fault["t"],
                "end": each["t"],
                "outage": outage,
                "recovery": recovery,
            }
        )
        row["elections"] += bisect.bisect(offices, each["t"]) - bisect.bisect(offices, fault["t"])
        row["outages"].append(outage)
        if recovery is not None:
            row["recoveries"].append(recovery)
    for row in kinds.values():
        outages, recoveries = sorted(row.pop("outages")), sorted(row.pop("recoveries"))
        report.faults.append(
            {
                **row,
                "outage_median": outages[len(outages) // 2],
                "outage_longest": outages[-1],
                "recovery_median": recoveries[len(recoveries) // 2] if recoveries else None,
                "recovery_longest": recoveries[-1] if recoveries else None,
            }
        )


def _longest_gap(ends: list[float], begin: float, end: float) -> float:
    """The longest time between two of ``ends`` that touches begin … end."""
    first, last = bisect.bisect_left(ends, begin), bisect.bisect_right(ends, end)
    around = ends[max(first - 1, 0) : last + 1]
    return max((later - earlier for earlier, later in itertools.pairwise(around)), default=0.0)
