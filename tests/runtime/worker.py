"""A node in a process of its own, ordered about by lines on its standard input; each gets one line of JSON back.

Run as ``python worker.py NAME ID MEMBERS DATA_DIR [SETTINGS]``; MEMBERS is JSON of [id, name, address], SETTINGS of a
RaftConfig.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

from quorate.config import RaftConfig
from quorate.errors import QuorateError
from quorate.runtime.node import NativeNode
from quorate.storage import Faults
from quorate.store import commands


def hold_the_gil(seconds: float) -> None:
    """A C call that keeps the GIL, as a badly written extension does."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


FAULTS = Faults()


def obey(node: NativeNode, order: list[Any]) -> Any:
    what, *rest = order
    if what == "put":
        return node.execute(commands.put(rest[0], rest[1]), timeout=5.0).revision
    if what == "content":
        node.barrier()
        return {each.key.decode(): each.value.decode() for each in node.reader.range()[0]}
    if what == "hold":
        hold_the_gil(rest[0])
        return True
    if what == "put_many":
        first, count, size = rest
        asked = [
            node.propose(commands.put(f"key-{first + i:06}", f"{first + i:0{size}}"), timeout=30.0)
            for i in range(count)
        ]
        return [each.wait()[0] for each in asked][-1]
    if what == "slow":
        FAULTS.slow(rest[0], seconds=rest[1], path=rest[2])
        return True
    if what == "quick":
        FAULTS.clear()
        return True
    assert what == "status"
    return node.status()


def main() -> None:
    name, id, members, data_dir, *more = sys.argv[1:]
    table = {each[0]: (each[1], each[2]) for each in json.loads(members)}
    settings = {
        "election_timeout_min_ms": 500,
        "election_timeout_max_ms": 1000,
        **(json.loads(more[0]) if more else {}),
    }
    config = RaftConfig(**settings)
    with NativeNode(
        name, int(id), table, data_dir=data_dir, segment_bytes=1 << 20, config=config, faults=FAULTS
    ) as node:
        print(json.dumps("started"), flush=True)
        for line in sys.stdin:
            try:
                answer: Any = obey(node, json.loads(line))
            except QuorateError as error:
                answer = {"error": type(error).__name__, "says": str(error)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
