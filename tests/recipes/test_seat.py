"""The seat of a sticky lock: one atomic state, whoever calls and from wherever."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from quorate.recipes._seat import STATES, Seat


def test_every_state_and_what_leads_on() -> None:
    ways: dict[str, Callable[[Seat], object]] = {
        "take": lambda it: it.take(1), "rest": lambda it: it.rest(1), "leave": lambda it: it.leave(1),
        "recall": Seat.recall, "lose": Seat.lose,
    }  # fmt: skip
    up = "given up"
    #           take                  rest                  leave                 recall                lose
    expected = {
        "taken": [(False, "taken"), (True, "idle"), ("idle", "idle"), (False, "recalled"), (True, "lost")],
        "idle": [(True, "taken"), (False, "idle"), ("not taken", "idle"), (True, up), (False, "lost")],
        "recalled": [(False, "recalled"), (False, "recalled"), (up, up), (False, "recalled"), (True, "lost")],
        "given up": [(False, up), (False, up), ("not taken", up), (False, up), (False, up)],
        "lost": [(False, "lost"), (False, "lost"), ("lost", "lost"), (False, "lost"), (False, "lost")],
    }
    assert tuple(expected) == STATES

    def seat_in(state: str) -> Seat:
        seat = Seat(lambda: True, 1)
        if state in ("idle", "given up"):
            seat.leave(1)
        if state in ("recalled", "given up"):
            seat.recall()
        if state == "lost":
            seat.lose()
        assert seat.state == state
        return seat

    for state, outcomes in expected.items():
        for (name, way), (answer, after) in zip(ways.items(), outcomes, strict=True):
            seat = seat_in(state)
            assert (way(seat), seat.state) == (answer, after), f"{name} when {state}"
            assert seat.taken == (after in ("taken", "recalled"))


def test_it_is_not_taken_nor_left_well_once_the_lease_is_over() -> None:
    held = True
    seat = Seat(lambda: held, 1)
    seat.leave(1)
    assert seat.take(2)
    held = False
    assert not seat.rest(2)
    assert seat.leave(2) == "lost"
    seat = Seat(lambda: True, 1)
    assert seat.leave(1) == "idle"
    other = Seat(lambda: held, 1)
    assert (other.leave(1), other.take(1)) == ("lost", False)
    assert "lost" in repr(other)


def test_only_who_sits_there_gets_up() -> None:
    seat = Seat(lambda: True, 1)
    assert (seat.rest(2), seat.leave(2), seat.state, seat.owner) == (False, "not taken", "taken", 1)
    assert seat.leave(1) == "idle"
    assert seat.take(2**64 - 1)
    assert seat.owner == 2**64 - 1
    with pytest.raises((OverflowError, TypeError)):
        seat.take(-1)


def test_of_a_take_and_a_recall_that_meet_one_comes_first_for_everybody() -> None:
    """Threads take and leave as fast as they can, one recalls: exactly one is told to release, nobody sits afterwards,
    and no two ever sit there together."""
    workers, turns = 3, 300
    for turn in range(turns):
        seat = Seat(lambda: True, 1)
        seat.leave(1)
        inside = itertools.count()
        together: list[int] = []
        told: list[str] = []
        ready = threading.Barrier(workers + 1)
        sitting = [0]

        def work(owner: int, seat: Seat = seat, told: list[str] = told, together: list[int] = together,
                 sitting: list[int] = sitting, ready: threading.Barrier = ready) -> None:  # fmt: skip
            ready.wait()
            for _ in range(30):
                if seat.take(owner):
                    sitting[0] += 1
                    together.append(sitting[0])
                    sitting[0] -= 1
                    state = seat.leave(owner)
                    if state == "given up":
                        told.append("on leaving")

        threads = [threading.Thread(target=work, args=(number + 2,)) for number in range(workers)]
        for thread in threads:
            thread.start()
        ready.wait()
        if turn % 2:
            next(inside)
        if seat.recall():
            told.append("by the recall")
        for thread in threads:
            thread.join()
        assert len(told) == 1, told
        assert seat.state == "given up"
        assert all(each == 1 for each in together), "two sat there together"
