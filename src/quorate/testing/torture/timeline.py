"""A picture of a run: operations, faults, and who led, over time. SVG, drawn from the events alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

__all__ = ["draw"]

WIDTH: Final = 1200
LEFT: Final = 110
RIGHT: Final = 20
BAR: Final = 120
ROW: Final = 20
COLOURS: Final = {"ok": "#4c9a6a", "fail": "#e0a030", "unknown": "#c0392b"}
LEADERS: Final = ("#3b6fb6", "#8e5bb0", "#2a9d8f", "#d17b2c", "#b8557a", "#6b7a2f")
GROUND: Final = "#ffffff"
INK: Final = "#303030"
SLICES_MOST: Final = 240
STEPS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)


class Canvas:
    """Shapes over a time axis."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(seconds, 0.001)
        self.shapes: list[str] = []

    def x(self, t: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(t, 0.0), self.seconds) / self.seconds

    def bar(self, begin: float, end: float, y: float, height: float, colour: str, words: str) -> None:
        left = self.x(begin)
        width = max(self.x(end) - left, 1.0)
        self.shapes.append(
            f'<rect x="{left:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}">'
            f"<title>{escape(words)}</title></rect>"
        )

    def text(self, x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> None:
        self.shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = "#d8d8d8") -> None:
        self.shapes.append(f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}" fill="none"/>')


def draw(events: Sequence[dict[str, Any]]) -> str:
    """The picture as SVG text: acknowledged, refused and unknown operations a slice of time; one row for each kind of
    fault; one row for each node, with the times in which it led."""
    head = events[0]
    canvas = Canvas(max(each["t"] for each in events))
    canvas.text(LEFT, 20, f"quorate torture --seed {head.get('seed')} --nodes {head.get('nodes')}", weight="bold")
    y = _operations(canvas, events, 34.0)
    y = _faults(canvas, events, y + 14)
    y = _offices(canvas, events, y + 14)
    _axis(canvas, 34.0, y)
    height = y + 34
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'height="{height:.0f}" font-family="sans-serif" font-size="12" fill="{INK}">\n'
        f'<rect width="100%" height="100%" fill="{GROUND}"/>\n' + "\n".join(canvas.shapes) + "\n</svg>\n"
    )


def _axis(canvas: Canvas, top: float, bottom: float) -> None:
    step = next((each for each in STEPS if canvas.seconds / each <= 14), STEPS[-1])
    under: list[str] = canvas.shapes
    canvas.shapes = []
    for number in range(int(canvas.seconds / step) + 1):
        x = canvas.x(number * step)
        canvas.line(x, top, x, bottom + 4)
        canvas.text(x, bottom + 20, f"{number * step:g} s", anchor="middle")
    canvas.shapes += under  # the grid lies behind


def _operations(canvas: Canvas, events: Sequence[dict[str, Any]], y: float) -> float:
    slices = min(max(int(canvas.seconds * 5), 20), SLICES_MOST)
    counts = {name: [0] * slices for name in COLOURS}
    for each in events:
        if each["event"] in counts:
            counts[each["event"]][min(int(each["t"] / canvas.seconds * slices), slices - 1)] += 1
    most = max((sum(column) for column in zip(*counts.values(), strict=True)), default=0) or 1
    length = canvas.seconds / slices
    for at in range(slices):
        base = y + BAR
        for name, colour in COLOURS.items():
            count = counts[name][at]
            if count:
                height = BAR * count / most
                base -= height
                canvas.bar(at * length, (at + 1) * length, base, height, colour, f"{at * length:.1f} s: {count} {name}")
    canvas.text(LEFT - 8, y + 12, f"{most / length:,.0f}/s", anchor="end")
    canvas.text(LEFT - 8, y + BAR, "operations", anchor="end")
    for number, (name, colour) in enumerate(COLOURS.items()):
        left = WIDTH - RIGHT - 90 * (len(COLOURS) - number)
        canvas.shapes.append(f'<rect x="{left}" y="11" width="10" height="10" fill="{colour}"/>')
        canvas.text(left + 15, 20, name)
    return y + BAR


def _faults(canvas: Canvas, events: Sequence[dict[str, Any]], y: float) -> float:
    healed = {each["number"]: each["t"] for each in events if each["event"] == "healed"}
    rows: dict[str, float] = {}
    for each in events:
        if each["event"] != "fault":
            continue
        if each["kind"] not in rows:
            rows[each["kind"]] = y + ROW * len(rows)
            canvas.text(LEFT - 8, rows[each["kind"]] + 13, each["kind"].replace("_", " "), anchor="end")
        end = healed.get(each["number"], canvas.seconds)
        words = f"{each['kind']}, node {each['node']}: {each['t']:.2f} s to {end:.2f} s"
        canvas.bar(each["t"], end, rows[each["kind"]] + 3, ROW - 6, "#555555", words)
    return y + ROW * len(rows)


def _offices(canvas: Canvas, events: Sequence[dict[str, Any]], y: float) -> float:
    offices = [each for each in events if each["event"] == "office"]
    nodes = sorted({each["node"] for each in offices}, key=lambda name: (len(name), name))
    for number, name in enumerate(nodes):
        own = [each for each in offices if each["node"] == name]
        top = y + ROW * number
        canvas.text(LEFT - 8, top + 13, f"node {name}", anchor="end")
        for at, each in enumerate(own):
            end = own[at + 1]["t"] if at + 1 < len(own) else canvas.seconds
            words = f"{name} {each['role']}, term {each['term']}: {each['t']:.2f} s to {end:.2f} s"
            if each["role"] == "leader":
                canvas.bar(each["t"], end, top + 2, ROW - 4, LEADERS[number % len(LEADERS)], words)
            elif each["role"] == "silent":
                canvas.bar(each["t"], end, top + ROW / 2 - 1, 2, "#e0a0a0", words)
            else:
                canvas.bar(each["t"], end, top + ROW / 2 - 1, 2, "#b0b8c0", words)
    return math.ceil(y + ROW * len(nodes))
