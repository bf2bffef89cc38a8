"""``quorate sim``: options, output, exit codes."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from quorate.cli import main
from quorate.cli import sim as sim_command
from quorate.testing import PROFILES, runner


def sim(*arguments: str):
    return CliRunner().invoke(main, ["sim", *arguments])


def test_a_run_that_holds() -> None:
    done = sim("--seeds", "1..2,5", "--seconds", "2", "--profile", "calm", "--jobs", "1")
    assert done.exit_code == 0, done.output
    assert "failed" in done.output
    assert "operations" in done.output


def test_json_is_one_object() -> None:
    done = sim("--seeds", "7", "--seconds", "2", "--profile", "rough", "-j", "1", "--json")
    assert done.exit_code == 0
    result = json.loads(done.stdout)
    assert result["seeds"] == 1
    assert result["failures"] == []
    assert result["profiles"] == {"rough": 1}
    assert result["steps"] > 100


def test_a_failure_has_exit_code_one_and_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = runner.Outcome(3, "election safety", "two leaders", 1.5, "quorate sim --seeds 3", "the story")
    monkeypatch.setattr(runner, "run_many", lambda seeds, **_: iter([bad]))
    done = sim("--seeds", "3", "--transcript")
    assert done.exit_code == 1
    assert "seed 3 failed after 1.500 s: election safety: two leaders" in done.output
    assert "quorate sim --seeds 3" in done.output
    assert "the story" in done.output
    done = sim("--seeds", "3", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["failures"][0]["rule"] == "election safety"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--seeds", "x"), "is not like"),
        (("--seeds", "5..1"), "is empty"),
        (("--minutes", "1", "--seconds", "1"), "not both"),
        (("--profile", "sunny"), "sunny"),
        (("--mutation", "no_such_bug"), "is not known here"),
    ],
)
def test_wrong_use_has_exit_code_two(arguments: tuple[str, ...], says: str) -> None:
    done = sim(*arguments)
    assert done.exit_code == 2
    assert says in done.output


def test_the_profiles_of_the_command_are_those_of_the_simulator() -> None:
    assert set(sim_command.PROFILES) == {"mixed", *PROFILES}
