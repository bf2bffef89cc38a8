"""Settings of a node as people write them: `a=host:port,b=…`, `name=value`, and a TOML file that says the same.

Which source wins is click's: a flag, then its environment variable, then the file (as click's default map), then the
default. Knows nothing of what a node does with them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from quorate.config import RaftConfig
from quorate.errors import ConfigError

__all__ = ["MembersOption", "RaftOption", "raft_config", "read_file"]

if TYPE_CHECKING:
    MembersType = click.ParamType[dict[str, str]]
    RaftType = click.ParamType[tuple[str, Any]]
else:
    MembersType = RaftType = click.ParamType


class MembersOption(MembersType):
    """``a=host:port,b=host:port``, or a table of the same."""

    name = "members"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        if isinstance(value, Mapping):
            pairs = list(value.items())
        else:
            pairs = []
            for part in str(value).replace(",", " ").split():
                name, equals, address = part.partition("=")
                if not equals or not name or not address:
                    self.fail(f"{part!r} is no member; write NAME=HOST:PORT, with commas between members", param, ctx)
                pairs.append((name, address))
        found: dict[str, str] = {}
        for name, address in pairs:
            if name in found:
                self.fail(f"{name} is named twice", param, ctx)
            if not isinstance(address, str):
                self.fail(f"the address of {name} is a text like 'host:port', not {address!r}", param, ctx)
            found[name] = address
        if not found:
            self.fail("there is no member in it; write NAME=HOST:PORT", param, ctx)
        return found


class RaftOption(RaftType):
    """``heartbeat_ms=100``: a field of RaftConfig."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        known: dict[str, Any] = {field.name: type(field.default) for field in fields(RaftConfig)}
        if not equals or name not in known:
            self.fail(f"{value!r} is no setting; there are: {', '.join(known)}", param, ctx)
        kind = known[name]
        try:
            if kind is bool:
                return name, {"true": True, "false": False}[text.lower()]
            return name, kind(text)
        except (ValueError, KeyError):
            wanted = {bool: "true or false", int: "an integer", float: "a number"}[kind]
            return self.fail(f"{name} is {wanted}, not {text!r}", param, ctx)


def raft_config(pairs: tuple[tuple[str, Any], ...]) -> RaftConfig:
    """The settings, with defaults where nothing was said. Raises ConfigError if they cannot work together."""
    return RaftConfig(**dict(pairs))


def read_file(path: Path, known: Mapping[str, type]) -> dict[str, Any]:
    """Settings of a TOML file: ``known`` names and their types, ``[members]`` and ``[raft]``.

    Raises ConfigError that names the file, and the setting if it is one that is wrong.
    """
    try:
        toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
        found: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is no TOML: {error}") from None
    for name, value in found.items():
        wanted = {"members": dict, "raft": dict, **known}.get(name)
        if wanted is None:
            there = f"{', '.join(sorted(known))}, and the tables [members] and [raft]"
            raise ConfigError(f"{path}: there is no setting {name!r}; there are: {there}")
        if type(value) is not wanted:
            raise ConfigError(f"{path}: {name} is {WORDS[wanted]}, not {value!r}")
    if "raft" in found:
        found["raft"] = [f"{name}={str(value).lower()}" for name, value in found["raft"].items()]
    return found


WORDS: Final = {str: "a text", bool: "true or false", dict: "a table", int: "an integer"}
