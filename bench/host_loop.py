"""What an embedded node does to the event loop of its host: `python bench/host_loop.py`, and part of `gil.py`.

A process of Python runs an event loop that wants to be woken every millisecond, and notes how late it is. It does so
alone on the machine; while three nodes elsewhere take 10,000 puts a second; while it embeds the leader of these three;
and while it embeds the leader and puts so many itself. The second is what the machine's processors cost; the difference
to it is what embedding costs. Prints Markdown, or with --json one object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from typing import Any

import quorate
import quorate.aio
from beside import answer, child, machine, order, table
from cluster import free_ports
from quorate.client._load import load
from quorate.client.remote import Remote
from quorate.store import commands

PATIENCE = 60.0
PUTS_PER_SECOND = 10_000
BURST = 20
"""Puts that are sent together, every two milliseconds."""
VALUE = bytes(90)
ALONE, ELSEWHERE, EMBEDDED, OWN = (
    "no node",
    "three nodes elsewhere",
    "embeds the leader",
    "embeds the leader, puts itself",
)


async def lateness(seconds: float) -> list[float]:
    late: list[float] = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        await asyncio.sleep(0.001)
        late.append(time.perf_counter() - begin - 0.001)
    return late


async def putting(client: quorate.aio.Client, until: asyncio.Event) -> int:
    """Puts of the loop itself, in small bursts, none of which waits for the one before."""
    waiting: set[asyncio.Task[Any]] = set()
    done, due = 0, time.perf_counter()
    while not until.is_set():
        for number in range(BURST):
            task = asyncio.ensure_future(client.put(f"key-{number}", VALUE))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        done += BURST
        due = max(due + BURST / PUTS_PER_SECOND, time.perf_counter() - 0.05)
        await asyncio.sleep(max(due - time.perf_counter(), 0.0))
    await asyncio.gather(*waiting)
    return done


async def watched(seconds: float, node: quorate.Node | None, own: bool) -> dict[str, float]:
    until = asyncio.Event()
    begin = time.perf_counter()
    puts = None
    if own:
        assert node is not None
        puts = asyncio.ensure_future(putting(quorate.aio.Client(node.client()._core), until))
    late = sorted(await lateness(seconds))
    until.set()
    rate = await puts / (time.perf_counter() - begin) if puts is not None else 0.0
    return {"p50": statistics.median(late), "p99": late[int((len(late) - 1) * 0.99)], "max": late[-1], "rate": rate}


def host(members: str, name: str, folder: str) -> None:
    """The process whose loop is watched; with a name it embeds that member."""
    with ExitStack() as stack:
        node = None
        if name:
            node = stack.enter_context(quorate.Node(name, members=json.loads(members), data_dir=f"{folder}/{name}"))
            node.wait_ready(PATIENCE)
            node.client().transfer_leadership(name, timeout=PATIENCE)
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            print(json.dumps(asyncio.run(watched(asked["seconds"], node, asked["own"]))), flush=True)


def generate(addresses: str) -> None:
    """10,000 puts a second from outside, asked for without Python, until standard input ends; then says how many."""
    encoded = [commands.put(f"key-{number}", VALUE) for number in range(1000)]
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    with Remote(addresses.split(",")) as remote:
        remote.wait_connected(PATIENCE)
        load(remote, encoded, count=1000, window=64, timeout=PATIENCE)
        print(json.dumps("ready"), flush=True)
        done, begin = 0, time.perf_counter()
        due = begin
        while not ended.is_set():
            load(remote, encoded, count=BURST, window=BURST, timeout=PATIENCE)
            done += BURST
            due = max(due + BURST / PUTS_PER_SECOND, time.perf_counter() - 0.05)
            time.sleep(max(due - time.perf_counter(), 0.0))
        print(json.dumps(done / (time.perf_counter() - begin)), flush=True)


def follow(members: str, name: str, folder: str) -> None:
    with quorate.Node(name, members=json.loads(members), data_dir=f"{folder}/{name}"):
        sys.stdin.read()


def turn(way: str, seconds: float, directory: str | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-loop-", dir=directory or ".") as folder, ExitStack() as stack:
        members = {name: f"127.0.0.1:{port}" for name, port in zip("abc", free_ports(3), strict=True)}
        said = json.dumps(members)
        embedded = way in (EMBEDDED, OWN)
        for name in () if way == ALONE else "bc" if embedded else "abc":
            stack.enter_context(child([__file__, "--follow", said, name, folder]))
        watched_one = stack.enter_context(child([__file__, "--host", said, "a" if embedded else "", folder]))
        answer(watched_one)
        generator = None
        if way in (ELSEWHERE, EMBEDDED):
            generator = stack.enter_context(child([__file__, "--generate", ",".join(members.values())]))
            answer(generator)
        order(watched_one, {"seconds": seconds, "own": way == OWN})
        found: dict[str, float] = answer(watched_one)
        if generator is not None:
            assert generator.stdin is not None
            generator.stdin.close()
            found["rate"] = answer(generator)
    return found


def measure(rounds: int, seconds: float, directory: str | None) -> list[dict[str, Any]]:
    seen: dict[str, list[dict[str, float]]] = {way: [] for way in (ALONE, ELSEWHERE, EMBEDDED, OWN)}
    for _ in range(rounds):
        for way, runs in seen.items():
            runs.append(turn(way, seconds, directory))
    return [
        {"way": way, **{name: statistics.median(run[name] for run in runs) for name in runs[0]}}
        for way, runs in seen.items()
    ]


def shown(rows: list[dict[str, Any]]) -> str:
    by = {row["way"]: row for row in rows}
    base = by[ELSEWHERE]["p99"]
    body = []
    for row in rows:
        added = f"{(row['p99'] - base) * 1e3:+.2f}" if row["way"] in (EMBEDDED, OWN) else ""
        times = (f"{row[name] * 1e3:.2f}" for name in ("p50", "p99", "max"))
        body.append([row["way"], f"{row['rate']:,.0f}", *times, added])
    head = ["the host", "puts/s", "late p50, ms", "p99, ms", "max, ms", "p99 added by embedding, ms"]
    return "\n".join(
        [
            "How late the host's own event loop is woken, which asks for it every millisecond:",
            "",
            table(head, body),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each kind in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default=None, help="where the nodes write (default: a new folder here)")
    parser.add_argument("--json", action="store_true")
    for hidden, count in (("--host", 3), ("--follow", 3), ("--generate", 1)):
        parser.add_argument(hidden, nargs=count, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.host:
        host(*options.host)
    elif options.follow:
        follow(*options.follow)
    elif options.generate:
        generate(*options.generate)
    else:
        where = machine()
        rows = measure(options.rounds, options.seconds, options.dir)
        print(json.dumps({"machine": where, "rows": rows}) if options.json else f"{where}\n\n{shown(rows)}")


if __name__ == "__main__":
    main()
