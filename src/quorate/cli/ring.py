"""``quorate ring``: consistent hashing from the command line.

Shows what :mod:`quorate.ring` computes and computes nothing of it by itself.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.text import Text

from quorate.cli import _ring_picture
from quorate.cli._ring_members import NOTATION, parse_members
from quorate.cli._show import bar, console, percent, print_json, table, visible
from quorate.errors import InvalidArgument
from quorate.limits import RING_VNODES_MAX
from quorate.ring import Member, Ring

__all__ = ["ring"]

CIRCLE = 1 << 64
CHUNK = 1 << 18
"""Bytes of standard input that are looked up at once, at most."""

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def ring() -> None:
    """Consistent hashing: who owns which key, and what moves.

    \b
    A node is written NAME, NAME:WEIGHT or NAME:WEIGHT@ZONE, for example
      n1   n3:2   n3:0.5@eu   10.0.0.7:11211:1  (a name with a port needs its weight)
    """


def ring_options(command: F) -> F:
    """The options that say which ring is meant, beside its nodes."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON for programs."),
        click.option(
            "--seed", type=click.IntRange(0, CIRCLE - 1), default=0, show_default=True, help="Seed of the hash."
        ),
        click.option(
            "--vnodes",
            type=click.IntRange(1, RING_VNODES_MAX),
            default=160,
            show_default=True,
            help="Points of a node of weight 1.",
        ),
    ):
        command = option(command)
    return command


def nodes_option(command: F) -> F:
    return click.option(
        "-n",
        "--nodes",
        "nodes",
        multiple=True,
        required=True,
        envvar="QUORATE_RING_NODES",
        metavar="NODES",
        help=f"Nodes, divided by spaces or commas: {NOTATION}. May be given again. [env: QUORATE_RING_NODES]",
    )(command)


def make(members: list[Member], vnodes: int, seed: int) -> Ring:
    """The ring that the options ask for. An empty one owns nothing that could be shown, so it is a mistake here."""
    if not members:
        raise InvalidArgument(f"no node given; write one or more as {NOTATION}")
    return Ring(members, vnodes=vnodes, seed=seed)


def weights_of(members: Iterable[Member]) -> dict[str, float]:
    return {member.name: member.weight for member in members}


def number(value: float) -> str:
    return f"{value:g}"


def modulo_moves(before: int, after: int) -> float:
    """The part of all keys for which ``hash % before`` and ``hash % after`` differ."""
    return 1.0 - min(before, after) / math.lcm(before, after) if before and after else 1.0


# ---------------------------------------------------------------------------------------------------------------------


@ring.command()
@click.argument("nodes", nargs=-1, required=True)
@ring_options
def share(nodes: tuple[str, ...], vnodes: int, seed: int, as_json: bool) -> None:
    """Show how much of the key space each of NODES owns, exactly.

    \b
      quorate ring share n1 n2 n3:2
    """
    members = parse_members(nodes)
    made = make(members, vnodes, seed)
    shares = made.share()
    weights = weights_of(members)
    total = math.fsum(weights.values())
    rows = [
        {
            "node": name,
            "weight": weights[name],
            "share": shares[name],
            "ideal": weights[name] / total,
            "load": shares[name] * total / weights[name],
        }
        for name in weights
    ]
    peak = max(row["load"] for row in rows)  # type: ignore[type-var]
    points = len(made.points())
    if as_json:
        print_json(
            {
                "vnodes": vnodes,
                "seed": seed,
                "points": points,
                "fingerprint": f"{made.fingerprint:016x}",
                "peak_over_ideal": peak,
                "nodes": rows,
            }
        )
        return
    out = console()
    shown = table(out, "node", "weight", "share", "ideal", "load", *([""] if out.is_terminal else []))
    if out.is_terminal:
        shown.columns[-1].justify = "left"
    most = max(shares.values())
    for index, name in enumerate(weights):
        cells: list[str | Text] = [
            Text(visible(name)),  # and never as markup: a name may have brackets
            number(weights[name]),
            percent(shares[name]),
            percent(weights[name] / total),
            f"{shares[name] * total / weights[name]:.3f}×",
        ]
        if out.is_terminal:
            cells.append(Text(bar(shares[name], most), _ring_picture.color_of(index)))
        shown.add_row(*cells)
    out.print(shown)
    nodes_said = "1 node" if len(weights) == 1 else f"{len(weights)} nodes"
    out.print(f"{nodes_said}, {points:,} points; the fullest has {peak:.3f}× its ideal share")
    out.print(f"fingerprint {made.fingerprint:016x}")


# ---------------------------------------------------------------------------------------------------------------------


