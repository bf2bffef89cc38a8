"""Any interleaving of locks that Hypothesis finds: crashes, expiry, lost connections, stopped processes, forced
releases, and cancellation at any wait; judged from outside.

Flows of real locks run over a real store (`quorate.testing.FlowRig`). After every step: whoever believes to hold is the
one whom the cluster granted it, and there is one at most. In the end everybody gives up, and nothing may be left.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from quorate.client.flow import Flow
from quorate.errors import QuorateError
from quorate.recipes._grant import Sight
from quorate.recipes.lock import Holding, LockFlows
from quorate.store.views import SessionEnd
from quorate.testing.flows import Cancelled, FlowClient, FlowRig, FlowTask

NAME = b"lock"
LEASE = 10.0


class Teller:
    """Calls back at once."""

    def tell(self, callback: Any, *arguments: Any) -> None:
        callback(*arguments)


class User:
    """Somebody with a lock of his own in some process, as a face drives it."""

    def __init__(self, client: FlowClient, max_hold: float | None) -> None:
        self.client = client
        self.told: list[str] = []
        self.flows = LockFlows(
            client, NAME, lease=LEASE, timeout=5.0, reentrant=False, max_hold=max_hold, on_suspect=lambda: None,
            on_lost=self.told.append,
        )  # fmt: skip
        self.flows.sight = Sight()
        self.task: FlowTask[Any] | None = None
        self.leaving: Holding | None = None

    @property
    def idle(self) -> bool:
        self.settle()
        return self.task is None and not self.client.dead and not self.client.stopped

    @property
    def holding(self) -> Holding | None:
        return self.flows.of(self)

    def settle(self) -> None:
        """What a face does once its flow has ended."""
        task = self.task
        if task is None or not task.done or self.client.dead:
            return
        self.task = None
        leaving, self.leaving = self.leaving, None
        if task.error is None:
            return
        assert isinstance(task.error, (QuorateError, Cancelled, KeyboardInterrupt)), task.error
        if leaving is not None:
            self.flows.drop(leaving)
        else:
            self.flows.undo(self, 0)

    def acquire(self, timeout: float) -> None:
        self.task = self.client.rig.spawn(self._acquired(timeout), self.client, "acquires")

    def _acquired(self, timeout: float) -> Flow[bool]:
        granted = yield from self.flows.acquire(Teller(), self, timeout)
        if granted and not self.flows.of(self).grant.held():  # type: ignore[union-attr]
            self.client.rig.errors.append(AssertionError("what was lost already is told as acquired"))
        return granted

    def release(self) -> None:
        self.leaving = self.flows.leave(self)
        assert self.leaving is not None
        self.task = self.client.rig.spawn(self.flows.release(self.leaving, 5.0), self.client, "releases")


users = st.integers(min_value=0, max_value=4)


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rig = FlowRig()
        self.rig.__enter__()
        self.users: list[User] = []
        self.highest = 0
        self.forced: set[int] = set()  # tokens that were taken away
        self.accesses: list[int] = []  # what the guarded resource accepted
        for _ in range(2):
            self.arrive(False)

    def teardown(self) -> None:
        try:
            self.give_up()
        finally:
            self.rig.__exit__(None, None, None)

    def permit(self) -> Any:
        return self.rig.store.reader.permit(NAME)

    def user(self, number: int) -> User:
        return self.users[number % len(self.users)]

    # What users do

    @precondition(lambda self: len(self.users) < 5)
    @rule(limited=st.booleans())
    def arrive(self, limited: bool) -> None:
        """Another process; or another thread of one, with a lock of its own."""
        shares = self.users and len(self.users) % 2
        client = self.users[-1].client if shares else self.rig.client(timeout=5.0)
        self.users.append(User(client, 15.0 if limited else None))

    @rule(number=users, timeout=st.sampled_from([0.0, 0.3, 5.0, 100.0]))
    def acquires(self, number: int, timeout: float) -> None:
        user = self.user(number)
        if user.idle and user.holding is None:
            user.acquire(timeout)

    @rule(number=users)
    def releases(self, number: int) -> None:
        user = self.user(number)
        if user.idle and user.holding is not None:
            user.release()

    @rule(number=users)
    def uses_what_it_guards(self, number: int) -> None:
        """The resource refuses tokens below one that it has seen."""
        user = self.user(number)
        holding = user.holding
        if user.client.dead or user.client.stopped or holding is None or holding.grant is None:
            return
        token = holding.grant.token
        accepted = token >= max(self.accesses, default=0)
        if accepted:
            self.accesses.append(token)
        if holding.grant.held() and token not in self.forced:
            assert accepted, "who certainly holds it is refused"

    @rule(number=users, kind=st.sampled_from([Cancelled, KeyboardInterrupt]))
    def is_cancelled(self, number: int, kind: type[BaseException]) -> None:
        user = self.user(number)
        if user.task is not None and user.client.runs and not user.task.done:
            user.task.cancel(kind())
            user.settle()

    # What happens to them

    @rule(steps=st.lists(st.integers(min_value=0, max_value=1 << 16), min_size=1, max_size=6))
    def time_goes_by_in_small(self, steps: list[int]) -> None:
        for step in steps:
            self.rig.step(lambda count, step=step: step % count)  # type: ignore[misc]
            for user in self.users:
                user.settle()

    @rule()
    def all_is_done(self) -> None:
        self.rig.settle()

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 4.0, 9.5, 11.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.rig.advance(seconds)

    @rule(number=users, seen=st.booleans(), in_flight=st.booleans())
    def is_killed(self, number: int, seen: bool, in_flight: bool) -> None:
        client = self.user(number).client
        if not client.dead and sum(not user.client.dead for user in self.users) > 2:
            client.crash(seen=seen, in_flight=in_flight)

    @rule(number=users)
    def is_stopped_or_goes_on(self, number: int) -> None:
        client = self.user(number).client
        if client.stopped:
            client.go_on()
        elif not client.dead:
            client.stop()

    @rule(number=users)
    def loses_or_finds_the_cluster(self, number: int) -> None:
        client = self.user(number).client
        if client.cut_off:
            client.heal()
        elif not client.dead:
            client.cut()

    @rule()
    def an_operator_takes_it_away(self) -> None:
        from quorate.store import commands

        held = self.permit()
        if held is not None and held.holders:
            self.forced.add(held.queue[0].token)
            self.rig.apply(commands.force_release(NAME, b"deploy"))

    @rule(number=users)
    def a_session_is_ended(self, number: int) -> None:
        lanes = [lane for lane in self.user(number).client.lanes if not lane.ended]
        if lanes:
            held = self.permit()
            if held is not None and held.holders and held.queue[0].session == lanes[0].session:
                self.forced.add(held.queue[0].token)  # ahead of its time, which only a token protects from
            self.rig.end_session(lanes[0], SessionEnd.FORCED)

    # What must hold

    @invariant()
    def who_believes_to_hold_does(self) -> None:
        for user in self.users:
            user.settle()
        permit = self.permit()
        holders = [each.token for each in permit.queue if each.token] if permit is not None else []
        assert len(holders) <= 1
        believed = [
            user.holding.grant.token
            for user in self.users
            if not user.client.dead and user.holding is not None and user.holding.grant is not None
            and user.holding.grant.held()
        ]  # fmt: skip
        assert set(believed) - self.forced <= set(holders)
        assert len(believed) == len(set(believed))
        if permit is not None:
            assert permit.token >= self.highest, "a token of an exclusive lock never goes back"
            self.highest = permit.token

    @invariant()
    def the_resource_saw_tokens_in_order(self) -> None:
        assert self.accesses == sorted(self.accesses)

    def give_up(self) -> None:
        """Everybody lets go, in one way or another; then nothing is left, and the next one gets it."""
        for user in self.users:
            client = user.client
            if client.dead:
                continue
            if client.stopped:
                client.go_on()
            if client.cut_off:
                client.heal()
        for user in self.users:
            if user.client.dead:
                continue
            user.settle()
            if user.task is not None:
                user.task.cancel()
                user.settle()
            if user.holding is not None:
                user.release()
        self.rig.settle()
        for user in self.users:
            user.settle()
        self.rig.settle()
        # Sessions that are lost to their clients end in the cluster; those that live are renewed, with what they leak.
        self.rig.advance(LEASE + 1)
        self.rig.settle()
        permit = self.permit()
        assert permit is None or (permit.holders, permit.waiters) == (0, 0), permit
        assert not self.rig.errors
        last = User(self.rig.client(), None)
        last.acquire(5.0)
        self.rig.settle()
        last.settle()
        assert last.holding is not None


Histories.TestCase.settings = settings(max_examples=50, stateful_step_count=40)
TestHistories = Histories.TestCase


def lived(seed: int, steps: int = 120) -> int:
    """A history by weights, which goes deeper than what is drawn evenly: most of the time something goes on. Gives how
    often the lock was granted."""
    draw = random.Random(seed)
    it = Histories()
    number, chance = (lambda: draw.randrange(5)), draw.random
    actions: list[tuple[int, Callable[[], Any]]] = [
        (30, lambda: it.time_goes_by_in_small([draw.randrange(1 << 16) for _ in range(draw.randint(1, 4))])),
        (14, lambda: it.acquires(number(), draw.choice([0.0, 0.3, 5.0, 100.0]))),
        (8, lambda: it.releases(number())),
        (6, lambda: it.uses_what_it_guards(number())),
        (5, lambda: it.is_cancelled(number(), draw.choice([Cancelled, KeyboardInterrupt]))),
        (4, it.all_is_done),
        (10, lambda: it.time_goes_by(draw.choice([0.01, 0.3, 1.0, 4.0, 9.5, 11.0]))),
        (5, lambda: it.is_stopped_or_goes_on(number())),
        (5, lambda: it.loses_or_finds_the_cluster(number())),
        (1, lambda: it.is_killed(number(), chance() < 0.5, chance() < 0.5)),
        (1, it.an_operator_takes_it_away),
        (1, lambda: it.a_session_is_ended(number())),
        (2, lambda: it.arrive(chance() < 0.3) if len(it.users) < 5 else None),
    ]
    weights, calls = [each[0] for each in actions], [each[1] for each in actions]
    grants = 0
    try:
        for call in draw.choices(calls, weights, k=steps):
            before = it.highest
            call()
            it.who_believes_to_hold_does()
            it.the_resource_saw_tokens_in_order()
            grants += it.highest > before
    except BaseException:
        it.rig.__exit__(None, None, None)
        raise
    it.teardown()
    return grants


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_histories_by_weights(first: int) -> None:
    grants = [lived(seed) for seed in range(first, first + 50)]
    assert sum(grants) > 100


@pytest.mark.slow
def test_many_histories_by_weights() -> None:
    for seed in range(1000, 1800):
        lived(seed)
