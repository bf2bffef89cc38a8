"""Durable puts and reads of one Python process through the public client, three nodes: `python bench/clients.py`.

As a program writes them: `await client.put(...)` in many tasks of asyncio, `put_many`, and one after the other; `get`
too. The nodes are processes of their own and the client comes over sockets (`quorate.connect`); with --embedded this
process has the leader (`quorate.Node`) and its client. The floor (`bench/floor.c`) runs in the same folder, in turns.
Prints Markdown, or with --json one object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from typing import Any, Literal

import quorate
import quorate.aio
from beside import HERE, Floor, child, machine, said_of, table
from cluster import EAGER, free_ports, quantiles
from quorate.api.client import Client

PATIENCE = 60.0
VALUE = bytes(90)


async def awaited(client: quorate.aio.Client, tasks: int, count: int) -> dict[str, float]:
    """Every task awaits one put at a time."""
    times: list[float] = []

    async def work(number: int) -> None:
        key = f"key-{number}"
        for _ in range(count // tasks):
            begin = time.perf_counter()
            await client.put(key, VALUE)
            times.append(time.perf_counter() - begin)

    begin, cpu = time.perf_counter(), time.thread_time()
    await asyncio.gather(*(work(number) for number in range(tasks)))
    return ended(len(times), begin, cpu, times)


def many(client: Client, count: int, batch: int) -> dict[str, float]:
    """One put_many after the other; the pairs are there before."""
    batches = [
        [(f"key-{number % 1000}", VALUE) for number in range(first, first + batch)] for first in range(0, count, batch)
    ]
    begin, cpu = time.perf_counter(), time.thread_time()
    done = sum(len(client.put_many(pairs)) for pairs in batches)
    return ended(done, begin, cpu)


def singly(client: Client, count: int) -> dict[str, float]:
    times = []
    begin, cpu = time.perf_counter(), time.thread_time()
    for number in range(count):
        at = time.perf_counter()
        client.put(f"key-{number % 1000}", VALUE)
        times.append(time.perf_counter() - at)
    return ended(count, begin, cpu, times)


def gets(client: Client, count: int, consistency: Literal["linearizable", "local"]) -> dict[str, float]:
    times = []
    begin, cpu = time.perf_counter(), time.thread_time()
    for number in range(count):
        at = time.perf_counter()
        client.get(f"key-{number % 1000}", consistency=consistency)
        times.append(time.perf_counter() - at)
    return ended(count, begin, cpu, times)


def ended(count: int, begin: float, cpu: float, times: list[float] | None = None) -> dict[str, float]:
    seconds, cpu = time.perf_counter() - begin, time.thread_time() - cpu
    return {"rate": count / seconds, "python_us": cpu / count * 1e6, **(quantiles(times) if times else {})}


def middle(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return sorted(rows, key=lambda row: row["rate"])[len(rows) // 2]


async def in_tasks(node: quorate.Node | None, url: str, options: argparse.Namespace) -> dict[str, float]:
    """In an event loop of its own, with a client of its own."""
    async with AsyncExitStack() as stack:
        if node is None:
            client = await stack.enter_async_context(quorate.aio.connect(url, timeout=PATIENCE))
        else:
            # The node is one for threads and for asyncio: its clients stand on the same.
            client = await stack.enter_async_context(quorate.aio.Client(node.client()._core))
        await client.wait_ready(PATIENCE)
        await awaited(client, options.tasks, options.tasks)  # connections and sessions are open, queues have their size
        return await awaited(client, options.tasks, options.count)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    where = machine()
    with tempfile.TemporaryDirectory(prefix="bench-clients-", dir=options.dir or ".") as folder, ExitStack() as stack:
        floor = Floor(folder)
        members = {id: ("abc"[id - 1], f"127.0.0.1:{port}") for id, port in enumerate(free_ports(3), 1)}
        rows = json.dumps([[id, *members[id]] for id in members])
        for id in members:
            if id != 1 or not options.embedded:
                mode = [] if options.embedded else ["--remote"]
                stack.enter_context(child([HERE / "cluster.py", *mode, "--follow", id, rows, folder]))
        url = f"quorate://{','.join(address for _, address in members.values())}"
        node = None
        if options.embedded:
            node = quorate.Node("a", members=dict(members.values()), data_dir=f"{folder}/1", config=EAGER)
            stack.enter_context(node)
            client = node.client()
        else:
            client = stack.enter_context(quorate.connect(url, timeout=PATIENCE))
        client.wait_ready(PATIENCE)
        many(client, 10 * options.batch, options.batch)
        names = ("one", "tasks", "many", "get", "get local", "floor 1", "floor 1024")
        found: dict[str, list[Any]] = {name: [] for name in names}
        for _ in range(options.rounds):
            found["floor 1"].append(floor.run(1, 1000))
            found["one"].append(singly(client, 1000))
            found["get"].append(gets(client, 1000, "linearizable"))
            found["get local"].append(gets(client, 10_000, "local"))
            found["floor 1024"].append(floor.run(1024, 65_536))
            found["tasks"].append(asyncio.run(in_tasks(node, url, options)))
            found["many"].append(many(client, 2 * options.count, options.batch))
    return {
        "machine": where,
        "client": "in the leader's process" if options.embedded else "over sockets",
        "tasks": options.tasks,
        "batch": options.batch,
        "rows": {name: middle(runs) for name, runs in found.items()},
    }


def shown(result: dict[str, Any]) -> str:
    measured, rows = result["rows"], []
    for name, what, beside in (
        ("one", "one after the other", "floor 1"),
        ("tasks", f"{result['tasks']:,} asyncio tasks, each awaits its put", "floor 1024"),
        ("many", f"put_many of {result['batch']:,}", "floor 1024"),
    ):
        row, floor = measured[name], measured[beside]
        times = f"{row['p50_us']:,.0f} / {row['p99_us']:,.0f}" if "p50_us" in row else ""
        share = f"{row['rate'] / floor['rate']:.0%} of {floor['rate']:,.0f}"
        rows.append([what, f"{row['rate']:,.0f}", share, times, f"{row['python_us']:.2f}"])
    read, local = measured["get"], measured["get local"]
    head = ["durable puts of 90 B", "puts/s", "of the floor at the same window", "p50 / p99, µs"]
    head.append("the Python thread, µs a put")
    return "\n".join(
        [
            f"{result['machine']}; client {result['client']}",
            "",
            table(head, rows),
            "",
            f"get, linearizable: p50 {read['p50_us']:.0f} µs, p99 {read['p99_us']:.0f} µs; "
            f"local: p50 {local['p50_us']:.1f} µs, p99 {local['p99_us']:.1f} µs",
            "",
            said_of(measured["floor 1"]),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embedded", action="store_true", help="this process has the leader")
    parser.add_argument("--count", type=int, default=102_400, help="puts of each round")
    parser.add_argument("--tasks", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default=None, help="where the nodes and the floor write (default: a new folder here)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options)
    print(json.dumps(result) if options.json else shown(result))


if __name__ == "__main__":
    main()
