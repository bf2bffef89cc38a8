"""What a run of the peers looks like: Markdown, JSON and SVG. Measures nothing and knows no peer."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beside import table
from rows import Row
from targets import judged

OURS = "quorate-embedded"
"""What others are divided by, in this order of preference."""
US = (OURS, "quorate")


def time_of(seconds: float) -> str:
    for limit, unit, scale in ((1e-6, "ns", 1e9), (1e-3, "µs", 1e6), (10.0, "ms", 1e3)):
        if seconds < limit:
            value = seconds * scale
            return f"{value:.2f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{seconds:.1f} s"


def shown(row: Row, figures: Mapping[str, float]) -> str:
    if row.unit == "rate":
        return f"{figures['rate']:,.0f}"
    if row.unit == "rest":
        return f"{figures['percent']:.1f} %, {figures['bytes'] / 2**20:,.0f}"
    if row.unit == "one":
        return time_of(figures["p50"])
    return f"{time_of(figures['p50'])} / {time_of(figures['p99'])}"


def medians(result: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Of the rounds, by peer and row; the floor is a peer here."""
    everything: dict[str, dict[str, dict[str, list[float]]]] = {}
    for one in result["rounds"]:
        for peer, rows in [*one["peers"].items(), ("floor", one["floor"])]:
            for row, figures in rows.items():
                for name, value in figures.items():
                    everything.setdefault(peer, {}).setdefault(row, {}).setdefault(name, []).append(value)

    def middle(figures: Mapping[str, list[float]]) -> dict[str, float]:
        return {name: statistics.median(values) for name, values in figures.items()}

    return {peer: {row: middle(figures) for row, figures in rows.items()} for peer, rows in everything.items()}


def _ratio(row: Row, ours: Mapping[str, float], theirs: Mapping[str, float]) -> str:
    """How many times better ours is than theirs."""
    a, b = (theirs, ours) if not row.more else (ours, theirs)
    ratio = a[row.figure] / b[row.figure] if b[row.figure] else 0.0
    return f" ({ratio:.2g}×)" if ratio < 10 else f" ({ratio:,.0f}×)"


def ordered(peers: Mapping[str, Any]) -> list[str]:
    """Ours first."""
    return [*(each for each in US if each in peers), *(each for each in peers if each not in US)]


def cell(row: Row, figures: Mapping[str, float] | None, base: Mapping[str, float] | None) -> str:
    if figures is None:
        return "–"
    return shown(row, figures) + (_ratio(row, base, figures) if base else "")


