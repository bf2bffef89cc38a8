"""A node in a process of its own, ordered about by lines on its standard input; each gets one line of JSON back.

Run as ``python worker.py NAME ID MEMBERS DATA_DIR [SETTINGS]``; MEMBERS is JSON of [id, name, address], SETTINGS of a
RaftConfig.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
import threading
from typing import Any

from quorate.config import RaftConfig
from quorate.errors import QuorateError
from quorate.runtime import questions
from quorate.runtime.node import NativeNode
from quorate.runtime.questions import Kind
from quorate.storage import Faults
from quorate.store import commands
from quorate.store.views import Result


def hold_the_gil(seconds: float) -> None:
    """A C call that keeps the GIL, as a badly written extension does."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


FAULTS = Faults()


class Load:
    """Writes one after the other, until it is halted: how many, and what any of them came to instead."""

    def __init__(self, node: NativeNode) -> None:
        self.node = node
        self.ending = threading.Event()
        self.written = 0
        self.failures: list[str] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.ending.is_set():
            try:
                self.node.execute(commands.increment("counter"), timeout=30.0)
            except QuorateError as error:  # noqa: PERF203
                self.failures.append(repr(error))
            else:
                self.written += 1

    def halt(self) -> list[Any]:
        self.ending.set()
        self.thread.join()
        return [self.written, self.failures]


loads: list[Load] = []
lanes: list[Any] = []


def obey(node: NativeNode, order: list[Any]) -> Any:
    what, *rest = order
    if what == "put":
        return node.execute(commands.put(rest[0], rest[1]), timeout=5.0).revision
    if what == "content":
        node.barrier()
        return {each.key.decode(): each.value.decode() for each in node.reader.range()[0]}
    if what == "load":
        loads.append(Load(node))
        return True
    if what == "written":
        return loads[-1].written
    if what == "halt":
        return loads.pop().halt()
    if what == "lock":
        name, ttl = rest
        lanes.append(node.lane(ttl))
        lanes[-1].opening.wait()
        found = lanes[-1].submit(commands.acquire(name, session=1, acquisition=1), 20.0).wait()[1]
        if not Result.decode(found).granted:
            node.ask(Kind.AWAIT, questions.await_question(lanes[-1].session, 1), timeout=30.0).wait()
        node.barrier()
        permit = node.reader.permit(name.encode(), 1)
        return bool(permit and permit.queue[0].session == lanes[-1].session)
    if what == "sessions":
        node.barrier()
        return [node.reader.session(session) is not None for session in rest[0]]
    if what == "waiters":
        node.barrier()
        permit = node.reader.permit(rest[0].encode(), 1)
        return permit.waiters if permit else 0
    if what == "own":
        return [each.session for each in lanes]
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


def end(*_: object) -> None:
    raise SystemExit(0)


def main() -> None:
    signal.signal(signal.SIGTERM, end)
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
