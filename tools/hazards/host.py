"""Hazards of the computer on board, H1 to H7: pauses, clocks, signals, a full disk."""

from __future__ import annotations

import gc
import signal
import time
from unittest import mock

from robosac.runner.realtime import realtime
from robots import State
from tools.hazards.deployed import PERIOD_S, SLOW_ADAPTER, deployed, judge_walking, timed, wait
from tools.hazards.registry import Finding, Hazard, hazard
from tools.hazards.trial import VirtualTrial
from tools.hazards.verdict import always, bursts, judge_going_on

_GC_S, _STALL_S = 0.024, 0.05
_AFTER = 75
_HOUR_S = 3600.0
_STOPPED_S = 2.0
_CALM_S = 0.5
_DISK_BYTES = 40_000
_LOGGED_S = 4.0
_PATIENCE_S = 10.0


def _stalls(seconds: float) -> Finding:
    """Let the control loop stand still once."""
    with VirtualTrial() as trial:
        trial.walk_until_struck()
        before = trial.env.overruns
        trial.stall(seconds)
        finding = judge_going_on(
            trial, counted=lambda: trial.env.overruns - before, what="periods skipped"
        )
        return Finding(finding.seen, finding.logged, None, (*finding.problems, *bursts(trial)))


@hazard("H1", "a garbage collection takes 24 ms", must="counted as overrun, no burst; walks on")
def collection(one: Hazard) -> Finding:
    """And no collection comes by itself while the loop is in real time."""
    del one
    with realtime():
        collecting = gc.isenabled()
    finding = _stalls(_GC_S)
    problems = [*finding.problems, *(["collections are on in real time"] if collecting else [])]
    return Finding(finding.seen, finding.logged, None, tuple(problems))


@hazard("H2", "the loop stands still for 50 ms", must="counted as overrun, no burst; walks on")
def stall(one: Hazard) -> Finding:
    """Two periods are skipped and not made up for."""
    del one
    return _stalls(_STALL_S)


@hazard("H3", "the wall clock steps by an hour, back and forth", must="no effect")
def wall_clock(one: Hazard) -> Finding:
    """Everything that matters is measured by the monotonic clock."""
    del one
    usual = time.time
    with VirtualTrial() as trial:
        trial.walk_until_struck()

        def stepped() -> float:
            return usual() + _HOUR_S * (1 if trial.ticks // 10 % 2 else -1)

        def stepped_ns() -> int:
            return round(1e9 * stepped())

        with mock.patch("time.time", stepped), mock.patch("time.time_ns", stepped_ns):
            trial.walk(_AFTER)
        problems = always(trial)
        if trial.stopped() is not None or trial.robot.state is not State.ACTIVE:
            problems.append(f"{trial.path()}; expected it to walk on")
        if trial.env.overruns:
            problems.append(f"{trial.env.overruns} periods skipped")
        return Finding("walks on", f"{_AFTER} ticks on time", None, tuple(problems))


@hazard(
    "H4", "SIGSTOP, 2 s, SIGCONT", must="watchdogs stop servos; then FAULT", within=13, live=True
)
def stopped_and_continued(one: Hazard) -> Finding:
    """Nobody makes up for the time that was lost, and nothing moves again."""
    with deployed() as robot:
        robot.process.send_signal(signal.SIGSTOP)
        began_ns = time.monotonic_ns()
        time.sleep(_STOPPED_S)
        ticks, problems = timed(one, robot, began_ns)
        back_ns = time.monotonic_ns()
        robot.process.send_signal(signal.SIGCONT)
        said = robot.wait_for("-> fault", since_ns=back_ns)
        robot.say("go")
        time.sleep(_CALM_S)
        if robot.witness.drove_ns > back_ns:
            problems.append("servos drove again after SIGCONT")
        if robot.witness.densest_s < PERIOD_S / 2:
            problems.append(f"three goals within {1e3 * robot.witness.densest_s:.1f} ms")
        cause = robot.said("-> damp", since_ns=back_ns)
        return Finding("stopped, then fault", cause or said, ticks, tuple(problems))


@hazard(
    "H5", "SIGTERM while walking", must="sits down, torque off within 2 s", within=100, live=True
)
def terminated(one: Hazard) -> Finding:
    """It ends by itself, with exit code 0."""
    with deployed() as robot:
        robot.process.send_signal(signal.SIGTERM)
        began_ns = time.monotonic_ns()
        code = robot.process.wait(_PATIENCE_S)
        ticks, problems = timed(one, robot, began_ns)
        if not robot.said("-> sit", since_ns=began_ns):
            problems.append("it did not sit down")
        if code:
            problems.append(f"exit code {code}; expected 0")
        return Finding("sits down, ends", robot.said("SIGTERM"), ticks, tuple(problems))


@hazard("H6", "SIGKILL while walking", must="the servos' watchdogs stop them", within=13, live=True)
def killed(one: Hazard) -> Finding:
    """Nobody is left to do it; a new process starts without torque."""
    with deployed(changes=SLOW_ADAPTER) as robot:
        robot.process.send_signal(signal.SIGKILL)
        began_ns = time.monotonic_ns()
        robot.process.wait(_PATIENCE_S)
        wait(lambda: not robot.witness.driving, "servos that have stopped", _PATIENCE_S)
        time.sleep(_CALM_S)
        ticks, problems = timed(one, robot, began_ns)
        return Finding("servos stop", "bus watchdog of every servo", ticks, tuple(problems))


@hazard("H7", "the disk is full", must="walks on, on time; loss counted and told", live=True)
def disk_full(one: Hazard) -> Finding:
    """No file may grow beyond what the log of two seconds takes: the system refuses the rest."""
    del one
    with deployed(file_limit=_DISK_BYTES) as robot:
        began_ns = time.monotonic_ns()
        time.sleep(_LOGGED_S)
        problems = judge_walking(robot, began_ns)
        told = robot.said("lost")
        if not told:
            problems.append("the operator is not told that entries of the log are lost")
        return Finding("walks on", told, None, tuple(problems))
