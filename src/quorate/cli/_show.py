"""What commands share when they show something: a console, tables that suit a terminal or a pipe, JSON.

On a terminal: colour and frames. In a pipe: plain aligned columns of full width, for people and for awk.
"""

from __future__ import annotations

import json
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["bar", "console", "percent", "print_json", "table", "visible"]

PIPE_WIDTH = 10_000
"""Columns of a pipe: so many that nothing is ever cut or wrapped."""


def console() -> Console:
    """A console for standard output as it is now; tests and pipes replace it."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PIPE_WIDTH, no_color=True)


def table(to: Console, *columns: str, left: int = 1) -> Table:
    """An empty table whose first ``left`` columns are text, and the others numbers."""
    made = Table(
        box=box.SIMPLE_HEAD if to.is_terminal else None,
        pad_edge=to.is_terminal,
        header_style="bold",
        padding=(0, 2, 0, 0) if not to.is_terminal else (0, 1),
    )
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number < left else "right", no_wrap=True)
    return made


def visible(text: str) -> str:
    """The text with what cannot be printed written as an escape, so that no name or key can command a terminal.

    >>> visible("Zoë [red]"), visible("a\\x1b[2J\\n")
    ('Zoë [red]', 'a\\\\x1b[2J\\\\n')
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def percent(fraction: float) -> str:
    return f"{fraction * 100:.2f} %"


def bar(value: float, most: float, width: int = 24) -> str:
    """A bar of up to ``width`` columns, in eighths of a column."""
    eighths = round(max(0.0, value / most if most else 0.0) * width * 8)
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]


def print_json(document: Any) -> None:
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))
