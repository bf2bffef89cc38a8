"""``quorate bench``: what a cluster gives to one Python client, beside what disk and loopback give in the same run.

Goes through the public client, one thread; the rows called native ask without Python, and show what the cluster takes.
Figures of a cluster on other machines stand beside *this* machine's disk.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from quorate.api import op
from quorate.api.client import Client
from quorate.cli._client import client_options, opened
from quorate.cli._show import console, print_json, table
from quorate.client.engine import EngineBackend

__all__ = ["bench"]

PREFIX: Final = "quorate-bench/"
KEYS: Final = 1000
PROBES: Final = 200
RECORD: Final = 128
"""Bytes of one fdatasync and of one round trip: about what a small put costs."""
ECHO: Final = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    with server.accept()[0] as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := line.recv(65536):
            line.sendall(data)
"""

Step = Callable[[int], object]


@click.command()
@click.option("--count", type=click.IntRange(10), default=500, show_default=True, help="Calls one at a time.")
@click.option("--size", type=click.IntRange(0, 1 << 20), default=100, show_default=True, help="Bytes of a value.")
@click.option("--window", type=click.IntRange(2, 4096), multiple=True, default=(64, 1024), show_default=True,
              help="Puts on their way at once; as often as needed.")  # fmt: skip
@click.option("--dir", "directory", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".",
              help="Where this machine's fdatasync is measured.  [default: here]")  # fmt: skip
@client_options
def bench(
    count: int, size: int, window: tuple[int, ...], directory: Path, url: str | None, timeout: float, as_json: bool
) -> None:
    """Measure puts and reads of a cluster, and the disk and the loopback of this machine in the same run.

    Writes keys under quorate-bench/, and deletes them. Exit codes: 0 measured; 1 the cluster did not answer.
    """
    rows: list[dict[str, Any]] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    err = Console(stderr=True)
    with (
        Progress(*columns, console=err, transient=True, disable=as_json or not err.is_terminal) as bar,
        opened(url) as client,
    ):

        def timed(what: str, step: Step, calls: int) -> None:
            rows.append({"what": what, **_one_by_one(step, bar.track(range(calls), description=what))})

        value = bytes(size)
        try:
            client.put(f"{PREFIX}0", value, timeout=timeout)
            with _synced(directory) as sync, _echo() as echo:
                timed("fdatasync of this disk", sync, PROBES)
                timed("loopback round trip", echo, PROBES)
                timed("put", lambda i: client.put(_key(i), value, timeout=timeout), count)
                rows += [_windowed(client, value, each, count * 10, timeout, bar) for each in window]
                rows += [_native(client, value, each, count * min(each, 64), timeout, bar) for each in (1, *window)]
                rows.append(_many(client, value, count * 20, timeout, bar))
                timed("get", lambda i: client.get(_key(i), timeout=timeout), count)
                timed("get, local", lambda i: client.get(_key(i), consistency="local", timeout=timeout), count)
                timed("fdatasync of this disk, again", sync, PROBES)
        finally:
            client.delete_range(prefix=PREFIX, timeout=timeout)
    if as_json:
        print_json({"size": size, "rows": rows})
        return
    out = console()
    shown = table(out, "what", "a second", "p50 µs", "p99 µs")
    for row in rows:
        shown.add_row(row["what"], f"{row['rate']:,.0f}", f"{row['p50_us']:,.0f}", f"{row['p99_us']:,.0f}")
    out.print(shown)
    for row in rows:
        if row.get("failed"):
            became = ", ".join(f"{count:,} {name}" for name, count in sorted(row["failed"].items()))
            out.print(f"{row['what']}: {sum(row['failed'].values()):,} of {row['asked']:,} puts failed: {became}")
    floor = (rows[0]["p50_us"] + rows[-1]["p50_us"]) / 2 + rows[1]["p50_us"]  # disks change from minute to minute
    put = next(row for row in rows if row["what"] == "put")
    out.print(f"one fdatasync and one round trip: {floor:,.0f} µs; a put: {put['p50_us'] / floor:.2f}× that")


