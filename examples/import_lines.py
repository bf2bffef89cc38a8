"""Loads files into a cluster, line by line at full speed, and proves on every node that nothing was lost or doubled.

    quorate up                                    # in one terminal
    python examples/import_lines.py FILE…         # in another; kill -9 any node meanwhile

Each line becomes a key, `lines/000000001` and so on. Afterwards each node is asked by itself: all lines must be there,
in order, with the content of the files (SHA-256), and each written once (a key's `version` counts its writes).
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

import quorate

HERE = "quorate://127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402"
"""What `quorate up` starts if it is told nothing else."""
PREFIX = "lines/"
BATCH = 4096
PATIENCE = 60.0
"""Seconds for a batch, elections included."""


def key_of(number: int) -> str:
    return f"{PREFIX}{number:09d}"


def lines_of(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            yield from file


def load(client: quorate.Client, paths: list[Path], bar: Progress) -> tuple[int, str]:
    """Writes all lines; gives how many, and the hash of their content."""
    digest = hashlib.sha256()
    task = bar.add_task("loading", total=sum(path.stat().st_size for path in paths))
    count = 0
    source = lines_of(paths)
    while lines := list(itertools.islice(source, BATCH)):
        pairs = [(key_of(count + number), line) for number, line in enumerate(lines, 1)]
        client.put_many(pairs, timeout=PATIENCE)  # in order, each exactly once, whoever leads meanwhile
        for line in lines:
            digest.update(line)
        count += len(lines)
        bar.update(task, advance=sum(map(len, lines)))
    return count, digest.hexdigest()


def read(client: quorate.Client) -> Iterator[quorate.KeyValue]:
    """All lines as a node has them, a page at a time."""
    start: str | bytes = PREFIX
    while True:
        page = client.range(start, f"{PREFIX}~", limit=BATCH, timeout=PATIENCE)
        yield from page
        if not page.more:
            return
        start = page[-1].key + b"\0"


def verify(client: quorate.Client, count: int, digest: str) -> str:
    """What is wrong with the lines that this node has; empty if nothing is."""
    found = hashlib.sha256()
    seen = 0
    for seen, row in enumerate(read(client), 1):
        if row.key.decode() != key_of(seen):
            return f"line {seen} is missing: {row.key.decode()} follows"
        if row.version != 1:
            return f"line {seen} was written {row.version} times"
        found.update(row.value)
    if seen != count:
        return f"{count - seen} lines are missing at the end"
    return "" if found.hexdigest() == digest else "the content differs"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="+")
    parser.add_argument("--url", default=os.environ.get("QUORATE_URL", HERE))
    options = parser.parse_args()
    out = Console(highlight=False, soft_wrap=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with quorate.connect(options.url) as client:
        client.delete_range(prefix=PREFIX, timeout=PATIENCE)
        begin = time.perf_counter()
        with Progress(*columns, console=out, disable=not out.is_terminal) as bar:
            count, digest = load(client, options.file, bar)
        took = time.perf_counter() - begin
        out.print(
            f"{count:,} lines in {took:.2f} s: {count / took:,.0f} durable writes a second; sha256 {digest[:16]}…"
        )
    wrong = 0
    for address in options.url.removeprefix("quorate://").split(","):
        # A client of this node alone. Its reads are linearizable, so the node first takes in all that it lacks; what is
        # missing then is lost.
        with quorate.connect(f"quorate://{address}?follow=no") as one:
            found = verify(one, count, digest)
        out.print(f"node {address}: {found or 'every line is there, once, and the content is the same'}")
        wrong += bool(found)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
