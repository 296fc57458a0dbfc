"""Results as tables in Markdown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tools.learning_curves import reference
from tools.learning_curves.summary import Group, groups, reaching, standings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.learning_curves.runs import Row
    from tools.learning_curves.summary import Standing

Cells = tuple[str, ...]
NAMES = {"robosac": "robosac", "sb3": "stable-baselines3"}
_COLUMNS = (
    *("recipe", "system", "steps", "seeds", "return", "TD3-normalised"),
    *("wall s", "processor s", "updates/s", "Q too high by"),
)
_NONE = "–"


def tables(rows: list[Row], *, speed_mps: float) -> Iterator[str]:
    """All there is to tell of some results, line by line."""
    listed = standings(groups(rows))
    for env in dict.fromkeys(row.env for row in rows):
        here = [one for one in listed if one.group.env == env]
        yield f"## {env}"
        yield ""
        yield from _table(_COLUMNS, [*map(_cells, here), *_published(env, here)])
        yield ""
        yield from _comparisons(here)
    yield from _speeds(rows, speed_mps)


def _table(columns: Cells, lines: list[Cells]) -> Iterator[str]:
    yield _line(columns)
    yield _line(("---",) * len(columns))
    yield from map(_line, lines)


def _line(cells: Cells) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(one: Standing) -> Cells:
    """One of our own measurements."""
    return (
        one.group.recipe,
        NAMES[one.group.system],
        f"{one.step:,}",
        str(one.seeds),
        _plus_minus(one.mean, one.std, one.seeds),
        _number(reference.normalised(one.group.env, one.mean), ".2f"),
        f"{one.wall_s:,.0f}",
        f"{one.cpu_s:,.0f}",
        f"{one.updates_per_s:.0f}",
        _number(one.too_high, "+.1f"),
    )


def _published(env: str, here: list[Standing]) -> list[Cells]:
    """Published results after as many steps as the furthest of ours."""
    step = max((one.step for one in here), default=0)
    lines: list[Cells] = []
    for name, curve in reference.curves(env).items():
        point = reference.at(curve, step)
        if point is not None:
            share = _number(reference.normalised(env, point.mean), ".2f")
            found = _plus_minus(point.mean, point.std, point.seeds)
            cells = (name, "published, v4", f"{point.step:,}", str(point.seeds), found, share)
            lines.append(cells + (_NONE,) * 4)
    return lines


def _comparisons(here: list[Standing]) -> Iterator[str]:
    """Ours against theirs with the same recipe, a line each."""
    by_group = {one.group: one for one in here}
    for ours in here:
        theirs = by_group.get(Group(ours.group.env, ours.group.recipe, "sb3"))
        if ours.group.system != "robosac" or theirs is None:
            continue
        gap, spread = ours.mean - theirs.mean, math.hypot(ours.std, theirs.std) / math.sqrt(2)
        verdict = "not below" if gap >= -spread else "BELOW"
        yield (
            f"{ours.group.recipe} on {ours.group.env}: return {gap:+.0f}, spread {spread:.0f}: "
            f"{verdict}; wall time {ours.wall_s / theirs.wall_s:.2f} x, "
            f"processor time {ours.cpu_s / theirs.cpu_s:.2f} x of stable-baselines3, "
            f"{ours.updates_per_s / theirs.updates_per_s:.2f} x the updates/s"
        )
        yield ""


def _speeds(rows: list[Row], speed_mps: float) -> Iterator[str]:
    """How soon robots walk, where there are robots."""
    lines: list[Cells] = []
    for group, seeds in groups(row for row in rows if row.speed_mps is not None).items():
        found = reaching(group, seeds, speed_mps)
        share = f"{found.reached} of {found.seeds}"
        then = [_number(value, ",.0f") for value in (found.steps, found.wall_s, found.mean)]
        lines.append((group.recipe, NAMES[group.system], group.env, share, *then))
    if lines:
        yield f"## {speed_mps:g} m/s"
        yield ""
        columns = ("recipe", "system", "environment", "seeds that got there")
        yield from _table((*columns, "steps", "wall s", "return then"), lines)


def _plus_minus(mean: float, std: float, seeds: int) -> str:
    return f"{mean:,.0f} ± {std:,.0f}" if seeds > 1 else f"{mean:,.0f}"


def _number(value: float | None, form: str) -> str:
    return _NONE if value is None else format(value, form)
