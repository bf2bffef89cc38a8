"""Elections: one leads, with a value; who observes has the latest leader."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import quorate
import quorate.aio
from quorate.errors import InvalidArgument, LockLost, NotHappened, Rejected
from recipes.waiting import Aside, forced, queue_of, until


def test_one_leads_and_the_next_follows(client: Any) -> None:
    chief = client.election("chief")
    assert chief.leader() is None
    with chief.campaign(b"one") as term:
        assert (term.held, term.value) == (True, b"one")
        found = chief.leader()
        assert (found.value, found.token) == (b"one", term.token)
        follows = Aside(lambda: chief.campaign(b"two", timeout=20.0))
        until(lambda: queue_of(client, "chief") == (1, 1))
        assert chief.leader() == found
    second = follows.result()
    assert second.token > term.token
    assert not term.held
    assert chief.leader().value == b"two"
    second.resign()
    assert chief.leader() is None
    with pytest.raises(Rejected):
        second.resign()
    with pytest.raises(LockLost):
        second.proclaim(b"still me")


def test_a_campaign_that_does_not_win_in_time_says_who_leads(client: Any) -> None:
    chief = client.election("chief")
    with chief.campaign(b"one"):
        for timeout in (0, 0.05):
            with pytest.raises(
                NotHappened, match=r"the election 'chief' was not granted in time: .*session \d+, holding since"
            ):
                chief.campaign(b"two", timeout=timeout)
        until(lambda: queue_of(client, "chief") == (1, 0))


def test_observers_have_the_latest_leader(client: Any) -> None:
    chief = client.election("chief")
    seen = chief.observe()
    waits = Aside(lambda: next(seen))
    with chief.campaign(b"one") as term:
        assert waits.result().value == b"one"
        term.proclaim(b"uno")
        assert term.value == b"uno"
        assert next(seen).value == b"uno"
        assert chief.leader().value == b"uno"
    with chief.campaign(b"two") as second:
        found = next(seen)
        assert (found.value, found.token) == (b"two", second.token)
        # Whoever begins to observe now, begins with the leader of now.
        assert next(chief.observe()) == found


def test_an_observer_that_is_slow_has_the_latest_not_all(client: Any) -> None:
    chief = client.election("chief")
    seen = chief.observe()
    for number in range(5):
        with chief.campaign(b"%d" % number):
            if number == 0:
                assert next(seen).value == b"0"
    with chief.campaign(b"last"):
        assert next(seen).value == b"last"


def test_a_leader_that_is_deposed_is_told(client: Any) -> None:
    told: list[str] = []
    chief = client.election("chief", on_lost=told.append)
    with pytest.raises(LockLost, match="an operator: no confidence"), chief.campaign(b"one") as term:  # noqa: PT012
        forced(client, "chief", "no confidence")
        until(lambda: not term.held)
        with pytest.raises(LockLost):
            term.proclaim(b"still me")
    assert until(lambda: told) == ["it was taken away by an operator: no confidence"]


def test_a_name_of_another_kind(threads: quorate.Client) -> None:
    with threads.semaphore("one", 3).acquire():
        with pytest.raises(Rejected, match="in use as a semaphore"):
            threads.election("one").campaign(b"me")
        with pytest.raises(Rejected, match="in use as a semaphore"):
            threads.election("one").leader()
        with pytest.raises(Rejected, match="in use as a semaphore"):
            next(threads.election("one").observe())


def test_wrong_arguments(threads: quorate.Client) -> None:
    with pytest.raises(InvalidArgument):
        threads.election("")
    with pytest.raises(InvalidArgument):
        threads.election("x", lease=-1)
    with pytest.raises(InvalidArgument):
        threads.election("x").campaign("text")  # type: ignore[arg-type]
    assert queue_of(threads, "x") == (0, 0)


def test_in_asyncio(threads: quorate.Client) -> None:
    async def main() -> None:
        chief = quorate.aio.Client(threads._core).election("chief")
        term = await chief.campaign(b"one")
        observation = chief.observe()
        assert (await observation.__anext__()).value == b"one"
        following = asyncio.ensure_future(observation.__anext__())
        await asyncio.sleep(0.01)
        following.cancel()  # it stands where it stood
        await asyncio.gather(following, return_exceptions=True)
        await term.proclaim(b"uno")
        await term.resign()
        assert await chief.leader() is None
        async with chief.campaign(b"two"):
            async for leader in observation:
                if leader.value == b"two":
                    break
        with pytest.raises(LockLost, match="no confidence"):  # noqa: PT012
            async with chief.campaign(b"three"):
                forced(threads, "chief", "no confidence")
                await asyncio.sleep(30)

    asyncio.run(main())
