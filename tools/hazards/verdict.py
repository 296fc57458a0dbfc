"""What makes a trial safe: judged by the servos, the states, the readings and the log."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from robots import RobotError, State
from robots.dynamixel.control_table import Register
from tools.hazards.registry import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tools.hazards.registry import Hazard
    from tools.hazards.trial import Trial

_HARDLY = 0.1
ON_TICKS = 75
"""How long a robot that must go on is watched after the fault, ticks."""


def judge_going_on(
    trial: Trial, *, counted: Callable[[], int], what: str, ticks: int = ON_TICKS
) -> Finding:
    """The robot walks on, reads nothing false, and the fault is counted as `what`."""
    before = counted()
    trial.walk(ticks)
    problems = always(trial)
    if (stopped := trial.stopped()) is not None:
        problems.append(f"{stopped[2].value} at tick {stopped[0]}; expected it to walk on")
    elif trial.robot.state is not State.ACTIVE:
        problems.append(f"{trial.robot.state.value} at the end; expected active")
    count = counted() - before
    if not count:
        problems.append(f"nothing was counted as {what}")
    held = any(state is State.HOLD for _, _, state in trial.states)
    seen = trial.path() if stopped else "walks on" + " after holding" * held
    return Finding(seen, f"{what}: {count}", None, tuple(problems))


def judge_stop(
    trial: Trial,
    hazard: Hazard,
    *,
    causes: Sequence[str],
    how: Literal["damp", "sit", "estop"],
    latched: bool,
) -> Finding:
    """The robot stops in this way, for one of these causes, in time, and stays so.

    Goes on from where the trial is, the fault being struck already.
    """
    rested = trial.walk_on()
    stopped = trial.stopped()
    if stopped is None:
        return Finding(trial.path(), "", None, (*always(trial), f"no stop; expected {how}"))
    tick, stopped_ns, state = stopped
    problems = [] if rested else [f"not at rest: {trial.robot.state.value}"]
    if state.value not in {"damp": ("damp", "fault")}.get(how, (how,)):
        problems.append(f"went to {state.value}; expected {how}")
    if trial.witness.driving:
        problems.append("servos drive on")
    ticks = ticks_to(trial, stopped_ns if how == "sit" else trial.witness.drove_ns)
    problems += overtime(hazard, ticks)
    logged = next(filter(None, (trial.heard.first(one, since=tick - 1) for one in causes)), "")
    first = next((str(cause.name).lower() for cause in trial.robot.causes), "none")
    if first not in causes:
        problems.append(f"first cause {first}; expected {' or '.join(causes)}")
    elif not logged:
        problems.append(f"{' or '.join(causes)} is not in the log")
    problems += trial.insist() if latched else trial.command_on()
    return Finding(trial.path(), logged, ticks, (*always(trial), *problems))


def judge_refusal(trial: Trial, error: type[RobotError], *words: str) -> Finding:
    """Connecting is refused with this error and these words, and nothing moves."""
    problems, said = [], ""
    try:
        trial.robot.connect()
    except RobotError as refusal:
        said = str(refusal)
        if not isinstance(refusal, error):
            problems.append(f"{type(refusal).__name__}; expected {error.__name__}")
    else:
        problems.append("connected; expected a refusal")
    problems += [f"{word!r} is not in the message" for word in words if word not in said]
    if trial.witness.drove_ns or trial.witness.driving:
        problems.append("servos drove")
    on = [one for one in trial.rig.bus.bench.servos if one.memory.get(Register.TORQUE_ENABLE)]
    if on:
        problems.append(f"torque is on in {len(on)} servos")
    return Finding("refuses to connect" if said else "connects", said, None, tuple(problems))


def ticks_to(trial: Trial, then_ns: int) -> int:
    """Control periods from the fault to a time; one that has hardly begun does not count."""
    periods = (then_ns - trial.strike_ns) / (1e9 * trial.period_s)
    return max(0, math.ceil(periods - _HARDLY))


def always(trial: Trial) -> list[str]:
    """What must never be, whatever the fault."""
    return [*trial.witness.problems, *trial.lies]


def bursts(trial: Trial) -> list[str]:
    """Whether ticks were made up for: a late goal and the next on the grid may be close."""
    if trial.witness.densest_s >= trial.period_s:
        return []
    return [f"three goals within {1e3 * trial.witness.densest_s:.1f} ms"]


def overtime(hazard: Hazard, ticks: int) -> list[str]:
    """Complain of a reaction that came too late."""
    if hazard.within is None or ticks <= hazard.within:
        return []
    return [f"reaction after {ticks} ticks; expected at most {hazard.within}"]
