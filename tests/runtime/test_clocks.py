"""No thread waits by the wall clock: when that is set, a wait would take a day, or no time at all."""

from __future__ import annotations

from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2] / "src" / "quorate"
WAITING = sorted(path for path in HOUSE.rglob("*.pyx") if "pthread_cond_timedwait(" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WAITING, ids=lambda path: path.name)
def test_waits_have_a_clock_that_nobody_sets(path: Path) -> None:
    assert "CLOCK_REALTIME" not in path.read_text(encoding="utf-8")


@pytest.mark.skipif(not WAITING, reason="the sources are not here")
def test_there_are_such_waits() -> None:
    assert "_snapshot_work.pyx" in {path.name for path in WAITING}
    assert "setclock(&attributes, CLOCK_MONOTONIC)" in (HOUSE / "runtime" / "snapshots.hpp").read_text(encoding="utf-8")
