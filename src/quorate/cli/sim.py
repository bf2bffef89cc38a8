"""``quorate sim``: run simulated clusters over many seeds and say which seed broke what.

Knows the terminal and the options; the simulation itself is in :mod:`quorate.testing`, imported only when it runs.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from quorate.testing.runner import Outcome

__all__ = ["sim"]

PROFILES = ("mixed", "calm", "rough", "membership", "snapshots", "disks", "clocks", "reads", "lease", "storm")


class Seeds(click.ParamType[list[int]] if TYPE_CHECKING else click.ParamType):  # type: ignore[misc]
    """``7``, ``1..1000``, or several of them with commas between."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[range]:
        if isinstance(value, list):
            return value
        ranges = []
        for part in str(value).split(","):
            first, _, last = part.partition("..")
            try:
                span = range(int(first), int(last or first) + 1)
            except ValueError:
                self.fail(f"{value!r} is not like 7, 1..1000 or 1..10,42", param, ctx)
            if not span:
                self.fail(f"{part!r} is empty: the second number is the last seed", param, ctx)
            ranges.append(span)
        return ranges


@click.command()
@click.option("--seeds", type=Seeds(), default="1..100", show_default=True, help="7, 1..1000, or 1..10,42.")
@click.option("--nodes", type=click.IntRange(1, 15), default=3, show_default=True, help="Voters at first.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Simulated minutes of faults in each run.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="The same in seconds.  [default: 30]")
@click.option("--profile", type=click.Choice(PROFILES), default="mixed", show_default=True, help="What goes wrong.")
@click.option(
    "--jobs", "-j", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes.  [default: all cores]"
)
@click.option("--mutation", help="Put a known bug back (debug builds only).")
@click.option("--fail-fast", "-x", is_flag=True, help="End at the first seed that fails.")
@click.option("--transcript", is_flag=True, help="Print the last steps of each node of a failed run.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, for programs.")
@click.pass_context
def sim(
    ctx: click.Context,
    seeds: list[range],
    nodes: int,
    minutes: float | None,
    seconds: float | None,
    profile: str,
    jobs: int,
    mutation: str | None,
    fail_fast: bool,
    transcript: bool,
    as_json: bool,
) -> None:
    """Run simulated clusters, one a seed: faults and load, then healing, then judgement.

    The same seed, nodes, time and profile give the same run on any machine. Exit code 1 if any seed failed.
    """
    if minutes is not None and seconds is not None:
        raise click.UsageError("give --minutes or --seconds, not both")
    length = minutes * 60 if minutes is not None else seconds if seconds is not None else 30.0

    import quorate.raft
    from quorate.testing.runner import run_many

    if mutation is not None and mutation not in quorate.raft.mutations():
        known = ", ".join(quorate.raft.mutations()) or f"none in a {quorate.raft.BUILD} build"
        raise click.UsageError(f"mutation {mutation!r} is not known here; known: {known}")
    each = (seed for span in seeds for seed in span)
    total = sum(len(span) for span in seeds)
    outcomes = run_many(each, jobs=min(jobs, total), nodes=nodes, seconds=length, profile=profile, mutation=mutation)
    failed, totals = _follow(outcomes, total, fail_fast=fail_fast, transcript=transcript, as_json=as_json)
    if as_json:
        click.echo(json.dumps({**totals, "failures": [_failure(outcome, transcript) for outcome in failed]}))
    else:
        _table(totals, len(failed))
    ctx.exit(1 if failed else 0)


def _follow(
    outcomes: Iterator[Outcome], total: int, *, fail_fast: bool, transcript: bool, as_json: bool
) -> tuple[list[Outcome], dict[str, Any]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    failed: list[Outcome] = []
    totals: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    profiles: Counter[str] = Counter()
    columns = (
        TextColumn("seeds"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[bad]}"),
    )
    with Progress(*columns, console=console, disable=as_json or not console.is_terminal) as progress:
        task = progress.add_task("", total=total, bad="")
        for outcome in outcomes:
            totals["seeds"] += 1
            totals["cpu_seconds"] += outcome.cpu_seconds  # type: ignore[assignment]
            for name in ("simulated_seconds", "steps", "elections", "committed", "operations", "snapshots"):
                totals[name] += outcome.stats.get(name, 0)
            totals["snapshots_installed"] += outcome.stats.get("snapshots_installed", 0)
            totals["changes"] += outcome.stats.get("changes", 0)
            faults.update(outcome.stats.get("faults", {}))
            profiles[str(outcome.stats.get("profile"))] += 1
            if not outcome:
                failed.append(outcome)
                if not as_json:
                    _tell(outcome, transcript)
                if fail_fast:
                    break
            progress.update(task, advance=1, bad=f"{len(failed)} failed" if failed else "")
    return failed, {**totals, "faults": dict(faults), "profiles": dict(profiles)}


def _tell(outcome: Outcome, transcript: bool) -> None:
    click.echo(f"seed {outcome.seed} failed after {outcome.at_seconds:.3f} s: {outcome.rule}: {outcome.detail}")
    click.echo(f"    {outcome.command}")
    if transcript and outcome.transcript:
        click.echo(outcome.transcript)


def _failure(outcome: Outcome, transcript: bool) -> dict[str, Any]:
    fields = {name: getattr(outcome, name) for name in ("seed", "rule", "detail", "at_seconds", "command")}
    return {**fields, "transcript": outcome.transcript} if transcript else fields


def _table(totals: dict[str, Any], failed: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="simulation", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    simulated, real = totals.get("simulated_seconds", 0), totals.get("cpu_seconds", 0)
    rows = {
        "seeds": totals.get("seeds", 0),
        "failed": failed,
        "simulated": f"{simulated / 3600:.2f} h",
        "simulated seconds a core-second": f"{simulated / real:.0f}" if real else "–",
    }
    rows |= {
        name.replace("_", " "): f"{int(totals.get(name, 0)):,}"
        for name in ("steps", "elections", "committed", "operations", "snapshots", "snapshots_installed", "changes")
    }
    rows["faults"] = ", ".join(f"{name} {count}" for name, count in sorted(totals["faults"].items())) or "none"
    for name, value in rows.items():
        table.add_row(name, str(value))
    Console(highlight=False).print(table)
