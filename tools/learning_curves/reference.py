"""Published results to stand beside ours, and the scale on which tasks can be compared.

tools/results/curves-reference.csv has means and sample standard deviations over seeds, worked out
from result files that their authors publish under the Apache licence: dojeon-ai/SimbaV2 14fafb2,
`results/baseline/*.csv` and `results/simbaV2_utd1.csv`, and Holiday-Robot/FlashSAC 87edc90,
`results/stateRL_cpusim/FlashSAC.csv`; metric avg_return.  Those tasks are of version 4, whose
returns agree with version 5 for HalfCheetah and are near it for Hopper and Walker2d.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).parents[1] / "results" / "curves-reference.csv"
_SCALE = {
    "HalfCheetah": (-289.415, 10574.0),
    "Hopper": (18.791, 3226.0),
    "Walker2d": (2.791, 3946.0),
    "Ant": (-70.288, 3942.0),
    "Humanoid": (120.423, 5165.0),
}
"""Returns of random actions and of TD3 after 1M steps; FlashSAC, `flash_rl/envs/mujoco.py`."""


class Point(NamedTuple):
    """Mean and standard deviation over seeds, after so many steps."""

    step: int
    mean: float
    std: float
    seeds: int


def curves(env: str) -> dict[str, list[Point]]:
    """Published curves for an environment, by the system's name; none for most environments."""
    found: dict[str, list[Point]] = {}
    with FILE.open(newline="") as file:
        for record in csv.DictReader(file):
            if _task(record["env"]) == _task(env):
                point = Point(
                    int(record["step"]),
                    float(record["return_mean"]),
                    float(record["return_std"]),
                    int(record["seeds"]),
                )
                found.setdefault(record["system"], []).append(point)
    return found


def at(curve: list[Point], step: int) -> Point | None:
    """The point of a published curve that is nearest; None when it is further than 5 %."""
    nearest = min(curve, key=lambda point: abs(point.step - step))
    return nearest if abs(nearest.step - step) <= 0.05 * step else None


def normalised(env: str, mean: float) -> float | None:
    """A return as a share of the way from random actions to TD3 after 1M steps."""
    scale = _SCALE.get(_task(env))
    if scale is None:
        return None
    random, td3 = scale
    return (mean - random) / (td3 - random)


def _task(env: str) -> str:
    """Name of a Gymnasium task without its version."""
    return env.rpartition("-v")[0] or env
