"""Three real processes: kill −9 of the leader in the middle of writes, and a GIL that is held for seconds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quorate.runtime._processes import own_birth
from runtime.clusters import free_sockets, members_of, until

WORKER = Path(__file__).with_name("worker.py")


class Process:
    """One worker; :meth:`order` waits for its answer."""

    def __init__(
        self, name: str, id: int, members: dict[int, tuple[str, str]], path: Path, settings: str = "{}"
    ) -> None:
        table = json.dumps([[each, *members[each]] for each in members])
        self.name = name
        self.command = [sys.executable, str(WORKER), name, str(id), table, str(path / name), settings]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.answer() == "started"

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def send(self, *order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def order(self, *order: Any) -> Any:
        self.send(*order)
        return self.answer()

    def terminate(self) -> None:
        """As an orchestrator ends a process: SIGTERM, upon which it stops its node."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        self.close_pipes()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.close_pipes()

    def close_pipes(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def end(self) -> None:
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            assert self.process.stdout is not None
            self.process.stdout.close()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[dict[str, Process]]:
    sockets = free_sockets(3)
    members = members_of(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    made: dict[str, Process] = {}
    try:
        for id, (name, _) in members.items():
            made[name] = Process(name, id, members, tmp_path)
        yield made
    finally:
        for each in made.values():
            each.end()


def leader_of(processes: dict[str, Process]) -> str:
    def agreed() -> str | None:
        names = {each.order("status")["leader"] for each in processes.values()}
        return names.pop() if len(names) == 1 and None not in names else None

    return until(agreed)


def test_nothing_acknowledged_is_lost_when_the_leader_is_killed(processes: dict[str, Process]) -> None:
    leader = leader_of(processes)
    writer = processes[next(name for name in processes if name != leader)]
    acknowledged: dict[str, str] = {}
    tried: dict[str, str] = {}
    killer = None
    for number in range(400):
        if number == 150:
            # While writes are under way, not between two of them.
            killer = threading.Timer(0.01, processes[leader].kill)
            killer.start()
        key, value = f"key-{number:04}", f"value-{number}"
        tried[key] = value
        answer = writer.order("put", key, value)
        if isinstance(answer, int):
            acknowledged[key] = value
        else:
            # What may have happened is not tried again here; what cannot have, the node tried until its time was over.
            assert answer["error"] == "ConnectionLost", answer
    assert killer is not None
    killer.join()
    assert len(acknowledged) >= 395
    processes[leader].start()
    contents = [each.order("content") for each in processes.values()]
    assert contents[0] == contents[1] == contents[2]
    assert acknowledged.items() <= contents[0].items() <= tried.items()


@pytest.mark.skipif(not own_birth(), reason="this system does not tell processes apart")
@pytest.mark.parametrize("office", ["leader", "follower"])
def test_what_a_member_holds_in_its_process_is_free_when_that_is_killed(
    processes: dict[str, Process], office: str
) -> None:
    leader = leader_of(processes)
    first, second = [name for name in processes if name != leader]
    holder, waiter, other = (leader, first, second) if office == "leader" else (first, second, leader)
    # In sessions that outlive the test if nobody sees the process end.
    assert processes[holder].order("lock", "x", 600.0) is True
    assert processes[holder].order("lock", "y", 600.0) is True
    assert processes[other].order("lock", "z", 600.0) is True
    ended, kept = processes[holder].order("own"), processes[other].order("own")
    processes[waiter].send("lock", "x", 600.0)
    until(lambda: processes[other].order("waiters", "x") == 1)
    processes[holder].kill()
    assert processes[waiter].answer() is True
    assert processes[waiter].order("lock", "y", 600.0) is True
    assert processes[other].order("sessions", ended + kept) == [False, False, True]
    processes[holder].start()
    assert leader_of(processes)
    assert processes[other].order("sessions", kept) == [True], "a member that comes back costs nobody anything"


def test_a_held_gil_costs_neither_the_office_nor_a_write(processes: dict[str, Process]) -> None:
    leader = leader_of(processes)
    before = processes[leader].order("status")
    processes[leader].send("hold", 2.0)
    others = [each for name, each in processes.items() if name != leader]
    written = 0
    for number in range(50):
        # Forwarded to the leader, whose process cannot run a line of Python now.
        written += isinstance(others[number % 2].order("put", f"k{number}", "v"), int)
        assert others[0].order("status")["term"] == before["term"]
    assert written == 50
    assert processes[leader].answer() is True
    after = processes[leader].order("status")
    assert (after["term"], after["leader"], after["role"]) == (before["term"], leader, "leader")
    assert all(each.order("status")["leader_changes"] == 1 for each in others)


def test_a_paused_leader_is_replaced_and_comes_back_as_a_follower(processes: dict[str, Process]) -> None:
    leader = leader_of(processes)
    other = processes[next(name for name in processes if name != leader)]
    assert isinstance(other.order("put", "before", "1"), int)
    processes[leader].process.send_signal(signal.SIGSTOP)
    try:
        until(lambda: other.order("status")["leader"] not in (leader, None))
        until(lambda: isinstance(other.order("put", "meanwhile", "1"), int))
    finally:
        processes[leader].process.send_signal(signal.SIGCONT)
    assert leader_of(processes) != leader
    assert processes[leader].order("content") == {"before": "1", "meanwhile": "1"}


def test_a_rolling_restart_fails_no_request(processes: dict[str, Process]) -> None:
    leader_of(processes)
    written = 0
    for each in processes.values():
        assert each.order("load") is True
    # Twice round, so that whoever leads is restarted too, wherever the office went meanwhile.
    for name in (*processes, *processes):
        done, failures = processes[name].order("halt")
        assert failures == []
        written += done
        processes[name].terminate()
        processes[name].start()
        assert processes[name].order("load") is True
        until(lambda name=name: processes[name].order("written") > 0, 30.0)
    for each in processes.values():
        done, failures = each.order("halt")
        assert failures == []
        written += done
    assert written > 50
    # Not once too few, and not once too often: what was asked again had not happened.
    assert processes["a"].order("content")["counter"] == str(written)
