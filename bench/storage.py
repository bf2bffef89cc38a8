"""The log beside a plain loop of write and fdatasync, on the same disk, in one interleaved run; replay; snapshots.

    python bench/storage.py [--path DIR] [--rounds N]

The plain loop writes the same payload bytes into a zero-filled file from one thread, without headers, checksums or
anybody to tell: the most that the disk gives. The log is driven natively, without the GIL, once with one batch
outstanding (as a lone client sees it) and once with eight (as a busy node does: what waits shares an fsync).
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from pathlib import Path

from quorate.storage import Storage, replay
from quorate.storage._bench import drive, plain
from quorate.version import __version__

BATCHES = [(1, 128, 300), (16, 128, 300), (64, 128, 200), (256, 128, 150), (1024, 128, 100), (4, 16384, 200)]
"""Entries in a batch, bytes of an entry, batches in a round."""


def microseconds(seconds: list[float], quantile: float) -> float:
    return sorted(seconds)[int(len(seconds) * quantile)] * 1e6


def appending(path: Path, rounds: int, sync: bool) -> None:
    print(f"\nAppend, fdatasync {'on' if sync else 'off'} (times in µs; throughput in payload MB/s)\n")
    print("| entries × bytes | plain p50 | log p50 | plain p99 | log p99 | p50 ratio ", end="")
    print("| plain MB/s | log, 1 out | log, 8 out |")
    print("|---|---|---|---|---|---|---|---|---|")
    for count, size, batches in BATCHES:
        plain_times: list[float] = []
        log_times: list[float] = []
        rates: dict[str, list[float]] = {"plain": [], "one": [], "eight": []}
        megabytes = count * size * batches / 1e6
        with tempfile.TemporaryDirectory(dir=path) as folder, Storage(f"{folder}/d", node=1) as storage:
            log = storage.log
            if not sync:
                log.close()
                storage.close()
                from quorate.storage import DataDirectory, Log

                directory = DataDirectory(f"{folder}/d")
                log = Log(directory, sync=False)
            for number in range(rounds + 1):
                times, took = plain(f"{folder}/plain", batches=batches, size=count * size, sync=sync)
                one, took_one = drive(log, batches=batches, count=count, size=size)
                _, took_eight = drive(log, batches=batches, count=count, size=size, window=8)
                if number:  # the first round warms up
                    plain_times += times
                    log_times += one
                    for name, seconds in (("plain", took), ("one", took_one), ("eight", took_eight)):
                        rates[name].append(megabytes / seconds)
                # A snapshot would follow: segments are recycled, as they are in a running node.
                log.wait(log.append(base=log.last))
                time.sleep(0.2)
            if not sync:
                log.close()
                directory.close()
        p50 = microseconds(plain_times, 0.5), microseconds(log_times, 0.5)
        p99 = microseconds(plain_times, 0.99), microseconds(log_times, 0.99)
        middle = {name: statistics.median(values) for name, values in rates.items()}
        print(
            f"| {count} × {size} | {p50[0]:.0f} | {p50[1]:.0f} | {p99[0]:.0f} | {p99[1]:.0f} | {p50[0] / p50[1]:.2f} "
            f"| {middle['plain']:.1f} | {middle['one']:.1f} ({middle['one'] / middle['plain']:.2f}×) "
            f"| {middle['eight']:.1f} ({middle['eight'] / middle['plain']:.2f}×) |"
        )


def replaying(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path) as folder:
        count = 1_000_000
        with Storage(f"{folder}/d", node=1) as storage:
            drive(storage.log, batches=count // 1000, count=1000, size=120, window=8)
        began = time.perf_counter()
        found = replay(f"{folder}/d/log")
        took = time.perf_counter() - began
        size = sum(file.stat().st_size for file in Path(f"{folder}/d/log").glob("*.log"))
        assert found.last[1] == count
        print(f"\nReplay: {count:,} entries of 120 B in {took:.2f} s: ", end="")
        print(f"{count / took / 1e6:.2f} M/s, {size / took / 1e6:.0f} MB/s")


def snapshots(path: Path) -> None:
    part = bytes(range(256)) * 4096
    with tempfile.TemporaryDirectory(dir=path) as folder, Storage(f"{folder}/d", node=1) as storage:
        began = time.perf_counter()
        writer = storage.snapshots.create(term=1, index=1, configuration=b"", configuration_index=0)
        for _ in range(150):
            writer.write(part)
        writer.finish()
        wrote = time.perf_counter() - began
        with storage.snapshots.open() as reader:
            began = time.perf_counter()
            read = sum(len(chunk) for chunk in reader.chunks())
            took = time.perf_counter() - began
        print(f"Snapshot of {read / 1e6:.0f} MB: written, synced and proven at {read / wrote / 1e6:.0f} MB/s, ", end="")
        print(f"read and checked at {read / took / 1e6:.0f} MB/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, default=Path(), help="a directory on the disk to measure")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"quorate {__version__}, Python {platform.python_version()}, {platform.machine()}, {platform.system()}")
    appending(options.path, options.rounds, True)
    appending(options.path, max(2, options.rounds // 2), False)
    replaying(options.path)
    snapshots(options.path)


if __name__ == "__main__":
    main()
