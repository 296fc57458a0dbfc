"""Numbers of the guards that make no sense are refused by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robots import SafetyLimits
from robots.spec import problems

if TYPE_CHECKING:
    from robots import RobotSpec
    from tests.robots.safety.conftest import Bench


@pytest.fixture
def spec(bench: Bench) -> RobotSpec:
    """A sound robot."""
    return bench.robot.spec


NUMBERS = [
    name
    for name in SafetyLimits.__struct_fields__
    if name not in ("estop", "fade_in_s", "soft_limit")
]


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_every_number_has_to_be_positive(spec: RobotSpec, field: str, value: float) -> None:
    """Zero would fire always, or never."""
    limits = msgspec.structs.replace(SafetyLimits(), **{field: value})
    found = problems(msgspec.structs.replace(spec, safety=limits))
    assert f"safety.{field} {value}; expected a positive number" in found


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (SafetyLimits(fade_in_s=-0.1), "safety.fade_in_s -0.1; expected zero or more"),
        (SafetyLimits(fade_in_s=math.nan), "safety.fade_in_s nan; expected zero or more"),
        (SafetyLimits(derate_c=70.0), "safety.derate_c 70.0 is above sit_c 65.0; swap them"),
        (SafetyLimits(derate_c=65.0), "safety.derate_c and sit_c are 65.0; derate at a lower one"),
        (
            SafetyLimits(voltage_min=9.0, voltage_brownout=9.9),
            "safety.voltage_brownout 9.9 is above voltage_min 9.0; swap them",
        ),
        (
            SafetyLimits(stale_hold_s=0.2),
            "safety.stale_hold_s 0.2 is above stale_damp_s 0.1; swap them",
        ),
        (SafetyLimits(late_s=0.2), "safety.late_s 0.2 is above late_stop_s 0.1; swap them"),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(
    spec: RobotSpec, limits: SafetyLimits, message: str
) -> None:
    """Got, expected, what to do."""
    assert problems(msgspec.structs.replace(spec, safety=limits)) == [message]


@pytest.mark.parametrize(
    "limits",
    [
        SafetyLimits(),
        SafetyLimits(voltage_min=9.9),
        SafetyLimits(voltage_brownout=9.0),
        SafetyLimits(voltage_min=9.9, voltage_brownout=9.0, frozen_command_s=0.5, fade_in_s=1.0),
    ],
)
def test_what_nobody_knows_may_be_left_out(spec: RobotSpec, limits: SafetyLimits) -> None:
    """None is off."""
    assert problems(msgspec.structs.replace(spec, safety=limits)) == []


@pytest.mark.parametrize(("value", "sound"), [(None, True), (2.0, True), (0, False), (-1, False)])
def test_a_continuous_torque_is_positive_or_unknown(
    spec: RobotSpec, value: float | None, *, sound: bool
) -> None:
    """Unknown is nan in a column."""
    hip, knee = spec.joints
    joints = (msgspec.structs.replace(hip, effort_continuous=value), knee)
    changed = msgspec.structs.replace(spec, joints=joints)
    assert (problems(changed) == []) is sound
    assert np.isnan(changed.column("effort_continuous")[1])
