"""``quorate status``: every member of a cluster in one table, as JSON, or as Prometheus text.

Asks each member by itself, so that the ones that do not answer are seen too. What the figures mean is below.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import click
from rich.markup import escape

from quorate.cli._client import client_options
from quorate.cli._show import console, print_json, table
from quorate.client.remote import Remote
from quorate.client.urls import parse_url
from quorate.errors import NoQuorum, QuorateError
from quorate.runtime.metrics import metrics_text
from quorate.runtime.questions import Kind, decode_status

__all__ = ["look", "status"]

ASKED_AT_ONCE: Final = 16


@click.command()
@click.option("--prometheus", is_flag=True, help="Print what Prometheus scrapes.")
@client_options
def status(prometheus: bool, url: str | None, timeout: float, as_json: bool) -> None:
    """Show every member of the cluster: role, term, how far it is, how long its disk takes.

    Exit codes: 0 all members answered and one leads; 1 one does not answer, or there is no leader.
    """
    found = look(url, timeout)
    if not any("term" in each for each in found):
        raise NoQuorum("no member answers: " + "; ".join(f"{each['address']}: {each['error']}" for each in found))
    if prometheus:
        click.echo(metrics_text([each for each in found if "term" in each]), nl=False)
    elif as_json:
        print_json({"members": found})
    else:
        _show(found)
    led = any(each.get("role") == "leader" for each in found)
    raise SystemExit(0 if led and all("term" in each for each in found) else 1)


def look(url: str | None, timeout: float) -> list[dict[str, Any]]:
    """What each member says of itself, by address; ``error`` of one that did not answer.

    The members are those of the URL, and those that they know of.
    """
    waiting = list(parse_url(url).addresses)
    names: dict[int, str] = {}
    found: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        while waiting:
            for address, (one, members) in zip(
                waiting, pool.map(lambda address: _ask(address, timeout), waiting), strict=True
            ):
                found[address] = one
                names |= {id: name for id, name, _, _ in members if name}
                if "term" in one:
                    names[one["id"]] = one["name"]
                known = {address for _, _, address, _ in members if address}
                found |= {each: {} for each in known if each not in found}
            waiting = [address for address, one in found.items() if not one]
    by_node: dict[Any, dict[str, Any]] = {}
    for address, one in found.items():
        one["address"] = address
        by_node.setdefault(one.get("id", address), one)  # a member may be reached at several addresses
    return [_as_people_say(one, names) for one in by_node.values()]


def _ask(address: str, timeout: float) -> tuple[dict[str, Any], list[tuple[int, str, str, bool]]]:
    try:
        with Remote([address], follow=False, label="quorate status") as node:
            _, answer = node.ask(Kind.STATUS, b"", timeout).wait()
            return decode_status(answer or b""), node.members()
    except QuorateError as error:
        return {"error": str(error)}, []


def _as_people_say(seen: dict[str, Any], names: dict[int, str]) -> dict[str, Any]:
    """Names in place of numbers, seconds in place of milliseconds: the shape of a node's own ``status()``."""
    if "term" not in seen:
        return seen
    made = dict(seen)
    made["leader"] = names.get(seen["leader"], str(seen["leader"])) if seen["leader"] else None
    made["uptime"] = made.pop("uptime_ms", 0) / 1000
    made["sessions"] = seen.get("store", {}).get("sessions", 0)
    made["followers"] = {
        names.get(int(id), id): {
            "match": each["match"],
            "lag": max(seen["last_index"] - each["match"], 0),
            "silent": each["silent_ms"] / 1000 if "silent_ms" in each else None,
            "learner": bool(each["learner"]),
        }
        for id, each in seen.get("followers", {}).items()
    }
    return made


def _show(found: list[dict[str, Any]]) -> None:
    out = console()
    rows = table(
        out, "node", "address", "role", "term", "commit", "applied", "lag", "fdatasync p99 ms", "sessions", "MiB", "up",
        left=3,
    )  # fmt: skip
    newest = max(each.get("commit", 0) for each in found)
    for each in found:
        if "term" not in each:
            rows.add_row("?", escape(each["address"]), "no answer")
            continue
        memory = each.get("memory", {}).get("resident", 0) / (1 << 20)
        rows.add_row(
            escape(str(each.get("name", each["id"]))), escape(each["address"]), each["role"].replace("_", " "),
            str(each["term"]), str(each["commit"]), str(each["applied"]), str(max(newest - each["applied"], 0)),
            f"{each['disk'].get('sync_p99_us', 0) / 1000:.2f}", str(each["sessions"]), f"{memory:.0f}",
            _age(each["uptime"]),
        )  # fmt: skip
    out.print(rows)
    for each in found:
        if "error" in each:
            out.print(f"{each['address']}: {each['error']}", markup=False)
        elif each.get("durability") == "memory":
            out.print(f"{each['name']} keeps nothing: durability=memory", markup=False)
        if each.get("disk", {}).get("full"):
            out.print(f"{each['name']}: no room on its disk", markup=False)
    if not any(each.get("role") == "leader" for each in found):
        out.print("no leader: a majority of the members must run and reach each other")


def _age(seconds: float) -> str:
    """
    >>> _age(59.9), _age(3600), _age(200_000)
    ('59 s', '60 min', '55 h')
    """
    if seconds < 100:
        return f"{int(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{int(seconds / 3600)} h"
