"""The ``quorate`` command: one module a group of subcommands, loaded only when it is called.

Knows how to find a command, and how an error of ours becomes a message and an exit code. Knows nothing of what the
commands do.

Exit codes: 0 done; 1 the command could not do its work; 2 the command was called wrongly.
"""

from __future__ import annotations

import errno
import importlib
import io
import sys
from typing import Any, Final

import click

from quorate.errors import ConfigError, EmptyRing, InvalidArgument, LimitExceeded, QuorateError
from quorate.version import __version__

__all__ = ["main"]

COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    # name: (module, object in it, the line that `quorate --help` shows)
    "bench": ("quorate.cli.bench", "bench", "How fast a cluster is, beside what its disk and network allow."),
    "check": ("quorate.cli.check", "check", "Verify a data directory offline, and print what is there."),
    "delete": ("quorate.cli.keys", "delete", "Delete a key, or all with a prefix."),
    "elect": ("quorate.cli.lock", "elect", "Run a command while having an office: on exactly one host."),
    "get": ("quorate.cli.keys", "get", "Print the value of a key."),
    "lock": ("quorate.cli.lock", "lock", "Run a command while holding a lock, as flock(1) does."),
    "members": ("quorate.cli.members", "members", "Who belongs to the cluster: list, add, promote, remove, replace."),
    "put": ("quorate.cli.keys", "put", "Set a key."),
    "range": ("quorate.cli.keys", "range_", "List keys."),
    "recover": ("quorate.cli.recover", "recover", "A new cluster from one surviving data directory."),
    "ring": ("quorate.cli.ring", "ring", "Consistent hashing: who owns which key, and what moves."),
    "serve": ("quorate.cli.serve", "serve", "Run one node of a cluster, until it is told to stop."),
    "sim": ("quorate.cli.sim", "sim", "Simulated clusters over many seeds: which one breaks a rule?"),
    "snapshot": ("quorate.cli.snapshot", "snapshot", "Backup, and a new cluster from an old one's data."),
    "status": ("quorate.cli.status", "status", "Every member of a cluster: role, term, lag, disk."),
    "torture": ("quorate.cli.torture", "torture", "A real cluster under faults: does what its clients saw hold?"),
    "transfer": ("quorate.cli.members", "transfer", "Hand the leader's office over."),
    "up": ("quorate.cli.up", "up", "A cluster on this machine, in the foreground, with live status."),
    "watch": ("quorate.cli.keys", "watch", "Print each change of a key, until Ctrl-C."),
}
"""Help is written here too, so that ``quorate --help`` imports no command."""

CALLERS_FAULT: Final = (InvalidArgument, LimitExceeded, ConfigError, EmptyRing)


class LazyGroup(click.Group):
    """A group whose commands are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. Errors of ours and of files become one line: nobody should have to read a traceback."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # what a terminal's encoding lacks is shown by its number
        try:
            return super().invoke(ctx)
        except CALLERS_FAULT as error:
            raise click.UsageError(str(error)) from error
        except QuorateError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # a reader that went away: click ends quietly
            raise click.ClickException(str(error)) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="quorate", message="%(prog)s %(version)s")
def main() -> None:
    """Coordination that lives inside a Python service."""
