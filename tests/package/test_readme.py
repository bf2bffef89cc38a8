"""What the README says can be found where it says, and its figures are those that were measured last."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from quorate.cli import main

TREE = Path(__file__).parents[2]
TEXT = (TREE / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#]+)", TEXT))
def test_links_lead_somewhere(link: str) -> None:
    assert (TREE / link).exists()


def test_figures_are_those_of_the_last_run() -> None:
    for name, shown in re.findall(r"<!-- figures: (\S+) -->\n(.*?)<!-- end of figures -->", TEXT, re.S):
        assert shown.strip() == (TREE / name).read_text(encoding="utf-8").strip(), f"copy {name} into the README again"
    assert "<!-- figures: bench/results/ring-peers.md -->" in TEXT


@pytest.mark.parametrize("line", re.findall(r"^quorate (.*?)(?: +#.*)?$", TEXT, re.M))
def test_commands_run(line: str) -> None:
    done = CliRunner().invoke(main, shlex.split(line))
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("block", re.findall(r"<!-- pasted: [\w ]+ -->\n```python\n(.*?)```", TEXT, re.S))
def test_what_is_pasted_works(block: str) -> None:
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_the_gate_finds_its_commands() -> None:
    for mark in ("main job", "tests"):
        assert re.search(rf"^<!-- command: {mark} -->\n```sh\n.+?\n```$", TEXT, re.M | re.S), mark
