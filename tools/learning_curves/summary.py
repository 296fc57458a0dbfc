"""What several seeds come to: groups of runs, their curves, and where they stand in the end."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

from tools.learning_curves.reference import Point

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tools.learning_curves.runs import Row


class Group(NamedTuple):
    """Runs that differ in their seed alone."""

    env: str
    recipe: str
    system: str


Seeds = dict[int, list["Row"]]
"""Rows in the order of their steps, by seed."""


def groups(rows: Iterable[Row]) -> dict[Group, Seeds]:
    """Sort rows into runs and runs into groups, in the order in which they first appear."""
    found: dict[Group, Seeds] = {}
    for row in rows:
        seeds = found.setdefault(Group(row.env, row.recipe, row.system), {})
        seeds.setdefault(row.seed, []).append(row)
    return found


def spread(values: list[float]) -> float:
    """Sample standard deviation; 0 of a single value, which has none."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def curve(seeds: Seeds) -> list[Point]:
    """Mean and spread over the seeds, after every step at which all of them were evaluated."""
    points = []
    for step in common_steps([seeds]):
        returns = [row.return_mean for row in at_step(seeds, step)]
        points.append(Point(step, statistics.fmean(returns), spread(returns), len(returns)))
    return points


def common_steps(compared: list[Seeds]) -> list[int]:
    """Steps after which every run of all these groups was evaluated."""
    runs = [{row.step for row in run} for seeds in compared for run in seeds.values()]
    return sorted(set.intersection(*runs)) if runs else []


def at_step(seeds: Seeds, step: int) -> list[Row]:
    """The evaluation of every seed after this step."""
    return [row for run in seeds.values() for row in run if row.step == step]


class Standing(NamedTuple):
    """How a group stands after a step."""

    group: Group
    step: int
    seeds: int
    mean: float
    std: float
    wall_s: float
    """Median over the seeds, as are the following."""
    cpu_s: float
    updates_per_s: float
    too_high: float | None
    """Mean over the seeds of what critics estimate above what followed."""


def standing(group: Group, seeds: Seeds, step: int) -> Standing:
    """Sum up the evaluations after a step."""
    rows = at_step(seeds, step)
    returns = [row.return_mean for row in rows]
    gaps = [row.q - row.q_true for row in rows if row.q is not None and row.q_true is not None]
    return Standing(
        group=group,
        step=step,
        seeds=len(rows),
        mean=statistics.fmean(returns),
        std=spread(returns),
        wall_s=statistics.median(row.wall_s for row in rows),
        cpu_s=statistics.median(row.cpu_s for row in rows),
        updates_per_s=statistics.median(row.updates / row.wall_s for row in rows),
        too_high=statistics.fmean(gaps) if gaps else None,
    )


def standings(found: dict[Group, Seeds]) -> list[Standing]:
    """Every group at the last step that all systems with its recipe have in common."""
    listed = []
    for group, seeds in found.items():
        compared = [
            other
            for key, other in found.items()
            if (key.env, key.recipe) == (group.env, group.recipe)
        ]
        steps = common_steps(compared)
        if steps:
            listed.append(standing(group, seeds, steps[-1]))
    return listed


class Reaching(NamedTuple):
    """How soon the runs of a group walked fast enough."""

    group: Group
    seeds: int
    reached: int
    steps: float | None
    """Median over the runs that got there, as are the following; None where none did."""
    wall_s: float | None
    mean: float | None
    """Return then: fast is not yet good."""


def reaching(group: Group, seeds: Seeds, speed_mps: float) -> Reaching:
    """Find the first evaluation of every run that was fast enough."""
    firsts = []
    for run in seeds.values():
        fast = [row for row in run if row.reaches(speed_mps)]
        firsts += fast[:1]
    return Reaching(
        group=group,
        seeds=len(seeds),
        reached=len(firsts),
        steps=_median([row.step for row in firsts]),
        wall_s=_median([row.wall_s for row in firsts]),
        mean=_median([row.return_mean for row in firsts]),
    )


def _median(values: Sequence[float]) -> float | None:
    """Median; None of nothing."""
    return statistics.median(values) if values else None
