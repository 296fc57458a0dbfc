"""Looks at a policy while it is being learned: evaluation on an environment of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from robosac.runner.loop import Tally
from tools.learning_curves.runs import Row, Run
from tools.learning_curves.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable

    import gymnasium
    from numpy.typing import NDArray

    from tools.learning_curves.overestimation import Estimate

    FloatArray = NDArray[np.float32]
    Act = Callable[[FloatArray], FloatArray]

SEED = 10_000
"""Seed of the first evaluation episode; the others follow.  All evaluations have the same ones."""


class Watch:
    """Collects one row an evaluation; the stopwatch stands still meanwhile."""

    def __init__(
        self,
        run: Run,
        env: gymnasium.Env[Any, Any],
        *,
        every: int,
        last: int,
        episodes: int,
        tell: Callable[[Row], None],
        until: float = math.inf,
        minutes: float = math.inf,
    ) -> None:
        """Evaluate every so many steps and after the last; `tell` hears of every row.

        A run is over at the first evaluation whose mean speed is `until`, m/s, and after so many
        minutes of training, with a last evaluation there.
        """
        self.env = env
        self.stopwatch = Stopwatch()
        self.rows: list[Row] = []
        self._run, self._every, self._last = run, every, last
        self._episodes, self._tell, self._until, self._minutes = episodes, tell, until, minutes

    def start(self) -> None:
        """Training begins."""
        self.stopwatch = Stopwatch()

    @property
    def over(self) -> bool:
        """Whether the run has got where it was to get, or had the time it was given."""
        return bool(self.rows) and self.rows[-1].ends(speed_mps=self._until, minutes=self._minutes)

    def due(self, step: int) -> bool:
        """Whether there is to be an evaluation after this step."""
        timed_out = self.stopwatch.wall_s >= 60 * self._minutes
        return timed_out or step % self._every == 0 or step == self._last

    def look(
        self,
        step: int,
        *,
        updates: int,
        act: Act,
        estimate: Callable[[], Estimate | None] = lambda: None,
    ) -> None:
        """Evaluate the deterministic policy, and what the critics think of the exploring one."""
        with self.stopwatch.stopped():
            tallies = [self._play(act, SEED + number) for number in range(self._episodes)]
            estimated = estimate()
        returns = [tally.return_ for tally in tallies]
        speeds = [tally.speed_mps for tally in tallies if tally.speed_mps is not None]
        row = Row(
            **msgspec.structs.asdict(self._run),
            step=step,
            updates=updates,
            return_mean=float(np.mean(returns)),
            return_std=float(np.std(returns)),
            speed_mps=float(np.mean(speeds)) if speeds else None,
            wall_s=self.stopwatch.wall_s,
            cpu_s=self.stopwatch.cpu_s,
            q=estimated.q if estimated else None,
            q_true=estimated.q_true if estimated else None,
        )
        self.rows.append(row)
        self._tell(row)

    def _play(self, act: Act, seed: int) -> Tally:
        """One whole episode."""
        obs, _ = self.env.reset(seed=seed)
        tally, ended = Tally(), False
        while not ended:
            obs, reward, terminated, truncated, info = self.env.step(act(obs))
            tally.add(float(reward), fell=terminated, info=info)
            ended = terminated or truncated
        return tally
