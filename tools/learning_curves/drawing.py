"""Charts of curves with bands around them, as SVG."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tools.learning_curves.reference import Point

WIDTH, HEIGHT = 440, 320
"""Size of a chart, px."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 30, 34, 44
_TICKS = 5
_LEGEND_ROW = 16
_ROUNDING = 1e-9


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
    """Draw curves up to a step, with axes, WIDTH by HEIGHT px."""
    shown = [line._replace(points=[p for p in line.points if p.step <= last]) for line in lines]
    shown = [line for line in shown if line.points]
    x = Axis(0, last, _LEFT, WIDTH - _RIGHT)
    low, high = _range(shown)
    y = Axis(low, high, HEIGHT - _BOTTOM, _TOP)
    parts = [f'<text x="{_LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>']
    parts += _grid(x, y)
    parts += [_band(line, x, y) for line in shown if line.band]
    parts += [_curve(line, x, y) for line in shown]
    return "\n".join(parts)


def sheet(charts: Sequence[str], *, legend: Sequence[Line]) -> str:
    """Put charts side by side into one SVG document, and below them what their lines are."""
    width = WIDTH * len(charts)
    height = HEIGHT + _LEGEND_ROW * (math.ceil(len(legend) / len(charts)) + 1)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>'
    )
    placed = (_shifted(one, WIDTH * number, 0) for number, one in enumerate(charts))
    entries = (
        _shifted(
            _entry(line),
            WIDTH * (number % len(charts)) + _LEFT,
            HEIGHT + _LEGEND_ROW * (number // len(charts) + 0.5),
        )
        for number, line in enumerate(legend)
    )
    return "\n".join((head, *placed, *entries, "</svg>\n"))


def ticks(low: float, high: float) -> list[float]:
    """Round numbers within a range, about as many as an axis has room for."""
    rough = (high - low) / _TICKS
    power = 10 ** math.floor(math.log10(rough))
    steps = (power * factor for factor in (1, 2, 5, 10))
    step = min(steps, key=lambda step: abs(math.log(step / rough)))
    first, last = math.ceil(low / step - _ROUNDING), math.floor(high / step + _ROUNDING)
    return [number * step for number in range(first, last + 1)]


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
    return (
        f'<polyline points="{places}" fill="none" stroke="{line.colour}" stroke-width="2"'
        f"{_dashed(line)}/>"
        f'<g fill="{line.colour}">{dots}</g>'
    )


def _band(line: Line, x: Axis, y: Axis) -> str:
    above = [(p.step, p.mean + p.std) for p in line.points]
    below = [(p.step, p.mean - p.std) for p in reversed(line.points)]
    places = " ".join(f"{x.place(step):.1f},{y.place(at):.1f}" for step, at in above + below)
    return f'<polygon points="{places}" fill="{line.colour}" fill-opacity="0.15"/>'


def _entry(line: Line) -> str:
    """What a line looks like and its name, around the origin."""
    return (
        f'<line x2="24" stroke="{line.colour}" stroke-width="2"{_dashed(line)}/>'
        f'<text x="30" y="4">{escape(line.label)}</text>'
    )


def _dashed(line: Line) -> str:
    return f' stroke-dasharray="{line.dashes}"' if line.dashes else ""


def _shifted(part: str, x: float, y: float) -> str:
    return f'<g transform="translate({x:g} {y:g})">\n{part}\n</g>'