@ring.command()
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@nodes_option
@click.option(
    "-c", "--count", type=click.IntRange(1), default=1, show_default=True, help="Distinct nodes for each key."
)
@click.option("--zones", is_flag=True, help="Spread the nodes of a key over zones.")
@click.option("--tally", is_flag=True, help="Count the keys of each node instead of listing them.")
@ring_options
def where(
    keys: tuple[str, ...],
    nodes: tuple[str, ...],
    count: int,
    zones: bool,
    tally: bool,
    vnodes: int,
    seed: int,
    as_json: bool,
) -> None:
    """Show on which node each KEY lies. Without a KEY, or for the KEY -, keys are read from standard input, one a line.

    With --json each key gives one line that is a JSON object.

    \b
      quorate ring where --nodes "n1 n2 n3:2" user:1 user:2
      find /etc -type f | quorate ring where -n n1,n2,n3 --tally
    """
    if (not keys or "-" in keys) and sys.stdin is None:
        raise click.UsageError("standard input is closed; name keys or pipe them in")
    if not keys and sys.stdin.isatty():
        raise click.UsageError("no KEY given, and standard input is a terminal; name keys or pipe them in")
    made = make(parse_members(nodes), vnodes, seed)
    if len(made) < count:
        raise InvalidArgument(f"--count {count}: the ring has only {len(made)} nodes")
    out = console()
    colors = {name: _ring_picture.color_of(index) for index, name in enumerate(made)}
    totals: Counter[str] = Counter(dict.fromkeys(made, 0))

    for batch in batches(keys):
        if count == 1 and not zones:
            found: list[list[str]] = [[name] for name in made.node_many(batch)]
        else:
            found = [list(made.nodes(key, count, zones=zones)) for key in batch]
        if tally:
            for names in found:
                totals.update(names)
            continue
        lines = []
        for key, names in zip(batch, found, strict=True):
            text = key.decode("utf-8", "backslashreplace")
            if as_json:
                lines.append(json.dumps({"key": text, "nodes": names}, ensure_ascii=False))
            elif out.is_terminal:
                line = Text(visible(text) + "  ")
                for name in names:
                    line.append(f" {visible(name)}", colors[name])
                out.print(line, soft_wrap=True)
            else:
                lines.append("\t".join([text, *names]))
        if lines:
            click.echo("\n".join(lines))

    if tally:
        whole = sum(totals.values())
        if as_json:
            print_json({"keys": whole, "nodes": dict(totals)})
            return
        shown = table(out, "node", "keys", "part")
        for name, found_keys in totals.items():
            shown.add_row(
                Text(visible(name), colors[name]), f"{found_keys}", percent(found_keys / whole if whole else 0.0)
            )
        out.print(shown)


