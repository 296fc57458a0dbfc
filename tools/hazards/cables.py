"""Hazards of ports and cables, B10, B27 to B30, I8 and I9, in real time on pseudo-terminals."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from robots import RobotError, State
from tools.hazards.live import LiveTrial, live_trial
from tools.hazards.registry import Finding, Hazard, hazard
from tools.hazards.verdict import always, judge_going_on, judge_stop, overtime, ticks_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.hazards.live import Devices

_A_MOMENT = 25
_AWAY_S = 0.5
_PATIENCE_S = 5.0
_AT_ONCE = 6
_SLOW_S, _EVERY_S, _TIMES = 0.025, 0.2, 5
_STALE = "holds, then damps from 100 ms, FAULT latched"


@hazard("B10", "the adapter sends back what it is told", must="stripped; walks on", live=True)
def echo(one: Hazard) -> Finding:
    """From the first byte on, as a two-wire adapter does."""
    del one
    with live_trial("echo@0") as (trial, _):
        return judge_going_on(trial, counted=lambda: trial.ticks, what="ticks", ticks=_A_MOMENT)


@hazard(
    "B27",
    "the port vanishes",
    must="FAULT; watchdogs stop servos",
    within=15,
    live=True,
)
def hang_up(one: Hazard) -> Finding:
    """Nothing can be told to the servos any more."""
    with live_trial() as (trial, made):
        made.strike("unplug@0")
        trial.strike_now()
        return _lost(one, trial)


@hazard("B28", "the port comes back", must="reopened by the operator alone, torque off", live=True)
def port_returns(one: Hazard) -> Finding:
    """It is another device to the system; who goes on talking to it talks to nobody."""
    with live_trial() as (trial, made):
        made.strike(f"unplug@0,for={_AWAY_S}")
        trial.strike_now()
        finding = _lost(one, trial)
        _wait(made.servos_path.exists, "port")
        problems = [*finding.problems, *trial.insist()]
        with contextlib.suppress(RobotError):  # nobody has confirmed that the torque is off
            trial.robot.close()
        trial.robot.connect()
        trial.robot.clear()
        problems += trial.command_on()
        if trial.robot.state is not State.STANDBY:
            problems.append(f"{trial.robot.state.value} after the clear; expected standby")
        trial.stand_up()
        return replace(finding, seen=f"{finding.seen}, walks when told", problems=tuple(problems))


def _lost(one: Hazard, trial: LiveTrial) -> Finding:
    """The driver says at once that the port is gone; the servos' watchdogs stop them."""
    trial.walk_on()
    stopped = trial.stopped()
    problems = always(trial)
    if stopped is None:
        return Finding(trial.path(), "", None, (*problems, "no stop"))
    logged = trial.heard.first("link_lost", since=trial.strike_tick)
    if not logged:
        problems.append("link_lost is not in the log")
    noticed = ticks_to(trial, stopped[1])
    if noticed > _AT_ONCE:
        problems.append(f"noticed after {noticed} ticks; expected at most {_AT_ONCE}")
    _wait(lambda: not trial.witness.driving, "servos that have stopped")
    ticks = ticks_to(trial, trial.witness.drove_ns)
    problems += [*overtime(one, ticks), *trial.insist()]
    return Finding(trial.path(), logged, ticks, tuple(problems))


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} after {_PATIENCE_S:g} s")
        time.sleep(0.01)


@hazard(
    "B29",
    "the port takes no bytes",
    must="FAULT within the write timeout",
    within=15,
    live=True,
)
def blocked(one: Hazard) -> Finding:
    """Its buffer is full from the first moment."""
    with live_trial() as (trial, made):
        made.strike("block@0")
        _fill(made)
        trial.strike_now()
        finding = _lost(one, trial)
        made.terminal.close()
        return finding


def _fill(made: Devices) -> None:
    """Write to the port what it takes, until it takes no more."""
    port = os.open(made.servos_path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        while True:
            os.write(port, bytes(256))
    except BlockingIOError:
        return
    finally:
        os.close(port)


@hazard(
    "B30", "the port is slow, again and again", must="the deadline is kept; walks on", live=True
)
def slow_reader(one: Hazard) -> Finding:
    """Nobody fetches what the host writes for a good period; later replies are late."""
    del one
    with live_trial() as (trial, made):
        for number in range(_TIMES):
            made.strike(f"block@{number * _EVERY_S},for={_SLOW_S}")
        return judge_going_on(
            trial,
            counted=lambda: trial.rig.robot.stats.timeouts,
            what="timeouts",
            ticks=round(_TIMES * _EVERY_S / trial.period_s) + _A_MOMENT,
        )


@hazard("I8", "the IMU talks at another speed", must=_STALE, within=9, live=True)
def another_speed(one: Hazard) -> Finding:
    """What arrives is noise."""
    with live_trial() as (trial, made):
        made.sensor.inject("baud")
        trial.strike_now()
        return judge_stop(trial, one, causes=["stale_state"], how="damp", latched=True)


@hazard("I9", "the IMU is silent", must=_STALE, within=9, live=True)
def silent(one: Hazard) -> Finding:
    """Its thread waits, the control loop does not."""
    with live_trial() as (trial, made):
        made.sensor.inject("silence")
        trial.strike_now()
        return judge_stop(trial, one, causes=["stale_state"], how="damp", latched=True)
