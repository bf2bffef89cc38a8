"""Locks of one Python process, three nodes, beside the floor: `python bench/recipes.py`.

A lock taken and given back that nobody else wants, in a thread and in asyncio; a sticky lock taken again; what `held`
costs; and the hand-over when 2, 8 and 64 want it: from the call of release to the next holder's running code. First
with the leader in this process (`quorate.Node`), then as a client over sockets (`quorate.connect`). The floor
(`bench/floor.c`), one durable commit of three without a protocol, runs in the same folder, in turns. Prints Markdown,
or with --json one object. Beside other systems: `bench/peers/run.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import quorate
import quorate.aio
from beside import HERE, Floor, child, machine, said_of, table
from cluster import EAGER, free_ports, quantiles

sys.path.append(str(HERE / "peers"))
from measures import contended, contended_by_tasks

PATIENCE = 60.0
LEASE = 10.0
CONTENDERS = (2, 8, 64)

Row = dict[str, Any]


class Site:
    """Three nodes and the ways to reach them. ``embedded``: the leader lives in this process."""

    def __init__(self, folder: str, stack: ExitStack, *, embedded: bool) -> None:
        members = {id: ("abc"[id - 1], f"127.0.0.1:{port}") for id, port in enumerate(free_ports(3), 1)}
        rows = json.dumps([[id, *members[id]] for id in members])
        for id in members:
            if id != 1 or not embedded:
                mode = [] if embedded else ["--remote"]
                stack.enter_context(child([HERE / "cluster.py", *mode, "--follow", id, rows, folder]))
        self.url = f"quorate://{','.join(address for _, address in members.values())}"
        self.node: quorate.Node | None = None
        if embedded:
            self.node = quorate.Node("a", members=dict(members.values()), data_dir=f"{folder}/1", config=EAGER)
            stack.enter_context(self.node)
            self.client = self.node.client()
        else:
            self.client = stack.enter_context(quorate.connect(self.url, timeout=PATIENCE))
        self.client.wait_ready(PATIENCE)
        for number in range(2000):
            self.client.put(f"key-{number}", bytes(90))

    @asynccontextmanager
    async def asyncio_client(self) -> Any:
        """In an event loop of its own."""
        if self.node is not None:
            # The node is one for threads and for asyncio: its clients stand on the same.
            yield quorate.aio.Client(self.client._core)
            return
        async with quorate.aio.connect(self.url, timeout=PATIENCE) as client:
            await client.wait_ready(PATIENCE)
            yield client


def timed(work: Callable[[], object], count: int) -> Row:
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return quantiles(times)


def alone(client: quorate.Client, count: int) -> Row:
    """Two durable commits, one after the other."""
    lock = client.lock("alone", lease=LEASE)

    def work() -> None:
        with lock:
            pass

    work()
    return timed(work, count)


async def alone_in_a_loop(site: Site, count: int) -> Row:
    times = []
    async with site.asyncio_client() as client:
        lock = client.lock("alone in a loop", lease=LEASE)
        for number in range(count + 1):
            begin = time.perf_counter()
            async with lock:
                pass
            if number:
                times.append(time.perf_counter() - begin)
    return quantiles(times)


def sticky(client: quorate.Client, count: int) -> float:
    """Nanoseconds of acquire and release by the one who had it last."""
    lock = client.sticky_lock("sticky", lease=LEASE)
    with lock:
        pass
    rounds = timeit.repeat(lambda: (lock.acquire(), lock.release()), number=count, repeat=5)
    return sorted(rounds)[2] / count * 1e9


def look(client: quorate.Client, count: int) -> float:
    """Nanoseconds of `held`, less those of an empty loop."""
    with client.lock("looked at", lease=LEASE) as lock:
        empty = min(timeit.repeat("pass", number=count, repeat=5))
        held = min(timeit.repeat("lock.held", globals={"lock": lock}, number=count, repeat=5))
    return (held - empty) / count * 1e9


def handed_over(client: quorate.Client, contenders: int, seconds: float, name: str) -> Row:
    return quantiles(contended(lambda: client.lock(name, lease=LEASE, timeout=PATIENCE), contenders, seconds).times)


async def handed_over_in_a_loop(site: Site, contenders: int, seconds: float, name: str) -> Row:
    async with site.asyncio_client() as client:
        turn = await contended_by_tasks(lambda: client.lock(name, lease=LEASE, timeout=PATIENCE), contenders, seconds)
    return quantiles(turn.times)


def rounds_of(site: Site, floor: Floor, options: argparse.Namespace) -> Iterator[tuple[str, Row]]:
    for number in range(options.rounds):
        yield "floor", floor.run(1, 1000)
        yield "alone", alone(site.client, options.count)
        yield "alone asyncio", asyncio.run(alone_in_a_loop(site, options.count))
        for contenders in CONTENDERS:
            name = f"contended {number} {contenders}"
            yield f"{contenders}", handed_over(site.client, contenders, options.seconds, name)
            found = asyncio.run(handed_over_in_a_loop(site, contenders, options.seconds, name + " asyncio"))
            yield f"{contenders} asyncio", found


@contextmanager
def site_of(directory: str | None, *, embedded: bool) -> Iterator[tuple[Site, Floor]]:
    with tempfile.TemporaryDirectory(prefix="bench-recipes-", dir=directory or ".") as folder, ExitStack() as stack:
        yield Site(folder, stack, embedded=embedded), Floor(folder)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"machine": machine()}
    for where in ("embedded", "sockets"):
        with site_of(options.dir, embedded=where == "embedded") as (site, floor):
            rows: dict[str, list[Row]] = {}
            for name, row in rounds_of(site, floor, options):
                rows.setdefault(name, []).append(row)
            best = {name: sorted(each, key=lambda row: row["p50_us"])[len(each) // 2] for name, each in rows.items()}
            figures = {"sticky_ns": sticky(site.client, 20_000), "held_ns": look(site.client, 200_000)}
            found[where] = {"rows": best, **figures}
    return found


def shown(result: dict[str, Any]) -> str:
    titles = {
        "alone": "lock and release, nobody else wants it, a thread",
        "alone asyncio": "the same in asyncio",
        **{f"{each}": f"hand-over, {each} threads" for each in CONTENDERS},
        **{f"{each} asyncio": f"hand-over, {each} tasks of asyncio" for each in CONTENDERS},
    }
    body = []
    for name, title in titles.items():
        cells = [title]
        for where in ("embedded", "sockets"):
            rows = result[where]["rows"]
            row, floor = rows[name], rows["floor"]
            ratio = f"{row['p50_us'] / floor['p50_us']:.2f}×"
            cells += [f"{row['p50_us']:,.0f} / {row['p99_us']:,.0f}", ratio]
        body.append(cells)
    head = ["p50 / p99, µs", "leader in this process", "of the floor of one commit", "over sockets", "of the floor"]

    def said(figure: str) -> str:
        return f"{result['embedded'][figure]:.0f} ns embedded, {result['sockets'][figure]:.0f} ns over sockets"

    return "\n".join(
        [
            result["machine"],
            "",
            table(head, body),
            "",
            f"`held`: {said('held_ns')}; sticky lock, taken again and left: {said('sticky_ns')}",
            "",
            said_of(result["embedded"]["rows"]["floor"]),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="locks of each round")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement of a hand-over")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default=None, help="where the nodes and the floor write (default: a new folder here)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options)
    print(json.dumps(result) if options.json else shown(result))


if __name__ == "__main__":
    main()
