"""Episodes of a real robot begin when its operator says so, and a fault ends none but its own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import gymnasium

from robosac.operator import Request
from robosac.runner.loop import WithdrawnError
from robots import RobotError, SafetyStopError, State

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from robosac.deploy.journey import Journey
    from robosac.env import RobotEnv
    from robosac.operator import Operator
    from robots import RobotState

    FloatArray = NDArray[np.float32]

_LOOK_S = 0.1
_GO = "go lets it stand up (ENTER)"
_ADVICE = {
    State.STANDBY: _GO,
    State.FAULT: "see to it, then clear (c), then go (ENTER)",
    State.ESTOP: "release it (r), then clear (c), then go (ENTER)",
}
_LYING = "put it on its feet, then go (ENTER)"


class Session(gymnasium.Wrapper["FloatArray", "FloatArray", "FloatArray", "FloatArray"]):
    """RobotEnv between an operator and a control loop.

    reset() brings a stopped robot to rest and then waits, torque off, for the operator: nothing
    moves because a process started, and nothing moves again by itself.  An episode that has ended
    by the clock goes on where the robot is.  When the operator quits, reset() raises
    WithdrawnError.  step() adds to the journey, which is what is told of the session afterwards.
    """

    env: RobotEnv

    def __init__(
        self,
        env: RobotEnv,
        operator: Operator,
        *,
        journey: Journey,
        idle: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        """Join them; `idle` is called now and then while the robot rests, `tell` has readers."""
        super().__init__(env)
        self._robot, self._operator = env.robot, operator
        self._journey, self._idle, self._tell = journey, idle, tell
        self._broken: RobotError | None = None
        self._told = ""
        self._stood = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Begin an episode; raises WithdrawnError when the operator has quit."""
        while True:
            try:
                if not self._robot.active:
                    self._come_to_rest()
                    self._wait_for_go()
                    self._stand_up()
                return self.env.reset(seed=seed, options=options)
            except SafetyStopError as error:
                self._tell(f"it does not stand up because of {error.cause}")
            except RobotError as error:
                self._tell(f"it does not stand up: {error}")

    def step(self, action: FloatArray) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Step the robot, and remember how far it went."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        ended = terminated or truncated
        self._journey.add(info, reward=float(reward), fell=terminated, ended=ended)
        return obs, float(reward), terminated, truncated, info

    def close(self) -> None:
        """Sit down, take the torque off, let the robot go; never raises because of the robot."""
        try:
            self.env.close()
        except RobotError as error:
            self._journey.limp = False
            self._journey.error = str(error)
            self._tell(f"CUT ITS POWER: {error}")
        if self._robot.torque_owed:
            self._journey.limp = False
        self._note_stop()

    def _stand_up(self) -> None:
        """Let it rise; what was asked for between the go and this moment is heard at once."""
        self._robot.enable()
        self._stood = True
        self._operator.forget()

    def _come_to_rest(self) -> None:
        """Sit or damp to the end; a robot whose driver fails is left to its servos' watchdogs."""
        robot = self._robot
        if not robot.limp:
            try:
                robot.rest()
            except RobotError as error:
                self._broken = error
                with contextlib.suppress(RobotError):
                    robot.disarm("the driver has failed")
        self._note_stop()

    def _note_stop(self) -> None:
        """Remember what has ended a motion, once."""
        robot = self._robot
        if self._stood and robot.causes:
            self._journey.stopped(robot.now(), robot.state.value, robot.why)
        self._stood = False

    def _wait_for_go(self) -> None:
        """Watch a robot at rest until it may move; raises WithdrawnError."""
        self._look_at_first()
        while True:
            requests = self._operator.take()
            if Request.QUIT in requests:
                raise WithdrawnError("the operator has quit")
            if Request.CLEAR in requests:
                self._clear()
            elif Request.GO in requests and self._may_go():
                return
            self._operator.wait(_LOOK_S)
            self._idle()
            self._look()

    def _look_at_first(self) -> None:
        """Say how things are; a go from before the robot was said to be ready does not count."""
        situation = self._situation(self._reading())
        early = Request.GO in self._operator.take()  # before a word of it is out
        self._told = ""
        self._say(situation)
        if early:
            self._tell("that go came early and does not count; go again")

    def _look(self) -> None:
        """Say how things are when that has changed."""
        self._say(self._situation(self._reading()))

    def _say(self, situation: str) -> None:
        """Tell what was not told last."""
        if situation != self._told:
            self._told = situation
            self._tell(situation)

    def _reading(self) -> RobotState | None:
        """Let the guards judge a reading; None when there is none."""
        reading = None
        if self._broken is None or self._robot.torque_owed:
            try:
                self._robot.connect()
                reading = self._robot.read()
            except RobotError as error:
                self._broken = error
        return reading

    def _situation(self, reading: RobotState | None) -> str:
        """How things are, and what to press."""
        robot = self._robot
        torque = "TORQUE MAY BE ON, CUT ITS POWER" if robot.torque_owed else "torque off"
        words = f"{robot.state.words}, {torque}"
        if robot.causes:
            words = f"{words}, because of {robot.why}"
        if reading is None or self._broken is not None:
            return f"{words}: {self._broken}; put it right, then clear (c) opens it anew"
        if robot.state is State.STANDBY and not robot.upright(reading):
            return f"{words}: {_LYING}"
        return f"{words}: {_ADVICE.get(robot.state, 'wait')}"

    def _clear(self) -> None:
        """Open what is lost anew, and forget the causes of the stop; nothing moves by it."""
        if self._broken is not None:
            with contextlib.suppress(RobotError):  # torque_owed remembers what it means
                self._robot.close()
            try:
                self._robot.connect()
            except RobotError as error:
                self._tell(f"not yet: {error}")
                return
            self._broken = None
        self._robot.clear()
        self._look_at_first()

    def _may_go(self) -> bool:
        """Whether a go counts here and now; in STANDBY nothing is latched, only remembered."""
        if self._broken is None and self._robot.state is State.STANDBY:
            self._robot.clear()
            return True
        self._tell(f"go does not count now: {self._told}")
        return False
