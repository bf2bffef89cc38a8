"""``quorate torture``: a real cluster under faults, judged; or a recorded history judged again.

Knows the terminal and the options. What is done is in :mod:`quorate.testing.torture`, imported only when it runs.
"""

from __future__ import annotations

import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from quorate.cli._show import console, print_json, table
from quorate.errors import NodeFailed, NoQuorum

if TYPE_CHECKING:
    from quorate.testing.torture.checks import Report

__all__ = ["torture"]

PROBLEMS_SHOWN = 10
DETAIL_SHOWN = 1500


@click.command()
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, help="Of load and faults."
)
@click.option("--nodes", type=click.IntRange(3, 7), default=3, show_default=True, help="Members at first.")
@click.option("--seed", type=click.IntRange(0), help="Of the schedule and of all dice.  [default: drawn, and shown]")
@click.option(
    "--faults", default="all", show_default=True, metavar="LIST",
    help="all, none, groups (processes, network, disks, clocks, members) or kinds, with commas; list shows them.",
)  # fmt: skip
@click.option("--workloads", default="all", show_default=True, metavar="LIST", help="What the clients do.")
@click.option("--history", type=click.Path(dir_okay=False, path_type=Path), help="Write every operation there.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw the run there, as SVG.")
@click.option(
    "--check", "again", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="Judge a history that was written before; runs nothing.",
)  # fmt: skip
@click.option("--stale-reads", is_flag=True, help="Break the clients on purpose, to see that it is found.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, for programs.")
@click.pass_context
def torture(
    ctx: click.Context,
    minutes: float,
    nodes: int,
    seed: int | None,
    faults: str,
    workloads: str,
    history: Path | None,
    picture: Path | None,
    again: Path | None,
    stale_reads: bool,
    as_json: bool,
) -> None:
    """Start a real cluster, break it in every way there is, and judge what its clients saw.

    Each node is a process of its own on this machine. The seed draws the schedule of faults and what the clients do;
    the machine's own timing is not drawn, so that a run is much like the last one with the same seed, and not its twin.
    The history is what is judged, and --check judges it again.

    Exit codes: 0 nothing is wrong; 1 something is, and the history shows it; 2 the options cannot work.
    """
    from quorate.testing.torture import checks, record, schedule, timeline
    from quorate.testing.torture.workloads import WORKLOADS

    if faults == "list":
        for name, words in schedule.FAULTS.items():
            click.echo(f"{name:14}{words}")
        return
    schedule.chosen(faults)
    chosen = [each.strip() for each in workloads.split(",") if each.strip() not in ("", "all")]
    unknown = [each for each in chosen if each not in WORKLOADS]
    if unknown:
        raise click.UsageError(f"there is no workload {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    for each in (history, picture):
        if each is not None and not each.absolute().parent.is_dir():
            raise click.UsageError(f"there is no directory for {each}")
    if again is not None:
        events = record.read_history(again)
    else:
        drawn = secrets.randbelow(1 << 31) if seed is None else seed
        events = _run(drawn, minutes * 60, nodes, faults, tuple(chosen), stale_reads, history, as_json)
    report = checks.judge(events)
    if picture is not None:
        picture.write_text(timeline.draw(events), encoding="utf-8")
    if as_json:
        print_json(report.document())
    else:
        _show(report, history or again)
    ctx.exit(0 if report else 1)


def _run(
    seed: int, seconds: float, nodes: int, faults: str, workloads: tuple[str, ...], stale_reads: bool,
    history: Path | None, as_json: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    from quorate.testing.torture import tools
    from quorate.testing.torture.runner import Options, run

    tools.private_mounts()
    # An operator's SIGTERM ends all as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    err = Console(stderr=True, highlight=False)
    options = Options(seed, seconds, nodes, faults, workloads, stale_reads, history)
    if as_json or not err.is_terminal:
        if not as_json:
            click.echo(f"seed {seed}", err=True)
        return run(options)
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(f"seed {seed}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("", total=seconds, words="starting")
        now: list[str] = []

        def tell(event: str, fields: dict[str, Any]) -> None:
            if event == "fault":
                now.append(fields["kind"])
            elif event == "healed" and fields["kind"] in now:
                now.remove(fields["kind"])
            elif event == "phase":
                now.clear()
                now.append(fields["name"])
            elif event == "turn":
                progress.update(task, completed=fields["seconds"])
            words = f"{', '.join(each.replace('_', ' ') for each in now)}"
            count = f"{fields['operations']:,} acknowledged  " if event == "turn" else None
            if count is not None:
                progress.update(task, words=count + words)

        try:
            return run(options, tell)
        except (NoQuorum, NodeFailed) as error:
            raise click.ClickException(f"the cluster did not start: {error}") from error


def _show(report: Report, history: Path | None) -> None:
    out = console()
    head = report.head
    loads = table(out, "workload", "claim", "operations", "ok", "failed", "unknown", "verdict", left=2)
    for each in report.loads:
        verdict = "[green]holds[/]" if not each["problems"] else "[red]broken[/]"
        loads.add_row(
            each["name"], each["claim"].partition(":")[0], f"{each['operations']:,}", f"{each['ok']:,}",
            f"{each['fail']:,}", f"{each['unknown']:,}", verdict,
        )  # fmt: skip
    out.print(loads)
    faults = table(out, "fault", "times", "elections", "outage s", "longest", "recovery s", "longest")
    for each in sorted(report.faults, key=lambda row: str(row["kind"])):
        faults.add_row(
            each["kind"].replace("_", " "), str(each["times"]), str(each["elections"]), _seconds(each["outage_median"]),
            _seconds(each["outage_longest"]), _seconds(each["recovery_median"]), _seconds(each["recovery_longest"]),
        )  # fmt: skip
    if report.faults:
        out.print(faults)
    for kind, reason in sorted(report.skipped.items()):
        out.print(f"[yellow]left out:[/] {kind.replace('_', ' ')}: {escape(reason)}")
    for kind, reason in sorted(report.instead.items()):
        out.print(f"[yellow]otherwise:[/] {kind.replace('_', ' ')}: {escape(reason)}")
    for problem in report.problems[:PROBLEMS_SHOWN]:
        out.print(f"[red]broken:[/] {escape(problem.rule)}: {escape(problem.detail[:DETAIL_SHOWN])}")
    if len(report.problems) > PROBLEMS_SHOWN:
        out.print(f"… and {len(report.problems) - PROBLEMS_SHOWN} more")
    converged = {True: "equal bytes on all nodes", False: "nodes differ", None: "nodes not compared"}[report.converged]
    words = f"seed {head.get('seed')}, {head.get('nodes')} nodes, {report.seconds:.0f} s, "
    words += f"{report.leaders} times a new leader, {converged}"
    if report.refused:
        words += f", {report.refused} damaged log(s) refused"
    if not report.whole:
        words += ", broken off before its end"
    if history is not None:
        words += f"; history: {history}"
    out.print(f"{'[green]passed[/]' if report else '[red]failed[/]'}: {escape(words)}")


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
