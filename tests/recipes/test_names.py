"""What recipes made of keys stand on: definitions, and taking back what was begun."""

from __future__ import annotations

from typing import Any

import pytest

from quorate.errors import Overloaded, Rejected, SessionLost
from quorate.recipes.names import ANYONE, Name, undo
from quorate.store import commands
from quorate.testing.flows import FlowRig


def test_a_definition_is_written_once_and_compared_after() -> None:
    with FlowRig() as rig:
        a, b = rig.client("a", prefix=b"app/"), rig.client("b", prefix=b"app/")
        counter = Name(a, "counter", "n")
        put = [commands.do_put(counter.key(b"k"), b"v")]
        # Both find the name without a definition, and both of their first tries come to nothing.
        tasks = [rig.spawn(Name(client, "counter", "n").write([], put, 5.0), client) for client in (a, b)]
        rig.drive(lambda: all(task.done for task in tasks))
        assert all(task.value.succeeded for task in tasks)
        assert rig.store.reader.value(b"app/.quorate/names/n") == b"counter"
        never = [commands.compare(counter.key(b"k"), "version", "==", 77)]
        assert not rig.run(counter.write(never, put, 5.0), a).succeeded
        with pytest.raises(Rejected, match="'n' is a counter, and not a barrier of 3 parties"):
            rig.run(Name(b, "barrier", "n", "3").write([], put, 5.0), b)
        rig.apply(commands.put(b"app/.quorate/names/n", b"tomorrow 7"))
        with pytest.raises(Rejected, match=r"used for something else \(tomorrow 7\), and not a counter"):
            rig.run(counter.look(5.0), a)
        # A condition that does not hold defines nothing.
        other = Name(a, "queue", "other")
        assert not rig.run(other.write(never, put, 5.0), a).succeeded
        assert rig.store.reader.value(b"app/.quorate/names/other") is None


@pytest.mark.parametrize("times", [1, 3])
def test_what_finds_no_room_is_taken_back_later(times: int) -> None:
    with FlowRig() as rig:
        client = rig.client()
        lane: Any = client.backend.pooled(10.0)
        rig.run(client.backend.write(commands.put("k", b"v", session=ANYONE, owned=True), 5.0, lane), client)
        submit, left = lane.submit, [times]

        def full(command: bytes, timeout: float) -> Any:
            if left[0]:
                left[0] -= 1
                raise Overloaded("no room")
            return submit(command, timeout)

        lane.submit = full
        undo(client, lane, [], [commands.do_delete(b"k")])
        assert rig.store.reader.value("k") == b"v"
        rig.drive(lambda: rig.store.reader.value("k") is None, 10.0)
        lane.lose("for a test")
        undo(client, lane, [], [commands.do_delete(b"k")])  # its session is over, and so is what it had


def test_what_is_taken_back_too_late_is_given_up() -> None:
    with FlowRig() as rig:
        client = rig.client()
        lane: Any = client.backend.pooled(10.0)
        answers: list[Any] = [Overloaded("no room"), SessionLost("it is over")]

        def refuse(command: bytes, timeout: float) -> Any:
            raise answers.pop(0)

        lane.submit = refuse
        undo(client, lane, [], [commands.do_delete(b"k")])
        rig.drive(lambda: not answers, 10.0)
        rig.settle()
