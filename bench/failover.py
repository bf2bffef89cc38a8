"""How long nobody is served: a leader is killed or paused, the holder of a lock is killed: `python bench/failover.py`.

Three nodes are processes of their own (`quorate.testing.ProcessCluster`), this one is the client over sockets, holders
are processes too. A time begins in front of the signal and ends with the answer to the write, or to the waiter, that
the signal held up. Prints Markdown, or with --json one object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import quorate
from beside import Floor, answer, child, machine, order, said_of, table
from quorate.client.remote import Remote
from quorate.runtime.questions import Kind, await_question
from quorate.store import commands
from quorate.store.views import Result
from quorate.testing import ProcessCluster

PATIENCE = 60.0
"""Seconds after which something is wrong."""
LONG = 600.0
"""A time to live that cannot be why a session ended."""
HELD = 1
"""In the answer to a wait for a permit (docs/internals/wire.md)."""


def hold(addresses: str, ttl: float) -> None:
    """A holder, until its standard input ends: of the keys and permits that it is told, each by a name."""
    with Remote(addresses.split(",")) as remote:
        lane = remote.lane(ttl, timeout=PATIENCE)
        lane.opening.wait(PATIENCE)
        for number, line in enumerate(sys.stdin, 1):
            what, name = json.loads(line)
            if what == "key":
                command = commands.put(name, b"held", session=lane.session, owned=True)
            else:
                command = commands.acquire(name, session=lane.session, acquisition=number)
            lane.submit(command, PATIENCE).wait()
            print(json.dumps(lane.session), flush=True)


class Bench:
    """The cluster, its client, and the rounds."""

    def __init__(self, cluster: ProcessCluster, rounds: int) -> None:
        self.cluster = cluster
        self.rounds = rounds
        self.addresses = ",".join(cluster.members.values())
        self.client = quorate.connect(cluster.url, timeout=PATIENCE)
        self.remote = Remote(list(cluster.members.values()))
        self.number = 0

    def __enter__(self) -> Bench:
        self.remote.start().wait_connected(PATIENCE)
        self.lane = self.remote.lane(LONG, timeout=PATIENCE)
        self.lane.opening.wait(PATIENCE)
        return self

    def __exit__(self, *exception: object) -> None:
        self.client.close()
        self.remote.close()

    def name(self) -> str:
        self.number += 1
        return f"failover/{self.number}"

    def settle(self) -> str:
        """All three are there, agree and are caught up, and the client has talked to the leader: its name."""
        self.cluster.wait_ready(PATIENCE)
        leader = self.cluster.leader(PATIENCE)
        for _ in range(50):
            self.client.put("before", b"x")
        return leader

    def leader(self, number: int) -> list[float]:
        """From a signal to the leader until the next put of a client that knew of nothing is acknowledged."""
        times = []
        for _ in range(self.rounds):
            name = self.settle()
            # cluster.kill() also waits for the end of the process, which is not what a client waits for.
            node = self.cluster._node(name).process
            assert node is not None
            begin = time.perf_counter()
            os.kill(node.pid, number)
            self.client.put("after", b"x")
            times.append(time.perf_counter() - begin)
            if number == signal.SIGKILL:
                self.cluster.restart(name)
            else:
                os.kill(node.pid, signal.SIGCONT)
        return times

    def key(self) -> list[float]:
        """A holder's key is gone when it is killed, and who watches it makes it his own."""
        times = []
        for _ in range(self.rounds):
            self.settle()
            name = self.name()
            with self.client.session(ttl=LONG) as session, child([__file__, "--hold", self.addresses, LONG]) as holder:
                order(holder, ["key", name])
                answer(holder)
                with self.client.watch(name) as watch:
                    time.sleep(0.2)
                    begin = time.perf_counter()
                    holder.kill()
                    event = watch.next(PATIENCE)
                    assert event is not None, "the key stayed"
                    assert self.client.compare_and_set(name, b"mine", 0, session=session)
                    times.append(time.perf_counter() - begin)
        return times

    def permit(self, number: int, ttl: float) -> list[float]:
        """A permit goes to the next in its queue, which waits in a long poll. A holder that is paused keeps it for its
        time to live, counted from its last sign of life.
        """
        times = []
        for _ in range(self.rounds):
            self.settle()
            name = self.name()
            with child([__file__, "--hold", self.addresses, ttl]) as holder:
                order(holder, ["permit", name])
                answer(holder)
                mine = commands.acquire(name, session=self.lane.session, acquisition=self.number)
                asked = Result.decode(self.lane.submit(mine, PATIENCE).wait()[1])
                question = await_question(self.lane.session, self.number, min_revision=asked.revision)
                waiting = self.remote.ask(Kind.AWAIT, question, PATIENCE)
                # At any time between two signs of life.
                time.sleep(0.2 + (random.uniform(0.0, ttl) if number == signal.SIGSTOP else 0.0))
                assert not waiting.done, "it was given away while it was held"
                begin = time.perf_counter()
                holder.send_signal(number)
                said = waiting.wait()[1]
                times.append(time.perf_counter() - begin)
                assert said[8] == HELD, "the wait ended without the permit"
                if number != signal.SIGKILL:
                    holder.kill()
            give_back = commands.release(session=self.lane.session, acquisition=self.number)
            self.lane.submit(give_back, PATIENCE).wait()
        return times


def measure(rounds: int, ttl: float, directory: str | None) -> dict[str, Any]:
    where = machine()
    with tempfile.TemporaryDirectory(prefix="bench-failover-", dir=directory or ".") as folder:
        floor = Floor(folder).run(1, 500)
        with ProcessCluster(directory=folder) as cluster, Bench(cluster, rounds) as bench:
            runs: list[tuple[str, Callable[[], list[float]]]] = [
                ("leader killed → next put acknowledged", lambda: bench.leader(signal.SIGKILL)),
                ("leader paused → next put acknowledged", lambda: bench.leader(signal.SIGSTOP)),
                ("holder of a key killed, same host → next holder", bench.key),
                ("holder of a permit killed, same host → next holder", lambda: bench.permit(signal.SIGKILL, LONG)),
                (
                    f"holder of a permit paused, with {ttl:g} s to live → next holder",
                    lambda: bench.permit(signal.SIGSTOP, ttl),
                ),
            ]
            rows = [{"what": what, "milliseconds": sorted(1e3 * each for each in run())} for what, run in runs]
    return {"machine": where, "rounds": rounds, "rows": rows, "floor": floor}


def shown(result: dict[str, Any]) -> str:
    rows = []
    for row in result["rows"]:
        times = row["milliseconds"]
        rows.append([row["what"], f"{times[0]:.0f}", f"{times[len(times) // 2]:.0f}", f"{times[-1]:.0f}"])
    head = [f"milliseconds, {result['rounds']} rounds", "least", "median", "most"]
    return "\n".join([result["machine"], "", table(head, rows), "", said_of(result["floor"])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--ttl", type=float, default=1.0, help="seconds that a paused holder has to live")
    parser.add_argument("--dir", default=None, help="where the nodes and the floor write (default: a new folder here)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--hold", nargs=2, metavar=("ADDRESSES", "TTL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        hold(options.hold[0], float(options.hold[1]))
        return
    result = measure(options.rounds, options.ttl, options.dir)
    print(json.dumps(result) if options.json else shown(result))


if __name__ == "__main__":
    main()
