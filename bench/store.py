"""The figures that the design promises of the store (DESIGN §11), in one run:

    python bench/store.py [--keys 1000000] [--json]

Times are those of the processor in the thread that works, so that what other processes do counts as little as
possible; what they do to the shared caches still shows, by up to a factor of two on a busy machine. Keys have 16 bytes,
values 100, and come in random order. Memory is the resident set beyond what the interpreter and the list of keys take.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import tempfile
import threading
import time
from typing import Any

from quorate.store import Store
from quorate.store import commands as c

BATCH = 1024
VALUE = b"v" * 100


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


class Applying:
    """Applies batches and keeps what they took, in seconds of processor time of this thread."""

    def __init__(self) -> None:
        self.store = Store()
        self.index = 1

    def __call__(self, commands: list[bytes]) -> float:
        begin = time.thread_time()
        self.store.apply_batch(self.index, 1, commands, decode=False)
        self.index += len(commands)
        return time.thread_time() - begin

    def rate(self, batches: Any, share: float = 0.5) -> float:
        """Commands a second, by the median batch: what a busy machine takes away now and then does not count."""
        took = sorted(self(batch) / len(batch) for batch in batches)
        return 1 / took[int(len(took) * share)]


def puts(keys: list[bytes], batch: int = BATCH) -> Any:
    for place in range(0, len(keys), batch):
        yield [c.put(key, VALUE) for key in keys[place : place + batch]]


def numbered(keys: list[bytes], session: int) -> Any:
    """As a pipelining client sends them: 512 in flight."""
    number = 0
    for place in range(0, len(keys), 256):
        commands = []
        for key in keys[place : place + 256]:
            number += 1
            commands.append(c.put(key, VALUE, session=session, number=number, mark=max(0, number - 512)))
        yield commands


def nanoseconds(call: Any, arguments: list[Any]) -> float:
    """Of one call, without the loop around it; the best of some slices."""
    best, empty = 1e9, 1e9
    for place in range(0, len(arguments), 2000):
        some = arguments[place : place + 2000]
        begin = time.thread_time_ns()
        for argument in some:
            call(argument)
        middle = time.thread_time_ns()
        for argument in some:  # noqa: B007
            pass
        end = time.thread_time_ns()
        best, empty = min(best, (middle - begin) / len(some)), min(empty, (end - middle) / len(some))
    return best - empty


def median_nanoseconds(call: Any, arguments: list[Any]) -> float:
    slices = sorted(nanoseconds(call, arguments[place : place + 2000]) for place in range(0, len(arguments), 2000))
    return slices[len(slices) // 2]


def measure(count: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    keys = [b"key/%012d" % number for number in range(count)]
    random.Random(1).shuffle(keys)
    gc.collect()
    before = resident()
    apply = Applying()
    apply([c.set_limits({18: 0, 19: 0})])  # the history of watches is counted apart
    figures["put, new keys, random order: a second"] = apply.rate(puts(keys))
    figures["memory: MB"] = (resident() - before) / 1e6
    figures["memory of the tables by their own count: MB"] = (
        apply.store.figures()["bytes"] + apply.store.figures()["node_bytes"]
    ) / 1e6
    random.Random(2).shuffle(keys)
    some = keys[: max(1, count // 2)]
    figures["put, over old ones, random order: a second"] = apply.rate(puts(some))
    figures["the same, fastest tenth of the batches"] = apply.rate(puts(some), 0.1)
    figures["put, over old ones, 4,000 keys: a second"] = apply.rate(puts(keys[:4000] * 50))
    apply([c.set_limits({18: 100_000, 19: 16 << 20})])
    figures["the same random ones with a history of 16 MiB: a second"] = apply.rate(puts(some))
    apply([c.session_open(b"n" * 16, 10_000)])
    figures["the same, numbered in a session: a second"] = apply.rate(numbered(some, apply.index - 1))
    apply([c.set_limits({18: 0, 19: 0})])

    reader = apply.store.reader
    figures["local read, hot: ns"] = nanoseconds(reader.get, [keys[0]] * 200_000)
    figures["local read of the value alone, hot: ns"] = nanoseconds(reader.value, [keys[0]] * 200_000)
    figures["local read of a million, random: ns"] = median_nanoseconds(reader.get, keys[:200_000])
    begin = time.thread_time()
    place, scanned = b"", 0
    while True:
        rows, more = reader.range(place, limit=1000)
        scanned += len(rows)
        if not more:
            break
        place = rows[-1].key + b"\x00"
    figures["range scan in pieces of 1,000: keys a second"] = scanned / (time.thread_time() - begin)
    begin = time.thread_time()
    assert reader.count() == count
    figures["count of all: ms"] = (time.thread_time() - begin) * 1e3

    # A snapshot to a file in another thread, while entries are applied here as fast as they can.
    gc.collect()
    still = resident() - before
    quiet = [apply(batch) for batch in puts(some[:100_000], 128)]
    begin = time.thread_time()
    snapshot = apply.store.snapshot()
    figures["snapshot, beginning: ms"] = (time.thread_time() - begin) * 1e3
    file = tempfile.TemporaryFile()  # noqa: SIM115
    took = [0.0]

    def save() -> None:
        begin = time.thread_time()
        for chunk in snapshot:
            took[0] += time.thread_time() - begin
            file.write(chunk)
            begin = time.thread_time()
        os.fsync(file.fileno())

    thread = threading.Thread(target=save)
    thread.start()
    busy = []
    while thread.is_alive():
        busy.extend(apply(batch) for batch in puts(random.sample(keys, 1280), 128))
    thread.join()
    figures["memory during a snapshot to a file: ratio"] = (resident() - before) / still
    figures["puts during it"] = 128 * len(busy)
    snapshot.close()
    after = [apply(batch) for batch in puts(some[:100_000], 128)]
    figures["snapshot: MB"] = file.tell() / 1e6
    figures["snapshot, writing: MB/s"] = file.tell() / 1e6 / took[0]
    figures["longest batch of 128 puts, without a snapshot: ms"] = max(quiet) * 1e3
    figures["longest batch of 128 puts, during a snapshot: ms"] = max(busy) * 1e3
    figures["longest batch of 128 puts, while it is freed: ms"] = max(after) * 1e3
    while apply.store.reclaim():
        pass
    with apply.store.snapshot():
        for batch in puts(some, 128):
            apply(batch)
        figures["memory when half of all keys are written over during one: ratio"] = (resident() - before) / still
    file.seek(0)
    chunks = list(iter(lambda: file.read(1 << 20), b""))
    begin = time.thread_time()
    restored = Store.restore(chunks)
    figures["restore: s"] = time.thread_time() - begin
    assert restored.figures()["keys"] == count
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments.keys)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:78} {value:14,.2f}" if value < 1000 else f"{name:78} {value:11,.0f}")


if __name__ == "__main__":
    main()
