"""What newcomers do: callbacks that are none, a client closed while something is held, a name used as two things."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate.errors import InvalidArgument, Rejected

PATIENCE = 30.0

MAKERS: dict[str, Callable[..., Any]] = {
    "lock": lambda client, **options: client.lock("n", **options),
    "sticky lock": lambda client, **options: client.sticky_lock("n", **options),
    "multi-lock": lambda client, **options: client.multi_lock(["n", "m"], **options),
    "read-write lock": lambda client, **options: client.rwlock("n", **options),
    "semaphore": lambda client, **options: client.semaphore("n", 2, **options),
    "election": lambda client, **options: client.election("n", **options),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("callback", ["on_lost", "on_suspect"])
def test_a_callback_that_is_none_is_refused_at_once(
    threads: quorate.Client, make: Callable[..., Any], callback: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"{callback} is a function"):
        make(threads, **{callback: "call me"})


def test_closing_a_client_that_holds_for_long_is_quiet(
    one_node: quorate.Node, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        client = quorate.connect(f"quorate://{one_node.address}", timeout=PATIENCE)
        lock = client.lock("quiet")
        assert lock.acquire()
        watchers = client._core.backend.attendant._errands
        deadline = time.monotonic() + PATIENCE
        while not watchers and time.monotonic() < deadline:
            time.sleep(0.02)
        assert watchers, "what is held for long is watched"
        client.close()
        assert not lock.held
    assert not caplog.records


def test_a_name_is_one_kind_of_lock_and_that_is_told(threads: quorate.Client) -> None:
    with threads.lock("used"):
        pass
    for use in (
        lambda: threads.semaphore("used", 2).acquire(),
        lambda: threads.rwlock("used").read().acquire(),
        lambda: threads.election("used").campaign(b""),
        lambda: threads.election("used").leader(),
    ):
        with pytest.raises(Rejected, match="in use as a lock"):
            use()
    with threads.semaphore("three", 3).acquire(), pytest.raises(Rejected, match="capacity of 3"):
        threads.semaphore("three", 2).acquire()


def test_a_client_that_was_not_awaited_says_so() -> None:
    with pytest.raises(AttributeError, match=r"no client yet, so it has no 'lock': write `client = await"):
        quorate.aio.connect("quorate://127.0.0.1:1").lock("x")  # type: ignore[attr-defined]