def tables(result: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """One for each group of rows, with a line for each peer."""
    seen, peers = medians(result), result["peers"]
    ours = next((each for each in US if each in peers), "")
    measured = [row for row in rows if row.name in result["rows"]]
    lines = []
    for group in dict.fromkeys(row.group for row in measured):
        columns = [row for row in measured if row.group == group]
        body = []
        for name in ordered(peers):
            found = seen.get(name, {})
            if not any(row.name in found for row in columns):
                continue
            bases = [seen.get(ours, {}).get(row.name) if name not in US else None for row in columns]
            cells = [cell(row, found.get(row.name), base) for row, base in zip(columns, bases, strict=True)]
            body.append([peers[name]["title"], *cells])
        if any(row.name in seen.get("floor", {}) for row in columns):
            body.append(["floor", *(cell(row, seen["floor"].get(row.name), None) for row in columns)])
        lines += [table([group, *(row.title for row in columns)], body), ""]
    return lines


def dashes(result: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    """Why there is no figure, for what a peer has not and for what failed."""
    seen = medians(result)
    why: dict[str, list[str]] = {}
    for name, peer in result["peers"].items():
        absent = [row for row in result["rows"] if row not in seen.get(name, {})]
        for reason in dict.fromkeys(peer["without"].get(kinds[row], f"{row} failed") for row in absent):
            why.setdefault(reason, []).append(peer["title"])
    return ". ".join(f"{'; '.join(titles)}: {reason}" for reason, titles in why.items())


def markdown(result: Mapping[str, Any], rows: Sequence[Row]) -> str:
    seen, peers = medians(result), result["peers"]
    ours = next((peers[each]["title"] for each in US if each in peers), "")
    loads = [load for one in result["rounds"] for load in one["loads"]]
    about = [[peers[name][what] for what in ("title", "version", "fsync", "via")] for name in ordered(peers)]
    lines = [
        *tables(result, rows),
        table(["", "version", "an acknowledged put has reached", "asked through"], about),
        "",
        f"`{result['command']}` at commit {result['commit']}: {result['machine']}; the load of the minute before each"
        f" turn was {min(loads):.1f} to {max(loads):.1f}, the benchmark's own included. Medians of"
        f" {len(result['rounds'])} rounds, in each of which every peer has its turn alone,"
        f" {result['seconds']['turn']:g} s a measurement. One client process, values of 100 B, three members on a disk"
        f" (Redis: one server). In brackets: how many times better {ours} does; below 1 it does worse.",
    ]
    if "disk" in seen.get("floor", {}):
        disk = seen["floor"]["disk"]
        lines[-1] += (
            f" The floor is a durable commit of three without a protocol (`bench/floor.c`). fdatasync alone: p50"
            f" {time_of(disk['sync_p50_us'])}, p99 {time_of(disk['sync_p99_us'])}; loopback round trip: p50"
            f" {time_of(disk['echo_p50_us'])}."
        )
    if why := dashes(result, {row.name: row.kind for row in rows}):
        lines += ["", f"Where there is a dash: {why}."]
    if goals := judged(seen):
        lines += ["", table(["what the design wants of Quorate (p50)", "this run", "wanted", "reached"], goals)]
    return "\n".join(lines) + "\n"


def commit() -> str:
    """Of the tree that this file lies in; `+` if it differs from it."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        said = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return said.stdout.strip() or "unknown"


def write(result: dict[str, Any], rows: Sequence[Row], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "peers.md").write_text(markdown(result, rows), encoding="utf-8")
    (out / "peers.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(result, rows, out / "peers.svg")


def plot(result: Mapping[str, Any], rows: Sequence[Row], file: Path) -> None:
    try:
        import matplotlib

        matplotlib.use("svg")
        import matplotlib.pyplot as plt
    except ImportError:
        print("matplotlib is not installed: no plot (pip install matplotlib)", file=sys.stderr)
        return
    matplotlib.rcParams.update({"svg.hashsalt": "quorate", "svg.fonttype": "none", "font.size": 9})
    seen, peers = medians(result), result["peers"]
    names = ordered(peers)
    there = {row for name in names for row in seen.get(name, {})}
    drawn = [row for row in rows if row.name in there]
    if not drawn:
        return
    across = 2
    down = -(-len(drawn) // across)
    figure, grid = plt.subplots(down, across, figsize=(11, 1.9 * down), squeeze=False)
    for axes in grid.flat[len(drawn) :]:
        axes.set_visible(False)
    for axes, row in zip(grid.flat, drawn, strict=False):
        having = [name for name in names if seen.get(name, {}).get(row.name, {}).get(row.figure)]
        values = [seen[name][row.name][row.figure] for name in having]
        axes.barh(range(len(having)), values, color=["#27496d" if name in US else "#a9c4e0" for name in having])
        for place, (name, value) in enumerate(zip(having, values, strict=True)):
            axes.text(value, place, f" {shown(row, seen[name][row.name])}", va="center", fontsize=7)
        axes.set_yticks(range(len(having)), [peers[name]["title"] for name in having], fontsize=7)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xticks([])
        axes.minorticks_off()
        if values:
            axes.set_xlim(min(values) / 3, max(values) * 30)
        better = "longer is better" if row.more else "shorter is better"
        axes.set_title(f"{row.group}: {row.title} ({better})", fontsize=8, loc="left")
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
