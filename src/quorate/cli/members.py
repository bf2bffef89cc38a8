"""``quorate members list|add|promote|remove|address``, ``quorate transfer``: who belongs to a cluster, who leads."""

from __future__ import annotations

import dataclasses

import click

from quorate.cli._client import client_options, opened
from quorate.cli._show import console, print_json, table, visible

__all__ = ["members", "transfer"]


@click.group()
def members() -> None:
    """Who belongs to the cluster: list, add, promote, remove, replace."""


@members.command("list")
@client_options
def list_(url: str | None, timeout: float, as_json: bool) -> None:
    """List the members, and who of them votes and leads."""
    with opened(url) as client:
        found = client.members(timeout=timeout)
    if as_json:
        print_json({"members": [dataclasses.asdict(each) for each in found]})
        return
    out = console()
    rows = table(out, "id", "name", "address", "part", "lag", left=4)
    for each in found:
        part = "leader" if each.leader else "voter" if each.voter else "learner"
        rows.add_row(
            str(each.id), visible(each.name), visible(each.address), part, "" if each.lag is None else str(each.lag)
        )
    out.print(rows, markup=False)
    for each in found:
        if each.trouble:
            out.print(f"{visible(each.name)}: {each.trouble}", markup=False)


promote_option = click.option("--promote", is_flag=True, help="Make it a voter too, once it has caught up.")


@members.command()
@click.argument("name")
@click.argument("address")
@promote_option
@client_options
def add(name: str, address: str, promote: bool, url: str | None, timeout: float, as_json: bool) -> None:
    """Add a node as a learner: it gets the log, and does not vote.

    Start it with `quorate serve --name NAME --join …` and an empty data directory, before or after. Whatever is done
    already is not done twice, so the command can be given again.
    """
    with opened(url) as client:
        client.add_member(name, address, promote=promote, timeout=timeout)
    _done(as_json, f"{name} votes now" if promote else f"{name} is a learner now; then: quorate members promote {name}")


@members.command()
@click.argument("old")
@click.argument("new")
@click.argument("address")
@client_options
def replace(old: str, new: str, address: str, url: str | None, timeout: float, as_json: bool) -> None:
    """Put the node NEW at ADDRESS in the place of OLD, dead or alive, in one step: never one vote less in between.

    Start NEW as for `members add`. It votes once it has caught up, and OLD leaves in the same step.
    """
    with opened(url) as client:
        client.replace_member(old, new, address, timeout=timeout)
    _done(as_json, f"{new} votes in the place of {old}; remove the data directory of {old}")


@members.command()
@click.argument("name")
@client_options
def promote(name: str, url: str | None, timeout: float, as_json: bool) -> None:
    """Make a learner that has caught up a voter."""
    with opened(url) as client:
        client.promote_member(name, timeout=timeout)
    _done(as_json, f"{name} votes now")


@members.command()
@click.argument("name")
@client_options
def remove(name: str, url: str | None, timeout: float, as_json: bool) -> None:
    """Take a member out. Its data directory is of no use afterwards; stop its process."""
    with opened(url) as client:
        client.remove_member(name, timeout=timeout)
    _done(as_json, f"{name} is no member any more; stop it, and remove its data directory")


@members.command()
@click.argument("name")
@click.argument("address")
@client_options
def address(name: str, address: str, url: str | None, timeout: float, as_json: bool) -> None:
    """Tell all members that NAME is reached at another ADDRESS."""
    with opened(url) as client:
        client.change_address(name, address, timeout=timeout)
    _done(as_json, f"{name} is looked for at {address}")


@click.command()
@click.argument("name", required=False)
@client_options
def transfer(name: str | None, url: str | None, timeout: float, as_json: bool) -> None:
    """Hand the leader's office over to NAME, or to the member that is furthest."""
    with opened(url) as client:
        leader = client.transfer_leadership(name, timeout=timeout)
    if as_json:
        print_json({"leader": leader})
    else:
        click.echo(f"{visible(leader)} leads")


def _done(as_json: bool, words: str) -> None:
    if as_json:
        print_json({"done": True})
    else:
        console().print(words, markup=False)
