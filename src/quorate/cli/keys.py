"""``quorate get | put | delete | range | watch``: keys and values from the shell.

Values go in and out as they are, byte for byte; lists are for people, or JSON for programs.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import click

from quorate.api.watch import Event
from quorate.cli._client import client_options, document, opened, readable
from quorate.cli._show import console, print_json, table
from quorate.store import KeyValue

__all__ = ["delete", "get", "put", "range_", "watch"]

local_option = click.option("--local", is_flag=True, help="What the nearest node has, without asking a quorum.")


def _consistency(local: bool) -> Any:
    return "local" if local else "linearizable"


def _described(found: KeyValue, *, value: bool = True) -> dict[str, Any]:
    fields = document(key=found.key, **({"value": found.value} if value else {}))
    return fields | {
        "create_revision": found.create_revision,
        "mod_revision": found.mod_revision,
        "version": found.version,
        "session": found.session,
    }


@click.command()
@click.argument("key")
@local_option
@client_options
def get(key: str, local: bool, url: str | None, timeout: float, as_json: bool) -> None:
    """Print the value of KEY, byte for byte.

    Exit codes: 0 printed; 1 there is no such key, or the cluster did not answer.
    """
    with opened(url) as client:
        found = client.get(key, consistency=_consistency(local), timeout=timeout)
    if found is None:
        raise click.ClickException(f"there is no key {key!r}")
    if as_json:
        print_json(_described(found))
        return
    out = sys.stdout.buffer
    out.write(found.value)
    if sys.stdout.isatty() and not found.value.endswith(b"\n"):
        out.write(b"\n")
    out.flush()


@click.command()
@click.argument("key")
@click.argument("value", required=False)
@click.option(
    "--if-revision", type=click.IntRange(0), metavar="N", help="Only if the key has this mod_revision; 0: none."
)
@client_options
def put(key: str, value: str | None, if_revision: int | None, url: str | None, timeout: float, as_json: bool) -> None:
    """Set KEY to VALUE, or to what standard input holds, and print the revision.

    Exit codes: 0 done, durably on a majority; 1 not done, or not known: the message says which; also when
    --if-revision does not hold.
    """
    data = sys.stdin.buffer.read() if value is None else value.encode()
    with opened(url) as client:
        if if_revision is None:
            revision = client.put(key, data, timeout=timeout)
        else:
            swap = client.compare_and_set(key, data, if_revision, timeout=timeout)
            if not swap:
                at = f"at revision {swap.revision}" if swap.revision else "not there"
                raise click.ClickException(f"not done: {key!r} is {at}, not {if_revision or 'missing'}")
            revision = swap.revision
    if as_json:
        print_json({"revision": revision})
    else:
        click.echo(revision)


@click.command()
@click.argument("key")
@click.option("--prefix", is_flag=True, help="All keys that begin with KEY.")
@client_options
def delete(key: str, prefix: bool, url: str | None, timeout: float, as_json: bool) -> None:
    """Delete KEY, and print how many keys that were.

    Exit codes: 0 done, also if there was no such key; 1 not done, or not known.
    """
    with opened(url) as client:
        gone = client.delete_range(prefix=key, timeout=timeout) if prefix else client.delete(key, timeout=timeout)
        count = int(gone)
    if as_json:
        print_json({"deleted": count})
    else:
        click.echo(count)


@click.command("range")
@click.argument("start", default="")
@click.argument("end", default="")
@click.option("--prefix", help="Keys that begin with this, in place of START and END.")
@click.option("--limit", type=click.IntRange(0), default=0, help="At most so many.  [default: all]")
@click.option("--count", is_flag=True, help="Only how many there are.")
@click.option("--keys-only", is_flag=True, help="No values.")
@local_option
@client_options
def range_(
    start: str,
    end: str,
    prefix: str | None,
    limit: int,
    count: bool,
    keys_only: bool,
    local: bool,
    url: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """List the keys from START to before END, in the order of their bytes; without both, all keys.

    Exit codes: 0 listed, also if there is none; 1 the cluster did not answer.
    """
    if prefix is not None and (start or end):
        raise click.UsageError("give --prefix, or START and END, not both")
    where = {"prefix": prefix} if prefix is not None else {"start": start, "end": end}
    with opened(url) as client:
        if count:
            number = client.count(**where, consistency=_consistency(local), timeout=timeout)
            print_json({"count": number}) if as_json else click.echo(number)
            return
        found = client.range(**where, limit=limit, consistency=_consistency(local), timeout=timeout)
    if as_json:
        rows = [_described(each, value=not keys_only) for each in found]
        print_json({"revision": found.revision, "more": found.more, "keys": rows})
        return
    out = console()
    rows_ = table(out, "key", *([] if keys_only else ["value"]), "revision", "version", left=1 if keys_only else 2)
    for each in found:
        value = [] if keys_only else [_shortened(each.value)]
        rows_.add_row(readable(each.key), *value, str(each.mod_revision), str(each.version))
    out.print(rows_, markup=False)
    if found.more:
        out.print(f"more keys follow; these are the first {len(found)}")


def _shortened(value: bytes) -> str:
    text = readable(value[:200])
    return text if len(text) <= 60 and len(value) <= 200 else f"{text[:57]}… ({len(value)} bytes)"


@click.command()
@click.argument("key")
@click.option("--prefix", is_flag=True, help="All keys that begin with KEY.")
@click.option("--revision", type=click.IntRange(0), metavar="N", help="Changes after this one.  [default: from now on]")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many changes.")
@client_options
def watch(
    key: str,
    prefix: bool,
    revision: int | None,
    count: int | None,
    url: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Print each change of KEY, one a line, until Ctrl-C. Elections and lost connections do not end it.

    Exit codes: 0 ended by --count or Ctrl-C; 1 the changes after --revision are not kept any more, or nobody answered.
    """
    out = console()
    with (
        contextlib.suppress(KeyboardInterrupt),
        opened(url) as client,
        client.watch(key, prefix=prefix, revision=revision, timeout=timeout) as events,
    ):
        for number, event in enumerate(events, 1):
            if as_json:
                click.echo(json.dumps(_change(event), ensure_ascii=False))
            else:
                value = f" = {_shortened(event.value)}" if event.kind.name == "PUT" else ""
                out.print(f"{event.revision} {event.kind.name.lower()} {readable(event.key)}{value}", markup=False)
            if number == count:
                break


def _change(event: Event) -> dict[str, Any]:
    return document(
        kind=event.kind.name.lower(), key=event.key, value=event.value, revision=event.revision, version=event.version,
        session=event.session,
    )  # fmt: skip
