"""The picture is SVG, shows what happened, and is not misled by names."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from quorate.testing.torture.timeline import draw
from testing.torture.histories import Story

SPACE = "{http://www.w3.org/2000/svg}"


def test_operations_faults_and_leaders_are_drawn() -> None:
    story = Story("counters")
    story.record.say("office", node="a", role="leader", term=1)
    story.record.say("office", node="<b>", role="follower", term=1)
    story.does("x", "k", "increment", 1, 1)
    story.ends(story.call("x", "k", "increment", 1), "unknown")
    story.ends(story.call("x", "k", "increment", 1), "fail")
    story.record.say("fault", number=0, kind="slow_sync", node="a")
    story.record.say("fault", number=1, kind="kill", node="a")
    story.record.say("healed", number=0, kind="slow_sync")
    story.record.say("office", node="a", role="silent", term=None)
    picture = ET.fromstring(draw(story.record.events))
    words = [each.text for each in picture.iter(f"{SPACE}text")]
    for expected in ("slow sync", "kill", "node a", "node <b>", "operations"):
        assert expected in words
    titles = [each.text or "" for each in picture.iter(f"{SPACE}title")]
    for part in ("1 ok", "1 unknown", "1 fail", "slow_sync, node a", "a leader, term 1", "<b> follower"):
        assert any(part in each for each in titles), part


def test_an_empty_run_has_a_picture_too() -> None:
    ET.fromstring(draw(Story("counters").record.events))
