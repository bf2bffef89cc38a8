"""What the benchmarks of a cluster share: the floor of the same run, followers, what a process costs, tables.

Knows nothing of what is measured.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quorate.raft import BUILD

HERE = Path(__file__).parent


def machine() -> str:
    """Where the figures come from, with the load of the minute before: on a busy machine they do not count."""
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, build {BUILD}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


class Floor:
    """`floor.c`, compiled into ``folder``, where it also writes: run it where the nodes keep their data."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.program = f"{folder}/floor"
        compiler = os.environ.get("CC", "cc").split()[-1]
        subprocess.run([compiler, "-O2", "-o", self.program, HERE / "floor.c", "-lpthread"], check=True)

    def run(self, window: int, count: int) -> dict[str, Any]:
        said = subprocess.run(
            [self.program, str(window), str(count), "128", self.folder], check=True, capture_output=True, text=True
        )
        found: dict[str, Any] = json.loads(said.stdout)
        return found


def said_of(floor: dict[str, Any]) -> str:
    """The line about disk and loopback that stands under a table."""
    return (
        f"fdatasync alone: p50 {floor['sync_p50_us']} µs, p99 {floor['sync_p99_us']} µs; "
        f"loopback round trip alone: p50 {floor['echo_p50_us']} µs; "
        f"a durable commit of three without a protocol: p50 {floor['p50_us']} µs"
    )


@contextmanager
def child(command: Sequence[Any], **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that ends when its standard input does; it is killed, by its own id, if it does not."""
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **settings
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        try:
            process.stdin.close()
            process.wait(20)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        process.stdout.close()


def order(process: subprocess.Popen[str], what: Any) -> None:
    """One line of JSON to a child."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> Any:
    """The next line of JSON from a child."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the process has ended; what it said stands above")
    return json.loads(line)


def processor_seconds(process: int) -> float:
    """What all threads that a process has now have used, to the nanosecond where the system counts so."""
    tasks = Path(f"/proc/{process}/task")
    try:
        return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks.iterdir()) / 1e9
    except FileNotFoundError:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)
