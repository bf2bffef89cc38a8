"""Several locks as one: all or none, in an order that cannot end in a circle."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

import quorate
from quorate.errors import InvalidArgument, LockLost, NotHappened, Rejected
from recipes.waiting import until


def test_all_are_held_or_none(client: Any) -> None:
    single, several = client.lock("b"), client.multi_lock(["c", "a", "b"])
    assert single.acquire()
    assert not several.acquire(0)
    assert not several.acquire(0.05)
    assert not several.held
    for name in "ac":
        until(lambda name=name: not client.lock(name).holders())  # type: ignore[misc]
    with pytest.raises(NotHappened, match="'b' was not granted in time"):
        client.multi_lock(["a", "b"], timeout=0.02).__enter__()
    single.release()
    assert several.acquire(20)
    assert several.held
    assert list(getattr(several, "_thing", several).tokens) == ["a", "b", "c"]
    assert not single.acquire(0)
    several.release()
    assert single.acquire(20)
    single.release()


def test_a_name_that_comes_twice_is_one_lock(client: Any) -> None:
    several = client.multi_lock(["a", "a", b"a"])
    assert several.acquire()
    assert len(getattr(several, "_thing", several).tokens) == 1
    several.release()


def test_nobody_waits_in_a_circle(threads: quorate.Client) -> None:
    names = ["a", "b", "c", "d"]
    inside: dict[str, int] = {}
    done: list[int] = []

    def work(seed: int) -> None:
        random_one = random.Random(seed)
        for _ in range(15):
            mine = random_one.sample(names, random_one.randint(1, 4))
            with threads.multi_lock(mine, timeout=60.0) as locks:
                for name in mine:
                    assert inside.setdefault(name, seed) == seed
                assert locks.held
                for name in mine:
                    del inside[name]
        done.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(60)
    assert sorted(done) == [0, 1, 2, 3]


def test_the_loss_of_one_is_the_loss_of_all(client: Any) -> None:
    told: list[str] = []
    several = client.multi_lock(["a", "b"], on_lost=told.append)
    assert several.acquire()
    assert client.lock("b").force_release("deploy") == 1
    assert until(lambda: told) == ["it was taken away by an operator: deploy"]
    assert not several.held
    assert client.lock("a").holders()
    with pytest.raises(LockLost, match="deploy"):
        several.release()
    assert not client.lock("a").holders()
    assert several.acquire(0)
    several.release()


def test_it_is_taken_again_on_request(threads: quorate.Client) -> None:
    several = threads.multi_lock(["a", "b"], reentrant=True)
    with several, several:
        assert several.held
    assert not several.held
    again = threads.multi_lock(["a", "b"])
    with again, pytest.raises(Rejected, match="reentrant"):
        again.acquire()
    with pytest.raises(Rejected, match="not held"):
        again.release()


@pytest.mark.parametrize("names", [[], "ab", b"ab", [""], ["a"] * 257, [1]])
def test_what_cannot_be_is_refused_at_once(client: Any, names: Any) -> None:
    with pytest.raises(InvalidArgument):
        client.multi_lock(names)
