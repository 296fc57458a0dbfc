"""The judges of tools/faults.py can fail: with a guard switched off, its faults are unsafe."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robots import Guard
from robots.dynamixel.chain import Chain
from robots.safety.jump_filter import JumpFilter
from robots.safety.limits import Limited, Limits
from robots.safety.orders import Orders
from robots.safety.states import Event, Machine
from robots.serial_robot import SerialRobot
from tools.hazards.catalog import hazards, parse_numbers
from tools.hazards.registry import Finding, Hazard

if TYPE_CHECKING:
    from robots import JointCommand

ROOT = Path(__file__).parents[3]


def unsafe(number: str) -> str:
    """What the judges have against a hazard; empty when they find it safe."""
    (one,) = (one for one in hazards() if one.id == number)
    finding = one.try_out()
    assert "broke down" not in "".join(finding.problems), finding
    return "; ".join(finding.problems)


def test_without_the_age_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """A robot that walks on old samples is found out."""
    monkeypatch.setattr("robots.safety.sensor_watch.age_s", lambda state, now_ns: 0.0)
    assert "no stop" in unsafe("I3")


def test_without_latching(monkeypatch: pytest.MonkeyPatch) -> None:
    """A robot that may be enabled although nobody has cleared the cause is found out."""

    def danger(self: Machine, guard: Guard, now_ns: int, reason: str = "") -> None:
        self.go(Event.DANGER, now_ns, guard)

    monkeypatch.setattr(Machine, "danger", danger)
    assert "enable() was obeyed" in unsafe("B19")


def test_without_a_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading that is not what the body does is found out."""
    monkeypatch.setattr("robots.imu.vectornav_codec.fastcrc.crc16.xmodem", lambda data: 0)
    assert "false reading" in unsafe("I2")


def test_without_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goals that jump are found out at the servos."""

    def apply(self: Limits, command: JointCommand, **rest: object) -> Limited:
        return Limited(command, Guard.NONE)

    monkeypatch.setattr(Limits, "apply", apply)
    assert "goal" in unsafe("P5")


def test_without_a_look_at_hardware_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A robot that goes on with a servo that has given up is found out."""
    monkeypatch.setattr(SerialRobot, "_check_servos", staticmethod(lambda chain: None))
    assert "expected" in unsafe("B16")


def test_without_the_jump_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that believes an encoder that has jumped is found out."""

    def possible(self: Chain, index: np.ndarray, *rest: object) -> np.ndarray:
        return np.ones(len(index), dtype=np.bool_)

    monkeypatch.setattr(Chain, "_possible", possible)
    monkeypatch.setattr(JumpFilter, "_possible", lambda *_: True)
    assert "false reading" in unsafe("B23")


def test_without_an_emergency_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A button that nobody hears is found out."""
    monkeypatch.setattr(Orders, "take_estop", lambda _: False)
    assert "expected estop" in unsafe("O2")


def test_a_reaction_that_is_too_late() -> None:
    """Ticks are counted from the cause to the moment at which the servos are limp."""
    (one,) = (one for one in hazards() if one.id == "I3")
    hasty = dataclasses.replace(one, within=1)
    assert "expected at most 1" in "; ".join(hasty.try_out().problems)


def test_a_trial_that_breaks_down_proves_nothing() -> None:
    """It counts as unsafe, and the others are tried all the same."""

    def broken(one: Hazard) -> Finding:
        raise ValueError(one.id)

    finding = Hazard(id="B1", fault="", required="", within=None, live=False, run=broken).try_out()
    assert not finding.safe


def test_numbers_are_read_as_people_write_them() -> None:
    """Single ones, ranges, whole groups; what is none is refused."""
    assert parse_numbers("B1,I8-P2,O") == ["B1", "I8", "I9", "P1", "P2", "O1", "O2", "O3", "O4"]
    with pytest.raises(ValueError, match="B31"):
        parse_numbers("B31")


def test_the_tool_counts_and_its_exit_code_tells() -> None:
    """One line for each, and the sum."""
    command = [sys.executable, str(ROOT / "tools" / "faults.py"), "--only", "B12,B25"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(" | ")[0] for line in lines[:2]] == ["B12", "B25"]
    assert lines[-1] == "safe 2 of 2"
