"""The command loads what it needs and no more, and turns errors into messages and exit codes."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from quorate import cli
from quorate.errors import InvalidArgument, NoQuorum, QuorateError


def test_help_lists_every_command_without_loading_one() -> None:
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from quorate.cli import COMMANDS, main\n"
        "shown = CliRunner().invoke(main, ['--help']).output\n"
        "assert all(name in shown for name in COMMANDS), shown\n"
        "loaded = [name for name in sys.modules if name.startswith(('quorate.cli.', 'quorate.ring', 'rich'))]\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_loads_and_has_help(name: str) -> None:
    shown = CliRunner().invoke(cli.main, [name, "--help"])
    assert shown.exit_code == 0
    assert f"quorate {name}" in shown.output or f"main {name}" in shown.output


def test_an_unknown_command_is_a_mistake_of_the_caller() -> None:
    shown = CliRunner().invoke(cli.main, ["rings"])
    assert shown.exit_code == 2
    assert "rings" in shown.output


@pytest.mark.parametrize(
    ("error", "code"), [(InvalidArgument("weight -1 is negative"), 2), (NoQuorum("2 of 3 members do not answer"), 1)]
)
def test_an_error_of_ours_is_a_message_and_no_traceback(error: QuorateError, code: int) -> None:
    @click.command()
    def failing() -> None:
        raise error

    group = cli.LazyGroup("quorate")
    group.add_command(failing)
    group.get_command = lambda ctx, name: failing  # type: ignore[method-assign]
    shown = CliRunner().invoke(group, ["failing"])
    assert shown.exit_code == code
    assert str(error) in shown.output
    assert "Traceback" not in shown.output
