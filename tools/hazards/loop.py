"""The real control loop on a trial's robot, with a link that keeps every row."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import gymnasium

from robosac.runner.link import LocalLink
from robosac.runner.loop import Loop
from robots import SafetyStopError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from robosac.policy import Contract
    from robosac.runner.link import Acting, Link
    from tools.hazards.trial import Trial

    FloatArray = NDArray[np.float32]


class BenchLink(LocalLink):
    """Acts by whatever `choose` returns at the moment, and keeps every row."""

    def __init__(self, choose: Callable[[], Acting]) -> None:
        """Ask this function for the policy at every tick."""
        self._choose = choose
        self.rows: list[FloatArray] = []
        """Every transition recorded."""

    @property
    def acting(self) -> Acting:
        """The policy of this tick."""
        return self._choose()

    def record(self, row: FloatArray) -> None:
        """Keep a row."""
        self.rows.append(row.copy())


class TrialEnv(gymnasium.Env["FloatArray", "FloatArray"]):
    """A trial's robot as the control loop sees it, every step of it watched."""

    def __init__(self, trial: Trial) -> None:
        """Step this trial; its robot stands already."""
        self._trial = trial
        self.action_space = trial.env.action_space
        self.observation_space = trial.env.observation_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Stand up; raises what keeps the robot from it."""
        del options
        return self._trial.stand_up(seed=seed)

    def step(self, action: FloatArray) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """One tick."""
        return self._trial.step(action)


def run_loop(trial: Trial, link: Link, contract: Contract, *, until: Callable[[], bool]) -> Loop:
    """Let the control loop drive the robot until then, or until it is stopped for good."""
    loop = Loop(TrialEnv(trial), link, contract.row_layout, run="0" * 32, seed=0, explore=False)
    with contextlib.suppress(SafetyStopError):  # an operator is needed then
        loop.run(None, stopped=until)
    return loop
