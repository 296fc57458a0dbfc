"""Results as one picture: a chart for every environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.learning_curves import drawing, reference
from tools.learning_curves.drawing import Line
from tools.learning_curves.summary import curve, groups
from tools.learning_curves.table import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tools.learning_curves.runs import Row
    from tools.learning_curves.summary import Group, Seeds

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, which can be told apart by everybody; one for every recipe."""
_GREYS = ("#555555", "#888888", "#aaaaaa", "#bbbbbb", "#cccccc", "#dddddd")
_THEIRS = "7 4"
_PUBLISHED = "2 3"


def plot(rows: list[Row], *, published: Iterable[str]) -> str:
    """Draw mean and spread of every group, with these published curves; an SVG document."""
    found = groups(rows)
    recipes = list(dict.fromkeys(group.recipe for group in found))
    charts = []
    legend: dict[str, Line] = {}
    for env in dict.fromkeys(group.env for group in found):
        here = {group: seeds for group, seeds in found.items() if group.env == env}
        lines = [_line(group, seeds, recipes) for group, seeds in here.items()]
        lines += _published(env, published)
        last = max(row.step for row in rows if row.env == env)
        charts.append(drawing.chart(f"{env}: {_seeds(here)}", lines, last=last))
        legend |= {line.label: line for line in lines}
    return drawing.sheet(charts, legend=list(legend.values()))


def _seeds(here: dict[Group, Seeds]) -> str:
    """How many seeds there are."""
    counts = sorted({len(seeds) for seeds in here.values()})
    return f"return, {' or '.join(map(str, counts))} seed{'s' if counts[-1] > 1 else ''}"


def _line(group: Group, seeds: Seeds, recipes: list[str]) -> Line:
    """One group; theirs has the colour of the recipe and dashes."""
    colour = _COLOURS[recipes.index(group.recipe) % len(_COLOURS)]
    dashes = _THEIRS if group.system == "sb3" else ""
    return Line(f"{NAMES[group.system]} {group.recipe}", curve(seeds), colour, dashes)


def _published(env: str, names: Iterable[str]) -> list[Line]:
    curves = reference.curves(env)
    return [
        Line(
            f"published {name}, version 4 of the task",
            curves[name],
            _GREYS[number % len(_GREYS)],
            dashes=_PUBLISHED,
            band=False,
        )
        for number, name in enumerate(names)
        if name in curves
    ]
