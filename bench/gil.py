"""Whether Python in the leader's process holds up what it commits: `python bench/gil.py`.

This process embeds the leader; the followers are processes of their own, and so is the client, which puts one at a time
and times each. It does so while nothing else runs, while four Python threads spin in the leader's process, and while
the same four spin in a process that has nothing to do with it: both cost the machine the same, so the ratio of the last
two is what the GIL costs. Rounds take turns. Then a C call holds the leader's GIL for ten seconds: no follower may
start an election and no session may be lost. Prints Markdown, or with --json one object.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from beside import Floor, answer, child, machine, order, said_of, table
from cluster import EAGER, free_ports, quantiles
from quorate import RaftConfig
from quorate.client.remote import Remote
from quorate.runtime.node import NativeNode
from quorate.store import commands

PATIENCE = 60.0
SESSION_SECONDS = 3.0
"""Sessions live shorter than the GIL is held."""
USUAL = RaftConfig()


def follow(id: int, members: dict[int, tuple[str, str]], folder: str) -> None:
    """A follower with the usual times, so that a leader that falls silent is replaced; a line asks for its figures."""
    with NativeNode(members[id][0], id, members, data_dir=f"{folder}/{id}", config=USUAL) as node:
        for _ in sys.stdin:
            seen = node.status()
            print(json.dumps({"term": seen["term"], "elections": seen["elections"]}), flush=True)


def serve_client(addresses: str) -> None:
    """Puts one at a time: as many as a line says, or for as many seconds; its session stands beside."""
    with Remote(addresses.split(",")) as remote:
        remote.wait_connected(PATIENCE)
        lane = remote.lane(SESSION_SECONDS, timeout=PATIENCE)
        lane.opening.wait(PATIENCE)
        for line in sys.stdin:
            asked = json.loads(line)
            count, until = asked.get("count", 1 << 62), time.monotonic() + asked.get("seconds", 1e9)
            times: list[float] = []
            while len(times) < count and time.monotonic() < until:
                command = commands.put(f"key-{len(times) % 1000}", bytes(90))
                begin = time.perf_counter()
                remote.propose(command, PATIENCE).wait()
                times.append(time.perf_counter() - begin)
            found = {"puts": len(times), **quantiles(times), "max_us": times[-1] * 1e6, "held": lane.held()}
            print(json.dumps(found), flush=True)


@contextmanager
def spinning(threads: int) -> Iterator[None]:
    """Threads of this process that want the GIL all the time."""
    ending = False

    def spin() -> None:
        while not ending:
            pass

    made = [threading.Thread(target=spin) for _ in range(threads)]
    for each in made:
        each.start()
    try:
        yield
    finally:
        ending = True
        for each in made:
            each.join()


def spin_until_told(threads: int) -> None:
    """The same threads in a process by themselves."""
    with spinning(threads):
        print(json.dumps("spinning"), flush=True)
        sys.stdin.read()


@contextmanager
def spinning_elsewhere(threads: int) -> Iterator[None]:
    with child([__file__, "--spin", threads]) as process:
        answer(process)
        yield


def measure(options: argparse.Namespace) -> dict[str, Any]:
    where = machine()
    with (
        tempfile.TemporaryDirectory(prefix="bench-gil-", dir=options.dir or ".") as folder,
        ExitStack() as stack,
    ):
        floor = Floor(folder).run(1, 500)
        members = {id: ("abc"[id - 1], f"127.0.0.1:{port}") for id, port in enumerate(free_ports(3), 1)}
        rows = json.dumps([[id, *members[id]] for id in members])
        leader = stack.enter_context(NativeNode("a", 1, members, data_dir=f"{folder}/1", config=EAGER))
        followers = [stack.enter_context(child([__file__, "--follow", id, rows, folder])) for id in (2, 3)]
        leader.wait_ready(timeout=PATIENCE)
        if leader.status()["role"] != "leader":
            leader.transfer_leadership("a", timeout=PATIENCE)
        addresses = ",".join(address for _, address in members.values())
        client = stack.enter_context(child([__file__, "--client", addresses]))
        lane = leader.lane(SESSION_SECONDS, timeout=PATIENCE)
        lane.opening.wait(PATIENCE)

        def figures() -> list[dict[str, int]]:
            for each in followers:
                order(each, "figures")
            return [answer(each) for each in followers] + [
                {name: leader.status()[name] for name in ("term", "elections")}
            ]

        def put(asked: dict[str, float]) -> dict[str, Any]:
            order(client, asked)
            found: dict[str, Any] = answer(client)
            return found

        put({"count": 500})
        before = figures()
        ways: dict[str, Callable[[], Any]] = {
            "nothing else": ExitStack,
            "spinning in the leader's process": lambda: spinning(options.threads),
            "spinning in another process": lambda: spinning_elsewhere(options.threads),
        }
        seen: dict[str, list[dict[str, Any]]] = {each: [] for each in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                with way():
                    seen[name].append(put({"count": options.count}))
        spun = figures()

        order(client, {"seconds": options.hold + 2})
        time.sleep(1)
        begin = time.monotonic()
        # PyDLL keeps the GIL over the call, as a badly written extension does.
        ctypes.PyDLL(None).usleep(int(options.hold * 1e6))
        held = time.monotonic() - begin
        during = answer(client)
        after = figures()
        lost = (not lane.held()) + (not during["held"])
    middle = options.rounds // 2
    puts = {name: sorted(runs, key=lambda run: run["p99_us"])[middle] for name, runs in seen.items()}
    here, there = (puts[f"spinning in {where} process"] for where in ("the leader's", "another"))
    return {
        "machine": where,
        "threads": options.threads,
        "puts": puts,
        "ratio_p50": here["p50_us"] / there["p50_us"],
        "ratio_p99": here["p99_us"] / there["p99_us"],
        "terms_while_spinning": max(each["term"] for each in spun) - max(each["term"] for each in before),
        "hold": {
            "seconds": held,
            "puts": during,
            "elections": sum(each["elections"] for each in after) - sum(each["elections"] for each in spun),
            "terms": max(each["term"] for each in after) - max(each["term"] for each in spun),
            "sessions_lost": lost,
        },
        "floor": floor,
    }


def shown(result: dict[str, Any]) -> str:
    rows = [
        [name if name == "nothing else" else f"{result['threads']} threads {name}", *microseconds(row)]
        for name, row in result["puts"].items()
    ]
    hold = result["hold"]
    return "\n".join(
        [
            result["machine"],
            "",
            table(["puts of a client, one at a time, while", "p50, µs", "p99, µs", "max, µs"], rows),
            "",
            f"The leader's process over another: p50 {result['ratio_p50']:.2f}×, p99 {result['ratio_p99']:.2f}×; "
            f"{result['terms_while_spinning']} elections.",
            "",
            f"A C call held the leader's GIL for {hold['seconds']:.1f} s: {hold['elections']} elections, "
            f"{hold['sessions_lost']} of 2 sessions of {SESSION_SECONDS:g} s lost, {hold['puts']['puts']:,} puts of "
            f"the client meanwhile, p99 {hold['puts']['p99_us']:.0f} µs, the slowest {hold['puts']['max_us']:.0f} µs.",
            "",
            said_of(result["floor"]),
        ]
    )


def microseconds(row: dict[str, Any]) -> list[str]:
    return [f"{row[name]:.0f}" for name in ("p50_us", "p99_us", "max_us")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="puts of each kind in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--hold", type=float, default=10.0, help="seconds for which the GIL is held")
    parser.add_argument("--dir", default=None, help="where the nodes and the floor write (default: a new folder here)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--follow", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--spin", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.follow:
        id, members, folder = options.follow
        follow(int(id), {each[0]: (each[1], each[2]) for each in json.loads(members)}, folder)
    elif options.client:
        serve_client(options.client)
    elif options.spin:
        spin_until_told(options.spin)
    else:
        result = measure(options)
        print(json.dumps(result) if options.json else shown(result))


if __name__ == "__main__":
    main()
