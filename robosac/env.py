"""A robot and a task as a Gymnasium environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from robosac.lateness import Lateness
from robosac.tasks.motion import planar_velocity
from robosac.tasks.observation import Observer
from robosac.tasks.task import Tick
from robots import Guard, JointCommand, RobotError, SafeRobot, SafetyStopError, State
from robots.safety.states import MOVING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robosac.tasks import Task
    from robots import Robot, RobotState

    FloatArray = NDArray[np.float32]

_BLAMED = Guard.TILT | Guard.COMMAND_NOT_FINITE | Guard.COMMAND_SHAPE
"""What the policy has brought about; any other stop cuts an episode short without blame."""


class RobotEnv(gymnasium.Env["FloatArray", "FloatArray"]):
    """The one environment that trains in simulation and runs on hardware.

    Actions (J,) in [-1, 1] span the action box of robot.toml: stance + action_scale·action, rad;
    beyond it they are clipped.  Observations are the task's actor terms (O,).  `info` carries
    "extra" (the critic's terms), "executed" (the action after the safety wrapper), "guards", "dt"
    (s), "rewards", "motion" and "forward_mps" (speed over the step, m/s).

    A step is one control period on an absolute grid; periods that are over before they began are
    skipped and counted in `overruns`, and `lateness` tells how late every tick was.
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
        self._deadline_ns = self._looked_ns = 0
        self._tick: Tick | None = None
        self.overruns = 0
        self.lateness = Lateness()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Stand up: a simulated robot is placed on its feet; a real one goes on from where it is.

        A real one that has been stopped, by whatever, comes to rest first and is not moved again
        before an operator has cleared or enabled it.  Raises SafetyStopError when the robot may
        not move.  `goes_on` in the info says that it is in the middle of a motion; observations
        then go on as if no episode had ended.
        """
        super().reset(seed=seed, options=options)
        before, self._tick = self._tick, None
        self.robot.connect()
        goes_on = self.robot.active
        if self.robot.place(self.np_random):
            goes_on = False
        else:
            self._check_cleared()
        if self.robot.state not in MOVING:
            self.robot.enable()
        self._stand()
        in_stride = before if goes_on else None
        tick = self._look(np.zeros_like(self._stance) if in_stride is None else in_stride.action)
        if not self.robot.active:
            raise SafetyStopError(self.robot.state.value, self.robot.why)
        self.robot.take_guards()
        self._tick, self._steps = tick, 0
        if in_stride is None:
            self._actor.reset()
            self._critic.reset()
        self.task.begin(tick, self.np_random)
        obs, extra = self._observe(tick)
        return obs, {"extra": extra, "motion": tick.motion, "goes_on": goes_on}

    def step(self, action: FloatArray) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Command the joints for one control period.

        Terminated when the robot has fallen or the policy was stopped for what it asked;
        truncated at the time limit and when operator, sensors or driver ended the episode.  An
        error of the driver ends it, too; the wrapper has latched it, and it is raised only where
        it has not.
        """
        before = self._tick
        if before is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        executed = before.action
        try:
            applied = self.robot.write(JointCommand.towards(self._target(action), self.robot.spec))
            executed = np.clip((applied.position - self._stance) / self._scale, -1, 1)
            self.lateness.act.add(self.robot.now() - self._looked_ns)
            self._wait()
            tick = self._look(executed, before)
        except RobotError:
            if self.robot.active:
                raise
            tick = self._blind(executed, before)
        self._tick = tick
        self._steps += 1
        rewards = self.task.rewards(before, tick)
        terminated = self._fallen(tick)
        truncated = not terminated and (not self.robot.active or self._steps >= self._steps_limit)
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
        """Sit down, take the torque off and let the robot go."""
        self.robot.close()

    def _check_cleared(self) -> None:
        """Let a stop that is under way come to its end, and leave the next start to an operator."""
        if self.robot.state in (State.SIT, State.DAMP):
            self.robot.rest()
        if self.robot.causes:
            raise SafetyStopError(self.robot.state.value, self.robot.why)

    def _stand(self) -> None:
        """Tick until the ramp to the stance is over, one way or the other.

        The grid begins after the first command: with it a real robot switches its torque on.
        """
        stance = JointCommand.towards(self._stance, self.robot.spec)
        self._deadline_ns = 0
        while self.robot.state is State.RAMP:
            self.robot.write(stance)
            self._deadline_ns = self._deadline_ns or self.robot.now()
            self._wait()
            self.robot.read()
        self._deadline_ns = self._deadline_ns or self.robot.now()

    def _target(self, action: FloatArray) -> FloatArray:
        """Joint targets (J,), rad; what cannot be scaled goes on as it is, to be refused."""
        if np.shape(action) != self._stance.shape or not np.isfinite(action).all():
            return action
        return self._stance + self._scale * np.clip(action, -1, 1)

    def _fallen(self, tick: Tick) -> bool:
        """Whether the episode ends here for good, by what the policy did."""
        stopped = not self.robot.active and bool(self.robot.causes)
        return self.task.fallen(tick) or (stopped and self.robot.causes[0] in _BLAMED)

    def _wait(self) -> None:
        """Wait for the next tick of the grid; periods already over are skipped and counted.

        A tick that is late by a quarter of a period at most goes at once: waiting for the next
        would leave the robot without a command for longer.
        """
        due_ns = self._deadline_ns = self._deadline_ns + self._period_ns
        over_ns = self.robot.now() - due_ns
        if over_ns > self._period_ns // 4:
            skipped = -(-over_ns // self._period_ns)
            self.overruns += skipped
            self._deadline_ns += skipped * self._period_ns
        self.robot.wait_until(self._deadline_ns)
        late_ns = self.robot.now() - due_ns
        self.robot.tick_late(max(late_ns, 0) / 1e9)
        self.lateness.wake.add(late_ns)

    def _look(self, action: FloatArray, before: Tick | None = None) -> Tick:
        """Read what the step has led to; its length is the time since the last look.

        A reading that is none has stopped the robot; the one before it takes its place, so that
        nothing but numbers reaches the learner.
        """
        state, motion = self.robot.read(), self.robot.base_motion()
        looked_ns, self._looked_ns = self._looked_ns, self.robot.now()
        if before is None:
            return Tick(state=state, motion=motion, action=action, dt_s=self._period_ns / 1e9)
        if Guard.STATE_NOT_FINITE in self.robot.causes:
            state, motion = before.state, before.motion
        return Tick(
            state=state, motion=motion, action=action, dt_s=(self._looked_ns - looked_ns) / 1e9
        )

    def _blind(self, action: FloatArray, before: Tick) -> Tick:
        """What is left to say of a step during which the driver failed: the reading before it."""
        looked_ns, self._looked_ns = self._looked_ns, self.robot.now()
        dt_s = (self._looked_ns - looked_ns) / 1e9
        return Tick(state=before.state, motion=before.motion, action=action, dt_s=dt_s)

    def _observe(self, tick: Tick) -> tuple[FloatArray, FloatArray]:
        readings = self.task.readings(tick)
        return self._actor.observe(readings), self._critic.observe(readings)
