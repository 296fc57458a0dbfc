"""A learner that nobody keeps, by rows that nobody made: to time updates, and to try a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from robosac.learner.learner import Learner

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from robosac.replay import RowLayout

    FloatArray = NDArray[np.float32]

_ROWS = 1000


def rehearse(learner: Learner, device: torch.device) -> Learner:
    """Return a learner like this one, on a device, with rows enough to make updates."""
    recipe = msgspec.structs.replace(
        learner.recipe, learner=msgspec.structs.replace(learner.recipe.learner, capacity=_ROWS)
    )
    found = Learner(recipe, learner.contract, seed=0, device=device, template=learner.template)
    found.ingest(random_rows(found.layout, _ROWS))
    return found


def random_rows(layout: RowLayout, count: int, *, seed: int = 0) -> FloatArray:
    """Transitions (n, width) of a robot that does nothing sensible and never falls."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, layout.width)).astype(np.float32)
    rows[:, layout.slice("action")] = rng.uniform(-1, 1, (count, layout.action))
    for name in ("terminated", "truncated", "policy_version"):
        rows[:, layout.slice(name)] = 0
    return rows
