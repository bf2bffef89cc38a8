"""``quorate ring demo``: balance and movement, counted over keys that this machine really has.

Everything that it prints is counted from lookups; formulas stand beside the counts only to be compared with them.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from rich.text import Text

from quorate.cli._ring_picture import color_of
from quorate.cli._show import bar, console, percent, print_json, table
from quorate.errors import InvalidArgument
from quorate.ring import Member, Ring

__all__ = ["run"]

DICTIONARIES: Final = ("/usr/share/dict/words", "/usr/dict/words")
KEYS_MAX: Final = 200_000
KEYS_ENOUGH: Final = 10_000
"""Fewer file names than this say little about balance; then the next folder is walked too."""


def file_names() -> Iterator[bytes]:
    """Paths of files: first those of this Python, then those of the system. Unreadable folders are passed over."""
    for top in dict.fromkeys((sys.prefix, sys.base_prefix, "/usr")):
        for folder, folders, files in os.walk(os.fsencode(top)):
            folders.sort()
            for name in sorted(files):
                yield os.path.join(folder, name)


def find_keys(file: Path | None) -> tuple[str, list[bytes]]:
    """Keys to place, each once, and what they are. Raises InvalidArgument if there are none."""
    if file is None:
        file = next((path for path in map(Path, DICTIONARIES) if path.is_file()), None)
    if file is not None:
        with file.open("rb") as lines:
            keys = list(dict.fromkeys(islice((line.strip() for line in lines if line.strip()), KEYS_MAX)))
        what = f"lines of {file}"
    else:
        keys = list(dict.fromkeys(islice(file_names(), KEYS_MAX)))
        what = "names of files on this machine"
    if not keys:
        raise InvalidArgument(f"no keys found: {what}")
    return what, keys


@dataclass(frozen=True)
class Change:
    """What a change of members moved: counted with the ring, and with ``hash % n`` over the same hashes."""

    change: str
    ring: float
    ring_least: float
    ring_needless: int
    modulo: float


def count_change(what: str, keys: list[bytes], hashes: list[int], before: Ring, after: Ring) -> Change:
    old, new = before.node_many(keys), after.node_many(keys)
    moved = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    left, joined = set(before) - set(after), set(after) - set(before)
    needless = sum(1 for a, b in moved if a not in left and b not in joined)
    modulo = sum(1 for at in hashes if at % len(before) != at % len(after))
    must_move = sum(1 for name in old if name in left) + sum(1 for name in new if name in joined)
    return Change(what, len(moved) / len(keys), must_move / len(keys), needless, modulo / len(keys))


def run(file: Path | None, *, count: int, vnodes: int, as_json: bool) -> None:
    what, keys = find_keys(file)
    names = [f"node-{number}" for number in range(1, count + 1)]
    ring = Ring(names, vnodes=vnodes)
    begin = time.perf_counter()
    owners = ring.node_many(keys)
    seconds = time.perf_counter() - begin
    hashes = [ring.hash(key) for key in keys]
    held = Counter(owners)
    gone, new = names[count // 2], f"node-{count + 1}"
    changes = [
        count_change(f"{gone} leaves", keys, hashes, ring, ring.remove(gone)),
        count_change(f"{new} joins", keys, hashes, ring, ring.add(Member(new))),
    ]
    heirs = Counter(b for a, b in zip(owners, ring.remove(gone).node_many(keys), strict=True) if a == gone)
    mean = len(keys) / count
    peak = max(held.values()) / mean
    expected_peak = 1 + math.sqrt(2 * math.log(count) / vnodes)

    if as_json:
        print_json(
            {
                "keys": len(keys),
                "source": what,
                "vnodes": vnodes,
                "lookups_per_second": round(len(keys) / seconds),
                "nodes": {name: held[name] for name in names},
                "peak_over_mean": peak,
                "peak_over_mean_expected": expected_peak,
                "changes": [asdict(change) for change in changes],
                "heirs": {name: heirs[name] for name in names if name != gone},
            }
        )
        return

    out = console()
    out.print(f"[bold]{len(keys):,} keys[/]: {what}, on {count} nodes with {vnodes} points each")
    out.print(f"placed in {seconds * 1e3:.1f} ms, {seconds / len(keys) * 1e9:.0f} ns a key")
    shown = table(out, "node", "keys", "of the mean", f"when {gone} leaves", *([""] if out.is_terminal else []))
    if out.is_terminal:
        shown.columns[-1].justify = "left"
    for index, name in enumerate(names):
        cells: list[str | Text] = [
            Text(name, color_of(index)),
            f"{held[name]:,}",
            f"{held[name] / mean:.3f}×",
            "–" if name == gone else f"+{heirs[name]:,}",
        ]
        if out.is_terminal:
            cells.append(Text(bar(held[name], peak * mean), color_of(index)))
        shown.add_row(*cells)
    out.print(shown)
    out.print(
        f"the fullest node holds {peak:.3f}× the mean; 1 + √(2 ln n ÷ v) = {expected_peak:.3f} is to be expected\n",
        soft_wrap=True,
    )
    shown = table(out, "keys that move when", "ring", "of these needless", "hash % n")
    for change in changes:
        shown.add_row(change.change, percent(change.ring), f"{change.ring_needless}", percent(change.modulo))
    out.print(shown)
    out.print(
        f"With hash % n nearly every cache entry is lost when one of {count} servers goes, with the ring only its own.",
        soft_wrap=True,
    )
