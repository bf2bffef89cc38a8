"""A ring as a picture: for the terminal, in half blocks of colour or in letters, and as SVG.

Knows points and who owns them, and nothing of how they come about: it takes sorted ``(point, owner)`` pairs on the
circle of 64-bit numbers, 0 at the top, growing clockwise. The owner of a point owns the arc that ends in it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from rich.style import Style
from rich.text import Text

__all__ = ["PALETTE", "color_of", "letter_of", "picture", "svg"]

CIRCLE: Final = 1 << 64
PALETTE: Final = (
    "#4e79a7",
    "#f28e2b",
    "#59a14f",
    "#e15759",
    "#76b7b2",
    "#edc948",
    "#b07aa1",
    "#ff9da7",
    "#9c755f",
    "#bab0ac",
)
"""Ten colours that stay apart on light and dark grounds; more nodes begin again."""
LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
INNER: Final = 0.62
"""Radius of the hole, of 1."""
LEVEL: Final = 'dy="0.35em"'
"""Puts a text's middle on its y. (Not every program that shows SVG knows dominant-baseline.)"""
SVG_ARCS_MAX: Final = 4096
"""Finer rings are sampled: nobody sees arcs thinner than that, and a file of megabytes helps nobody."""


def color_of(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def letter_of(index: int) -> str:
    """What stands for a node where there is no colour; past 52 nodes all look alike."""
    return LETTERS[index] if index < len(LETTERS) else "*"


class Circle:
    """Who owns which angle."""

    def __init__(self, points: Sequence[tuple[int, str]], names: Sequence[str]) -> None:
        index = {name: number for number, name in enumerate(names)}
        self.points = [point for point, _ in points]
        self.owners = [index[name] for _, name in points]

    def owner(self, turn: float) -> int:
        """The number of the node that owns the hash at ``turn`` (0 ≤ turn < 1, clockwise from the top)."""
        at = bisect_left(self.points, int(turn * CIRCLE) % CIRCLE)
        return self.owners[at % len(self.owners)]

    def arcs(self) -> list[tuple[float, float, int]]:
        """``(begin, end, node)`` in turns, clockwise from the top, neighbours of one owner in one piece."""
        if len(self.points) > SVG_ARCS_MAX:
            ends = [(step + 1) / SVG_ARCS_MAX for step in range(SVG_ARCS_MAX)]
            pieces = [(end, self.owner(end - 0.5 / SVG_ARCS_MAX)) for end in ends]
        else:
            pieces = [(point / CIRCLE, owner) for point, owner in zip(self.points, self.owners, strict=True)]
            pieces.append((1.0, self.owners[0]))
        arcs: list[tuple[float, float, int]] = []
        begin = 0.0
        for end, owner in pieces:
            if arcs and arcs[-1][2] == owner:
                arcs[-1] = (arcs[-1][0], end, owner)
            else:
                arcs.append((begin, end, owner))
            begin = end
        return arcs


def shortened(text: str, most: int = 22) -> str:
    """The text, or its begin and end, so that it fits beside the ring."""
    return text if len(text) <= most else f"{text[: most - 9]}…{text[-8:]}"


def turn_at(x: float, y: float) -> float:
    """The angle of a place, as part of a turn clockwise from the top; y grows downwards."""
    return (math.atan2(x, -y) / math.tau) % 1.0


def picture(
    points: Sequence[tuple[int, str]],
    names: Sequence[str],
    *,
    rows: int = 16,
    color: bool = True,
    marks: Mapping[str, int] | None = None,
) -> list[Text]:
    """The ring in ``rows`` lines of twice as many columns.

    With colour each character holds two square dots; without, a letter that stands for the node. ``marks`` are
    characters to put inside the ring, beside the hash that each names.
    """
    circle = Circle(points, names)
    size = rows * 2

    def dot(column: float, line: float) -> int | None:
        """The node whose arc covers a dot; lines are half characters."""
        x, y = (column + 0.5) / size * 2 - 1, (line + 0.5) / size * 2 - 1
        return circle.owner(turn_at(x, y)) if INNER <= math.hypot(x, y) <= 1 else None

    placed: dict[tuple[int, int], str] = {}
    for mark, point in (marks or {}).items():
        angle = point / CIRCLE * math.tau
        radius = INNER - 2.5 / size
        place = (
            min(rows - 1, int((1 - math.cos(angle) * radius) / 2 * rows)),
            int((1 + math.sin(angle) * radius) / 2 * size),
        )
        # A mark that would cover another one goes a little towards the middle.
        while place in placed and place[1] != size // 2:
            place = (place[0], place[1] + (1 if place[1] < size // 2 else -1))
        placed[place] = mark

    lines = []
    for row in range(rows):
        line = Text()
        for column in range(size):
            if (row, column) in placed:
                line.append(placed[row, column], "bold")
                continue
            if not color:
                owner = dot(column, row * 2 + 0.5)
                line.append(" " if owner is None else letter_of(owner))
                continue
            upper, lower = dot(column, row * 2), dot(column, row * 2 + 1)
            if upper is None and lower is None:
                line.append(" ")
            elif lower is None:
                line.append("▀", Style(color=color_of(upper or 0)))
            elif upper is None:
                line.append("▄", Style(color=color_of(lower)))
            elif upper == lower:
                line.append("█", Style(color=color_of(upper)))
            else:
                line.append("▀", Style(color=color_of(upper), bgcolor=color_of(lower)))
        lines.append(line)
    return lines


def svg(
    points: Sequence[tuple[int, str]],
    names: Sequence[str],
    *,
    labels: Sequence[str],
    title: str,
    keys: Mapping[str, int] | None = None,
) -> str:
    """The ring as an SVG document: arcs in their nodes' colours, a legend of ``labels``, and where ``keys`` lie."""
    circle = Circle(points, names)
    middle_x, middle, outer = 400.0, 250.0, 190.0  # beside the ring is room for the longest key that is written out
    inner = outer * INNER
    height = max(500, 70 + 26 * len(labels))

    def place(turn: float, radius: float) -> str:
        angle = turn * math.tau
        return f"{middle_x + math.sin(angle) * radius:.2f},{middle - math.cos(angle) * radius:.2f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1060 {height}" role="img" font-family="sans-serif" '
        f'font-size="14">',
        f"<title>{escape(title)}</title>",
        "<style>text{fill:#333}.faint{fill:#888}line{stroke:#888}.key{fill:#333;stroke:#fff}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}.key{fill:#fff;stroke:#333}}</style>",
    ]
    for begin, end, owner in circle.arcs():
        if end - begin > 0.999:
            parts.append(
                f'<circle cx="{middle_x}" cy="{middle}" r="{(outer + inner) / 2:.2f}" fill="none" '
                f'stroke="{color_of(owner)}" stroke-width="{outer - inner:.2f}"/>'
            )
            continue
        big = int(end - begin > 0.5)
        parts.append(
            f'<path fill="{color_of(owner)}" d="M{place(begin, outer)} A{outer},{outer} 0 {big} 1 {place(end, outer)} '
            f'L{place(end, inner)} A{inner:.2f},{inner:.2f} 0 {big} 0 {place(begin, inner)} Z"/>'
        )
    for turn, text in ((0.0, "0"), (0.25, "2⁶²"), (0.5, "2⁶³"), (0.75, "3·2⁶²")):
        x, y = place(turn, inner - 26).split(",")
        parts.append(f'<text class="faint" x="{x}" y="{y}" text-anchor="middle" {LEVEL}>{text}</text>')
    for key, point in (keys or {}).items():
        turn = point / CIRCLE
        (x1, y1), (x2, y2) = place(turn, outer).split(","), place(turn, outer + 16).split(",")
        x, y = place(turn, outer + 24).split(",")
        anchor = "start" if turn < 0.5 else "end"
        parts += [
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>',
            f'<circle class="key" cx="{x2}" cy="{y2}" r="4"/>',
            f'<text x="{x}" y="{y}" text-anchor="{anchor}" {LEVEL}>{escape(shortened(key))}</text>',
        ]
    for number, label in enumerate(labels):
        y_at = 60 + 26 * number
        parts += [
            f'<rect x="800" y="{y_at - 8}" width="16" height="16" rx="3" fill="{color_of(number)}"/>',
            f'<text x="826" y="{y_at}" {LEVEL}>{escape(shortened(label, 30))}</text>',
        ]
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
