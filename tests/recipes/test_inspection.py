"""What operators ask of read-write locks, semaphores, elections and sticky locks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quorate.errors import InvalidArgument, LockLost, Rejected
from recipes.waiting import Aside, until

RECIPES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "rwlock": (lambda client: client.rwlock("it"), lambda recipe: recipe.write()),
    "semaphore": (lambda client: client.semaphore("it", 3), lambda recipe: recipe.acquire(3, timeout=20.0)),
    "election": (lambda client: client.election("it"), lambda recipe: recipe.campaign(b"me", timeout=20.0)),
    "sticky": (lambda client: client.sticky_lock("it"), lambda recipe: recipe),
}


@pytest.mark.parametrize(("make", "take"), RECIPES.values(), ids=RECIPES)
def test_who_holds_and_waits_and_it_is_taken_away(client: Any, make: Any, take: Any) -> None:
    recipe = make(client)
    assert (recipe.holders(), recipe.waiters()) == ([], [])
    with pytest.raises(Rejected, match="nobody holds it"):
        recipe.force_release("cleaning")

    def waits() -> int:
        with take(make(client)) as other:
            token: int = other.token
            return token

    with pytest.raises(LockLost, match="cleaning"), take(recipe) as held:  # noqa: PT012
        (holder,) = recipe.holders()
        assert (holder.token, holder.waiting) == (held.token, False)
        assert "holding since" in str(holder)
        follows = Aside(waits)
        (waiter,) = until(recipe.waiters)
        assert (waiter.token, waiter.waiting) == (0, True)
        with pytest.raises(InvalidArgument, match="reason"):
            recipe.force_release("")
        with pytest.raises(Rejected, match="with the token 1"):
            recipe.force_release("cleaning", 1)
        assert recipe.force_release("cleaning", held.token) == 1
        until(lambda: not held.held)
    assert follows.result() > holder.token