def _key(number: int) -> str:
    return f"{PREFIX}{number % KEYS}"


def _summary(times: list[float], took: float) -> dict[str, float]:
    times.sort()
    at = {name: times[int((len(times) - 1) * part)] * 1e6 for name, part in (("p50_us", 0.5), ("p99_us", 0.99))}
    return {"count": len(times), "rate": len(times) / took, **at}


def _one_by_one(step: Step, numbers: Any) -> dict[str, float]:
    times = []
    begin = time.perf_counter()
    for number in numbers:
        at = time.perf_counter()
        step(number)
        times.append(time.perf_counter() - at)
    return _summary(times, time.perf_counter() - begin)


def _windowed(client: Client, value: bytes, window: int, count: int, timeout: float, bar: Progress) -> dict[str, Any]:
    """Keeps ``window`` puts on their way; each is timed from its call until its turn to be looked at."""
    what = f"put, {window} on their way"
    waiting: deque[tuple[float, Any]] = deque()
    times = []
    begin = time.perf_counter()

    def take() -> None:
        at, future = waiting.popleft()
        future.result()
        times.append(time.perf_counter() - at)

    for number in bar.track(range(count), description=what):
        if len(waiting) == window:
            take()
        waiting.append((time.perf_counter(), client.submit(op.put(_key(number), value), timeout=timeout)))
    while waiting:
        take()
    return {"what": what, **_summary(times, time.perf_counter() - begin)}


def _native(client: Client, value: bytes, window: int, count: int, timeout: float, bar: Progress) -> dict[str, Any]:
    """Keeps ``window`` puts on their way without Python; outside of a session, and each asked once."""
    what = f"native, {window:,} on their way"
    backend = client._core.backend
    assert isinstance(backend, EngineBackend)
    puts = [op.put(_key(number), value).command(client._core.prefix) for number in range(KEYS)]
    task = bar.add_task(what, total=None)
    found = backend.load(puts, count=count, window=window, timeout=timeout)
    bar.remove_task(task)
    names = {
        "done": "count",
        "asked": "asked",
        "failed": "failed",
        "rate": "rate",
        "p50_us": "p50_us",
        "p99_us": "p99_us",
    }
    return {"what": what, **{name: found[own] for own, name in names.items()}}


def _many(client: Client, value: bytes, count: int, timeout: float, bar: Progress) -> dict[str, Any]:
    """Batches by put_many; a batch's time is that of each of its puts."""
    what, batch, times = "put_many, 1,000 each", 1000, []
    begin = time.perf_counter()
    for first in bar.track(range(0, count, batch), description=what):
        at = time.perf_counter()
        client.put_many([(_key(first + number), value) for number in range(batch)], timeout=timeout)
        times += [time.perf_counter() - at] * batch
    return {"what": what, **_summary(times, time.perf_counter() - begin)}


@contextmanager
def _synced(directory: Path) -> Iterator[Step]:
    """One small write into a file that was filled before, and one fdatasync, as the log does it."""
    with tempfile.TemporaryFile(dir=directory, prefix=".quorate-bench-") as file:
        file.write(bytes(RECORD * PROBES * 2))
        file.flush()
        os.fsync(file.fileno())
        place = 0

        def step(number: int) -> None:
            nonlocal place
            os.pwrite(file.fileno(), b"x" * RECORD, place % (RECORD * PROBES * 2))
            os.fdatasync(file.fileno())
            place += RECORD

        yield step


@contextmanager
def _echo() -> Iterator[Step]:
    """A round trip to another process of this machine."""
    with subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            with socket.create_connection(("127.0.0.1", int(process.stdout.readline())), timeout=10.0) as line:
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

                def step(number: int) -> None:
                    line.sendall(b"x" * RECORD)
                    left = RECORD
                    while left:
                        left -= len(line.recv(left))

                yield step
        finally:
            process.kill()
