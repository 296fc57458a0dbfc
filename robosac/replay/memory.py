"""The replay memory that updates are sampled from: a ring of packed rows in RAM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robosac.replay.layout import RowLayout

    FloatArray = NDArray[np.float32]


class ReplayMemory:
    """The newest `capacity` transitions; adding is a copy, sampling is one gather.

    The pages of the ring are allocated by the operating system when they are first written, so
    an empty memory of any capacity costs nothing.
    """

    steps: FloatArray | None = None
    """Steps of every row that was sampled last; None is one each."""

    def __init__(self, layout: RowLayout, capacity: int) -> None:
        """Reserve room for `capacity` rows; raises ValueError when there is none."""
        if capacity < 1:
            message = f"replay capacity {capacity}; expected at least 1 row"
            raise ValueError(message)
        self.layout = layout
        self.capacity = capacity
        self.total = 0
        """Rows ever added; the row of number i is at i modulo capacity."""
        self._rows = np.empty((capacity, layout.width), dtype=np.float32)

    def __len__(self) -> int:
        """Rows that can be sampled."""
        return min(self.total, self.capacity)

    def extend(self, rows: FloatArray) -> None:
        """Add rows (n, width), oldest first; the oldest of the ring give way.

        Raises ValueError when the rows are of another shape or type.
        """
        self._check(rows, (*rows.shape[:1], self.layout.width))
        kept = rows[-self.capacity :]
        start = (self.total + len(rows) - len(kept)) % self.capacity
        until_wrap = min(len(kept), self.capacity - start)
        self._rows[start : start + until_wrap] = kept[:until_wrap]
        self._rows[: len(kept) - until_wrap] = kept[until_wrap:]
        self.total += len(rows)

    def sample(
        self, batch_size: int, rng: np.random.Generator, out: FloatArray | None = None
    ) -> FloatArray:
        """Return `batch_size` rows drawn uniformly with replacement, in `out` when given.

        Shapes: out and result (batch_size, width).  Raises ValueError when the memory is empty or
        `out` is of another shape or type.
        """
        if not self.total:
            message = "sample from an empty replay memory; expected extend() before sample()"
            raise ValueError(message)
        shape = (batch_size, self.layout.width)
        batch = np.empty(shape, dtype=np.float32) if out is None else out
        self._check(batch, shape)
        # A third of the time of rng.integers(), and as uniform up to the rounding of 53 bits.
        self._gather((rng.random(batch_size) * len(self)).astype(np.int64), batch)
        return batch

    def _gather(self, places: NDArray[np.int64], batch: FloatArray) -> None:
        """Copy the rows at these places of the ring."""
        # With mode="raise" numpy would gather into a buffer of its own and copy that into out.
        self._rows.take(places, axis=0, out=batch, mode="clip")

    def _check(self, rows: FloatArray, shape: tuple[int, int]) -> None:
        """Refuse arrays of another shape or type, which numpy might broadcast or cast."""
        if rows.dtype != np.float32 or rows.shape != shape:
            message = f"rows of {rows.dtype} {rows.shape}; expected float32 {shape}"
            raise ValueError(message)
