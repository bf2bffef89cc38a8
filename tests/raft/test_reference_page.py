"""The reference page tells every event, setting and status, with the defaults that the code has."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import quorate.raft
from quorate.raft import Event, RaftConfig

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "raft.md"
if not PAGE.exists():
    pytest.skip("the documents are not here: this is not a source tree", allow_module_level=True)
TEXT = PAGE.read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)[^`]*` \| ([^|]+) \|", TEXT, re.M))


def test_every_setting_is_there_with_its_default() -> None:
    assert {field.name: str(field.default) for field in fields(RaftConfig)} == {
        field.name: ROWS.get(field.name) for field in fields(RaftConfig)
    }


def test_every_event_is_there() -> None:
    events = [thing for thing in vars(quorate.raft).values() if isinstance(thing, type) and issubclass(thing, Event)]
    names = {event.__name__ for event in events if event is not Event}
    assert len(names) == 16
    assert names <= set(ROWS)


def test_every_status_is_there() -> None:
    from quorate.raft._messages import STATUS_NAMES

    assert set(STATUS_NAMES) <= set(ROWS)
