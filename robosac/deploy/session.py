"""Episodes of a real robot begin when its operator says so, and a fault ends none but its own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import gymnasium

from robosac.operator import Request
from robosac.runner.loop import WithdrawnError
from robots import RobotError, State
from robots.safety.states import TORQUE_OFF

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from robosac.deploy.journey import Journey
    from robosac.env import RobotEnv
    from robosac.operator import Operator

    FloatArray = NDArray[np.float32]

_LOOK_S = 0.1
_ADVICE = {
    State.STANDBY: "go lets it stand up",
    State.FAULT: "see to it, then clear, then go",
    State.ESTOP: "release the emergency stop, then clear, then go",
}


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

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Begin an episode; raises WithdrawnError when the operator has quit."""
        while True:
            if not self._robot.active:
                self._come_to_rest()
                self._wait_for_go()
            try:
                found = self.env.reset(seed=seed, options=options)
            except RobotError as error:
                self._tell(f"it does not stand up: {error}")
                continue
            self._operator.forget()
            return found

    def step(self, action: FloatArray) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Step the robot, and remember how far it went."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._journey.add(info, fell=terminated)
        return obs, float(reward), terminated, truncated, info

    def _come_to_rest(self) -> None:
        """Sit or damp to the end; a robot whose driver fails is left to its servos' watchdogs."""
        robot = self._robot
        if robot.state not in TORQUE_OFF:
            try:
                robot.rest()
            except RobotError as error:
                self._broken = error
                with contextlib.suppress(RobotError):
                    robot.disarm("the driver has failed")
        if robot.causes:
            self._journey.stopped(robot.now(), robot.state.value, robot.why)

    def _wait_for_go(self) -> None:
        """Watch a robot at rest until it may move; raises WithdrawnError."""
        self._told = ""
        while True:
            self._look()
            requests = self._operator.take()
            if Request.QUIT in requests:
                raise WithdrawnError("the operator has quit")
            if Request.CLEAR in requests:
                self._clear()
            if Request.GO in requests and self._may_go():
                return
            self._operator.wait(_LOOK_S)
            self._idle()

    def _look(self) -> None:
        """Let the guards judge a reading, and say how things are when that has changed."""
        robot = self._robot
        if self._broken is None:
            try:
                robot.read()
            except RobotError as error:
                self._broken = error
        state = robot.state.value
        because = f" because of {robot.why}" if robot.causes else ""
        text = f"{state}{because}; {_ADVICE.get(robot.state, 'wait')}"
        if self._broken is not None:
            text = f"{state}: {self._broken}; clear opens it anew"
        if text != self._told:
            self._told = text
            self._tell(text)

    def _clear(self) -> None:
        """Open what is lost anew, and forget the causes of the stop; nothing moves by it."""
        if self._broken is not None:
            with contextlib.suppress(RobotError):
                self._robot.close()
            try:
                self._robot.connect()
            except RobotError as error:
                self._tell(f"not yet: {error}")
                return
            self._broken = None
        self._robot.clear()
        self._told = ""

    def _may_go(self) -> bool:
        """Whether a go counts here and now; in STANDBY nothing is latched, only remembered."""
        if self._broken is None and self._robot.state is State.STANDBY:
            self._robot.clear()
            return True
        self._tell(f"go counts in standby only; {self._told}")
        return False
