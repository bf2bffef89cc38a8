"""A periodic job that runs on exactly one of several replicas, while they are restarted and killed.

    quorate up -- python examples/cron_leader.py

Each replica is a process that campaigns for one office. Who has it runs the job and notes each run in the cluster,
under its token, so that a former leader that wakes up late can note nothing. Once the leader is asked to end (it
resigns, and the next one goes on at once), once it is killed. At the end the notes are read: every run is there, once,
in order.

A run is noted behind the job, so the one that a death cuts off is done again by the next leader; noted in front of it,
it would be left out. A job that must do neither writes its result and the note in one transaction.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import quorate

HERE = "quorate://127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402"
"""What `quorate up` starts if it is told nothing else."""
OFFICE = "cron"
RUNS = "cron/run/"
LEASE = 2.0
PATIENCE = 60.0


def job(number: int) -> None:
    """What is to be done once each time, for all replicas together."""


def serve(name: str, url: str, every: float) -> None:
    """One replica, until SIGTERM."""

    def say(event: str, **fields: Any) -> None:
        print(json.dumps({"event": event, **fields}), flush=True)

    def lead(client: quorate.Client, term: quorate.Term) -> None:
        say("leads", token=term.token)
        number = len(client.range(prefix=RUNS))  # what former leaders have done
        while term.held and not ending.wait(every):
            number += 1
            job(number)
            client.put(f"{RUNS}{number:06d}", name.encode(), if_fence=(OFFICE, term.token))
            say("ran", number=number)

    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ending.set())
    with quorate.connect(url) as client:
        election = client.election(OFFICE, lease=LEASE)
        while not ending.is_set():
            # Whoever was stopped for long, or was relieved by an operator, queues again.
            with (
                contextlib.suppress(quorate.LockLost, quorate.Rejected),
                election.campaign(name.encode(), timeout=PATIENCE) as term,
            ):
                lead(client, term)


class Replica:
    """A replica's process, and what it says."""

    def __init__(self, number: int, options: argparse.Namespace, heard: queue.Queue[tuple[Replica, Any]]) -> None:
        self.name = f"replica-{number}"
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--replica", self.name, "--url", options.url, "--every", str(options.every)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._heard = heard
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._heard.put((self, json.loads(line)))
        if self.process.wait() > 0:
            self._heard.put((self, {"event": "has failed"}))


def hand_over(leader: Replica, number: int, heard: queue.Queue[tuple[Replica, Any]], runs: int) -> Replica:
    """Signals the leader; gives the next one, when it has run the job so many times."""
    begin = time.monotonic()
    if number:
        leader.process.send_signal(number)
    found = None
    while True:
        replica, said = heard.get(timeout=PATIENCE)
        if said["event"] == "has failed":
            raise SystemExit(f"{replica.name} has failed; its words stand above")
        if said["event"] == "leads":
            found = replica
            after = "" if not number else f", {(time.monotonic() - begin) * 1000:.0f} ms after"
            how = {0: "", signal.SIGTERM: " SIGTERM to ", signal.SIGKILL: " SIGKILL to "}[number]
            print(f"{replica.name} leads with token {said['token']}{after}{how}{leader.name if number else ''}")
        if said["event"] == "ran" and replica is found:
            print(f"    run {said['number']} on {replica.name}")
            runs -= 1
            if not runs:
                return replica


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=os.environ.get("QUORATE_URL", HERE))
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--every", type=float, default=0.2, help="seconds between two runs")
    parser.add_argument("--runs", type=int, default=4, help="of each leader, before it is replaced")
    parser.add_argument("--replica", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.replica:
        serve(options.replica, options.url, options.every)
        return 0
    heard: queue.Queue[tuple[Replica, Any]] = queue.Queue()
    with quorate.connect(options.url) as client:
        client.delete_range(prefix=RUNS)
        numbers = itertools.count(1)
        replicas = [Replica(next(numbers), options, heard) for _ in range(options.replicas)]
        try:
            leader = replicas[0]
            for number in (0, signal.SIGTERM, signal.SIGKILL):
                former, leader = leader, hand_over(leader, number, heard, options.runs)
                if number:
                    former.process.wait()
                    replicas[replicas.index(former)] = Replica(next(numbers), options, heard)
        finally:
            for each in replicas:
                each.process.kill()
                each.process.wait()
        noted = client.range(prefix=RUNS)
    wrong = [
        row.key for number, row in enumerate(noted, 1) if row.key.decode() != f"{RUNS}{number:06d}" or row.version > 1
    ]
    by = {name: sum(row.value == name for row in noted) for name in sorted({row.value for row in noted})}
    told = ", ".join(f"{count} on {name.decode()}" for name, count in by.items())
    print(f"{len(noted)} runs: {told}; " + (f"wrong: {wrong}" if wrong else "each number once, none left out"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
