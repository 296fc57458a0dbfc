"""Replay that gives n-step returns: rewards of the steps that followed, as far as known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robosac.replay.memory import ReplayMemory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robosac.replay.layout import RowLayout

    FloatArray = NDArray[np.float32]
    IntArray = NDArray[np.int64]

_NONE = -1


class NStepMemory(ReplayMemory):
    """Rows that know which row followed them in the same run of the same robot.

    A sampled row has the discounted rewards of up to n steps, and the next observation and the end
    of the last of them.  A row with fewer followers, because its episode ended, because they have
    not come yet or because one of them was refused, has fewer steps.  What a policy's entropy
    would add in between is left out, and actions in between are those of older policies.
    """

    def __init__(self, layout: RowLayout, capacity: int, *, n: int, gamma: float) -> None:
        """Reserve room for `capacity` rows."""
        super().__init__(layout, capacity)
        self._n, self._gamma = n, gamma
        self._followers: IntArray = np.full(capacity, _NONE, dtype=np.int64)
        """Number of the row that followed, by place; rows are numbered as they were added."""
        self._newest: dict[object, tuple[int, int]] = {}
        """Sequence number, and number here, of the newest row of every run."""
        self.steps: FloatArray = np.ones(0, dtype=np.float32)
        """Steps of every row that was sampled last."""

    def extend(
        self, rows: FloatArray, *, run: object = None, sequence: IntArray | None = None
    ) -> None:
        """Add rows (n, width) of a run with their sequence numbers (n,), which may have gaps."""
        super().extend(rows)
        if not len(rows):
            return
        numbers = np.arange(self.total - len(rows), self.total)
        self._followers[numbers[-self.capacity :] % self.capacity] = _NONE
        sequence = numbers if sequence is None else sequence
        before, number_before = self._newest.get(run, (_NONE - 1, _NONE))
        follows = sequence == np.concatenate(([before], sequence[:-1])) + 1
        earlier = np.concatenate(([number_before], numbers[:-1]))
        kept = follows & (earlier >= max(0, self.total - self.capacity))
        self._followers[earlier[kept] % self.capacity] = numbers[kept]
        self._newest[run] = int(sequence[-1]), int(numbers[-1])

    def _gather(self, places: IntArray, batch: FloatArray) -> None:
        """Gather rows, then walk on from each as long as its episode is known to go on."""
        super()._gather(places, batch)
        at = self.layout.slices
        reward, ended = at.reward.start, (at.terminated.start, at.truncated.start)
        last = [*range(at.next_obs.start, at.next_extra.stop), *ended]
        steps = np.ones(len(places), dtype=np.float32)
        walking = np.arange(len(places))
        for number in range(1, self._n):
            goes_on = ~batch[walking][:, ended].any(axis=1)
            followers = self._followers[places[walking]]
            goes_on &= followers != _NONE
            walking = walking[goes_on]
            places = places.copy()
            places[walking] = followers[goes_on] % self.capacity
            rows = self._rows[places[walking]]
            batch[walking, reward] += np.float32(self._gamma**number) * rows[:, reward]
            batch[np.ix_(walking, last)] = rows[:, last]
            steps[walking] += 1
        self.steps = steps
