"""What a matrix product costs: how many an update needs, and how fast this machine makes them."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from robosac.algorithms.products import product

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tools.learner_speed.shape import Shape

SIDES = (256, 1024)
"""Sides of the square matrices multiplied, the first being those of the update itself."""


def flop_per_update(shape: Shape, batch: int, *, critics: int = 2) -> float:
    """Count the floating point operations of the matrix products of one update.

    A layer (in, out) costs in·out multiply-adds a row: once forward, once for the gradient of its
    weights, once for the gradient of its input.  With A and C the sums over the layers of the
    policy and of all critics, A' and C' those sums without the first layers, and C" that of the
    critics with the action as their only input:
    critics' step: A (next action) + C (targets) + C + C (weights) + C' (inputs);
    policy's step: A + C + C" (inputs) + A (weights) + A' (inputs).
    """

    def products(sizes: Sequence[int]) -> list[int]:
        return [width * following for width, following in pairwise(sizes)]

    policy = products([shape.obs, *shape.hidden, 2 * shape.action])
    critic = products([shape.obs + shape.action, *shape.hidden, 1])
    a, a_inner = sum(policy), sum(policy[1:])
    c, c_inner = critics * sum(critic), critics * sum(critic[1:])
    c_of_action = c_inner + critics * shape.action * shape.hidden[0]
    return 2.0 * batch * (3 * a + a_inner + 4 * c + c_inner + c_of_action)


def gemms() -> dict[str, tuple[Callable[[], object], float]]:
    """Bare products by the name of type, library and side, with the operations of each."""
    found: dict[str, tuple[Callable[[], object], float]] = {}
    for side in SIDES:
        matrix = torch.randn(side, side)
        found[f"fp32_torch_{side}"] = partial(torch.mm, matrix, matrix), 2.0 * side**3
        found[f"fp32_robosac_{side}"] = partial(product, matrix, matrix), 2.0 * side**3
        half = matrix.bfloat16()
        found[f"bf16_torch_{side}"] = partial(torch.mm, half, half), 2.0 * side**3
    return found
