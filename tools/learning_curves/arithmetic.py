"""What a recipe costs, whatever the machine: operations of its matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from robosac.algorithms.algorithm import Batch, Sizes
from robosac.algorithms.catalogue import build

if TYPE_CHECKING:
    from robosac.recipe import Recipe


def flop_per_step(recipe: Recipe, sizes: Sizes) -> float:
    """Floating point operations that a step of the robot pays for, once there are updates.

    They are counted while updates are made: as many as it takes for the policy to have its turn.
    """
    algorithm = build(recipe.algorithm, sizes, seed=0)
    batch = _batch(sizes, recipe.learner.batch_size)
    updates: int = getattr(recipe.algorithm, "policy_delay", 1)
    with FlopCounterMode(display=False, custom_mapping=_ONEDNN) as counting:
        for _ in range(updates):
            algorithm.update(batch)
    flop: int = counting.get_total_flops()
    return flop / updates * recipe.learner.utd


def _batch(sizes: Sizes, rows: int) -> Batch:
    """Transitions of nothing in particular."""
    return Batch(
        obs=torch.randn(rows, sizes.obs),
        critic_obs=torch.randn(rows, sizes.obs + sizes.extra),
        action=torch.rand(rows, sizes.action),
        reward=torch.randn(rows),
        terminated=torch.zeros(rows),
        next_obs=torch.randn(rows, sizes.obs),
        next_critic_obs=torch.randn(rows, sizes.obs + sizes.extra),
    )


def _linear(x: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
    """Multiplications and additions of x·Wᵀ for x (B, in) and weight (out, in)."""
    return 2 * x[0] * x[1] * weight[0]


_ONEDNN = {torch.ops.mkldnn._linear_pointwise: _linear}  # noqa: SLF001 -- as in robosac/algorithms/products.py
"""Products of which torch's counter does not know."""
