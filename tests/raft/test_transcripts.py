"""The stories in ``transcripts/``: each must come out as it is written. ``pytest --rewrite`` writes them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from raft.transcript import check, rewrite

STORIES = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(path: Path, request: pytest.FixtureRequest) -> None:
    check(path, request.config.getoption("--rewrite"))


def test_there_are_at_least_forty_stories() -> None:
    assert len(STORIES) >= 40


def test_every_story_opens_with_a_title() -> None:
    for path in STORIES:
        assert path.read_text(encoding="utf-8").startswith("# "), f"{path.name} has no title"


def test_a_story_that_differs_fails() -> None:
    story = "# A title\n> cluster 1 2 3\n  1 leader\n"
    assert rewrite(story) != story
    with pytest.raises(AssertionError, match="no such command"):
        rewrite("> dance\n")
