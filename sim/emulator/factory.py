"""Contents of the control table as a servo leaves the factory, model by model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robots.dynamixel.control_table import Register

if TYPE_CHECKING:
    from robots.dynamixel.control_table import Model

R = Register

_COMMON: dict[Register, int] = {
    R.ID: 1,
    R.BAUD_RATE: 1,
    R.RETURN_DELAY: 250,
    R.OPERATING_MODE: 3,
    R.SHADOW_ID: 255,
    R.PROTOCOL: 2,
    R.MOVING_THRESHOLD: 10,
    R.PWM_LIMIT: 885,
    R.MAX_POSITION_LIMIT: 4095,
    R.SHUTDOWN: 52,
    R.STATUS_RETURN_LEVEL: 2,
}

_XM430: dict[Register, int] = {
    R.TEMPERATURE_LIMIT: 80,
    R.MAX_VOLTAGE_LIMIT: 160,
    R.MIN_VOLTAGE_LIMIT: 95,
    R.CURRENT_LIMIT: 1193,
    R.VELOCITY_LIMIT: 350,
    R.VELOCITY_I: 1920,
    R.VELOCITY_P: 100,
}
_X330: dict[Register, int] = {
    R.TEMPERATURE_LIMIT: 70,
    R.MAX_VOLTAGE_LIMIT: 70,
    R.MIN_VOLTAGE_LIMIT: 35,
    R.CURRENT_LIMIT: 1750,
    R.VELOCITY_LIMIT: 445,
    R.PWM_SLOPE: 140,
    R.SHUTDOWN: 53,
    R.VELOCITY_I: 1600,
    R.VELOCITY_P: 180,
}
_OF_MODEL: dict[int, dict[Register, int]] = {
    1020: _XM430,
    1030: _XM430,
    1060: {
        R.TEMPERATURE_LIMIT: 72,
        R.MAX_VOLTAGE_LIMIT: 140,
        R.MIN_VOLTAGE_LIMIT: 60,
        R.VELOCITY_LIMIT: 265,
        R.VELOCITY_I: 1000,
        R.VELOCITY_P: 100,
    },
    1190: _X330 | {R.VELOCITY_LIMIT: 1620},  # unverified
    1200: _X330,
}

GAINS = (
    *(R.VELOCITY_I, R.VELOCITY_P, R.POSITION_D, R.POSITION_I, R.POSITION_P),
    *(R.FEEDFORWARD_2, R.FEEDFORWARD_1),
)
"""Registers that a change of the operating mode resets."""

_CURRENT_ITEMS = (R.CURRENT_LIMIT, R.GOAL_CURRENT)
_X330_ITEMS = (R.PWM_SLOPE,)
_WATCHDOG_FIRMWARE = 38
_WITHOUT_CURRENT = frozenset({1, 3, 4, 16})
_WITH_CURRENT = _WITHOUT_CURRENT | {0, 5}


def registers_of(model: Model, firmware: int) -> list[Register]:
    """Registers that this model with this firmware has."""
    missing: tuple[Register, ...] = () if model.is_x330 else _X330_ITEMS
    if model.ampere_per_count is None:
        missing += _CURRENT_ITEMS
    if not model.is_x330 and firmware < _WATCHDOG_FIRMWARE:
        missing += (R.BUS_WATCHDOG,)
    return [register for register in Register if register not in missing]


def modes_of(model: Model) -> frozenset[int]:
    """Values of Operating Mode that this model knows."""
    return _WITHOUT_CURRENT if model.ampere_per_count is None else _WITH_CURRENT


def contents_of(model: Model) -> dict[Register, int]:
    """Value of the registers that do not leave the factory as zero."""
    values = _COMMON | _OF_MODEL[model.number] | {R.MODEL_NUMBER: model.number}
    values |= {R.POSITION_P: model.position_p, R.POSITION_D: model.position_d}
    values[R.GOAL_PWM] = values[R.PWM_LIMIT]
    values[R.GOAL_VELOCITY] = values[R.VELOCITY_LIMIT]
    if R.CURRENT_LIMIT in values:
        values[R.GOAL_CURRENT] = values[R.CURRENT_LIMIT]
    return values
