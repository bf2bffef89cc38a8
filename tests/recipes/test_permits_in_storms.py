"""Read-write locks, semaphores, elections and sticky locks over a simulated cluster: whatever happens to their holders,
nobody has what another has.

A resource outside looks after every command and every step: at what the cluster holds, and at what each client believes
that it holds. Nobody who believes is wrong; so what the cluster grants is exclusive for them too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quorate.errors import Indeterminate, NotHappened, QuorateError, SessionLost
from quorate.recipes import permits
from quorate.recipes.election import Candidacy, Following
from quorate.recipes.held import Keeper
from quorate.recipes.rwlock import Half
from quorate.recipes.sticky import StickyFlows
from quorate.store import commands
from quorate.store.views import RWLOCK_CAPACITY, Acquisition, Limit, PermitKind
from quorate.testing.flows import Cancelled, FlowClient, FlowRig, FlowTask
from recipes.storm import Storm, seeded

NAME = b"it"
SEEDS = 25
LEASE = 2.0
"""So short that sessions are lost in a storm."""
EXPECTED = (NotHappened, Indeterminate, SessionLost, Cancelled)


class Told:
    """Calls back here and now."""

    def tell(self, callback: Callable[..., Any], *arguments: Any) -> None:
        callback(*arguments)


class Judge:
    """The resource: what the cluster has granted, in its order."""

    def __init__(self, rig: FlowRig, capacity: int) -> None:
        self.rig, self.capacity = rig, capacity
        self.waiting: dict[tuple[int, int], int] = {}  # who waits, and since which revision
        self.granted: dict[tuple[int, int], int] = {}  # every grant that there ever was, and its token
        self.last = 0
        rig.on_apply = self.applied

    def queue(self) -> tuple[Acquisition, ...]:
        found = self.rig.store.reader.permit(NAME, 100)
        return found.queue if found is not None else ()

    def applied(self, command: bytes, result: Any) -> None:
        queue = self.queue()
        holders = [each for each in queue if each.token]
        assert sum(each.units for each in holders) <= self.capacity, "more is held than there is"
        waiters = [each for each in queue if not each.token]
        if waiters:
            head = waiters[0]
            assert head.queued_at == min(each.queued_at for each in waiters)
            assert head.units + sum(each.units for each in holders) > self.capacity, "it waits, although there is room"
        for each in holders:
            who = (each.session, each.acquisition)
            if who in self.granted:
                assert self.granted[who] == each.token, "one grant has one token"
                continue
            assert each.token == self.rig.index > self.last or each.units < self.capacity
            overtaken = [when for other, when in self.waiting.items() if other != who and self.stands(other, waiters)]
            assert all(each.queued_at < when for when in overtaken), "somebody was overtaken"
            self.granted[who] = each.token
            self.last = max(self.last, each.token)
        self.waiting = {(each.session, each.acquisition): each.queued_at for each in waiters}

    @staticmethod
    def stands(who: tuple[int, int], waiters: list[Acquisition]) -> bool:
        return any((each.session, each.acquisition) == who for each in waiters)

    def believed(self, grant: Any) -> None:
        """Somebody acts as its holder."""
        holders = {(each.session, each.acquisition): each.token for each in self.queue() if each.token}
        who = (grant.lane.session, grant.acquisition)
        assert holders.get(who) == grant.token, "somebody believes that he holds it, and does not"


class Held:
    """A storm of holders who acquire and release: ``make(client, random)`` gives the next keeper of one."""

    def __init__(self, rig: FlowRig, seed: int, capacity: int, make: Callable[[FlowClient, Any], Keeper]) -> None:
        self.rig, self.make = rig, make
        self.judge = Judge(rig, capacity)
        self.keepers: dict[FlowClient, Keeper] = {}
        self.holds: dict[FlowClient, Keeper] = {}
        self.granted = self.lost = 0
        self.storm = Storm(rig, seed, self.begin, self.ended, clients=4)

    def begin(self, client: FlowClient) -> FlowTask[Any]:
        keeper = self.holds.get(client)
        if keeper is not None:
            return self.rig.spawn(keeper.release(None), client, "releases")
        keeper = self.keepers[client] = self.make(client, self.storm.random)
        value = client.label.encode() if isinstance(keeper, Candidacy) else b""
        patience = self.storm.random.choice((0.0, 0.3, 5.0, 60.0))
        return self.rig.spawn(keeper.acquire(Told(), patience, value), client, "acquires")

    def ended(self, task: FlowTask[Any]) -> None:
        client, error = task.client, task.error
        assert error is None or isinstance(error, EXPECTED), repr(error)
        if task.name == "releases":
            self.lost += isinstance(error, SessionLost)
            del self.holds[client]
        elif error is None and task.value:
            self.granted += 1
            self.holds[client] = self.keepers[client]

    def look(self) -> None:
        for client, keeper in self.holds.items():
            releasing = self.storm.tasks.get(client)
            if not client.dead and releasing is None and keeper.grant is not None and keeper.grant.held():
                self.judge.believed(keeper.grant)

    def go(self, steps: int) -> None:
        for _ in range(steps // 5):
            self.storm.go(5, trouble=0.08)
            self.look()
        self.storm.calm()
        self.look()
        for client, keeper in list(self.holds.items()):
            if not client.dead:
                self.storm.tasks[client] = self.rig.spawn(keeper.release(None), client, "releases")
        self.storm.calm()
        self.rig.advance(30.0)  # the sessions of those who were killed are over
        self.rig.settle()
        assert self.judge.queue() == (), "somebody left something behind"
        assert not self.rig.errors


def half(client: FlowClient, random: Any) -> Keeper:
    return Half(client, NAME, random.random() < 0.35, LEASE, 5.0, None, None)


def unit(client: FlowClient, random: Any) -> Keeper:
    return Keeper(
        client, NAME, PermitKind.SEMAPHORE, noun="it", lease=LEASE, timeout=5.0, capacity=3,
        units=random.choice((1, 1, 2, 3)),
    )  # fmt: skip


def candidacy(client: FlowClient, random: Any) -> Keeper:
    return Candidacy(client, NAME, PermitKind.ELECTION, noun="it", lease=LEASE, timeout=5.0)


@pytest.mark.parametrize(
    ("make", "capacity"), [(half, RWLOCK_CAPACITY), (unit, 3), (candidacy, 1)], ids=["rwlock", "semaphore", "election"]
)
def test_nobody_has_what_another_has(make: Any, capacity: int) -> None:
    granted = lost = 0
    for seed in range(SEEDS):
        with seeded(seed), FlowRig() as rig:
            run = Held(rig, seed, capacity, make)
            run.go(400)
            granted += run.granted
            lost += run.lost
    assert granted > SEEDS * 5, "storms in which nobody gets anything prove little"
    assert lost > SEEDS // 10, "storms in which nobody loses anything prove little"


def test_observers_end_with_the_leader_that_there_is() -> None:
    """Whatever happens to candidates and observers: no observer goes back, and in the end each has the last leader."""
    for seed in range(SEEDS):
        with seeded(seed), FlowRig() as rig:
            run = Held(rig, seed, 1, candidacy)
            watcher = rig.client("watcher")
            following = Following(watcher, NAME)
            seen: list[int] = []
            looks: list[FlowTask[Any]] = []

            def look(
                looks: list[FlowTask[Any]] = looks, seen: list[int] = seen, rig: FlowRig = rig,
                following: Following = following, watcher: FlowClient = watcher, run: Held = run,
            ) -> None:  # fmt: skip
                if looks and not looks[-1].done:
                    if run.storm.random.random() < 0.1:
                        looks[-1].cancel()  # it goes on where it was
                    return
                if looks and looks[-1].error is None:
                    seen.append(looks[-1].value.token)
                looks.append(rig.spawn(following.next(), watcher, "observes"))

            for _ in range(40):
                run.storm.go(5)
                look()
                if run.storm.random.random() < 0.05:
                    watcher.cut()
                elif watcher.cut_off:
                    watcher.heal()
            watcher.heal()
            run.storm.calm()
            rig.advance(40.0)
            if not any(each.token for each in run.judge.queue()):
                late = rig.client("late")
                options: Any = {"kind": PermitKind.ELECTION, "lease": LEASE, "timeout": LONG, "value": b"late"}
                assert rig.run(permits.acquire(late, NAME, **options), late)
            leader = next(each for each in run.judge.queue() if each.token)
            for _ in range(1000):
                look()
                if seen and seen[-1] == leader.token:
                    break
                rig.settle()
                rig.advance(0.1)
            assert seen, "it has seen nobody"
            assert seen[-1] == leader.token
            assert seen == sorted(set(seen)), "an observer does not go back"


LONG = 1000.0


KEPT = ("taken", "idle", "recalled")


class Sticky:
    """A storm of sticky holders: they take, keep, take again, leave, and are recalled by each other."""

    def __init__(self, rig: FlowRig, seed: int) -> None:
        self.rig = rig
        self.judge = Judge(rig, 1)
        self.locks: dict[FlowClient, StickyFlows] = {}
        self.inside: set[FlowClient] = set()
        self.retaken = self.granted = self.lost = 0
        self.storm = Storm(rig, seed, self.begin, self.ended, clients=3)

    def lock(self, client: FlowClient) -> StickyFlows:
        if client not in self.locks:
            self.locks[client] = StickyFlows(client, NAME, lease=LEASE, timeout=30.0)
        return self.locks[client]

    def begin(self, client: FlowClient) -> FlowTask[Any] | None:
        lock = self.lock(client)
        if client in self.inside:
            self.inside.discard(client)
            state = lock.leave(1)
            return None if state == "idle" else self.rig.spawn(lock.left(1, state, None), client, "leaves")
        kept = lock.kept
        if kept is not None and kept.seat.take(1):
            # The heart of it: whoever takes it again without a round is the holder, with the token that he had.
            self.judge.believed(kept.grant)
            self.retaken += 1
            self.inside.add(client)
            return None
        return self.rig.spawn(lock.acquire(Told(), 1, self.storm.random.choice((0.0, 0.5, 30.0))), client, "acquires")

    def ended(self, task: FlowTask[Any]) -> None:
        error = task.error
        assert error is None or isinstance(error, EXPECTED), repr(error)
        if task.name == "acquires" and error is None and task.value:
            self.granted += 1
            self.inside.add(task.client)
        elif task.name == "leaves":
            self.lost += isinstance(error, SessionLost)

    def look(self) -> None:
        for client, lock in self.locks.items():
            kept = lock.kept
            if (
                not client.dead
                and kept is not None
                and kept.seat.state in ("taken", "idle", "recalled")
                and kept.grant.held()
            ):
                self.judge.believed(kept.grant)

    def go(self, steps: int) -> None:
        for _ in range(steps // 5):
            self.storm.go(5, trouble=0.08)
            self.look()
            if self.storm.random.random() < 0.02:
                self.rig.apply(commands.force_release(NAME, "an operator"))
                # Of the holder who is not told yet nothing can be said; he is told as soon as everything is well.
                self.storm.calm()
                for _ in range(4):
                    self.rig.advance(0.3)
                    self.rig.settle()
                self.look()
        self.storm.calm()
        for client in list(self.inside):
            if not client.dead:
                task = self.begin(client)
                if task is not None:
                    self.storm.tasks[client] = task
        self.storm.calm()
        self.rig.advance(30.0)
        self.rig.settle()
        # Whoever keeps it gives it up for one who asks.
        late = self.rig.client("late")
        assert self.rig.run(self.lock(late).acquire(Told(), 1, 60.0), late, 100.0)
        self.look()
        kept = self.locks[late].kept
        assert kept is not None
        assert [each.token for each in self.judge.queue()] == [kept.grant.token]


def test_a_sticky_lock_is_kept_by_one() -> None:
    retaken = granted = 0
    for seed in range(SEEDS):
        with seeded(seed), FlowRig() as rig:
            run = Sticky(rig, seed)
            run.go(300)
            assert not rig.errors
            retaken += run.retaken
            granted += run.granted
    assert min(retaken, granted) > SEEDS * 5


def test_a_waiter_is_served_however_fast_it_is_taken_again() -> None:
    """The holder takes it again at every step; from the recall on it cannot, and the waiter has it within a few."""
    for when in range(40):
        with FlowRig() as rig:
            holder, waiter = rig.client("holder"), rig.client("waiter")
            lock, other = StickyFlows(holder, NAME), StickyFlows(waiter, NAME)
            assert rig.run(lock.acquire(Told(), 1, 30.0), holder)
            assert lock.leave(1) == "idle"
            kept = lock.kept
            assert kept is not None
            asks: FlowTask[Any] | None = None
            retaken = 0
            recalled = False
            leaving: FlowTask[Any] | None = None
            for step in range(400):
                if step == when:
                    asks = rig.spawn(other.acquire(Told(), 1, 60.0), waiter, "asks")
                if asks is not None and asks.done:
                    break
                inside = kept.seat.take(1)
                assert not (inside and recalled), "it was taken again behind the recall"
                retaken += inside
                rig.step(lambda count, step=step: step % count)  # type: ignore[misc]
                recalled = recalled or kept.seat.state in ("recalled", "given up")
                if inside:
                    state = lock.leave(1)
                    if state == "given up":
                        leaving = rig.spawn(lock.left(1, state, None), holder, "leaves")
            assert asks is not None
            assert asks.done, "the waiter was not served"
            assert asks.value is True
            assert recalled
            assert retaken >= when
            assert leaving is None or leaving.error is None or isinstance(leaving.error, QuorateError)


def test_a_waiter_whose_coming_is_forgotten_is_served_all_the_same() -> None:
    """The history that tells of it is gone before the holder, who was cut off, could look at it."""
    with FlowRig() as rig:
        rig.apply(commands.set_limits({Limit.HISTORY_EVENTS: 4}))
        holder, waiter = rig.client("holder"), rig.client("waiter")
        lock, other = StickyFlows(holder, NAME, lease=60.0), StickyFlows(waiter, NAME, lease=60.0)
        assert rig.run(lock.acquire(Told(), 1, 30.0), holder)
        assert lock.leave(1) == "idle"
        rig.settle()
        holder.cut()
        asks = rig.spawn(other.acquire(Told(), 1, 1000.0), waiter, "asks")
        rig.settle()
        for number in range(20):
            rig.apply(commands.put(b"%d" % number, b""))
        assert not asks.done
        holder.heal()
        rig.drive(lambda: asks.done, 200.0)
        assert asks.value is True
        assert lock.kept is not None
        assert not lock.kept.seat.take(1)
