"""The attendant: flows and timers in a thread of its own, which ends with the client and is not there after a fork."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from quorate.client.attendant import Attendant
from quorate.client.flow import Flow, Pause
from quorate.errors import NodeFailed, Rejected


def test_a_flow_runs_and_ends() -> None:
    attendant = Attendant()
    where: list[threading.Thread] = []
    ended = threading.Event()

    def flow() -> Flow[None]:
        yield Pause(0.001)
        where.append(threading.current_thread())
        ended.set()

    errand = attendant.start(flow())
    assert ended.wait(20)
    assert where == [attendant.thread]
    attendant.close()
    assert errand.done
    assert not where[0].is_alive()


def test_a_cancelled_flow_can_take_back_what_it_began() -> None:
    attendant = Attendant()
    found: list[type[BaseException]] = []
    ended = threading.Event()

    def flow() -> Flow[None]:
        try:
            yield Pause(600.0)
        except BaseException as error:
            found.append(type(error))
            ended.set()
            raise

    attendant.start(flow()).cancel()
    assert ended.wait(20)
    attendant.start(flow())
    attendant.close()
    assert found == [asyncio.CancelledError] * 2


def test_a_flow_that_outlives_its_engine_ends_quietly_and_another_error_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    attendant = Attendant()

    def flow(error: Exception) -> Flow[None]:
        yield Pause(0.0)
        raise error

    for error in (NodeFailed("the client is closed"), ValueError("a mistake")):
        errand = attendant.start(flow(error))
        deadline = time.monotonic() + 20
        while not errand.done and time.monotonic() < deadline:
            time.sleep(0.001)
    attendant.close()
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["a mistake"]


def test_timers_run_at_their_time_and_not_if_they_are_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    attendant = Attendant()
    called: list[str] = []
    last = threading.Event()
    now = time.monotonic()
    attendant.at(now + 0.04, last.set)
    attendant.at(now + 0.03, lambda: called.append("second"))
    attendant.at(now + 0.01, lambda: called.append("first"))
    attendant.at(now + 0.02, lambda: called.append("never")).cancel()
    attendant.at(now + 0.02, lambda: 1 // 0)
    assert last.wait(20)
    assert called == ["first", "second"]
    assert "a call in the background failed" in caplog.text
    attendant.close()


def test_cancelled_timers_are_tidied_away() -> None:
    attendant = Attendant()
    far = time.monotonic() + 600
    for _ in range(5000):
        attendant.at(far, lambda: None).cancel()
    assert len(attendant._timers) < 1000
    attendant.close()


def test_after_its_end_nothing_is_taken() -> None:
    attendant = Attendant()
    attendant.close()
    with pytest.raises(Rejected, match="closed"):
        attendant.call(print)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_none() -> None:
    attendant = Attendant()
    done = threading.Event()
    attendant.call(done.set)
    assert done.wait(20)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            attendant.call(print)
        except NodeFailed:
            attendant.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    attendant.close()
