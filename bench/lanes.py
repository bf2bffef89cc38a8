"""Durable puts through one lane of one Python process, three nodes: `python bench/lanes.py`.

Awaited one by one by many asyncio tasks, in batches; a lock taken and given back; what a look at the session costs.
This process embeds the leader; the two followers are processes of their own. The floor (`bench/floor.c`) runs in the
same folder, in turns. Prints Markdown, or with --json one object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import timeit
from pathlib import Path
from typing import Any

from beside import machine
from cluster import EAGER, free_ports, quantiles
from quorate.runtime._completions import Completions
from quorate.runtime._lane import Lane
from quorate.runtime.node import NativeNode
from quorate.store import commands
from quorate.store.views import Result, Status

VALUE = bytes(90)


async def awaited(lane: Lane, tasks: int, each: int) -> dict[str, float]:
    """Every task awaits one put at a time."""
    loop = asyncio.get_running_loop()
    with Completions() as completions:
        loop.add_reader(completions.fd, completions.settle)

        async def work(number: int) -> None:
            for _ in range(each):
                future = loop.create_future()
                lane.submit(commands.put(f"key-{number}", VALUE), 60.0).attach(completions, future)
                await future

        begin, cpu = time.perf_counter(), time.thread_time()
        await asyncio.gather(*(work(number) for number in range(tasks)))
        seconds, cpu = time.perf_counter() - begin, time.thread_time() - cpu
        loop.remove_reader(completions.fd)
    return {"rate": tasks * each / seconds, "python_us": cpu / (tasks * each) * 1e6}


def batched(lane: Lane, count: int, size: int) -> dict[str, float]:
    """Batches of ``size`` commands, four of them on their way."""
    waiting: list[Any] = []
    begin, cpu = time.perf_counter(), time.thread_time()
    for first in range(0, count, size):
        batch = [commands.put(f"key-{number % 1000}", VALUE) for number in range(first, first + size)]
        waiting.append(lane.submit_many(batch, 60.0))
        if len(waiting) == 4:
            assert all(type(each) is bytes for each in waiting.pop(0).wait())
    for each in waiting:
        each.wait()
    seconds, cpu = time.perf_counter() - begin, time.thread_time() - cpu
    return {"rate": count / seconds, "python_us": cpu / count * 1e6}


def locked(lane: Lane, count: int) -> dict[str, float]:
    """A permit is taken and given back, one after the other: two durable commits, and nobody else wants it."""
    times = []
    begin = time.perf_counter()
    for number in range(1, count + 1):
        at = time.perf_counter()
        taken = lane.submit(commands.acquire("lock", session=lane.session, acquisition=number), 60.0).wait()[1]
        lane.submit(commands.release(session=lane.session, acquisition=number), 60.0).wait()
        times.append(time.perf_counter() - at)
        assert Result.decode(taken).status is Status.OK
    return {"rate": count / (time.perf_counter() - begin), **quantiles(times)}


def middle(rows: list[dict[str, float]]) -> dict[str, float]:
    return sorted(rows, key=lambda row: row["rate"])[len(rows) // 2]


def measure(node: NativeNode, floor: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    where = machine()
    settings: dict[str, Any] = {"check": True, "capture_output": True, "text": True}
    lane = node.lane(600.0)
    lane.opening.wait()
    tasks, batches, floors, locks, commits = [], [], [], [], []
    for _ in range(options.rounds):
        floors.append(json.loads(subprocess.run([floor, "1024", "65536", "128", folder], **settings).stdout))
        tasks.append(asyncio.run(awaited(lane, options.tasks, options.count // options.tasks)))
        batches.append(batched(lane, 4 * options.count, options.batch))
        commits.append(json.loads(subprocess.run([floor, "1", "1000", "128", folder], **settings).stdout))
        locks.append(locked(lane, 500))
    looks = 200_000
    return {
        "machine": where,
        "tasks": options.tasks,
        "awaited": middle(tasks),
        "batch": options.batch,
        "batched": middle(batches),
        "floor": middle(floors),
        "locked": middle(locks),
        "commit": middle(commits),
        "held_ns": min(timeit.repeat(lane.held, number=looks, repeat=5)) / looks * 1e9,
    }


def shown(result: dict[str, Any]) -> str:
    floor, locks, commit = result["floor"], result["locked"], result["commit"]
    rows = [
        (f"{result['tasks']} asyncio tasks, each awaits its put", result["awaited"]),
        (f"batches of {result['batch']:,}", result["batched"]),
    ]
    return "\n".join(
        [
            result["machine"],
            "",
            "| durable puts of 90 B, one lane | puts/s | of the floor at window 1,024 | the Python thread, µs a put |",
            "|---|---|---|---|",
            *(
                f"| {name} | {row['rate']:,.0f} | {row['rate'] / floor['rate']:.0%} | {row['python_us']:.2f} |"
                for name, row in rows
            ),
            "",
            f"a permit taken and given back: p50 {locks['p50_us']:.0f} µs, p99 {locks['p99_us']:.0f} µs, "
            f"{locks['p50_us'] / commit['p50_us']:.2f}× the floor of one commit, p50 {commit['p50_us']} µs",
            "",
            f"`Lane.held()`: {result['held_ns']:.0f} ns; floor: {floor['rate']:,.0f}/s, "
            f"fdatasync p50 {floor['sync_p50_us']} µs",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=102_400, help="puts of each round")
    parser.add_argument("--tasks", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default=None, help="where the nodes and the floor write (default: a new folder here)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="bench-lanes-", dir=options.dir or ".")
    followers: list[subprocess.Popen[str]] = []
    try:
        floor = f"{folder}/floor"
        here = Path(__file__).parent
        compiler = os.environ.get("CC", "cc").split()[-1]
        subprocess.run([compiler, "-O2", "-o", floor, here / "floor.c", "-lpthread"], check=True)
        members = {
            id: (name, f"127.0.0.1:{port}") for id, name, port in zip((1, 2, 3), "abc", free_ports(3), strict=True)
        }
        table = json.dumps([[id, *what] for id, what in members.items()])
        followers = [
            subprocess.Popen(
                [sys.executable, here / "cluster.py", "--follow", str(id), table, folder],
                stdin=subprocess.PIPE,
                text=True,
            )
            for id in (2, 3)
        ]
        with NativeNode("a", 1, members, data_dir=f"{folder}/1", config=EAGER) as node:
            node.wait_ready(30.0)
            result = measure(node, floor, folder, options)
        print(json.dumps(result) if options.json else shown(result))
    finally:
        for each in followers:
            assert each.stdin is not None
            each.stdin.close()
            each.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
