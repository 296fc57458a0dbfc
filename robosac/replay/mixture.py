"""Symmetric sampling: half of every batch from earlier runs, half from this one.

RLPD, arXiv 2302.02948, section 4.1: however many rows either side has, they weigh the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robosac.replay.memory import ReplayMemory

    FloatArray = NDArray[np.float32]


class Mixture:
    """Samples two memories as if they were one; rows are added to each of them, not here."""

    def __init__(self, online: ReplayMemory, prior: ReplayMemory) -> None:
        """Mix the rows of this run with those of earlier ones."""
        self._online, self._prior = online, prior

    def sample(
        self, batch_size: int, rng: np.random.Generator, out: FloatArray | None = None
    ) -> FloatArray:
        """Return rows (batch_size, width), in `out` when given: first this run's, then earlier.

        Of an odd number the extra row is this run's.  Raises ValueError when either memory is
        empty: earlier rows alone are never learned from.
        """
        shape = (batch_size, self._online.layout.width)
        batch = np.empty(shape, dtype=np.float32) if out is None else out
        fresh = batch_size - batch_size // 2
        self._online.sample(fresh, rng, batch[:fresh])
        self._prior.sample(batch_size - fresh, rng, batch[fresh:])
        return batch

    @property
    def steps(self) -> FloatArray | None:
        """Steps of every row that was sampled last; None is one each."""
        online, prior = self._online.steps, self._prior.steps
        return None if online is None or prior is None else np.concatenate((online, prior))
