"""``quorate check DIR``: verifies a data directory offline and prints what is there.

Shows what :mod:`quorate.storage.offline` finds, and finds nothing by itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from quorate.cli._show import console, print_json, table
from quorate.storage.offline import Check, check_directory

__all__ = ["check"]

FILES_WORTH_A_BAR = 4


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def check(directory: Path, as_json: bool) -> None:
    """Verify a node's data directory, and print what is there.

    The node must not run. Nothing is changed: every segment, record and snapshot is read and its checksums are
    compared. An incomplete last write, as a power loss leaves it, is no damage: the next start cuts it.

    Exit codes: 0 whole; 1 damaged, with file, offset and advice; 2 the directory is in use or is none.
    """
    found = verify(directory)
    if as_json:
        print_json(found.document())
    else:
        show(found)
    sys.exit(0 if found.whole else 1)


def verify(directory: Path) -> Check:
    """The check, with a progress bar on a terminal if there is much to read."""
    bars = Progress(
        TextColumn("reading"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True), transient=True
    )
    task = bars.add_task("reading", visible=False)

    def step(done: int, whole: int) -> None:
        bars.update(task, completed=done, total=whole, visible=whole >= FILES_WORTH_A_BAR)

    with bars:
        return check_directory(directory, progress=step)


def show(found: Check) -> None:
    """The result for people."""
    out = console()
    rows = table(out, "", "", left=2)
    rows.show_header = False
    who = found.identity
    if who is not None:
        rows.add_row("node", f"{who.node} {escape(who.name)}".strip())
        rows.add_row("cluster", who.cluster.hex())
        rows.add_row("incarnation", f"{who.incarnation:016x}")
    if found.hard_state is not None:
        term, vote, commit = found.hard_state
        rows.add_row("term", str(term))
        rows.add_row("vote", str(vote) if vote else "none")
        rows.add_row("committed", f"up to entry {commit}, as far as this node knew")
    if found.last is not None and found.base is not None:
        first = found.base[1] + 1
        what = f"{first} to {found.last[1]}" if found.entries else f"none after {found.base[1]}"
        rows.add_row("entries", f"{what}, last of term {found.last[0]}")
        rows.add_row("segments", f"{len(found.segments)}, with {found.records} records")
    for each in found.snapshots:
        rows.add_row("snapshot", f"up to entry {each['index']} of term {each['term']}, {each['bytes']} bytes")
    if rows.row_count:
        out.print(rows)
    for notice in found.notices:
        out.print(f"[yellow]note:[/] {escape(notice)}")
    for problem in found.problems:
        place = problem["file"] or found.path
        if problem["offset"] is not None:
            place += f", offset {problem['offset']}"
        out.print(f"[red]damaged:[/] {escape(place)}: {escape(problem['reason'])}")
        if problem["advice"]:
            out.print(f"  {escape(problem['advice'])}")
    out.print("[green]whole[/]" if found.whole else f"[red]{len(found.problems)} problem(s)[/]")
