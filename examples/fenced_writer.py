"""Processes contend for a lock and write into a SQLite file that refuses stale tokens; they are paused and killed.

    quorate up -- python examples/fenced_writer.py
    quorate up -- python examples/fenced_writer.py --without-check

A holder looks whether it holds the lock, computes, and writes. Stopped in between for longer than its lease, it goes on
as if nothing had happened, while somebody else has long had the lock: nothing that runs in the process can prevent that
write. The table can: it remembers the greatest token. The file shows afterwards what was let in, in which order.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import quorate

HERE = "quorate://127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402"
"""What `quorate up` starts if it is told nothing else."""
LOCK = "fenced-writer"
COMPUTE_SECONDS = 0.03
WORK_SECONDS = 0.3
"""Between two troubles."""
ROWS_EACH = 5
"""What one holder writes before it lets others."""
PATIENCE = 60.0

TABLES = """
CREATE TABLE fence (lock TEXT PRIMARY KEY, token INTEGER NOT NULL);
CREATE TABLE ledger (number INTEGER PRIMARY KEY AUTOINCREMENT, token INTEGER NOT NULL, writer TEXT NOT NULL);
"""


class Ledger:
    """The guarded resource: any database would do."""

    def __init__(self, path: Path, *, check: bool) -> None:
        self.db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        self.check = check

    def write(self, token: int, writer: str) -> bool:
        """One row, unless somebody with a newer token was here."""
        self.db.execute("BEGIN IMMEDIATE")
        fenced = self.db.execute(
            "UPDATE fence SET token = :token WHERE lock = :lock AND token <= :token", {"token": token, "lock": LOCK}
        )
        if self.check and not fenced.rowcount:
            self.db.execute("ROLLBACK")
            return False
        self.db.execute("INSERT INTO ledger (token, writer) VALUES (?, ?)", (token, writer))
        self.db.execute("COMMIT")
        return True


def work(name: str, url: str, lease: float, ledger: Ledger) -> None:
    """One writer, until it is ended. Tells on standard output what it does, a line of JSON each."""

    def say(event: str, token: int) -> None:
        print(json.dumps({"event": event, "token": token}), flush=True)

    told_to_stop = threading.Event()
    signal.signal(signal.SIGUSR1, lambda number, frame: told_to_stop.set())
    with quorate.connect(url) as client:
        while True:
            token = 0
            try:
                with client.lock(LOCK, lease=lease, timeout=PATIENCE) as lock:
                    token = lock.token
                    for _ in range(ROWS_EACH):
                        if not lock.held:
                            break
                        say("computes", token)
                        time.sleep(COMPUTE_SECONDS)
                        if told_to_stop.is_set():
                            told_to_stop.clear()
                            say("stops", token)
                            os.kill(os.getpid(), signal.SIGSTOP)  # the whole process: nothing of it runs, nor renews
                        say("writes" if ledger.write(token, name) else "is refused", token)
            except quorate.LockLost:
                say("has lost it", token)


class Writer:
    """A process that works, and what it says."""

    def __init__(self, name: str, arguments: list[str], heard: queue.Queue[tuple[Writer, dict[str, Any]]]) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--writer", name, *arguments], stdout=subprocess.PIPE, text=True
        )
        self._heard = heard
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._heard.put((self, json.loads(line)))
        if self.process.wait() != -signal.SIGKILL:
            self._heard.put((self, {"event": "has failed", "token": 0}))


class Trouble:
    """Starts the writers, stops and kills whoever holds the lock, and listens."""

    def __init__(self, options: argparse.Namespace, file: Path) -> None:
        self.arguments = ["--url", options.url, "--lease", str(options.lease), "--file", str(file)]
        if options.without_check:
            self.arguments.append("--without-check")
        self.heard: queue.Queue[tuple[Writer, dict[str, Any]]] = queue.Queue()
        self.count = 0
        self.refused = 0
        self.writers = [self.start() for _ in range(options.writers)]

    def start(self) -> Writer:
        self.count += 1
        return Writer(f"writer-{self.count}", self.arguments, self.heard)

    def wait(self, event: str, *, by: Writer | None = None, above: int = 0) -> tuple[Writer, int]:
        """Until somebody (``by``: this one) says so, with a token above this."""
        while True:
            writer, said, token = self.hear()
            if said == event and token > above and by in (None, writer):
                return writer, token

    def hear(self) -> tuple[Writer, str, int]:
        writer, said = self.heard.get(timeout=PATIENCE)
        if said["event"] == "has failed":
            raise SystemExit(f"{writer.name} has failed; its words stand above")
        self.refused += said["event"] == "is refused"
        return writer, said["event"], said["token"]

    def holder(self) -> tuple[Writer, int]:
        """Who holds it now: what was said before is old."""
        while not self.heard.empty():
            self.hear()
        return self.wait("computes")

    def pause(self) -> None:
        """The holder is stopped at the worst moment, between look and write, until somebody else has written."""
        holder, _ = self.holder()
        holder.process.send_signal(signal.SIGUSR1)
        holder, token = self.wait("stops", by=holder)
        begin = time.monotonic()
        try:
            other, newer = self.wait("writes", above=token)
        finally:
            holder.process.send_signal(signal.SIGCONT)
        print(
            f"{holder.name} was stopped with token {token}; after {time.monotonic() - begin:.2f} s {other.name} wrote"
            f" with {newer}; now {holder.name} goes on"
        )
        self.wait("has lost it", by=holder)

    def kill(self) -> None:
        """The holder is killed."""
        holder, token = self.holder()
        time.sleep(random.uniform(0, COMPUTE_SECONDS))
        holder.process.kill()
        begin = time.monotonic()
        other, newer = self.wait("computes", above=token)
        took = (time.monotonic() - begin) * 1000
        print(f"{holder.name} was killed with token {token}; after {took:.0f} ms {other.name} has {newer}")
        holder.process.wait()
        self.writers[self.writers.index(holder)] = self.start()

    def end(self) -> None:
        for writer in self.writers:
            writer.process.kill()
            writer.process.wait()


def judge(file: Path) -> tuple[int, int, int]:
    """(rows, different tokens, rows whose token is smaller than one before them)."""
    rows = [token for (token,) in sqlite3.connect(file).execute("SELECT token FROM ledger ORDER BY number")]
    greatest = stale = 0
    for token in rows:
        stale += token < greatest
        greatest = max(greatest, token)
    return len(rows), len(set(rows)), stale


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=os.environ.get("QUORATE_URL", HERE))
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--pauses", type=int, default=3)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--lease", type=float, default=1.0, help="seconds")
    parser.add_argument("--without-check", action="store_true", help="the table takes every token: count what gets in")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--writer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.writer:
        work(options.writer, options.url, options.lease, Ledger(options.file, check=not options.without_check))
    with tempfile.TemporaryDirectory(prefix="fenced-writer-") as folder:
        file = Path(folder) / "ledger.sqlite"
        with sqlite3.connect(file) as db:
            db.executescript(TABLES)
            db.execute("INSERT INTO fence VALUES (?, 0)", (LOCK,))
        trouble = Trouble(options, file)
        try:
            for number in range(max(options.pauses, options.kills)):
                time.sleep(WORK_SECONDS)
                if number < options.pauses:
                    trouble.pause()
                if number < options.kills:
                    trouble.kill()
        finally:
            trouble.end()
        rows, tokens, stale = judge(file)
    print(
        f"{rows} rows under {tokens} tokens; refused because a newer token had written: {trouble.refused};"
        f" stale rows in the table: {stale}"
    )
    return 1 if stale and not options.without_check else 0


if __name__ == "__main__":
    sys.exit(main())
