"""How well leg odometry knows what the simulator knows, while a trained policy walks.

    python tools/odometry_error.py runs/pup/policy/final.onnx --seconds 60

Velocities are those of the task: displacement over a control step, in the frame the robot faced
when the step began.  Drift is the error of the displacement at the end of an episode, per metre.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from robosac.cli import resolve
from robosac.env import RobotEnv
from robosac.policy import OnnxPolicy
from robosac.tasks.motion import planar_velocity
from robots import LegOdometry

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from robots import BaseMotion

    FloatArray = NDArray[np.float32]


class OdometryError(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured; forward is along the robot's heading, left across it."""

    robot: str
    seconds: float
    speed_mps: float
    """True mean forward speed."""
    forward_rms_mps: float
    forward_bias_mps: float
    left_rms_mps: float
    left_bias_mps: float
    drift_per_m: float
    """Error of the displacement over the true path, both summed over all episodes."""
    update_us: float
    """Median time that one update took, µs."""


class Tally:
    """Estimate and truth side by side, step by step."""

    def __init__(self, odometry: LegOdometry) -> None:
        """Compare this odometry."""
        self._odometry = odometry
        self._starts: tuple[BaseMotion, BaseMotion] | None = None
        self._last: tuple[BaseMotion, BaseMotion] | None = None
        self.true: list[tuple[float, float]] = []
        self.estimated: list[tuple[float, float]] = []
        self.took_s: list[float] = []
        self.path_m = self.strayed_m = 0.0

    def begin(self, env: RobotEnv) -> None:
        """Start an episode where the robot stands now."""
        self.end()
        self._odometry.reset()
        self._starts = self._last = self._look(env, 0.0)

    def step(self, env: RobotEnv, dt_s: float) -> None:
        """Take one control step into account."""
        assert self._last is not None
        (true_before, before), self._last = self._last, self._look(env, dt_s)
        true_after, after = self._last
        self.true.append(planar_velocity(true_before, true_after, dt_s)[:2])
        self.estimated.append(planar_velocity(before, after, dt_s)[:2])
        self.path_m += math.hypot(*(true_after.position - true_before.position)[:2])

    def end(self) -> None:
        """Close the episode, if one is open."""
        if self._starts is None or self._last is None:
            return
        moved, estimated = (
            last.position - start.position
            for last, start in zip(self._last, self._starts, strict=True)
        )
        self.strayed_m += math.hypot(*(estimated - moved)[:2])
        self._starts = self._last = None

    def _look(self, env: RobotEnv, dt_s: float) -> tuple[BaseMotion, BaseMotion]:
        """Truth and estimate as of now."""
        truth, state = env.robot.base_motion(), env.robot.read()
        assert truth is not None
        started = time.perf_counter()
        estimate = self._odometry.update(state, dt_s)
        self.took_s.append(time.perf_counter() - started)
        return truth, estimate


def measure(path: str, *, seconds: float, seed: int) -> OdometryError:
    """Let a policy file walk its robot for so long; raises PolicyError, RobotSpecError."""
    contract = OnnxPolicy.load(path).contract
    with resolve.make(robot=contract.robot, task=contract.task, env=None) as place:
        policy = OnnxPolicy.load(path, here=place.contract)
        assert isinstance(place.env, RobotEnv)
        return compare(place.env, policy.act, seconds=seconds, seed=seed)


def compare(
    env: RobotEnv, act: Callable[[FloatArray], FloatArray], *, seconds: float, seed: int
) -> OdometryError:
    """Drive an environment, episode after episode, and compare; raises RobotSpecError."""
    tally = Tally(LegOdometry(env.robot.spec))
    obs, _ = env.reset(seed=seed)
    tally.begin(env)
    for _ in range(round(seconds * env.task.control_hz)):
        obs, _, terminated, truncated, info = env.step(act(obs))
        tally.step(env, info["dt"])
        if terminated or truncated:
            obs, _ = env.reset()
            tally.begin(env)
    tally.end()
    return _sum_up(env.robot.spec.name, seconds, tally)


def _sum_up(robot: str, seconds: float, tally: Tally) -> OdometryError:
    true = np.array(tally.true)
    error = np.array(tally.estimated) - true
    rms, bias = np.sqrt(np.mean(error**2, axis=0)), error.mean(axis=0)
    return OdometryError(
        robot=robot,
        seconds=seconds,
        speed_mps=float(true[:, 0].mean()),
        forward_rms_mps=float(rms[0]),
        forward_bias_mps=float(bias[0]),
        left_rms_mps=float(rms[1]),
        left_bias_mps=float(bias[1]),
        drift_per_m=tally.strayed_m / tally.path_m,
        update_us=1e6 * float(np.median(tally.took_s)),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("policy", help="policy file")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    found = measure(options.policy, seconds=options.seconds, seed=options.seed)
    numbers: dict[str, Any] = msgspec.structs.asdict(found)
    if options.json:
        print(msgspec.json.encode(numbers).decode())
        return
    for name, value in numbers.items():
        print(f"{name:18} {value if isinstance(value, str) else f'{value:.4f}'}")


if __name__ == "__main__":
    main()
