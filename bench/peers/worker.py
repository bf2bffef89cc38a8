"""A client of a peer as a process of its own: lines of JSON say what to measure, and it answers by such.

Started by the runner (`run.py`), and ended by the end of its standard input. What libraries print goes where the
runner's errors go. Knows the contract of a peer and no peer.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import statistics
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from contract import LEASE, Client, Peer, Place, Turn, found_peers
from measures import PATIENCE, VALUE, key, singly


def told(turn: Turn) -> dict[str, float]:
    times = sorted(turn.times)
    if not times:
        raise RuntimeError("nothing was done in time")
    return {
        "count": len(times),
        "p50": statistics.median(times),
        "p99": times[math.ceil(len(times) * 0.99) - 1],
        "rate": len(times) / turn.elapsed if turn.elapsed else 0.0,
    }


class Worker:
    """What it can be told to do, each a method that takes what the line says and gives what is answered."""

    def __init__(self, peer: Peer, client: Client) -> None:
        self.peer = peer
        self.client = client

    def warm(self, seconds: float) -> dict[str, float]:
        singly(lambda number: self.client.put(key(number), VALUE), seconds / 4)
        return told(self.client.flood(64, seconds))

    def put(self, seconds: float) -> dict[str, float]:
        return told(singly(lambda number: self.client.put(key(number), VALUE), seconds))

    def flood(self, window: int, seconds: float) -> dict[str, float]:
        return told(self.client.flood(window, seconds))

    def read(self, seconds: float) -> dict[str, float]:
        return told(singly(lambda number: self.client.read(key(number)), seconds))

    def local(self, seconds: float) -> dict[str, float]:
        return told(singly(lambda number: self.client.local(key(number)), seconds))

    def lock(self, seconds: float) -> dict[str, float]:
        lock = self.client.lock("lonely")

        def one(number: int) -> None:
            lock.acquire()
            lock.release()

        one(0)
        return told(singly(one, seconds))

    def lock_in_tasks(self, seconds: float) -> dict[str, float]:
        return told(self.client.lock_in_tasks(seconds))

    def contend(self, contenders: int, seconds: float) -> dict[str, float]:
        return told(self.client.contend(contenders, seconds))

    def leader(self) -> int | None:
        return self.client.leader()

    def hold(self, name: str) -> None:
        """Takes a lock and keeps it; the process is killed with it."""
        lock = self.client.lock(name)
        lock.acquire()

        def refresh() -> None:
            while True:
                time.sleep(LEASE / 3)
                lock.refresh()

        threading.Thread(target=refresh, daemon=True).start()

    def inherit(self, name: str, holder: int, delay: float) -> dict[str, float]:
        """Waits for a lock whose holder is killed meanwhile."""
        seen: list[float] = []
        lock = self.client.lock(name)

        def wait() -> None:
            lock.acquire()
            seen.append(time.perf_counter())
            lock.release()

        waiter = threading.Thread(target=wait, daemon=True)
        waiter.start()
        waiter.join(delay)
        if seen:
            raise RuntimeError("the lock was given away while it was held")
        begin = time.perf_counter()
        os.kill(holder, signal.SIGKILL)
        waiter.join(2 * PATIENCE)
        if not seen:
            raise TimeoutError("the lock of a dead holder went to nobody")
        return told(Turn([seen[0] - begin]))

    def strike(self, member: int, number: int, leader: int) -> dict[str, float]:
        """Signals the leader, and puts until a put is acknowledged."""
        singly(lambda number: self.client.put(key(number), VALUE), 0.3)
        with contextlib.suppress(NotImplementedError):
            if self.client.leader() != leader:
                raise RuntimeError("another one leads by now")
        begin = time.perf_counter()
        os.kill(member, number)
        while True:
            try:
                self.client.put("after", VALUE)
                return told(Turn([time.perf_counter() - begin]))
            except Exception:  # noqa: PERF203
                if time.perf_counter() > begin + 2 * PATIENCE:
                    raise
                time.sleep(0.001)


def main() -> None:
    # Standard output is for answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner, which ends this
    first = json.loads(sys.stdin.readline())
    peer = next(each for each in found_peers() if each.name == first["peer"])
    place = Place(Path(first["folder"]), first["ports"], first["leader"], first["me"])
    try:
        client = peer.client(place)
        worker = Worker(peer, client)
        print(json.dumps({"is": None}), file=answers, flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                said: dict[str, Any] = {"is": getattr(worker, asked.pop("do"))(**asked)}
            except NotImplementedError:
                said = {"none": True}
            except Exception as error:
                traceback.print_exc()
                said = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(said), file=answers, flush=True)
    except Exception as error:
        traceback.print_exc()
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
    finally:
        # Libraries leave threads behind that would keep the process; there is nothing here that has to be kept.
        answers.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
