"""A robot and a task as a Gymnasium environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from robosac.tasks.motion import planar_velocity
from robosac.tasks.observation import Observer
from robosac.tasks.task import Tick
from robots import JointCommand, SafeRobot, SafetyStopError, State

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robosac.tasks import Task
    from robots import Robot, RobotState

    FloatArray = NDArray[np.float32]


class RobotEnv(gymnasium.Env["FloatArray", "FloatArray"]):
    """The one environment that trains in simulation and runs on hardware.

    Actions (J,) in [-1, 1] span the action box of robot.toml: stance + action_scale·action, rad.
    Observations are the task's actor terms (O,).  `info` carries "extra" (the critic's terms),
    "executed" (the action after the safety wrapper), "guards", "dt" (s), "rewards", "motion" and
    "forward_mps" (speed over the step, m/s).
    """

    def __init__(self, robot: Robot, task: Task) -> None:
        """Wrap the robot in its safety layer, unless it already is."""
        self.robot = robot if isinstance(robot, SafeRobot) else SafeRobot(robot)
        self.task = task
        spec = robot.spec
        self._stance, self._scale = spec.column("stance"), spec.column("action_scale")
        self._actor = Observer(task.actor_terms(spec))
        self._critic = Observer(task.critic_terms(spec))
        self._period_ns = round(1e9 / task.control_hz)
        self._steps_limit = round(task.episode_s * task.control_hz)
        self.observation_space = gymnasium.spaces.Box(-self._actor.bound, self._actor.bound)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, self._stance.shape, np.float32)
        self._steps = 0
        self._deadline_ns = 0
        self._tick: Tick | None = None
        self.overruns = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Stand up: a simulated robot is placed on its feet, a real one must have been cleared.

        Raises SafetyStopError when the robot may not move.
        """
        super().reset(seed=seed, options=options)
        self.robot.connect()
        self.robot.place(self.np_random)
        self.robot.enable()
        self._deadline_ns = self.robot.now()
        while self.robot.state is State.RAMP:
            self.robot.write(JointCommand.towards(self._stance, self.robot.spec))
            self._wait()
            self.robot.read()
        if not self.robot.active:
            raise SafetyStopError(self.robot.state.value, "a guard that fired while standing up")
        rest = np.zeros_like(self._stance)
        self._tick = self._look(rest, dt_s=self._period_ns / 1e9)
        self.robot.take_guards()
        self._steps = 0
        self._actor.reset()
        self._critic.reset()
        self.task.begin(self._tick, self.np_random)
        obs, extra = self._observe(self._tick)
        return obs, {"extra": extra, "motion": self._tick.motion}

    def step(self, action: FloatArray) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Command the joints for one control period; terminated when the robot has fallen."""
        before = self._tick
        if before is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        started_ns = self.robot.now()
        target = self._stance + self._scale * action
        applied = self.robot.write(JointCommand.towards(target, self.robot.spec))
        self._wait()
        executed = np.clip((applied.position - self._stance) / self._scale, -1, 1)
        tick = self._look(executed, dt_s=(self.robot.now() - started_ns) / 1e9)
        self._tick = tick
        self._steps += 1
        rewards = self.task.rewards(before, tick)
        terminated = not self.robot.active or self.task.fallen(tick)
        truncated = not terminated and self._steps >= self._steps_limit
        obs, extra = self._observe(tick)
        info = {
            "extra": extra,
            "executed": executed,
            "guards": self.robot.take_guards(),
            "dt": tick.dt_s,
            "rewards": rewards,
            "forward_mps": planar_velocity(before.motion, tick.motion, tick.dt_s)[0],
            "motion": tick.motion,
        }
        return obs, float(sum(rewards.values())), terminated, truncated, info

    def observe_once(self, state: RobotState, last_action: FloatArray) -> FloatArray:
        """Observation (O,) that these readings give right after a reset; for golden vectors."""
        tick = Tick(state=state, motion=None, action=last_action, dt_s=self._period_ns / 1e9)
        return Observer(self._actor.terms).observe(self.task.readings(tick))

    def close(self) -> None:
        """Take the torque off and let the robot go."""
        self.robot.close()

    def _wait(self) -> None:
        """Wait for the next tick of the grid; periods already over are skipped and counted."""
        self._deadline_ns += self._period_ns
        late_ns = self.robot.now() - self._deadline_ns
        if late_ns > 0:
            skipped = -(-late_ns // self._period_ns)
            self.overruns += skipped
            self._deadline_ns += skipped * self._period_ns
        self.robot.wait_until(self._deadline_ns)

    def _look(self, action: FloatArray, *, dt_s: float) -> Tick:
        state = self.robot.read()
        return Tick(
            state=state,
            motion=self.robot.base_motion(),
            action=action,
            dt_s=dt_s,
        )

    def _observe(self, tick: Tick) -> tuple[FloatArray, FloatArray]:
        readings = self.task.readings(tick)
        return self._actor.observe(readings), self._critic.observe(readings)
