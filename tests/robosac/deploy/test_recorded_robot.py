"""Rows of the flight log in every state that moves, read back from the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.flight_log.log import FlightLog
from robosac.flight_log.record import read
from robots import Guard, JointCommand, State
from robots.errors import PortLostError
from tests.robosac.deploy.conftest import ZERO, Rig

if TYPE_CHECKING:
    from pathlib import Path

    from robosac.flight_log.record import FlightRecord

NAN = np.full(3, np.nan, np.float32)


def fly(rig: Rig, path: Path) -> FlightRecord:
    """Stand up, run, fall into a fault, stand up again, sit down; the log of it."""
    with FlightLog(path, rig.robot.spec, clock=rig.robot.now) as log:
        rig.robot.record_to(log, version=lambda: 7)
        rig.go()
        rig.step(10)
        rig.session.step(np.full(12, 9, np.float32))
        rig.step(2)
        rig.say(gyro=NAN)
        rig.step()
        rig.say()
        rig.operator.then(rig.operator.clear)
        rig.go()
        rig.step(5)
        rig.session.close()
        rig.robot.record_to(None, version=lambda: 0)
    return read(path)


def states_of(record: FlightRecord) -> list[str]:
    """State of every tick."""
    return [str(state) for state in record.ticks["state"]]


def test_every_tick_is_logged_in_every_state_that_moves(rig: Rig, tmp_path: Path) -> None:
    """Standing up, running, damping, sitting down: nothing between the first row and the last."""
    record = fly(rig, tmp_path / "log.mcap")
    states = states_of(record)
    kinds = [state for state, before in zip(states, ["", *states], strict=False) if state != before]
    moved = [state for state in kinds if state not in {"standby", "fault"}]
    assert moved == ["ramp", "active", "damp", "ramp", "active", "sit"]
    assert record.lost == 0
    assert record.complete
    assert set(record.ticks["policy_version"]) == {7}


def test_a_row_tells_what_was_asked_for_and_what_was_done(rig: Rig, tmp_path: Path) -> None:
    """Reading, request, execution, guards of the step before, times."""
    record = fly(rig, tmp_path / "log.mcap")
    ticks, states = record.ticks, np.array(states_of(record))
    (asked,) = np.flatnonzero((ticks["requested"] > 0.9).any(axis=1))
    assert states[asked] == "active"
    assert (ticks["executed"][asked] < 0.9).all()
    assert ticks["guards"][asked + 1] & Guard.SLEW_LIMIT
    stance, scale = rig.robot.spec.column("stance"), rig.robot.spec.column("action_scale")
    executed = np.clip((ticks["target"] - stance) / scale, -1, 1)
    np.testing.assert_allclose(ticks["executed"], executed, atol=1e-5)
    np.testing.assert_allclose(ticks["temperature"], 30.0)
    active = np.flatnonzero(states == "active")
    np.testing.assert_allclose(ticks["dt_s"][active[1:11]], 0.02, atol=1e-6)
    assert np.isnan(ticks["dt_s"][0])


def test_guards_stand_with_one_tick_only(rig: Rig, tmp_path: Path) -> None:
    """What stopped the robot is not told again with every tick of its sitting down."""
    record = fly(rig, tmp_path / "log.mcap")
    guards = record.ticks["guards"]
    assert np.count_nonzero(guards & Guard.STATE_NOT_FINITE) <= 1
    sitting = np.array(states_of(record)) == "sit"
    assert not guards[np.flatnonzero(sitting)[1:]].any()


def test_a_tick_whose_command_was_not_taken_is_logged_as_well(rig: Rig, tmp_path: Path) -> None:
    """The last thing that is known before a cable was pulled: what was read, and asked for."""
    path = tmp_path / "log.mcap"
    with FlightLog(path, rig.robot.spec, clock=rig.robot.now) as log:
        rig.robot.record_to(log)
        rig.go()
        rig.step(3)
        rig.machine.on_write = pull_the_cable
        with pytest.raises(PortLostError):
            rig.robot.write(JointCommand.towards(rig.robot.spec.column("stance"), rig.robot.spec))
        rig.robot.record_to(None)
    ticks = read(path).ticks
    assert np.isfinite(ticks["target"][:-1]).all()
    assert np.isnan(ticks["target"][-1]).all()
    np.testing.assert_allclose(ticks["requested"][-1], 0, atol=1e-6)


def pull_the_cable() -> None:
    """Nothing can be sent any more."""
    raise PortLostError("/dev/ttyUSB0", "hang-up")


def test_without_a_log_it_is_a_safe_robot(rig: Rig) -> None:
    """It keeps the last reading all the same."""
    rig.go()
    rig.session.step(ZERO)
    assert rig.state is State.ACTIVE
    assert rig.robot.latest is not None
    assert rig.robot.latest.stamp_ns == pytest.approx(rig.robot.now(), abs=1e7)
