"""The pytest plugin, seen from a user's test file; and the guide's example, run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "simulate-your-state-machine.md"
PLUGIN = ("-p", "quorate.testing.fixtures", "-p", "no:cacheprovider")


def test_the_guides_example_passes(pytester: pytest.Pytester) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    pytester.makepyfile(test_bank=code)
    pytester.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=6)


def test_a_failure_tells_seed_and_story(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        class Bad:
            lives = 0
            def __init__(self):
                Bad.lives += 1
                self.me = Bad.lives
            def apply(self, index, command):
                return self.me
            def snapshot(self):
                return b""
            def restore(self, data):
                pass

        def test_it(sim_cluster):
            cluster = sim_cluster(Bad, seed=3, profile="calm")
            cluster.propose(b"x")
            cluster.quiet(2)
        """
    )
    result = pytester.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*deterministic state machine*", "*test_it.py::test_it' --sim-seed 3*", "*is leader of term*"]
    )
    again = pytester.runpytest_subprocess(*PLUGIN, "--sim-seed", "8")
    again.stdout.fnmatch_lines(["*--sim-seed 8*"])


def test_the_plugin_costs_nothing_until_it_is_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        import sys
        def test_it():
            assert "quorate.raft" not in sys.modules
            assert "quorate.testing.cluster" not in sys.modules
        """
    )
    pytester.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=1)
