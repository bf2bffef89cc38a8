"""A node in a process of its own, ordered about by lines on its standard input; each gets one line of JSON back.

Run as ``python worker.py NAME ID MEMBERS DATA_DIR``; MEMBERS is JSON of [id, name, address].
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

from quorate.config import RaftConfig
from quorate.errors import QuorateError
from quorate.runtime.node import NativeNode
from quorate.store import commands


def hold_the_gil(seconds: float) -> None:
    """A C call that keeps the GIL, as a badly written extension does."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


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
    assert what == "status"
    return node.status()


def main() -> None:
    name, id, members, data_dir = sys.argv[1:]
    table = {each[0]: (each[1], each[2]) for each in json.loads(members)}
    patient = RaftConfig(election_timeout_min_ms=500, election_timeout_max_ms=1000)
    with NativeNode(name, int(id), table, data_dir=data_dir, segment_bytes=1 << 20, config=patient) as node:
        print(json.dumps("started"), flush=True)
        for line in sys.stdin:
            try:
                answer: Any = obey(node, json.loads(line))
            except QuorateError as error:
                answer = {"error": type(error).__name__, "says": str(error)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
