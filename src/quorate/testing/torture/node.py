"""A node of a torture as a process: obeys lines of JSON, and lets its disk be spoilt and its GIL be held.

Ends with its parent. Knows nothing of the schedule.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
import time
from typing import Any

from quorate.config import RaftConfig
from quorate.errors import QuorateError, StorageError
from quorate.runtime.node import NativeNode
from quorate.storage import Faults
from quorate.testing.torture.children import follow_parent

__all__: list[str] = []


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what, default=str), flush=True)


def _words(error: BaseException) -> dict[str, Any]:
    found: dict[str, Any] = {"error": f"{type(error).__name__}: {error}"}
    if isinstance(error, StorageError):
        found |= {"file": error.file, "offset": error.offset, "reason": error.reason}
    return found


def digest(node: NativeNode) -> dict[str, Any]:
    """What the node's copy of the store shows, as one number, and as of which revision."""
    reader = node.reader
    while True:
        revision = reader.revision
        keys, _ = reader.range()
        sessions = reader.sessions(1_000_000)
        if reader.revision == revision:
            break
    sum_ = hashlib.sha256()
    for each in keys:
        sum_.update(repr((each.key, each.value, each.create_revision, each.mod_revision, each.version)).encode())
    for one in sessions:
        sum_.update(repr(one).encode())
    return {"revision": revision, "keys": len(keys), "sessions": len(sessions), "sha256": sum_.hexdigest()}


def obey(node: NativeNode, faults: Faults, order: dict[str, Any]) -> dict[str, Any]:
    """Carries out one line."""
    what = order["what"]
    if what == "status":
        return node.status()
    if what == "ready":
        node.wait_ready(order["seconds"])
        return {}
    if what == "digest":
        node.wait_ready(order["seconds"])
        return digest(node)
    if what == "hold":
        # PyDLL keeps the GIL during the call, as an extension does that was not written with care.
        deadline = time.monotonic() + order["seconds"]
        while (left := deadline - time.monotonic()) > 0:
            ctypes.PyDLL(None).usleep(min(int(left * 1e6), 900_000))
        return {}
    if what == "hang":
        # In this order: what is recorded as written is synced by a call that hangs, and so never acknowledged.
        faults.slow("sync", seconds=order["seconds"])
        faults.record()
        return {}
    if what == "written":
        return {"written": [[at, data.hex()] for what, _, _, at, data in faults.events() if what == "write"]}
    if what == "fail":
        faults.fail(order["operation"], error=order["error"])
    elif what == "slow":
        faults.slow(order["operation"], seconds=order["seconds"])
    else:
        faults.clear()
    return {}


def main() -> None:
    """Runs until standard input ends."""
    follow_parent()
    settings = json.loads(sys.stdin.readline())
    faults = Faults()
    node = NativeNode(
        settings["name"],
        settings["id"],
        {int(id): (name, address) for id, (name, address) in settings["members"].items()},
        join=settings["join"],
        listen=settings["listen"],
        data_dir=settings["data_dir"],
        config=RaftConfig(**settings["config"]),
        segment_bytes=settings["segment_bytes"],
        faults=faults,
    )
    try:
        node.start()
    except (QuorateError, OSError) as error:
        _say(_words(error))
        return
    _say({"running": True})
    with node:
        for line in sys.stdin:
            try:
                answer = obey(node, faults, json.loads(line))
            except QuorateError as error:
                answer = _words(error)
            _say(answer)


if __name__ == "__main__":
    main()
