"""Faults of both devices by one name each."""

from __future__ import annotations

import pytest

from sim.emulator.fault_names import IMU_NAMES, described, parse_any
from sim.emulator.faults import KINDS, Fault
from sim.emulator.imu_faults import IMU_FAULTS, ImuFault
from sim.errors import FaultError


def test_what_both_can_have_is_told_apart() -> None:
    """By a prefix, and only where it is needed."""
    assert parse_any("drop@2,id=3") == Fault(name="drop", at_s=2.0, id=3)
    assert parse_any("imu-drop@2,p=0.5,for=1") == ImuFault(
        name="drop", at_s=2.0, for_s=1.0, probability=0.5
    )
    assert parse_any("drift@1,amount=20") == ImuFault(name="drift", at_s=1.0, amount=20.0)
    assert sorted(IMU_NAMES.values()) == sorted(IMU_FAULTS)
    assert not set(IMU_NAMES) & set(KINDS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("imu-dorp@1", "no fault is called 'imu-dorp'; expected one of imu-drop"),
        ("watchdgo@1", "expected one of watchdog"),
        ("qqqqqq@1", "expected a name that `--fault list` shows"),
        ("imu-drop@1,id=3", "got 'id'; expected one of for, p, amount"),
        ("nan@soon", "time is 'soon'"),
    ],
)
def test_what_cannot_be_understood_is_named(text: str, problem: str) -> None:
    """With the names that come nearest."""
    with pytest.raises(FaultError) as caught:
        parse_any(text)
    assert problem in str(caught.value)


def test_every_fault_is_described() -> None:
    """With its amount in it, as a whole number where it is one."""
    lines = dict(described())
    assert lines["imu-baud"] == "IMU: the IMU talks at 57600 bit/s"
    assert lines["sag"] == "the battery gives 3 V less"
    assert not any("{" in line for line in lines.values())
