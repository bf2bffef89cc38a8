"""Barriers over a simulated cluster: whatever happens to the parties, a round is made of those who were there."""

from __future__ import annotations

from typing import Any

import pytest

from quorate.client.flow import Flow
from quorate.errors import Indeterminate, NotHappened, SessionLost
from quorate.recipes import gather
from quorate.recipes.gather import Gathering, Party
from quorate.testing.flows import Cancelled, FlowClient, FlowRig, FlowTask
from recipes.storm import Storm, seeded


class Judge:
    """Reads the store after each command, and knows who was told what."""

    def __init__(self, rig: FlowRig, kind: str, parties: int, stay: bool) -> None:
        self.rig = rig
        self.home = f".quorate/{kind}/b/".encode()
        self.kind, self.parties, self.stay = kind, parties, stay
        self.here: set[bytes] = set()  # tokens of those who have come and not gone
        self.came: set[bytes] = set()
        self.gone_at: dict[bytes, int] = {}
        self.came_at: dict[bytes, int] = {}
        self.rounds: dict[int, list[bytes]] = {}
        self.state = b""
        self.told: set[tuple[int, int]] = set()
        rig.on_apply = self.applied

    def applied(self, command: bytes, result: Any) -> None:
        rows, _ = self.rig.store.reader.range(self.home + b"a/", self.home + b"a0")
        now = {row.key.rpartition(b"/")[2] for row in rows}
        for token in now - self.here:
            assert token not in self.came, "nobody comes twice under one token"
            self.came.add(token)
            self.came_at[token] = self.rig.index
        for token in self.here - now:
            self.gone_at[token] = self.rig.index
        self.here = now
        state = self.rig.store.reader.value(self.home + b"state") or b""
        if state == self.state:
            return
        self.state = state
        number, _, rest = state.partition(b" ")
        words = rest.split()
        if self.stay and words[:1] != [b"in"]:
            # A round is over when all have left it.
            assert not [row for row in rows if row.key.startswith(self.home + b"a/%016x/" % (int(number) - 1))]
            return
        which = int(number) if self.stay else int(number) - 1
        tokens = words[1:] if self.stay else words
        assert which not in self.rounds
        assert len(tokens) == self.parties == len(set(tokens))
        # There was a moment at which all of them were there.
        last = max(self.came_at[token] for token in tokens)
        for token in tokens:
            assert self.gone_at.get(token, self.rig.index) > last
        self.rounds[which] = tokens

    def passed(self, party: Party) -> None:
        assert self.rounds[party.round][party.place] == party.token
        assert (party.round, party.place) not in self.told
        self.told.add((party.round, party.place))


class Run:
    """One storm of one seed, in which parties come, and go if it is a double barrier."""

    def __init__(self, rig: FlowRig, kind: str, seed: int, made: list[bytes]) -> None:
        self.rig, self.kind, self.seed, self.made = rig, kind, seed, made
        self.parties = 2 + seed % 2
        self.judge = Judge(rig, kind, self.parties, kind == "double_barrier")
        self.inside: dict[FlowClient, Party] = {}
        self.tokens: dict[FlowTask[Any], set[bytes]] = {}
        self.storm = Storm(rig, seed, self.begin, self.ended, clients=self.parties + 1)

    def barrier(self, client: FlowClient) -> Gathering:
        return Gathering(client, self.kind, "b", self.parties, 10.0, stay=self.kind == "double_barrier")

    def begin(self, client: FlowClient) -> FlowTask[Any]:
        party = self.inside.get(client)
        if party is not None:
            leaving = self.barrier(client).leave(party, self.storm.random.choice((0.5, 30.0)))
            return self.rig.spawn(leaving, client, "leaves")
        tokens: set[bytes] = set()
        task = self.rig.spawn(self.come(client, tokens), client, "comes")
        self.tokens[task] = tokens
        return task

    def come(self, client: FlowClient, tokens: set[bytes]) -> Flow[Party]:
        """Gathers, and keeps the tokens that it makes on the way."""
        flow = self.barrier(client).gather(self.storm.random.choice((0.0, 0.5, 30.0)))
        answer: Any = None
        error: BaseException | None = None
        while True:
            before = len(self.made)
            try:
                step = flow.throw(error) if error is not None else flow.send(answer)
            except StopIteration as end:
                party: Party = end.value
                return party
            finally:
                tokens.update(self.made[before:])
            try:
                answer, error = (yield step), None
            except BaseException as caught:
                error = caught

    def ended(self, task: FlowTask[Any]) -> None:
        error = task.error
        if task.name == "leaves":
            assert error is None or isinstance(error, (NotHappened, Indeterminate, Cancelled)), repr(error)
            if error is None:
                assert self.inside.pop(task.client).token not in self.judge.here
        elif error is None:
            self.judge.passed(task.value)
            if self.judge.stay:
                self.inside[task.client] = task.value
        else:
            assert isinstance(error, (NotHappened, Indeterminate, SessionLost, Cancelled)), repr(error)
            if isinstance(error, NotHappened):
                counted = {token for tokens in self.judge.rounds.values() for token in tokens}
                assert not self.tokens[task] & counted, "it was told that it had left, and was counted"

    def go(self) -> int:
        """How many rounds there were."""
        self.storm.go(250)
        self.storm.calm()
        # Everybody who is inside leaves, and then the next ones are let through, whatever was left behind.
        for client, party in self.inside.items():
            if not client.dead:
                leaving = self.barrier(client).leave(party, 100.0)
                self.storm.tasks[client] = self.rig.spawn(leaving, client, "leaves")
        self.storm.calm()
        self.rig.advance(30.0)
        late = [self.rig.client() for _ in range(self.parties)]
        tasks = [self.rig.spawn(self.barrier(client).gather(100.0), client) for client in late]
        self.rig.drive(lambda: all(task.done for task in tasks), 200.0)
        assert sorted(task.value.place for task in tasks) == list(range(self.parties))
        for task in tasks:
            self.judge.passed(task.value)
        if not self.judge.stay:
            assert not self.judge.here, "somebody who is gone is counted still"
        return len(self.judge.rounds)


@pytest.mark.parametrize("kind", ["barrier", "double_barrier"])
@pytest.mark.parametrize("first", range(0, 50, 25))
def test_rounds_are_of_those_who_were_there(kind: str, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = 0
    for seed in range(first, first + 25):
        made: list[bytes] = []

        def fresh(made: list[bytes] = made) -> bytes:
            made.append(b"%016x" % len(made))
            return made[-1]

        monkeypatch.setattr(gather, "fresh", fresh)
        with seeded(seed), FlowRig() as rig:
            rounds += Run(rig, kind, seed, made).go()
    assert rounds > 25 * 2, "storms in which nobody comes through prove little"
