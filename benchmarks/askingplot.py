"""Lines over a few named points, as an SVG: no more of a plotter than `docs/polling.md` needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, MARGIN = 640, 360, 56
COLOURS = ("#0969da", "#1a7f37", "#bc4c00", "#8250df", "#57606a")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A value for each point; nothing is drawn of zero, which has no logarithm."""

    label: str
    values: Sequence[float]


def plot(title: str, points: Sequence[str], lines: Sequence[Line]) -> str:
    """The picture, its values on a logarithmic scale."""
    positive = [value for line in lines for value in line.values if value > 0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    drawn = [*_axes(title, points, low, high)]
    for line, colour in zip(lines, COLOURS[: len(lines)], strict=True):
        places = [
            f"{_x(place, points):.1f},{_y(value, low, high):.1f}"
            for place, value in enumerate(line.values)
            if value > 0
        ]
        drawn.append(f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn.append(_text(WIDTH - MARGIN + 4, 40 + 18 * lines.index(line), line.label, colour=colour))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 90} {HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *drawn, "</svg>\n"])


def _axes(title: str, points: Sequence[str], low: int, high: int) -> list[str]:
    drawn = [_text(MARGIN, 20, f"{title}, over the share of callbacks lost")]
    for power in range(low, high + 1):
        y = _y(10.0**power, low, high)
        drawn.append(f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d0d7de"/>')
        drawn.append(_text(8, y + 4, f"{10.0**power:g}"))
    drawn += [_text(_x(place, points) - 14, HEIGHT - 20, point) for place, point in enumerate(points)]
    return drawn


def _x(place: int, points: Sequence[str]) -> float:
    return MARGIN + (WIDTH - 2 * MARGIN) * place / (len(points) - 1)


def _y(value: float, low: int, high: int) -> float:
    return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (math.log10(value) - low) / (high - low)


def _text(x: float, y: float, text: str, *, colour: str = "#1f2328") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" fill="{colour}">{text}</text>'
