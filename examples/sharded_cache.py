"""A cache in several processes, each of which keeps its part of the keys; one is killed, and only its keys move.

    quorate up -- python examples/sharded_cache.py

Each worker joins a group under its name and with its address, and follows the ring of the group; so does whoever asks.
Both look a key up in their own process, and a request carries the epoch of the asker's ring: a worker that is behind
waits for its own to come so far, and one that does not own the key says so. At the end it is counted what had to be
loaded again: behind the kill exactly what the killed worker had, behind the start of another exactly what it took over.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import socketserver
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TextIO

import quorate
from quorate.ring import Move, Ring

HERE = "quorate://127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402"
"""What `quorate up` starts if it is told nothing else."""
GROUP = "sharded-cache"
LEASE = 2.0
PATIENCE = 60.0
BEHIND_SECONDS = 1.0
"""How long a worker waits for its ring to become as new as that of whoever asks it."""


# A worker


def serve(name: str, url: str) -> None:
    """Answers ``epoch key`` with ``hit``, ``loaded`` or ``not mine``, a line each, until it is killed."""
    kept: dict[str, str] = {}

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                epoch, key = line.decode().split()
                self.wfile.write(f"{answer(int(epoch), key)}\n".encode())

    def answer(epoch: int, key: str) -> str:
        deadline = time.monotonic() + BEHIND_SECONDS
        while live[key] != name:
            if live.epoch >= epoch or time.monotonic() >= deadline:
                return "not mine"
            time.sleep(0.001)
        if key in kept:
            return "hit"
        kept[key] = key.upper()  # here it would be loaded from where it is slow
        return "loaded"

    def let_go(old: Ring, new: Ring, moves: list[Move]) -> None:
        if any(move.source == name for move in moves):
            for key in [key for key in kept if new[key] != name]:
                del kept[key]

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server, quorate.connect(url, timeout=PATIENCE) as client:
        address = f"127.0.0.1:{server.server_address[1]}"
        with client.ring(GROUP) as live, client.group(GROUP).join(name, address.encode(), lease=LEASE):
            live.on_change(let_go)
            server.serve_forever()


# Who asks


class Asker:
    """Finds the owner of each key by its own ring, and asks that worker."""

    def __init__(self, client: quorate.Client, live: quorate.LiveRing) -> None:
        self.group = client.group(GROUP)
        self.live = live
        self.lines: dict[str, TextIO] = {}

    def get(self, key: str) -> tuple[str, str]:
        """(worker, answer)."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            ring = self.live.ring
            owner = ring[key]
            answer = self.ask(owner, f"{ring.epoch} {key}\n")
            if answer in ("hit", "loaded"):
                return owner, answer
            time.sleep(0.002)  # it is dead, or the key is another's by now: the ring will say so
        raise SystemExit(f"nobody answers for {key!r}: {self.live}")

    def ask(self, worker: str, line: str) -> str:
        """The worker's answer; empty if it is dead."""
        try:
            if worker not in self.lines:
                addresses = {each.name: each.data.decode() for each in self.group.members()}
                host, _, port = addresses[worker].rpartition(":")
                with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
                    self.lines[worker] = connection.makefile("rw")
            self.lines[worker].write(line)
            self.lines[worker].flush()
            return self.lines[worker].readline().strip()
        except (OSError, KeyError):
            self.close(worker)
            return ""

    def close(self, worker: str) -> None:
        """Lets a connection go."""
        lines = self.lines.pop(worker, None)
        if lines is not None:
            with contextlib.suppress(OSError):
                lines.close()

    def all_of(self, keys: list[str]) -> dict[str, set[str]]:
        """The keys that each worker had to load."""
        loaded: dict[str, set[str]] = {}
        for key in keys:
            worker, answer = self.get(key)
            if answer == "loaded":
                loaded.setdefault(worker, set()).add(key)
        return loaded


def begin(name: str, url: str) -> subprocess.Popen[bytes]:
    """A worker's process."""
    return subprocess.Popen([sys.executable, __file__, "--worker", name, "--url", url])


def until(what: Callable[[], bool], live: quorate.LiveRing) -> None:
    """Waits until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > deadline:
            raise SystemExit(f"what was waited for did not come: {live}")
        time.sleep(0.005)


def shown(loaded: dict[str, set[str]]) -> str:
    return ", ".join(f"{worker} {len(keys)}" for worker, keys in sorted(loaded.items())) or "none"


def run(client: quorate.Client, url: str, workers: int, count: int) -> bool:
    """Whether only what had to move did."""
    keys = [f"key-{number}" for number in range(count)]
    names = [f"worker-{number}" for number in range(1, workers + 1)]
    processes = {name: begin(name, url) for name in names}
    try:
        with client.ring(GROUP) as live:
            asker = Asker(client, live)
            until(lambda: sorted(live.ring) == names, live)
            print(f"{workers} workers at epoch {live.epoch}; loaded by {shown(asker.all_of(keys))}")
            again = asker.all_of(keys)
            print(f"asked again: loaded by {shown(again)}")

            victim, before = names[1], live.ring
            had = {key for key in keys if before[key] == victim}
            begun = time.monotonic()
            processes[victim].kill()
            until(lambda: victim not in live, live)
            print(f"{victim} killed, and out of the ring after {time.monotonic() - begun:.2f} s, at epoch {live.epoch}")
            moved = {key for key in keys if before[key] != live[key]}
            reloaded = asker.all_of(keys)
            print(f"loaded again by {shown(reloaded)}: {len(had)} keys were {victim}'s")
            exact = not again and moved == had == set().union(*reloaded.values())

            late, before = f"worker-{workers + 1}", live.ring
            processes[late] = begin(late, url)
            until(lambda: late in live, live)
            taken = {key for key in keys if live[key] == late}
            moved = {key for key in keys if before[key] != live[key]}
            reloaded = asker.all_of(keys)
            print(f"{late} joined at epoch {live.epoch}; loaded by {shown(reloaded)}")
            for worker in list(asker.lines):
                asker.close(worker)
            return exact and moved == taken and reloaded == {late: taken}
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=os.environ.get("QUORATE_URL", HERE))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--keys", type=int, default=2000)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(options.worker, options.url)
        return 0
    with quorate.connect(options.url, timeout=PATIENCE) as client:
        exact = run(client, options.url, options.workers, options.keys)
    print("only what had to move was loaded again" if exact else "WRONG: other keys moved, too")
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
