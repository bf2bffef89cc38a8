"""Quorate beside etcd, ZooKeeper, Consul, Redis and PySyncObj, in one run on one machine.

    pip install '.[bench,peers]' && python bench/peers/run.py

Runs the peers that are there, names the others and how to get them, and installs nothing. Three members of each on
loopback (Redis: one server), in a new folder, on ports that the system chose; one client in one process of Python.
A turn starts a peer, measures every row of it alone on the machine, and ends it; rounds of all peers take turns (A B A
B) until the minutes are over, and figures are medians of the rounds. The floor (`bench/floor.c`) takes its turn too.
Writes Markdown, JSON and SVG into `bench/results`, which `docs/benchmarks.md` includes.

`--list` says what is there and what is not; `--quick` looks whether all works, and its figures count for nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import report  # noqa: E402
from beside import Floor, machine  # noqa: E402
from contract import Peer, found_peers  # noqa: E402
from members import Failed, Running  # noqa: E402
from rows import ROWS, Effort, Row  # noqa: E402

RESULTS = HERE.parent / "results"
FLOORS = {"put": 1, "put-64": 64, "put-1024": 1024}
"""The window of the floor beside each row."""


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def chosen(names: Sequence[str], there: Sequence[Any], what: str) -> list[Any]:
    """Those named, in the order of the table; all if none is."""
    known = [each.name for each in there]
    for name in names:
        if name not in known:
            raise SystemExit(f"there is no {what} {name!r}; there are {', '.join(known)}")
    return [each for each in there if not names or each.name in names]


def present(peers: Sequence[Peer]) -> list[Peer]:
    """Those that can run; of the others, says what is missing and how to get it."""
    able = []
    for peer in peers:
        missing = peer.missing()
        if missing:
            say(f"{peer.name}: left out, because there is missing:")
            for each in missing:
                say(f"    {each.what}; to get it: {each.how}")
        else:
            able.append(peer)
            say(f"{peer.name}: {peer.version()}")
    return able


def turn(peer: Peer, rows: Sequence[Row], effort: Effort, folder: Path) -> dict[str, dict[str, float]]:
    """Starts a peer, measures what it has, and ends it. What fails is said and left out."""
    found: dict[str, dict[str, float]] = {}
    begin = time.monotonic()
    try:
        with Running(peer, folder) as running:
            running.main.ask("warm", seconds=max(peer.warm_seconds, effort.turn / 4))
            for row in rows:
                if row.kind in peer.without:
                    continue
                try:
                    figures = row.measure(running, effort)
                except Failed as error:
                    say(f"  {peer.name}, {row.name}: {error}")
                    if running.main.process.poll() is not None:
                        raise
                    continue
                if figures is not None:
                    found[row.name] = dict(figures)
    except Failed as error:
        say(f"  {peer.name}: {error}; see its own words above or in the log")
        log = folder / "log"
        if log.exists():
            say("    " + "\n    ".join(log.read_text(errors="replace").strip().splitlines()[-5:]))
    shown = ", ".join(f"{name} {report.shown(row_of(name), figures)}" for name, figures in found.items())
    say(f"  {peer.name}, {time.monotonic() - begin:.0f} s: {shown}")
    return found


def row_of(name: str) -> Row:
    return next(each for each in ROWS if each.name == name)


def compiled(folder: str) -> Floor | None:
    try:
        return Floor(folder)
    except (OSError, subprocess.CalledProcessError):
        say("floor: left out, because there is no C compiler (cc, or what CC names); to get it: apt install gcc")
        return None


def floors(floor: Floor | None, count: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    if floor is None:
        return found
    for name, window in FLOORS.items():
        said = floor.run(window, count * min(window, 64))
        found[name] = {"p50": said["p50_us"] / 1e6, "p99": said["p99_us"] / 1e6, "rate": said["rate"]}
        found["disk"] = {name: said[name] / 1e6 for name in ("sync_p50_us", "sync_p99_us", "echo_p50_us")}
    return found


def measure(peers: Sequence[Peer], rows: Sequence[Row], options: argparse.Namespace) -> dict[str, Any]:
    effort = Effort(turn=0.2, rest=0.5, settle=0.2) if options.quick else Effort(options.turn, 1.0, 0.5)
    begin = time.monotonic()
    found: dict[str, Any] = {
        "machine": machine(),
        "seconds": {"turn": effort.turn},
        "peers": {
            peer.name: {
                "title": peer.title,
                "version": peer.version(),
                "fsync": peer.fsync,
                "via": peer.via,
                "without": dict(peer.without),
            }
            for peer in peers
        },
        "rows": [row.name for row in rows],
        "rounds": [],
    }
    with tempfile.TemporaryDirectory(prefix="bench-peers-", dir=options.dir or ".", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        floor = None if options.no_floor else compiled(str(folder))
        longest = 0.0
        while True:
            started, number = time.monotonic(), len(found["rounds"])
            say(f"round {number + 1}, {started - begin:.0f} s after the start, load {os.getloadavg()[0]:.1f}")
            now: dict[str, Any] = {"loads": [], "floor": floors(floor, 100 if options.quick else 1000), "peers": {}}
            for peer in peers:
                now["loads"].append(round(os.getloadavg()[0], 2))
                now["peers"][peer.name] = turn(peer, rows, effort, folder / f"{peer.name}-{number}")
            found["rounds"].append(now)
            longest = max(longest, time.monotonic() - started)
            if options.quick or time.monotonic() - begin + longest > options.minutes * 60:
                break
    found["seconds"]["all"] = round(time.monotonic() - begin)
    return found


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="+", default=[], metavar="NAME", help="only these")
    parser.add_argument("--rows", nargs="+", default=[], metavar="NAME", help="only these")
    parser.add_argument("--minutes", type=float, default=6.0, help="as many rounds as fit into them, at least one")
    parser.add_argument("--turn", type=float, default=0.4, help="seconds of one measurement of one peer in one round")
    parser.add_argument("--quick", action="store_true", help="one short round; writes no results without --out")
    parser.add_argument(
        "--dir", default=None, help="where members and floor keep their data (default: a new folder here)"
    )
    parser.add_argument("--out", type=Path, default=None, help=f"folder for the results (default: {RESULTS})")
    parser.add_argument(
        "--list", action="store_true", help="says what is there and what is missing, and measures nothing"
    )
    parser.add_argument("--no-floor", action="store_true", help="without bench/floor.c, which needs a C compiler")
    parser.add_argument(
        "--from", type=Path, dest="source", help="draws table and plot of a JSON of an earlier run again, beside it"
    )
    return parser


def main() -> None:
    options = arguments().parse_args()
    # Whoever ends this by SIGTERM ends its members too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    if options.source:
        result = json.loads(options.source.read_text(encoding="utf-8"))
    else:
        rows = chosen(options.rows, ROWS, "row")
        peers = present(chosen(options.peers, found_peers(), "peer"))
        peers.sort(key=lambda peer: peer.name not in report.US)  # next to the floor, which ratios are taken of
        if options.list:
            return
        if not peers:
            raise SystemExit("nothing to measure")
        commit = report.commit()
        command = "python bench/peers/run.py" + (f" --minutes {options.minutes:g}" if not options.quick else " --quick")
        result = {"command": command, "commit": commit, **measure(peers, rows, options)}
    out = options.out or (options.source.parent if options.source else None if options.quick else RESULTS)
    if out is not None:
        report.write(result, ROWS, out)
    print(report.markdown(result, ROWS))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
