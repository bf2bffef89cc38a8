"""What the processes do in which test_permit_processes has its holders.

``hold URL NAME``: holds a read-write lock, a semaphore, an election and a sticky lock, says so, and waits to be killed.
``contend URL NAME FILE TURNS``: takes a sticky lock again and again, and writes each time who it was and with which
token; until there were so many grants.
``lead URL NAME``: leads, says so, and tells how it ended.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import quorate
from quorate.errors import LockLost

PATIENCE = 60.0
LEASE = 10.0
SHORT = 6.0
"""A lease that a test waits for."""


def hold(client: quorate.Client, name: str) -> None:
    options = {"lease": LEASE, "timeout": PATIENCE}
    lock = client.sticky_lock(f"{name}/sticky", **options)
    with (
        client.rwlock(f"{name}/rwlock", **options).write() as writer,
        client.semaphore(f"{name}/semaphore", 3, **options).acquire(3) as units,
        client.election(f"{name}/election", **options).campaign(b"first") as term,
    ):
        with lock:
            pass
        print(max(writer.token, units.token, term.token, lock.token), flush=True)
        time.sleep(600)


def contend(client: quorate.Client, name: str, file: Path, turns: int) -> None:
    lock = client.sticky_lock(name, lease=60.0, timeout=PATIENCE)
    inside = file.with_suffix(".inside")
    deadline = time.monotonic() + PATIENCE
    while True:
        with lock:
            # Whoever is inside alone can make this file.
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            with file.open("a") as rows:
                rows.write(f"{os.getpid()} {lock.token}\n")
            seen = file.read_text().splitlines()
            inside.unlink()
        tokens = {row.split()[1] for row in seen}
        if len(tokens) >= turns:
            return
        assert time.monotonic() < deadline, f"{len(tokens)} turns"


def lead(client: quorate.Client, name: str) -> None:
    try:
        with client.election(name, lease=SHORT, timeout=PATIENCE).campaign(b"first") as term:
            print(term.token, flush=True)
            while term.held:
                time.sleep(0.01)
            print("not held", flush=True)
    except LockLost:
        print("LockLost", flush=True)


def main() -> None:
    what, url, name, *rest = sys.argv[1:]
    with quorate.connect(url, timeout=PATIENCE) as client:
        if what == "hold":
            hold(client, name)
        elif what == "contend":
            contend(client, name, Path(rest[0]), int(rest[1]))
        else:
            lead(client, name)


if __name__ == "__main__":
    main()
