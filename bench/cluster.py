"""Durable puts and linearizable reads of three nodes, beside the floor of the same run: `python bench/cluster.py`.

This process embeds the leader; the two followers are processes of their own. With --remote all three nodes are, and
this process is a client over sockets; with --session its puts go exactly once, in order. The native rows are asked
without Python (client/_load.pyx), outside of a session. All nodes keep their data in one folder, as the floor does
(`bench/floor.c`, compiled here), so that the ratio says what the library costs and not what the disk is like. Rounds
of the floor and of the cluster take turns. Prints Markdown, or with --json one object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beside import machine
from quorate.client._load import load
from quorate.client.remote import Remote
from quorate.config import RaftConfig
from quorate.runtime import questions
from quorate.runtime.node import NativeNode
from quorate.store import commands

Propose = Callable[..., Any]
EAGER = RaftConfig(heartbeat_ms=50, election_timeout_min_ms=100, election_timeout_max_ms=140)
PATIENT = RaftConfig(heartbeat_ms=50, election_timeout_min_ms=2000, election_timeout_max_ms=4000)
"""The followers let this process lead."""


def free_ports(count: int) -> list[int]:
    made = [socket.socket() for _ in range(count)]
    for each in made:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in made]
    for each in made:
        each.close()
    return ports


def follow(id: int, members: dict[int, tuple[str, str]], folder: str, *, lead: bool) -> None:
    """A follower, or the leader that a client measures, until its standard input ends."""
    config = EAGER if lead else PATIENT
    with NativeNode(members[id][0], id, members, data_dir=f"{folder}/{id}", config=config):
        sys.stdin.read()


def quantiles(times: list[float]) -> dict[str, float]:
    times.sort()
    return {"p50_us": times[len(times) // 2] * 1e6, "p99_us": times[int((len(times) - 1) * 0.99)] * 1e6}


def puts(propose: Propose, window: int, count: int, size: int) -> dict[str, float]:
    """Keeps ``window`` puts on their way, from one thread; each is timed from its call to its result."""
    value = bytes(size)
    waiting: deque[tuple[float, Any]] = deque()
    times = []
    begin = time.perf_counter()
    for number in range(count):
        if len(waiting) == window:
            sent, pending = waiting.popleft()
            pending.wait()
            times.append(time.perf_counter() - sent)
        waiting.append((time.perf_counter(), propose(commands.put(f"key-{number % 1000}", value), timeout=30.0)))
    for sent, pending in waiting:
        pending.wait()
        times.append(time.perf_counter() - sent)
    return {"rate": count / (time.perf_counter() - begin), **quantiles(times)}


def reads(read: Callable[[], Any], count: int) -> dict[str, float]:
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        read()
        times.append(time.perf_counter() - begin)
    return quantiles(times)


def measure(
    engine: Any, propose: Propose, read: Callable[[], Any], floor: str, folder: str, options: argparse.Namespace
) -> dict[str, Any]:
    where = machine()
    puts(propose, 64, 2000, 90)
    encoded = [commands.put(f"key-{number}", bytes(90)) for number in range(1000)]
    rows = []
    for window in options.window:
        count = options.count * min(window, 64)
        ours, natives, theirs = [], [], []
        for _ in range(options.rounds):
            said = subprocess.run(
                [floor, str(window), str(count), "128", folder], check=True, capture_output=True, text=True
            )
            theirs.append(json.loads(said.stdout))
            ours.append(puts(propose, window, count, 90))
            natives.append(load(engine, encoded, count=count, window=window, timeout=30.0))
        middle = options.rounds // 2
        rows.append(
            {
                "window": window,
                "put": sorted(ours, key=lambda row: row["p50_us"])[middle],
                "native": sorted(natives, key=lambda row: row["rate"])[middle],
                "native_floor": sorted(theirs, key=lambda row: row["rate"])[middle],
                "floor": sorted(theirs, key=lambda row: row["p50_us"])[middle],
            }
        )
    return {
        "machine": where,
        "puts": rows,
        "linearizable_read": reads(read, options.count),
    }


def shown(result: dict[str, Any]) -> str:
    lines = [
        result["machine"],
        "",
        "| puts under way | put p50 / p99, µs | floor p50 / p99, µs | ratio of p50 | puts/s | floor/s |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["puts"]:
        put, floor = row["put"], row["floor"]
        lines.append(
            f"| {row['window']} | {put['p50_us']:.0f} / {put['p99_us']:.0f} | {floor['p50_us']} / {floor['p99_us']} "
            f"| {put['p50_us'] / floor['p50_us']:.2f} | {put['rate']:,.0f} | {floor['rate']:,.0f} |"
        )
    lines += [
        "",
        "| native, under way | put p50 / p99, µs | puts/s | floor/s | share of the floor | failed |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["puts"]:
        native, floor = row["native"], row["native_floor"]
        failed = sum(native["failed"].values())
        lines.append(
            f"| {row['window']} | {native['p50_us']:.0f} / {native['p99_us']:.0f} | {native['rate']:,.0f} "
            f"| {floor['rate']:,.0f} | {native['rate'] / floor['rate']:.0%} | {failed} of {native['asked']} |"
        )
    read, last = result["linearizable_read"], result["puts"][0]["floor"]
    lines += [
        "",
        f"linearizable read: p50 {read['p50_us']:.0f} µs, p99 {read['p99_us']:.0f} µs; "
        f"fdatasync alone: p50 {last['sync_p50_us']} µs, p99 {last['sync_p99_us']} µs; "
        f"loopback round trip alone: p50 {last['echo_p50_us']} µs",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="puts one at a time in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window", type=int, nargs="+", default=[1, 64, 1024])
    parser.add_argument("--dir", default=None, help="where the nodes and the floor write (default: a new folder here)")
    parser.add_argument("--remote", action="store_true", help="measure a client over sockets")
    parser.add_argument("--session", action="store_true", help="puts go through a session, exactly once and in order")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--follow", nargs=3, metavar=("ID", "MEMBERS", "DIR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.follow:
        id, members, folder = options.follow
        table = {each[0]: (each[1], each[2]) for each in json.loads(members)}
        follow(int(id), table, folder, lead=options.remote and id == "1")
        return
    folder = tempfile.mkdtemp(prefix="bench-cluster-", dir=options.dir or ".")
    followers: list[subprocess.Popen[str]] = []
    try:
        floor = f"{folder}/floor"
        source = Path(__file__).with_name("floor.c")
        subprocess.run([os.environ.get("CC", "cc").split()[-1], "-O2", "-o", floor, source, "-lpthread"], check=True)
        members = {id: ("abc"[id - 1], f"127.0.0.1:{port}") for id, port in enumerate(free_ports(3), 1)}
        table = json.dumps([[id, *members[id]] for id in members])
        mode = ["--remote"] if options.remote else []
        followers += [
            subprocess.Popen(
                [sys.executable, __file__, *mode, "--follow", str(id), table, folder], stdin=subprocess.PIPE, text=True
            )
            for id in members
            if options.remote or id != 1
        ]
        engine: Any = (
            Remote([address for _, address in members.values()])
            if options.remote
            else NativeNode("a", 1, members, data_dir=f"{folder}/1", config=EAGER)
        )
        with engine:
            if options.remote:
                engine.wait_connected(30.0)
            else:
                engine.wait_ready(timeout=30.0)
            propose = engine.propose
            if options.session:
                lane = engine.lane(10.0)
                lane.opening.wait(30.0)
                propose = lane.submit
            question = questions.key_question(b"key-1")

            def read() -> None:
                if options.remote:
                    engine.ask(questions.Kind.QUERY, question, 5.0).wait()
                else:
                    engine.barrier()
                    engine.reader.get("key-1")

            result = measure(engine, propose, read, floor, folder, options)
            status = engine.status()
            if status.get("leader_changes", status["connections"].get("leader_changes")) != 1:
                print("the leader changed meanwhile: the machine is too busy for this to count", file=sys.stderr)
        print(json.dumps(result, indent=1) if options.json else shown(result))
    finally:
        for each in followers:
            assert each.stdin is not None
            each.stdin.close()
            each.wait(20)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
