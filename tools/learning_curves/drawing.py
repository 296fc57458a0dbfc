"""A chart of curves with bands around them, as a piece of SVG."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tools.learning_curves.reference import Point

WIDTH, HEIGHT = 420, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 34, 44
_TICKS = 5


class Line(NamedTuple):
    """A curve and how it is drawn."""

    label: str
    points: Sequence[Point]
    colour: str
    dashes: str = ""
    """Lengths of dashes and gaps; empty is a line without gaps."""
    band: bool = True
    """Whether the spread is drawn around it."""


class Axis(NamedTuple):
    """From numbers to places on the sheet."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Where a number lies, px."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def chart(title: str, lines: Sequence[Line], *, last: int) -> str:
    """Draw curves up to a step, with axes and a legend, WIDTH by HEIGHT px."""
    shown = [line._replace(points=[p for p in line.points if p.step <= last]) for line in lines]
    shown = [line for line in shown if line.points]
    x = Axis(0, last, _LEFT, WIDTH - _RIGHT)
    low, high = _range(shown)
    y = Axis(low, high, HEIGHT - _BOTTOM, _TOP)
    parts = [f'<text x="{_LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>']
    parts += _grid(x, y)
    parts += [_band(line, x, y) for line in shown if line.band]
    parts += [_curve(line, x, y) for line in shown]
    parts += _legend(shown)
    return "\n".join(parts)


def sheet(charts: Sequence[str]) -> str:
    """Put charts side by side into one SVG document."""
    width = WIDTH * len(charts)
    placed = (
        f'<g transform="translate({WIDTH * number} 0)">\n{one}\n</g>'
        for number, one in enumerate(charts)
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" '
        f'viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="11">\n'
        f'<rect width="{width}" height="{HEIGHT}" fill="white"/>\n'
    )
    return head + "\n".join(placed) + "\n</svg>\n"


def ticks(low: float, high: float) -> list[float]:
    """Round numbers within a range, about as many as an axis has room for."""
    rough = (high - low) / _TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _range(lines: Iterable[Line]) -> tuple[float, float]:
    """Least and greatest of everything that is drawn, never empty."""
    around = [(point, point.std if line.band else 0.0) for line in lines for point in line.points]
    low = min((point.mean - std for point, std in around), default=0.0)
    high = max((point.mean + std for point, std in around), default=1.0)
    return (low, high) if high > low else (low - 1, high + 1)


def _grid(x: Axis, y: Axis) -> list[str]:
    parts = []
    for tick in ticks(y.low, y.high):
        at = y.place(tick)
        parts.append(
            f'<line x1="{x.start}" x2="{x.end}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>'
            f'<text x="{x.start - 6}" y="{at + 4:.1f}" text-anchor="end">{tick:,.10g}</text>'
        )
    for tick in ticks(x.low, x.high):
        at = x.place(tick)
        parts.append(
            f'<text x="{at:.1f}" y="{y.start + 16}" text-anchor="middle">{tick:,.10g}</text>'
        )
    middle = (x.start + x.end) / 2
    parts.append(
        f'<line x1="{x.start}" x2="{x.end}" y1="{y.start}" y2="{y.start}" stroke="black"/>'
        f'<text x="{middle}" y="{y.start + 34}" text-anchor="middle">environment steps</text>'
    )
    return parts


def _curve(line: Line, x: Axis, y: Axis) -> str:
    places = " ".join(f"{x.place(p.step):.1f},{y.place(p.mean):.1f}" for p in line.points)
    dots = "".join(
        f'<circle cx="{x.place(p.step):.1f}" cy="{y.place(p.mean):.1f}" r="2"/>'
        for p in line.points
    )
    dashes = f' stroke-dasharray="{line.dashes}"' if line.dashes else ""
    return (
        f'<polyline points="{places}" fill="none" stroke="{line.colour}" stroke-width="2"{dashes}/>'
        f'<g fill="{line.colour}">{dots}</g>'
    )


def _band(line: Line, x: Axis, y: Axis) -> str:
    above = [(p.step, p.mean + p.std) for p in line.points]
    below = [(p.step, p.mean - p.std) for p in reversed(line.points)]
    places = " ".join(f"{x.place(step):.1f},{y.place(at):.1f}" for step, at in above + below)
    return f'<polygon points="{places}" fill="{line.colour}" fill-opacity="0.15"/>'


def _legend(lines: Sequence[Line]) -> list[str]:
    parts = []
    for number, line in enumerate(lines):
        at = _TOP + 12 + 14 * number
        dashes = f' stroke-dasharray="{line.dashes}"' if line.dashes else ""
        parts.append(
            f'<line x1="{_LEFT + 8}" x2="{_LEFT + 30}" y1="{at}" y2="{at}" stroke="{line.colour}" '
            f'stroke-width="2"{dashes}/>'
            f'<text x="{_LEFT + 36}" y="{at + 4}">{escape(line.label)}</text>'
        )
    return parts