def batches(arguments: tuple[str, ...]) -> Iterator[list[bytes]]:
    """The keys as bytes: arguments as the shell gave them, and lines of standard input without their line end.

    Input comes in pieces as large as there are, so that a slow writer sees its answers at once.
    """
    for argument in arguments or ("-",):
        if argument != "-":
            yield [argument.encode("utf-8", "surrogateescape")]
            continue
        read: Callable[[int], bytes] = sys.stdin.buffer.read1  # type: ignore[union-attr]
        rest = b""
        while chunk := read(CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            if lines:
                yield [line.removesuffix(b"\r") for line in lines]
        if rest:
            yield [rest]


# ---------------------------------------------------------------------------------------------------------------------


@ring.command()
@click.option("--before", multiple=True, required=True, metavar="NODES", help="The nodes before the change.")
@click.option("--after", multiple=True, required=True, metavar="NODES", help="The nodes after it.")
@click.option("--ranges", is_flag=True, help="List every range of hashes that moves.")
@ring_options
def diff(before: tuple[str, ...], after: tuple[str, ...], ranges: bool, vnodes: int, seed: int, as_json: bool) -> None:
    """Show what moves, from where to where, when the nodes change.

    \b
      quorate ring diff --before "n1 n2 n3" --after "n1 n2 n3 n4"
      quorate ring diff --before "n1 n2 n3" --after "n1 n2:2 n3"
    """
    sides = [parse_members(before), parse_members(after)]
    for option, members in zip(("--before", "--after"), sides, strict=True):
        if not members:
            raise InvalidArgument(f"{option} names no node")
    old, new = (make(members, vnodes, seed) for members in sides)
    moves = old.diff(new)
    flows: Counter[tuple[str, str]] = Counter()
    pieces: Counter[tuple[str, str]] = Counter()
    for start, end, source, target in moves:
        # No name is None here, because neither ring is empty.
        flows[str(source), str(target)] += end - start
        pieces[str(source), str(target)] += 1
    moved = sum(flows.values()) / CIRCLE
    shares = (old.share(), new.share())
    least = math.fsum(max(0.0, shares[1][name] - shares[0].get(name, 0.0)) for name in shares[1])
    modulo = modulo_moves(len(old), len(new))
    if as_json:
        document = {
            "moved": moved,
            "least_possible": least,
            "modulo_would_move": modulo,
            "flows": [
                {"source": source, "target": target, "part": part / CIRCLE, "ranges": pieces[source, target]}
                for (source, target), part in flows.most_common()
            ],
        }
        if ranges:
            document["ranges"] = [
                {
                    "start": f"{move.start:#018x}",
                    "end": f"{move.end:#018x}",
                    "source": move.source,
                    "target": move.target,
                }
                for move in moves
            ]
        print_json(document)
        return
    out = console()
    names = list(dict.fromkeys([*old, *new]))
    colors = {name: _ring_picture.color_of(index) for index, name in enumerate(names)}
    if flows:
        shown = table(out, "from", "to", "part of all keys", "ranges", left=2)
        for (source, target), part in flows.most_common():
            shown.add_row(
                Text(visible(source), colors[source]),
                Text(visible(target), colors[target]),
                percent(part / CIRCLE),
                f"{pieces[source, target]}",
            )
        out.print(shown)
    if ranges and moves:
        shown = table(out, "first hash", "end (not in it)", "from", "to", left=4)
        for start, end, source, target in moves:
            ends = (Text(visible(str(name)), colors[str(name)]) for name in (source, target))
            shown.add_row(f"{start:#018x}", f"{end:#018x}", *ends)
        out.print(shown)
    for fraction, text in (
        (moved, "of all keys move"),
        (least, "is the least possible for these shares"),
        (modulo, "would move with hash % n"),
    ):
        out.print(f"{percent(fraction):>8} {text}")


# ---------------------------------------------------------------------------------------------------------------------


@ring.command()
@click.argument("nodes", nargs=-1, required=True)
@click.option("-k", "--key", "keys", multiple=True, help="Mark where this key lies. May be given again (up to 9).")
@click.option(
    "--svg", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write an SVG to FILE (- for stdout)."
)
@click.option("--rows", type=click.IntRange(6, 80), default=16, show_default=True, help="Height in the terminal.")
@ring_options
def draw(
    nodes: tuple[str, ...],
    keys: tuple[str, ...],
    file: Path | None,
    rows: int,
    vnodes: int,
    seed: int,
    as_json: bool,
) -> None:
    """Draw the ring of NODES: in the terminal, or as SVG.

    Each node has one colour (or letter); its arcs lie where its points put them. Few --vnodes show single arcs, many
    show how the arcs mix, which is what makes the shares even.

    \b
      quorate ring draw n1 n2 n3 --vnodes 4 --key alice --key bob
      quorate ring draw n1 n2 n3:2 --svg ring.svg
    """
    if len(keys) > 9:
        raise InvalidArgument(f"{len(keys)} keys: more than 9 cannot be told apart in the picture")
    made = make(parse_members(nodes), vnodes, seed)
    names = list(made)
    shares = made.share()
    points = made.points()
    hashes = {key: made.hash(key) for key in keys}
    if as_json:
        print_json(
            {
                "nodes": [{"node": name, "share": shares[name]} for name in names],
                "points": [{"hash": f"{point:#018x}", "node": name} for point, name in points],
                "keys": [{"key": key, "hash": f"{at:#018x}", "node": made[key]} for key, at in hashes.items()],
            }
        )
        return
    if file is not None:
        picture = _ring_picture.svg(
            points,
            names,
            labels=[visible(f"{name}  {percent(shares[name])}") for name in names],
            title=visible(
                f"Hash ring of {', '.join(names[:12])}{' …' if len(names) > 12 else ''}, {len(points)} points"
            ),
            keys={visible(f"{key} → {made[key]}"): at for key, at in hashes.items()},
        )
        if str(file) == "-":
            click.echo(picture, nl=False)
            return
        try:
            file.write_text(picture, encoding="utf-8")
        except OSError as error:
            raise click.FileError(str(file), error.strerror or str(error)) from error
        return
    out = console()
    colored = out.is_terminal and out.color_system is not None and not out.no_color
    marks = {str(index): at for index, at in enumerate(hashes.values(), 1)}
    legend = [Text()]
    for index, name in enumerate(names):
        sign = "██" if colored else f"{_ring_picture.letter_of(index)} "
        line = Text(f"{sign} ", _ring_picture.color_of(index))
        line.append(f"{visible(name)}  ", "default")
        line.append(percent(shares[name]), "default")
        legend.append(line)
    if keys:
        legend.append(Text())
    for mark, key in zip(marks, hashes, strict=True):
        line = Text(f"{mark}  ", "bold")
        line.append(f"{visible(key)} → ")
        line.append(visible(made[key]), _ring_picture.color_of(names.index(made[key])))
        legend.append(line)
    drawn = _ring_picture.picture(points, names, rows=rows, color=colored, marks=marks)
    for row in range(max(len(drawn), len(legend))):
        line = drawn[row] if row < len(drawn) else Text(" " * (rows * 2))
        if row < len(legend):
            line = line + Text("   ") + legend[row]
        line.rstrip()
        out.print(line, no_wrap=True, crop=True)


# ---------------------------------------------------------------------------------------------------------------------


@ring.command()
@click.option("--keys", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Keys, one a line.")
@click.option("--nodes", "count", type=click.IntRange(2, 1000), default=5, show_default=True, help="How many nodes.")
@click.option("--vnodes", type=click.IntRange(1, RING_VNODES_MAX), default=160, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def demo(file: Path | None, count: int, vnodes: int, as_json: bool) -> None:
    """Show balance and movement on real keys of this machine.

    Counts how even a ring is, and what moves when a node leaves or joins, beside what hash % n would move.
    Takes the words of this machine's dictionary, or else the names of its files.
    """
    from quorate.cli import _ring_demo

    _ring_demo.run(file, count=count, vnodes=vnodes, as_json=as_json)
