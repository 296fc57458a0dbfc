"""Hazards of ports and cables, B10, B27 to B30, I8 and I9: real ports on pseudo-terminals."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tools.hazards.deployed import (
    CALM_S,
    SLOW_ADAPTER,
    deployed,
    judge_latched,
    judge_walking,
    wait,
)
from tools.hazards.registry import Finding, Hazard, hazard

if TYPE_CHECKING:
    from tools.hazards.live import Devices

_AWAY_S = 0.5
_FILLS, _PAUSE_S = 8, 0.003
_WATCHED_S = 1.0
_SLOW_S, _EVERY_S, _TIMES = 0.025, 0.2, 5
_STALE = "holds, then damps from 100 ms, FAULT latched"


@hazard("B10", "the adapter sends back what it is told", must="stripped; walks on", live=True)
def echo(one: Hazard) -> Finding:
    """From the first byte on, as a two-wire adapter does."""
    del one
    with deployed(faults=["echo@0"]) as robot:
        began_ns = time.monotonic_ns()
        time.sleep(_WATCHED_S)
        problems = judge_walking(robot, began_ns)
        return Finding("walks on", robot.said("missed ticks"), None, tuple(problems))


@hazard("B27", "the port vanishes", must="FAULT; watchdogs stop servos", within=15, live=True)
def hang_up(one: Hazard) -> Finding:
    """Nothing can be told to the servos any more."""
    with deployed(changes=SLOW_ADAPTER) as robot:
        began_ns = time.monotonic_ns()
        robot.made.strike("unplug@0")
        return judge_latched(one, robot, began_ns, "link_lost")


@hazard("B28", "the port comes back", must="reopened by the operator alone", within=15, live=True)
def port_returns(one: Hazard) -> Finding:
    """It is another device to the system; who goes on talking to it talks to nobody."""
    with deployed() as robot:
        began_ns = time.monotonic_ns()
        robot.made.strike(f"unplug@0,for={_AWAY_S}")
        finding = judge_latched(one, robot, began_ns, "link_lost")
        wait(robot.made.servos_path.exists, "port")
        cleared_ns = time.monotonic_ns()
        robot.say("clear")
        robot.wait_for("standby", since_ns=cleared_ns)
        time.sleep(CALM_S)
        problems = list(finding.problems)
        if robot.witness.drove_ns > cleared_ns:
            problems.append("servos drove after the clear")
        robot.say("go")
        robot.wait_for("-> active", since_ns=cleared_ns)
        seen = f"{finding.seen}; walks again when told"
        return replace(finding, seen=seen, problems=tuple(problems))


@hazard("B29", "the port takes no bytes", must="FAULT in write timeout", within=15, live=True)
def blocked(one: Hazard) -> Finding:
    """Its buffer is full from the first moment."""
    with deployed() as robot:
        began_ns = time.monotonic_ns()
        robot.made.strike("block@0")
        bench = robot.made.bus.bench
        wait(lambda: bench.faults.present("block", bench.now_ns), "blocked port")
        for _ in range(_FILLS):  # its thread may still have taken what came first
            _fill(robot.made)
            time.sleep(_PAUSE_S)
        return judge_latched(one, robot, began_ns, "link_lost")


def _fill(made: Devices) -> None:
    """Write to the port what it takes, until it takes no more."""
    port = os.open(made.servos_path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    for size in (256, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(port, bytes(size))
    os.close(port)


@hazard("B30", "the port is slow, again and again", must="deadline kept; walks on", live=True)
def slow_reader(one: Hazard) -> Finding:
    """Nobody fetches what the host writes for a good period; replies to it come late."""
    del one
    with deployed() as robot:
        began_ns = time.monotonic_ns()
        for number in range(_TIMES):
            robot.made.strike(f"block@{number * _EVERY_S},for={_SLOW_S}")
        time.sleep(_TIMES * _EVERY_S + _WATCHED_S)
        problems = judge_walking(robot, began_ns)
        return Finding("walks on", robot.said("moved for"), None, tuple(problems))


@hazard("I8", "the IMU talks at another speed", must=_STALE, within=9, live=True)
def another_speed(one: Hazard) -> Finding:
    """What arrives is noise."""
    return _goes_stale(one, "baud")


@hazard("I9", "the IMU is silent", must=_STALE, within=9, live=True)
def silent(one: Hazard) -> Finding:
    """Its thread waits, the control loop does not."""
    return _goes_stale(one, "silence")


def _goes_stale(one: Hazard, fault: str) -> Finding:
    with deployed(changes=SLOW_ADAPTER) as robot:
        began_ns = time.monotonic_ns()
        robot.made.sensor.inject(fault)
        return judge_latched(one, robot, began_ns, "stale_state")
