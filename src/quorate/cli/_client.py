"""What the commands that talk to a cluster share: --url, --timeout and --json, a client, bytes that people can read.

Knows the public client, and nothing of how it reaches the cluster.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, TypeVar

import click

from quorate.api.client import Client
from quorate.api.connect import connect
from quorate.cli._show import visible

__all__ = ["client_options", "document", "opened", "readable"]

F = TypeVar("F", bound=Callable[..., Any])


def client_options(function: F) -> F:
    """``--url``, ``--timeout`` and ``--json``, which every such command has."""
    options = (
        click.option(
            "--url", envvar="QUORATE_URL", metavar="URL", help="quorate://host:port,host:port.  [default: QUORATE_URL]"
        ),
        click.option(
            "--timeout", type=click.FloatRange(0.0, 86400.0, min_open=True), default=5.0, show_default=True,
            help="Seconds to wait at most.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON for programs."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def opened(url: str | None) -> Client:
    """A client of the cluster. Raises ConfigError that says how to name one."""
    return connect(url)


def readable(data: bytes) -> str:
    """Bytes as one line that cannot command a terminal: text as it is, the rest as escapes.

    >>> readable("Zoë".encode()), readable(b"\\xff\\x1b[2J")
    ('Zoë', '\\\\xff\\\\x1b[2J')
    """
    return visible(data.decode("utf-8", errors="backslashreplace"))


def document(**fields: Any) -> dict[str, Any]:
    """Fields for JSON: bytes become text where they are UTF-8, and ``name_base64`` where they are not.

    >>> document(key=b"a", value=b"\\xff", revision=3)
    {'key': 'a', 'value_base64': '/w==', 'revision': 3}
    """
    made: dict[str, Any] = {}
    for name, value in fields.items():
        if not isinstance(value, bytes):
            made[name] = value
            continue
        try:
            made[name] = value.decode()
        except UnicodeDecodeError:
            made[f"{name}_base64"] = base64.b64encode(value).decode()
    return made
