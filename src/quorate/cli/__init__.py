"""The ``quorate`` command: one module a group of subcommands, loaded only when it is called."""

from __future__ import annotations

import click

from quorate.version import __version__

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="quorate", message="%(prog)s %(version)s")
def main() -> None:
    """Coordination that lives inside a Python service."""
