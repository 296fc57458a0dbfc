"""Hazards of the operator, O1 to O4, in virtual time."""

from __future__ import annotations

import os
import struct
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robosac.operator import Operator
from robosac.operator.gamepad import Gamepad, GamepadButtons
from robots import State
from tools.hazards.registry import Finding, Hazard, hazard
from tools.hazards.trial import STRIKE_S, Trial, VirtualTrial, trot
from tools.hazards.verdict import always, judge_stop, overtime, ticks_to

if TYPE_CHECKING:
    from collections.abc import Callable

_BUTTON = 1
_EVENT = struct.Struct("=IhBB")
_PATIENCE_S = 5.0
_FEW = 5
_FAULT = f"hardware-error@{STRIKE_S},id=3,amount=1"


def _standby(trial: Trial) -> None:
    trial.robot.connect()
    trial.robot.read()


def _ramp(trial: Trial) -> None:
    trial.robot.connect()
    trial.robot.enable()


def _hold(trial: Trial) -> None:
    trial.walk_until_struck()
    trial.gait = lambda _: np.full(12, np.nan, np.float32)
    trial.tick()
    trial.gait = trot


def _sit(trial: Trial) -> None:
    trial.walk_until_struck()
    trial.robot.stop()
    trial.tick()


def _damp(trial: Trial) -> None:
    trial.walk_until_struck()
    trial.walk(2)


def _fault(trial: Trial) -> None:
    trial.walk_until_struck()
    trial.walk_on()


_WAYS: dict[State, tuple[str, Callable[[Trial], None]]] = {
    State.STANDBY: ("", _standby),
    State.RAMP: ("", _ramp),
    State.ACTIVE: ("", Trial.walk_until_struck),
    State.HOLD: ("", _hold),
    State.SIT: ("", _sit),
    State.DAMP: (_FAULT, _damp),
    State.FAULT: (_FAULT, _fault),
}


@hazard("O1", "emergency stop in every state", must="ESTOP, torque off, latched", within=2)
def emergency_stop(one: Hazard) -> Finding:
    """One tick and the time on the bus."""
    problems, slowest, logged = [], 0, ""
    for state, (fault, bring) in _WAYS.items():
        with VirtualTrial(*filter(None, [fault])) as trial:
            bring(trial)
            if trial.robot.state is not state:
                problems.append(f"{trial.robot.state.value}; expected {state.value} to begin with")
            trial.strike_now()
            Operator(trial.robot).estop("trial")
            trial.walk(_FEW)
            ticks = ticks_to(trial, max(trial.witness.drove_ns, trial.strike_ns))
            slowest = max(slowest, ticks)
            logged = trial.heard.first("estop") or logged
            found = [*overtime(one, ticks), *always(trial), *trial.insist()]
            if trial.robot.state is not State.ESTOP:
                found.append(f"{trial.robot.state.value}; expected estop")
            problems += [f"from {state.value}: {problem}" for problem in found]
    if not logged:
        problems.append("estop is not in the log")
    seen = f"estop from {len(_WAYS)} states"
    return Finding(seen, logged, slowest, tuple(problems))


@hazard("O2", "the emergency stop is released, and not cleared", must="stays latched")
def release_alone(one: Hazard) -> Finding:
    """Nor is a clear enough while it is pressed; both together start nothing."""
    del one
    with VirtualTrial() as trial:
        trial.walk_until_struck()
        trial.strike_now()
        trial.robot.estop()
        trial.walk(_FEW)
        trial.robot.clear()
        problems = trial.insist()
        if trial.robot.state is not State.ESTOP:
            problems.append(f"{trial.robot.state.value} after clear alone; expected estop")
        trial.robot.release_estop()
        problems += trial.insist()
        if trial.robot.state is not State.ESTOP:
            problems.append(f"{trial.robot.state.value} after release alone; expected estop")
        trial.robot.clear()
        problems += trial.command_on()
        if trial.robot.state is not State.STANDBY:
            problems.append(f"{trial.robot.state.value} after both; expected standby")
        logged = trial.heard.first("clear ignored")
        trial.stand_up()
        problems += always(trial)
        return Finding("stays in estop until both", logged, None, tuple(problems))


@hazard("O3", "enabled twice", must="ignored and logged")
def double_enable(one: Hazard) -> Finding:
    """While it stands up, and while it walks."""
    del one
    with VirtualTrial() as trial:
        _ramp(trial)
        trial.robot.enable()
        problems = [] if trial.robot.state is State.RAMP else ["left the ramp"]
        trial.robot.stop()
        trial.robot.rest()
        trial.walk_until_struck()
        trial.robot.enable()
        trial.walk(_FEW)
        if trial.stopped() is not None or trial.robot.state is not State.ACTIVE:
            problems.append(f"{trial.path()}; expected it to walk on")
        ignored = [text for _, text in trial.heard.lines if "enable ignored" in text]
        if len(ignored) != 2:  # noqa: PLR2004 -- in ramp, and in active
            problems.append(f"{len(ignored)} lines of ignored enables; expected 2")
        return Finding("walks on", "; ".join(ignored), None, (*problems, *always(trial)))


class HeldPad:
    """A gamepad, really a named pipe, whose dead-man is held until it is unplugged."""

    def __init__(self, operator: Operator, folder: Path) -> None:
        """Plug it in and hold it."""
        path = folder / "js0"
        os.mkfifo(path)
        self._end = os.open(path, os.O_RDWR)
        self._path = path
        self._pad = Gamepad(operator, path)
        self._pad.start()
        os.write(self._end, _EVENT.pack(0, 1, _BUTTON, GamepadButtons().hold))
        self._wait(held=True)

    @property
    def held(self) -> bool:
        """Whether the dead-man is held, as far as the driver of the pad knows."""
        return self._pad.held

    def unplug(self) -> None:
        """Pull the plug."""
        self._path.unlink()
        os.close(self._end)
        self._wait(held=False)

    def close(self) -> None:
        """End the thread."""
        self._pad.close()

    def _wait(self, *, held: bool) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while self.held is not held:
            if time.monotonic() > deadline:
                raise TimeoutError(f"dead-man held {self.held} for {_PATIENCE_S:g} s")
            time.sleep(0.001)


@hazard("O4", "the gamepad is unplugged while walking", must="released: sits down", within=30)
def unplugged(one: Hazard) -> Finding:
    """Nobody holds the dead-man any more; half a second is what a person may take.

    The pad speaks by the machine's clock, and the robot's goes faster: so the trial says on what
    the pad says.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trial = stack.enter_context(VirtualTrial(attended=True))
        pad = HeldPad(Operator(trial.robot), folder)
        stack.callback(pad.close)

        def pass_on(now_ns: int) -> None:
            del now_ns
            if pad.held:
                trial.robot.alive("gamepad")

        trial.rig.plant.listeners.append(pass_on)
        trial.walk_until_struck()
        trial.strike_now()
        pad.unplug()
        return judge_stop(trial, one, causes=["operator_gone"], how="sit", latched=False)
