"""The rules of lanes against the real store, over a network that does everything: thousands of random steps.

Sendings are lost, doubled, overtaken, refused and applied without an answer; leaders change; the store's limits are
small. Whatever a caller was told has to agree with what the store has in the end.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from quorate.errors import Indeterminate, InvalidArgument, LimitExceeded, NotHappened, SessionLost
from quorate.runtime._lane import Lane
from quorate.store import Store, commands
from quorate.store.views import Limit, Result, ResultFlag, SessionEnd, Status
from quorate.testing._lane_rig import Came, LaneRig

PROVEN = {"no_leader", "not_leader", "overloaded", "transferring", "stalled", "replaced", "refused"}
PROPOSE, RENEW = 1, 6
SECOND = 1_000_000


class World:
    """A store behind a bad network."""

    def __init__(self, seed: int, limits: dict[Limit, int] | None = None) -> None:
        self.random = random.Random(seed)
        self.rig = LaneRig(seed=seed)
        self.store = Store()
        self.way: list[tuple[int, int, bytes]] = []  # sent, and not answered
        self.ghosts: list[bytes] = []  # answered as not known, and still able to be applied
        self.shorts = 0
        if limits:
            self.apply(commands.set_limits(limits))

    def apply(self, command: bytes) -> Result:
        index = self.store.applied_index + 1
        return self.store.apply(index, 1, command)

    def renewals(self, body: bytes) -> bytes:
        sessions = [int.from_bytes(body[at : at + 8], "little") for at in range(2, len(body), 8)]
        assert len(sessions) == int.from_bytes(body[:2], "little")
        return bytes(0 if self.store.reader.session(each) is not None else 1 for each in sessions)

    def run(self, room: int = 1_000_000) -> None:
        self.way += self.rig.run(room)

    def good(self, key: int, kind: int, body: bytes) -> None:
        """As it is when nothing goes wrong."""
        if kind == RENEW:
            self.rig.answer(key, "done", self.renewals(body))
            return
        result = self.apply(body)
        self.shorts += ResultFlag.SHORT in result.flags
        self.rig.answer(key, "done", encoded(result))

    def heal(self, rounds: int = 10_000) -> None:
        """Everything comes through, in order, until nothing is sent any more."""
        for body in self.ghosts:
            self.apply(body)
        self.ghosts.clear()
        self.rig.connected(True)
        for _ in range(rounds):
            self.run()
            if not self.way:
                due = self.rig.deadline
                if self.rig.figures["queued"] == 0 or due > self.rig.now + SECOND:
                    return
                self.rig.now = max(self.rig.now, due)
                continue
            for each in self.way:
                self.good(*each)
            self.way.clear()
            self.rig.now += 100
        raise AssertionError("the lanes did not come to rest")

    def bad(self) -> None:
        """One thing that may happen to something on its way."""
        place = 0 if self.random.random() < 0.7 else self.random.randrange(len(self.way))
        key, kind, body = self.way.pop(place)
        chance = self.random.random()
        if chance < 0.55:
            self.good(key, kind, body)
        elif chance < 0.70:
            self.rig.answer(key, self.random.choice(sorted(PROVEN)))
        elif chance < 0.80:  # lost on its way there, or on its way back, or yet to come
            if kind == PROPOSE and self.random.random() < 0.5:
                self.apply(body)
            elif kind == PROPOSE and self.random.random() < 0.5:
                self.ghosts.append(body)
            self.rig.answer(key, self.random.choice(["connection_lost", "expired", "stopped_after"]))
        elif chance < 0.90 and kind == PROPOSE:  # doubled
            self.apply(body)
            self.good(key, kind, body)
        else:  # slow
            self.way.append((key, kind, body))


def encoded(result: Result) -> bytes:
    return (
        bytes([result.status, result.flags])
        + result.revision.to_bytes(8, "little")
        + result.number.to_bytes(8, "little")
        + result.body
    )


def opened(world: World, ttl: float = 60.0) -> Lane:
    lane = world.rig.lane(ttl, 1000.0)
    world.rig.connected(True)
    world.run()
    for each in world.way:
        world.good(*each)
    world.way.clear()
    world.run()
    assert lane.state == "open"
    assert lane.opening.wait(0.0)[0] == lane.session
    return lane


def became(pending: Any) -> Any:
    """The result, or the exception."""
    assert pending.done, "it was never answered"
    try:
        return Result.decode(pending.wait(0.0)[1])
    except Exception as error:
        return error


def check(world: World, asked: list[tuple[str, Any]]) -> dict[str, int]:
    """What callers were told against what the store has: once, in order, or not at all."""
    told = {"applied": 0, "not": 0, "unknown": 0}
    before = 0
    reader = world.store.reader
    for key, found in asked:
        row = reader.get(key)
        if row is not None:
            assert row.version == 1, f"{key} was applied twice"
            assert row.mod_revision > before, f"{key} was applied out of order"
            before = row.mod_revision
        if isinstance(found, Result):
            assert row is not None, f"{key} was acknowledged, and is not there: {found}"
            assert found.status is Status.OK
            assert found.revision == row.mod_revision, f"{key}: another command's result"
            told["applied"] += 1
        else:
            cause = found.outcome if isinstance(found, SessionLost) else found
            if isinstance(cause, NotHappened) or (isinstance(cause, Came) and cause.outcome in PROVEN):
                assert row is None, f"{key} was said not to have happened ({found!r}), and is there"
                told["not"] += 1
            else:
                assert isinstance(cause, Indeterminate) or (isinstance(cause, Came) and cause.outcome == "expired"), (
                    found
                )
                told["unknown"] += 1
    return told


def wandered(seed: int, steps: int) -> dict[str, int]:
    """A lane under random trouble."""
    rng = random.Random(seed)
    limits = {Limit.SESSION_RESULTS: rng.choice([1, 2, 7, 4096])} if rng.random() < 0.7 else {}
    world = World(seed, limits)
    lane = opened(world)
    asked: list[tuple[str, Any]] = []
    manys: list[tuple[list[str], Any]] = []
    ended = False
    for step in range(steps):
        chance = rng.random()
        if chance < 0.25:
            timeout = rng.choice([0.001, 0.05, 1000.0])
            key = f"k{step}"
            if rng.random() < 0.2:
                # What it reads must be there in a replayed result too.
                reads = [commands.do_get(f"big{rng.randrange(3)}") for _ in range(rng.randrange(3))]
                body = commands.transaction([], [commands.do_put(key, b"x"), *reads])
            else:
                body = commands.put(key, b"x")
            asked.append((key, world.rig.submit(lane, body, timeout)))
        elif chance < 0.28:
            keys = [f"m{step}/{number}" for number in range(rng.randrange(20))]
            pending = world.rig.submit_many(lane, [commands.put(key, b"x") for key in keys], rng.choice([0.01, 1000.0]))
            asked += [(key, None) for key in keys]
            manys.append((keys, pending))
        elif chance < 0.45:
            world.run(rng.choice([0, 1, 3, 100]))
        elif chance < 0.88 and world.way:
            world.bad()
        elif chance < 0.90 and world.ghosts:
            world.apply(world.ghosts.pop(rng.randrange(len(world.ghosts))))
        elif chance < 0.92:
            world.rig.connected(rng.random() < 0.7)
        elif chance < 0.98:
            world.rig.now += rng.choice([10, 1000, 60_000])
        elif chance < 0.982 and not ended and rng.random() < 0.3:
            world.apply(commands.session_end(lane.session, SessionEnd.FORCED))
            ended = True
        if step == 10:
            for number in range(3):
                world.apply(commands.put(f"big{number}", bytes(20_000)))
    world.heal()
    if not ended:
        assert lane.state == "open", lane
    answers: dict[str, Any] = {}
    for keys, pending in manys:
        assert pending.done
        for key, found in zip(keys, pending.wait(0.0), strict=True):
            answers[key] = Result.decode(found) if isinstance(found, bytes) else found
    told = check(world, [(key, answers[key] if key in answers else became(found)) for key, found in asked])
    assert world.shorts == 0, "a result was not retained, although the lane has to wait for room"
    assert world.rig.figures["queued"] == 0
    view = world.store.reader.session(lane.session)
    assert (view is None) == ended
    return told


def wandering(seed: int, steps: int) -> dict[str, int]:
    try:
        return wandered(seed, steps)
    except BaseException:
        print(f"wandering({seed}, {steps})")
        raise


def test_what_callers_are_told_agrees_with_the_store() -> None:
    told = {"applied": 0, "not": 0, "unknown": 0}
    for seed in range(60):
        for what, count in wandering(seed, 400).items():
            told[what] += count
    # The test would prove little if one of these never came.
    assert all(told.values()), told


@pytest.mark.slow
def test_what_callers_are_told_agrees_with_the_store_for_long() -> None:
    for seed in range(1000, 1600):
        wandering(seed, 1500)


def test_the_window_is_what_the_cluster_retains() -> None:
    world = World(1, {Limit.SESSION_RESULTS: 5})
    lane = opened(world)
    pending = [world.rig.submit(lane, commands.increment("n"), 1000.0) for _ in range(50)]
    world.heal()
    assert [became(each).number for each in pending] == list(range(1, 51))
    # It has learnt: no more than five are on their way now.
    for _ in range(50):
        world.rig.submit(lane, commands.increment("n"), 1000.0)
    world.run()
    assert len(world.way) == 5


def test_what_reads_waits_for_room_in_the_session() -> None:
    world = World(1)
    lane = opened(world)
    world.apply(commands.put("big", bytes(30_000)))
    reading = commands.transaction([], [commands.do_get("big"), commands.do_put("k", b"")])
    pending = [world.rig.submit(lane, reading, 1000.0) for _ in range(3)]
    world.run()
    assert len(world.way) == 1
    # Its answer is lost; the next one, from the store's memory, is whole.
    (key, _, body) = world.way.pop()
    first = world.apply(body)
    world.rig.answer(key, "connection_lost")
    world.heal()
    found = became(pending[0])
    assert (found.revision, found.body) == (first.revision, first.body)
    assert found.replayed
    assert world.shorts == 0


def test_numbers_start_again_from_the_gap() -> None:
    world = World(1)
    lane = opened(world)
    pending = [world.rig.submit(lane, commands.increment("n"), 1000.0) for _ in range(6)]
    world.run()
    # The third never arrives, and nobody says so yet.
    lost = world.way.pop(2)
    for each in world.way:
        world.good(*each)
    world.way.clear()
    assert [each.done for each in pending] == [True, True, False, False, False, False]
    world.run()
    assert len(world.way) == 4
    world.heal()
    assert [became(each).number for each in pending] == [1, 2, 3, 4, 5, 6]
    # What it says now counts for nothing any more.
    world.rig.answer(lost[0], "connection_lost")
    world.run()
    assert world.way == []


def test_a_timeout_before_sending_did_not_happen_and_one_after_is_not_known() -> None:
    world = World(1)
    lane = opened(world)
    sent = world.rig.submit(lane, commands.put("sent", b""), 0.01)
    world.run()
    world.rig.connected(False)
    waits = world.rig.submit(lane, commands.put("waits", b""), 0.01)
    world.rig.now += 20_000
    world.run()
    assert became(sent).outcome == "expired"
    assert became(waits).outcome == "no_leader"
    world.heal()
    assert world.store.reader.get("sent") is not None, "its number had to be used up, and it was the only one that can"
    assert world.store.reader.get("waits") is None


def test_a_refused_number_is_filled_so_that_the_line_goes_on() -> None:
    world = World(1)
    lane = opened(world)
    first = world.rig.submit(lane, commands.put("first", b""), 0.01)
    second = world.rig.submit(lane, commands.put("second", b""), 1000.0)
    world.run()
    for key, _, _ in world.way:
        world.rig.answer(key, "no_leader")
    world.way.clear()
    world.rig.connected(False)
    world.rig.now += 20_000
    world.run()
    assert became(first).outcome == "no_leader"
    assert not second.done
    world.heal()
    assert became(second).status is Status.OK
    assert world.store.reader.get("first") is None
    assert world.store.reader.session(lane.session).applied == 2  # type: ignore[union-attr]


def test_a_lost_session_tells_everybody_what_became_of_theirs() -> None:
    world = World(1)
    lane = opened(world)
    done, unsure, after = [
        world.rig.submit(lane, commands.put(key, b""), 1000.0) for key in ("done", "unsure", "after")
    ]
    world.run()
    world.good(*world.way.pop(0))
    world.rig.answer(world.way.pop(0)[0], "connection_lost")
    world.apply(commands.session_end(lane.session, SessionEnd.EXPIRED))
    never = world.rig.submit(lane, commands.put("never", b""), 1000.0)
    world.good(*world.way.pop(0))
    assert became(done).status is Status.OK
    found = [became(each) for each in (unsure, after, never)]
    assert all(isinstance(each, SessionLost) for each in found)
    assert [type(each.outcome) for each in found] == [Indeterminate, NotHappened, NotHappened]
    assert (lane.state, lane.session > 0, world.rig.deadline_of(lane), lane.held()) == ("lost", True, 0, False)
    late = world.rig.submit(lane, commands.put("late", b""), 1000.0)
    assert isinstance(became(late).outcome, NotHappened)
    world.run()
    assert world.rig.figures["open"] == 0


def test_a_command_that_was_in_doubt_stays_so_when_the_session_is_lost() -> None:
    world = World(1)
    lane = opened(world)
    unsure, after = [world.rig.submit(lane, commands.put(key, b""), 1000.0) for key in ("unsure", "after")]
    world.run()
    (key, _, body) = world.way.pop(0)
    world.apply(body)
    world.rig.answer(key, "connection_lost")
    world.apply(commands.session_end(lane.session, SessionEnd.EXPIRED))
    world.run()
    world.rig.now += 200_000
    world.run()
    again = [each for each in world.way if each[2][16] == 1]
    world.good(*again[-1])
    found = [became(each) for each in (unsure, after)]
    assert [type(each.outcome) for each in found] == [Indeterminate, Indeterminate]
    assert world.store.reader.get("unsure") is not None


def test_another_leader_is_asked_at_once_for_what_the_last_one_did_not_answer() -> None:
    world = World(1)
    lane = opened(world)
    pending = [world.rig.submit(lane, commands.increment("n"), 1000.0) for _ in range(3)]
    world.run()
    lost = [key for key, _, _ in world.way]
    world.way.clear()
    world.rig.connected(False)
    world.run()
    assert world.way == []
    world.rig.connected(True)
    world.run()
    assert [body[16] for _, _, body in world.way] == [1, 2, 3]
    world.heal()
    assert [became(each).number for each in pending] == [1, 2, 3]
    for key in lost:
        world.rig.answer(key, "connection_lost")


def test_bytes_that_were_sent_are_never_changed() -> None:
    world = World(1)
    lane = opened(world)
    for _ in range(3):
        world.rig.submit(lane, commands.increment("n"), 1000.0)
    world.run()
    before = list(world.way)
    world.good(*world.way.pop(0))  # so that the mark in what is sent again is another one
    world.rig.connected(True)
    world.run()
    again = world.way[2:]
    assert [body[16] for _, _, body in again] == [2, 3]
    assert [body[4] for _, _, body in again] == [1, 2]
    for key, _, body in before[1:]:
        assert world.rig.body(key) == body
    world.heal()


def test_the_local_deadline_counts_from_before_the_renewal_was_sent() -> None:
    world = World(1)
    begin = world.rig.now
    lane = world.rig.lane(9.0, 1000.0, margin=1.0)
    world.rig.connected(True)
    world.run()
    world.rig.now += 2 * SECOND  # the opening takes a while
    world.good(*world.way.pop())
    world.run()
    assert world.rig.deadline_of(lane) == begin + 8 * SECOND
    world.rig.now = begin + 3 * SECOND
    world.run()
    ((key, kind, body),) = world.way
    assert (kind, int.from_bytes(body[2:10], "little")) == (RENEW, lane.session)
    world.rig.now += SECOND
    world.way.clear()
    world.rig.answer(key, "done", bytes(1))
    assert world.rig.deadline_of(lane) == begin + 11 * SECOND
    # No further renewal is acknowledged: it is lost here before the cluster could end it, and not earlier.
    pending = world.rig.submit(lane, commands.put("k", b""), 1000.0)
    world.run()
    while world.rig.now < begin + 11 * SECOND - 1000:
        world.rig.now = min(world.rig.deadline, begin + 11 * SECOND - 1000)
        world.run()
        for key, kind, _ in world.way:
            if kind == RENEW:
                world.rig.answer(key, "no_leader")
        world.way = [each for each in world.way if each[1] != RENEW]
    assert lane.state == "open"
    world.rig.now = begin + 11 * SECOND
    world.run()
    assert (lane.state, lane.loss) == ("lost", "no renewal was acknowledged in time")
    assert isinstance(became(pending).outcome, Indeterminate)


def test_one_renewal_is_for_all_lanes_and_an_unknown_session_is_lost() -> None:
    world = World(1)
    world.rig.connected(True)
    lanes = [world.rig.lane(9.0, 1000.0) for _ in range(2000)]
    world.heal()
    world.run()
    assert all(each.state == "open" for each in lanes)
    world.apply(commands.session_end(lanes[7].session, SessionEnd.EXPIRED))
    world.rig.now += 3 * SECOND + 100_000
    world.run()
    assert [kind for _, kind, _ in world.way] == [RENEW]
    world.good(*world.way.pop())
    assert [each for each in lanes if each.state == "lost"] == [lanes[7]]


def test_an_opening_that_takes_too_long_begins_anew() -> None:
    world = World(1)
    lane = world.rig.lane(2.0, 1000.0)
    world.rig.connected(True)
    world.run()
    (key, _, body) = world.way.pop()
    result = world.apply(body)
    world.rig.now += 2 * SECOND
    world.rig.answer(key, "done", encoded(result))
    world.heal()
    world.run()
    assert lane.state == "open"
    assert lane.session != result.number


def test_an_opening_is_asked_again_and_finds_the_same_session() -> None:
    world = World(1)
    lane = world.rig.lane(10.0, 1000.0)
    world.rig.connected(True)
    world.run()
    (key, _, body) = world.way.pop()
    result = world.apply(body)
    world.rig.answer(key, "connection_lost")
    world.rig.now += 200_000
    world.run()
    world.heal()
    world.run()
    assert (lane.state, lane.session) == ("open", result.number)
    assert world.store.figures()["sessions"] == 1


def test_a_refused_opening_says_why() -> None:
    world = World(1)
    lane = world.rig.lane(0.1, 1000.0)
    waits = world.rig.submit(lane, commands.put("k", b""), 1000.0)
    world.heal()
    world.run()
    _, result = lane.opening.wait(0.0)
    found = Result.decode(result)
    assert (found.status, found.number) == (Status.LIMIT, Limit.SESSION_TTL_MIN_MS)
    assert (lane.state, lane.loss) == ("lost", "the cluster refused to open the session")
    assert isinstance(became(waits).outcome, NotHappened)


def test_a_goodbye_waits_for_what_is_pending_and_is_said_until_it_is_heard() -> None:
    world = World(1)
    lane = opened(world)
    pending = world.rig.submit(lane, commands.put("k", b""), 1000.0)
    end = world.rig.close(lane, 1000.0)
    assert lane.close(1.0) is end
    world.run()
    assert len(world.way) == 1
    world.good(*world.way.pop())
    world.run()
    ((key, _, body),) = world.way
    world.way.clear()
    world.apply(body)
    world.rig.answer(key, "connection_lost")
    assert not end.done
    world.rig.now += 200_000
    world.heal()
    world.run()
    world.heal()
    assert became(pending).status is Status.OK
    assert end.done
    end.wait(0.0)
    assert (lane.state, lane.held()) == ("closed", False)
    assert isinstance(became(world.rig.submit(lane, commands.put("k", b""), 1.0)).outcome, NotHappened)
    assert world.store.figures()["sessions"] == 0
    world.run()
    assert world.rig.figures["open"] == 0


def test_a_dropped_lane_says_goodbye() -> None:
    world = World(1)
    lane = opened(world)
    pending = world.rig.submit(lane, commands.put("k", b""), 1000.0)
    del lane
    world.rig.collect()
    for _ in range(4):
        world.heal()
        world.run()
    assert became(pending).status is Status.OK
    assert world.store.figures()["sessions"] == 0
    assert world.rig.figures["open"] == 0


def test_a_restored_cluster_that_knows_less_loses_the_lane() -> None:
    world = World(1)
    lane = opened(world)
    chunks = []
    snapshot = world.store.snapshot()
    while chunk := snapshot.read():
        chunks.append(chunk)
    for _ in range(3):
        world.rig.submit(lane, commands.increment("n"), 1000.0)
    world.heal()
    world.store = Store.restore(chunks)
    pending = world.rig.submit(lane, commands.increment("n"), 1000.0)
    world.run()
    world.good(*world.way.pop())
    assert isinstance(became(pending), SessionLost)
    assert lane.loss == "the cluster has an older state than it had, as after a restore"


def test_the_end_of_the_engine_says_what_is_known() -> None:
    world = World(1)
    lane = opened(world)
    sent = world.rig.submit(lane, commands.put("sent", b""), 1000.0)
    world.run()
    waits = world.rig.submit(lane, commands.put("waits", b""), 1000.0)
    end = world.rig.close(lane, 1000.0)
    world.rig.stop()
    assert (became(sent).outcome, became(waits).outcome) == ("stopped_after", "stopped_before")
    assert became(end).outcome == "stopped_after"
    assert lane.state == "lost"
    assert became(world.rig.submit(lane, commands.put("late", b""), 1000.0)).outcome == "stopped_before"
    assert world.rig.lane(1.0, 1.0).state == "lost"


def test_what_is_no_command_is_refused_at_once() -> None:
    world = World(1)
    lane = opened(world)
    for wrong in (b"", bytes(24), commands.put("k", b"")[:-1], commands.session_end(1, SessionEnd.GOODBYE)):
        with pytest.raises(InvalidArgument):
            lane.submit(wrong, 1.0)
        with pytest.raises(InvalidArgument):
            lane.submit_many([commands.put("k", b""), wrong], 1.0)
    with pytest.raises(LimitExceeded):
        lane.submit_many([b""] * 65_537, 1.0)
    with pytest.raises(InvalidArgument):
        lane.submit_many(["text"], 1.0)  # type: ignore[list-item]
    with pytest.raises(InvalidArgument):
        world.rig.lane(0.0, 1.0)
    with pytest.raises(InvalidArgument):
        world.rig.lane(1.0, 1.0, margin=1.0)
    with pytest.raises(TypeError):
        Lane()
    assert world.rig.submit_many(lane, [], 1.0).wait(0.0) == []


def test_notices_tell_of_lanes_once_somebody_looks() -> None:
    world = World(1)
    assert world.rig.notices() == []
    lane = opened(world)
    world.rig.close(lane, 1000.0)
    for _ in range(3):
        world.heal()
        world.run()
    assert world.rig.notices() == [("lane", lane.id, state) for state in ("open", "closing", "closed")]
    for _ in range(5000):
        world.rig.lane(0.1, 1000.0)
    world.heal()
    world.run()
    found = world.rig.notices()
    assert found[0] == ("overflow",)
    assert len(found) == 1 + 4096


def test_a_limit_ends_the_lane_although_it_is_renewed_and_its_renewals_come_to_an_end() -> None:
    world = World(1)
    lane, other = opened(world, 9.0), opened(world, 9.0)
    begin = world.rig.now
    world.rig.limit(lane, 20.0)
    assert world.rig.deadline_of(lane) == world.rig.deadline_of(other) < begin + 20 * SECOND
    renewed = 0
    while lane.state == "open":
        assert world.rig.now < begin + 20 * SECOND, "it was not lost in time"
        world.rig.now = world.rig.deadline
        world.run()
        for key, kind, body in world.way:
            sessions = [int.from_bytes(body[at : at + 8], "little") for at in range(2, len(body), 8)]
            if lane.session in sessions:
                renewed = world.rig.now
            world.good(key, kind, body)
        world.way.clear()
        assert world.rig.deadline_of(lane) <= begin + 20 * SECOND
    assert (lane.loss, world.rig.now) == ("its holder passed the limit it was given", begin + 20 * SECOND)
    assert begin + 11 * SECOND < renewed < begin + 15 * SECOND, "the cluster's own expiry is soon after the limit"
    assert other.state == "open"
    assert world.rig.deadline_of(other) > world.rig.now
    assert isinstance(became(world.rig.submit(lane, commands.put("k", b""), 1.0)), SessionLost)


def test_a_limit_can_be_put_off_and_taken_back_until_it_is_passed() -> None:
    world = World(1)
    lane = opened(world, 9.0)

    def passed(seconds: int) -> None:
        end = world.rig.now + seconds * SECOND
        while world.rig.deadline < end:
            world.rig.now = max(world.rig.now, world.rig.deadline)
            world.run()
            for each in world.way:
                world.good(*each)
            world.way.clear()
        world.rig.now = end
        world.run()

    world.rig.limit(lane, 5.0)  # the deadline is behind that already, so nothing is renewed
    passed(4)
    world.rig.limit(lane, 30.0)
    passed(20)
    assert lane.state == "open"
    world.rig.limit(lane, -1.0)
    passed(60)
    assert lane.state == "open"
    world.rig.limit(lane, 0.0)
    assert world.rig.deadline_of(lane) == world.rig.now
    world.run()
    world.rig.now += 1000
    world.run()
    assert lane.state == "lost"
    world.rig.limit(lane, -1.0)
    assert world.rig.deadline_of(lane) == 0


def test_a_limit_before_there_is_a_session_counts_too() -> None:
    world = World(1)
    lane = world.rig.lane(9.0, 1000.0)
    world.rig.limit(lane, 2.0)
    begin = world.rig.now
    world.rig.connected(True)
    world.run()
    world.good(*world.way.pop())
    world.run()
    assert world.rig.deadline_of(lane) == begin + 2 * SECOND
    world.rig.now = begin + 2 * SECOND
    world.run()
    assert (lane.state, lane.loss) == ("lost", "its holder passed the limit it was given")
    for wrong in (-1.0, 1e9, float("nan")):
        with pytest.raises(InvalidArgument):
            lane.limit(wrong)
