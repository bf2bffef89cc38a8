"""Groups and their rings over a simulated cluster: who believes to be a member is one, and every view is that of one
revision."""

from __future__ import annotations

from typing import Any

import pytest

from quorate.errors import Indeterminate, NotHappened, Rejected, SessionLost
from quorate.recipes.base import ThreadCarrier
from quorate.recipes.membership import Seat, member_of
from quorate.recipes.names import Name
from quorate.recipes.ring import _Follower
from quorate.recipes.roster import GroupMember, Roster, decoded
from quorate.ring import Member, Ring
from quorate.testing.flows import Cancelled, FlowClient, FlowRig, FlowTask
from recipes.storm import Storm, seeded

HOME = b".quorate/group/g/m/"
View = dict[str, bytes]


def in_pieces(client: FlowClient) -> None:
    """Has it read ranges a row at a time, as if each filled an answer: so that the pieces are of several revisions."""
    if "range" not in vars(client.backend):
        whole = client.backend.range
        client.backend.range = lambda start, end, limit, local, timeout: whole(start, end, 1, local, timeout)


class Run:
    """One storm of one seed: members, watchers, live rings, and a judge who knows the group at every revision."""

    def __init__(self, rig: FlowRig, seed: int) -> None:
        self.rig = rig
        self.at: dict[int, View] = {0: {}}  # the group at each revision
        self.seats: dict[FlowClient, Seat] = {}
        self.all: list[Seat] = []
        self.names: dict[FlowTask[Any], Seat] = {}
        self.rosters: dict[FlowClient, Roster] = {}
        self.rings: dict[FlowClient, _Follower] = {}
        self.last: dict[FlowClient, Ring] = {}
        self.changes = 0
        self.wrong: list[tuple[Ring, Ring]] = []
        self.storm = Storm(rig, seed, self.begin, self.ended, clients=4)
        rig.on_apply = self.applied

    def applied(self, command: bytes, result: Any) -> None:
        rows, _ = self.rig.store.reader.range(HOME, HOME[:-1] + b"0")
        self.at[self.rig.index] = {row.key[len(HOME) :].decode(): row.value for row in rows}
        self.check()

    def view(self, revision: int) -> View:
        return self.at[max(index for index in self.at if index <= revision)]

    def check(self) -> None:
        """What each believes is so."""
        now = self.at[max(self.at)]
        for client, seat in self.seats.items():
            if seat.held() and client.runs:
                assert decoded(now[seat.member.name])[0] == seat._token, "it believes to be a member"
        for client, follower in self.rings.items():
            if self.last.get(client) is not follower.ring and follower.ring.epoch:
                self.last[client] = follower.ring
                expected = [Member(name, *decoded(value)[2:]) for name, value in self.view(follower.ring.epoch).items()]
                assert follower.ring == Ring(expected, vnodes=4), f"at epoch {follower.ring.epoch}"

    def begin(self, client: FlowClient) -> FlowTask[Any]:
        chance = self.storm.random
        seat = self.seats.get(client)
        in_pieces(client)
        if client not in self.rings and chance.random() < 0.3:
            self.rings[client] = follower = _Follower(client, "g", 4, 0, ThreadCarrier())
            follower.on_change(self.changed)
            task: FlowTask[Any] = self.rig.spawn(follower.begin(5.0), client, "follows")
        elif chance.random() < 0.3:
            roster = self.rosters.get(client)
            if roster is None:
                self.rosters[client] = roster = Roster(client, Name(client, "group", "g"))
                task = self.rig.spawn(roster.read(5.0), client, "reads")
            else:
                task = self.rig.spawn(roster.look(chance.choice((0.0, 0.5, 3.0))), client, "looks")
        elif seat is None:
            member = member_of(chance.choice(("a", "b", "c")), chance.choice((1.0, 2.0)), chance.choice((None, "east")))
            rejoin = chance.random() < 0.7
            seat = Seat(Name(client, "group", "g"), member, b"", 10.0, rejoin, ThreadCarrier(), None)
            self.all.append(seat)
            task = self.rig.spawn(seat.join(chance.choice((0.5, 5.0))), client, "joins")
            self.names[task] = seat
        elif chance.random() < 0.5:
            task = self.rig.spawn(
                seat.update(b"%d" % self.rig.index, chance.choice((1.0, 3.0)), None, 5.0), client, "updates"
            )
        else:
            task = self.rig.spawn(seat.leave(5.0), client, "leaves")
        return task

    def changed(self, old: Ring, new: Ring, moves: Any) -> None:
        self.changes += 1  # what is raised here would only be logged
        self.wrong += [] if moves == old.diff(new) and old.epoch < new.epoch else [(old, new)]

    def ended(self, task: FlowTask[Any]) -> None:
        error, client = task.error, task.client
        known = (NotHappened, Indeterminate, SessionLost, Cancelled)
        assert error is None or isinstance(error, known), repr(error)
        if task.name == "joins":
            if error is None:
                self.seats[client] = self.names[task]
            elif isinstance(error, Rejected):
                assert "already" in str(error)
        elif task.name == "leaves":
            del self.seats[client]
        elif task.name == "follows" and error is not None:
            self.rings.pop(client).close()
        elif task.name == "reads" and error is not None:
            del self.rosters[client]
        elif task.name in ("reads", "looks"):
            self.agrees(self.rosters[client])
        self.check()

    def agrees(self, roster: Roster) -> None:
        found = {name: (member.data, member.weight, member.zone) for name, member in roster.members.items()}
        there = {name: decoded(value)[1:] for name, value in self.view(roster.revision).items()}
        assert found == there, f"at revision {roster.revision}"
        assert all(isinstance(member, GroupMember) for member in roster.members.values())

    def go(self) -> int:
        """How many changes live rings saw."""
        self.storm.go(400)
        self.storm.calm()
        # Those who lost their sessions join again, and those who are gone are taken for gone.
        end = self.rig.now + 60.0
        while (following := self.rig.next_time()) is not None and following < end:
            self.rig.advance(following - self.rig.now)
            self.rig.settle()
        now = self.at[max(self.at)]
        seated = {
            seat.member.name: seat for client, seat in self.seats.items() if not client.dead and seat.over is None
        }
        assert {name: decoded(value)[0] for name, value in now.items()} == {
            name: seat._token for name, seat in seated.items()
        }
        assert all(seat.held() for seat in seated.values())
        expected = Ring([Member(name, *decoded(value)[2:]) for name, value in now.items()], vnodes=4)
        for client, follower in self.rings.items():
            if not client.dead:
                assert follower.ring == expected, "it did not follow"
        assert not self.wrong
        return self.changes


@pytest.mark.parametrize("first", range(0, 24, 12))
def test_views_are_of_one_revision_and_members_are_there(first: int) -> None:
    changes = 0
    for seed in range(first, first + 12):
        with seeded(seed), FlowRig() as rig:
            changes += Run(rig, seed).go()
    assert changes > 12 * 10
