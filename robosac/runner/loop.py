"""The control loop: observe, act, record; the same in simulation and on hardware."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING, Any

import numpy as np

from robosac.errors import RobosacError
from robosac.replay import Transition
from robosac.runner.exploration import ExplorationNoise
from robosac.wire.messages import Episode

if TYPE_CHECKING:
    from collections.abc import Callable

    import gymnasium
    from numpy.typing import NDArray

    from robosac.replay import RowLayout
    from robosac.runner.link import Link

    FloatArray = NDArray[np.float32]


class WithdrawnError(RobosacError):
    """An environment's reset() raises it when there will be no further episode."""


class Loop:
    """Steps one environment with the newest policy and hands every transition to a link."""

    def __init__(
        self,
        env: gymnasium.Env[FloatArray, FloatArray],
        link: Link,
        layout: RowLayout,
        *,
        run: str,
        seed: int,
        explore: bool = True,
        keep: Callable[[FloatArray], None] | None = None,
    ) -> None:
        """Prepare one run; `seed` fixes exploration and the first reset.

        Without exploration the policy acts as it was evaluated.  `keep` gets every packed
        transition as well, and must not wait.
        """
        self._env, self._link, self._layout, self._run = env, link, layout, run
        self._explore, self._keep = explore, keep
        low, high = env.action_space.low, env.action_space.high  # type: ignore[attr-defined]
        self._centre, self._half_range = (low + high) / 2, (high - low) / 2
        noise, reset = np.random.SeedSequence(seed).spawn(2)
        self._noise = ExplorationNoise(layout.action, np.random.default_rng(noise))
        self._seed = int(reset.generate_state(1)[0])
        self._no_extra = np.empty(0, dtype=np.float32)
        self.made = 0
        """Transitions recorded."""

    def run(self, steps: int | None, *, stopped: Callable[[], bool]) -> None:
        """Record transitions like play(), then wait until they are durable, or `stopped`."""
        self.play(steps, stopped=stopped)
        self._link.finish(self.made)

    def play(self, steps: int | None, *, stopped: Callable[[], bool]) -> None:
        """Record transitions until there are enough; the environment is left as it is then.

        Enough is what the learner says, `steps` of them, None being no bound, or when `stopped`
        or the environment withdraws.
        """

        def wanted() -> bool:
            more = steps is None or self.made < steps
            return more and not self._link.enough and not stopped()

        self._link.wait_until_ready()
        if wanted():
            with contextlib.suppress(WithdrawnError):
                self._make(wanted)

    def _make(self, wanted: Callable[[], bool]) -> None:
        """Play episodes as long as transitions are wanted."""
        obs, info = self._env.reset(seed=self._seed)
        tally = Tally()
        while wanted():
            self._link.poll()
            if self._link.credit is not None and self.made >= self._link.credit:
                self._link.pause()
                continue
            obs, info, ended = self._step(obs, info, tally)
            if ended:
                self._link.report(tally.episode(self._run, self.made))
                tally = Tally()
                if not gc.isenabled():
                    gc.collect()  # realtime() has put it off until no tick is near
                if wanted():
                    obs, info = self._env.reset()
                    self._noise.reset()
                    self._link.begin(in_motion=info.get("goes_on", False))

    def _step(
        self, obs: FloatArray, info: dict[str, Any], tally: Tally
    ) -> tuple[FloatArray, dict[str, Any], bool]:
        """One tick: act on the newest policy, record what came of it."""
        acting = self._link.acting
        noise = None
        if self._explore:
            asked = acting.policy.contract
            noise = self._noise.draw(asked.exploration_theta, asked.exploration_hold)
        output = acting.policy.act(obs, noise)
        action = np.clip((output - self._centre) / self._half_range, -1, 1)
        next_obs, reward, terminated, truncated, next_info = self._env.step(output)
        transition = Transition(
            obs=obs,
            extra=info.get("extra", self._no_extra),
            action=action,
            reward=float(reward),
            terminated=float(terminated),
            truncated=float(truncated),
            next_obs=next_obs,
            next_extra=next_info.get("extra", self._no_extra),
            executed=next_info.get("executed", action),
            guards=float(next_info.get("guards", 0)),
            dt=float(next_info.get("dt", 0.0)),
            policy_version=float(acting.version),
        )
        row = self._layout.pack(transition)
        self._link.record(row)
        if self._keep is not None:
            self._keep(row)
        self.made += 1
        tally.add(float(reward), fell=terminated, info=next_info)
        return next_obs, next_info, terminated or truncated


class Tally:
    """Sums of one episode."""

    def __init__(self) -> None:
        """Start at zero."""
        self.return_ = 0.0
        self.length = 0
        self.fell: bool | None = None
        self._sums: dict[str, float] = {}
        self._distance: float | None = None
        self._seconds = 0.0

    def add(self, reward: float, *, fell: bool, info: dict[str, Any]) -> None:
        """Add one step; `info` is RobotEnv's, or any other environment's."""
        self.return_ += reward
        self.length += 1
        for name, value in info.get("rewards", {}).items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        if "forward_mps" in info:
            self.fell = fell
            self._distance = (self._distance or 0.0) + info["forward_mps"] * info["dt"]
            self._seconds += info["dt"]

    @property
    def speed_mps(self) -> float | None:
        """Mean forward speed; None when nothing measures it."""
        return None if self._distance is None else self._distance / self._seconds

    def episode(self, run: str, end: int) -> Episode:
        """Return the episode's report."""
        return Episode(
            run=run,
            end=end,
            return_=self.return_,
            length=self.length,
            fell=self.fell,
            speed_mps=self.speed_mps,
            rewards={name: total / self.length for name, total in self._sums.items()},
        )
