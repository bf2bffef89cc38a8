"""Queues over a simulated cluster: nothing is lost, nothing is handed out twice at once, and what is acknowledged is
gone."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from quorate.errors import Indeterminate, NotHappened, Rejected, SessionLost
from quorate.recipes import items as made_items
from quorate.recipes.items import Items, Taken
from quorate.testing.flows import Cancelled, FlowClient, FlowRig, FlowTask
from recipes.storm import Storm, seeded

HOME = b".quorate/queue/q/"


class Run:
    """One storm of one seed: producers, consumers, and a judge who reads the store after each command."""

    def __init__(self, rig: FlowRig, seed: int) -> None:
        self.rig = rig
        self.put = 0
        self.asked: dict[FlowTask[Any], list[bytes]] = {}  # what a put puts
        self.begun: dict[FlowTask[Any], int] = {}  # the revision at which a put began
        self.puts: list[tuple[list[bytes], int, str]] = []  # that came to their ends: when, and the last of their ids
        self.once: dict[bytes, str] = {}
        self.sure: set[bytes] = set()  # was put, and its producer knows
        self.maybe: set[bytes] = set()
        self.never: set[bytes] = set()
        self.inside: dict[bytes, bytes] = {}  # in the queue: item, value
        self.claims: dict[bytes, bytes] = {}  # item, token
        self.order: list[bytes] = []  # values, as they went in
        self.acked: list[bytes] = []
        self.tokens: dict[bytes, Taken] = {}  # that a consumer was given
        self.holds: dict[FlowClient, list[Taken]] = {}
        self.acks: dict[FlowTask[Any], Taken] = {}
        self.flows: dict[FlowClient, Items] = {}
        self.storm = Storm(rig, seed, self.begin, self.ended, clients=4)
        rig.on_apply = self.applied

    def applied(self, command: bytes, result: Any) -> None:
        rows, _ = self.rig.store.reader.range(HOME + b"d/", HOME + b"d0")
        now = {row.key[len(HOME) + 2 :]: row.value for row in rows}
        for item in now.keys() - self.inside.keys():
            assert now[item] not in self.order, "it went in twice"
            self.order.append(now[item])
        for item in self.inside.keys() - now.keys():
            # Only who has it acknowledges it, and once.
            token = self.claims[item]
            taken = self.tokens[token]
            assert taken.id == item
            assert self.inside[item] not in self.acked
            self.acked.append(self.inside[item])
        self.inside = now
        rows, _ = self.rig.store.reader.range(HOME + b"i/", HOME + b"i0")
        self.claims = {row.key[len(HOME) + 2 : -2]: row.value for row in rows if row.key.endswith(b"/c")}
        assert {row.key[len(HOME) + 2 :] for row in rows if not row.key.endswith(b"/c")} == now.keys()
        assert self.claims.keys() <= now.keys()

    def of(self, client: FlowClient) -> Items:
        if client not in self.flows:
            self.flows[client] = Items(client, "q", 10.0)
        return self.flows[client]

    def begin(self, client: FlowClient) -> FlowTask[Any]:
        chance, flows = self.storm.random, self.of(client)
        held = self.holds.setdefault(client, [])
        what = chance.random()
        if held and what < 0.5:
            taken = held[0]
            task: FlowTask[Any] = self.rig.spawn(
                taken.end(chance.choice(("acknowledged", "acknowledged", "handed back")), 5.0), client, "ends"
            )
            self.acks[task] = taken
            return task
        if what < 0.6:
            value = b"once %d" % chance.randrange(12)
            task = self.rig.spawn(flows.put_once(value, value, chance.choice((0.5, 5.0))), client, "puts once")
            self.asked[task] = [value]
            return task
        if what < 0.75:
            values = [b"%d" % (self.put + at) for at in range(chance.choice((1, 1, 3)))]
            self.put += len(values)
            begun = self.rig.index
            task = self.rig.spawn(flows.put(values, chance.choice((0.5, 5.0))), client, "puts")
            self.asked[task] = values
            self.begun[task] = begun
            return task
        return self.rig.spawn(flows.take(chance.choice((0.0, 0.5, 20.0))), client, "takes")

    def ended(self, task: FlowTask[Any]) -> None:
        error = task.error
        assert error is None or isinstance(error, (NotHappened, Indeterminate, SessionLost, Cancelled)), repr(error)
        if task.name == "puts":
            values = self.asked[task]
            if error is None:
                assert set(values) <= set(self.order)
                self.sure.update(values)
                for before, its_end, last in self.puts:
                    assert last < task.value[0] or its_end > self.begun[task], f"{values} came behind {before}"
                self.puts.append((values, self.rig.index, task.value[-1]))
            elif isinstance(error, NotHappened):
                self.never.update(values)
            else:
                self.maybe.update(values)
        elif task.name == "puts once":
            (value,) = self.asked[task]
            if error is None:
                assert value in self.order
                assert self.once.setdefault(value, task.value) == task.value, "it has two ids"
                self.sure.add(value)
        elif task.name == "takes":
            if error is None and task.value is not None:
                self.given(task.client, task.value)
        else:
            taken = self.acks[task]
            if error is None:
                self.holds[task.client].remove(taken)
                if taken.over == "acknowledged":
                    assert taken.value in self.acked
            elif taken.over is not None:
                assert isinstance(error, (SessionLost, Rejected)), repr(error)
                self.holds[task.client].remove(taken)

    def given(self, client: FlowClient, taken: Taken) -> None:
        assert taken.token not in self.tokens
        assert taken.value not in self.acked
        for other, items in self.holds.items():
            for each in items:
                # Whoever else believes to have it is wrong, and its own clock says so.
                both = each.id == taken.id and each.held() and taken.held() and other.runs and client.runs
                assert not both, "two have it"
        self.tokens[taken.token] = taken
        self.holds.setdefault(client, []).append(taken)

    def go(self) -> int:
        """How many items were acknowledged."""
        self.storm.go(400)
        self.storm.calm()
        self.rig.advance(30.0)
        self.rig.settle()
        known = {taken.token for items in self.holds.values() for taken in items}
        assert set(self.claims.values()) <= known, "an item is held by nobody"
        assert not self.rig.store.reader.count(HOME + b"w/", HOME + b"w0"), "somebody waits who is gone"
        for items in self.holds.values():
            items.clear()
        # Everybody is gone but one, who gets all that is left, in order.
        for client in self.storm.clients:
            client.crash()
        self.rig.advance(30.0)
        self.rig.settle()
        assert not self.claims
        last = self.rig.client("last")
        flows, rest = self.of(last), []
        while True:
            taken = self.rig.run(flows.take(0.0), last)
            if taken is None:
                break
            self.given(last, taken)
            rest.append(taken.id)
            self.rig.run(taken.end("acknowledged", 5.0), last)
            self.holds[last].clear()
        assert rest == sorted(rest)
        assert sorted(self.acked) == sorted(self.order)
        assert self.sure <= set(self.acked)
        assert not self.never & set(self.acked), "it was proven that it did not happen"
        # All that stays are the names of those that were put once.
        once = sum(value.startswith(b"once") for value in self.order)
        assert self.rig.store.reader.count(HOME, HOME[:-1] + b"0") == 2 * once
        return len(self.acked)


@pytest.mark.parametrize("first", range(0, 40, 20))
def test_nothing_is_lost_or_doubled(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    acked = 0
    for seed in range(first, first + 20):
        tokens = itertools.count()
        monkeypatch.setattr(made_items, "fresh", lambda tokens=tokens: b"%016x" % next(tokens))
        with seeded(seed), FlowRig() as rig:
            acked += Run(rig, seed).go()
    assert acked > 20 * 10
