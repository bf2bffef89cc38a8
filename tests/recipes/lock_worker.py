"""A process that holds a lock, to be killed and stopped by a test: `lock_worker.py threads|asyncio URL NAME LEASE`.

Says its token, waits for a line, and says what it found then: whether it held, what came out of the block, and what
became of a write with its token.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import quorate
import quorate.aio


def by_thread(url: str, name: str, lease: float) -> dict[str, Any]:
    found: dict[str, Any] = {"told": []}
    with quorate.connect(url) as client:
        lock = client.lock(name, lease=lease, timeout=30.0, on_lost=found["told"].append)
        try:
            with lock:
                token = lock.token
                print(token, flush=True)
                sys.stdin.readline()
                found["held"] = lock.held
                found["remaining"] = lock.remaining
                try:
                    client.put("guarded", b"stale", if_fence=(name, lock.token))
                except quorate.QuorateError as error:
                    found["write"] = type(error).__name__
        except quorate.QuorateError as error:
            found["out"] = type(error).__name__
    return found


async def by_task(url: str, name: str, lease: float) -> dict[str, Any]:
    found: dict[str, Any] = {"told": []}
    async with await quorate.aio.connect(url) as client:
        lock = client.lock(name, lease=lease, timeout=30.0, on_lost=found["told"].append)
        try:
            async with lock:
                print(lock.token, flush=True)
                try:
                    await asyncio.sleep(600)
                except asyncio.CancelledError:
                    found["cancelled"] = True
                    found["held"] = lock.held
                    raise
        except quorate.QuorateError as error:
            found["out"] = type(error).__name__
        try:
            await client.put("guarded", b"stale", if_fence=(name, lock.token if lock.held else 1))
        except quorate.QuorateError as error:
            found["write"] = type(error).__name__
    return found


if __name__ == "__main__":
    face, url, name, lease = sys.argv[1:]
    if face == "threads":
        print(json.dumps(by_thread(url, name, float(lease))), flush=True)
    else:
        print(json.dumps(asyncio.run(by_task(url, name, float(lease)))), flush=True)
