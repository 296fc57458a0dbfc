"""The control table: rows that fit together, values that survive, models that differ."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robots.dynamixel import control_table
from robots.dynamixel.control_table import MODELS, Access, HardwareError, Register, model_named


def test_registers_do_not_overlap() -> None:
    """Rows stand in the order of their addresses, and each ends before the next begins."""
    for one, other in pairwise(Register):
        assert one.address + one.size <= other.address, (one, other)


def test_ranges_fit_sizes() -> None:
    """Smallest and largest value of every register survive encoding."""
    for register in Register:
        for value in (register.low, register.high):
            assert register.decode(register.encode(value)) == value


def test_eeprom_ends_where_ram_begins() -> None:
    """What is kept without power lies below address 64, what may be written any time above."""
    for register in Register:
        if register.access is Access.EEPROM:
            assert register.address < 64
        if register.access is Access.RAM:
            assert register.address >= 64


@given(register=st.sampled_from(Register), data=st.data())
def test_values_survive(register: Register, data: st.DataObject) -> None:
    """Decoding undoes encoding."""
    value = data.draw(st.integers(register.low, register.high))
    assert register.decode(register.encode(value)) == value


def test_values_outside_are_refused() -> None:
    """A value that a register cannot have is named with the range."""
    with pytest.raises(ValueError, match=r"Goal Pwm \(100\) = 886; expected -885 to 885 0.113 %"):
        Register.GOAL_PWM.encode(886)
    with pytest.raises(ValueError, match=r"Present Position \(132\) from 2 bytes; expected 4"):
        Register.PRESENT_POSITION.decode(b"\x00\x00")


def test_signs() -> None:
    """A tripped watchdog reads -1, a current of FF FF is -1, a model number is never negative."""
    assert Register.BUS_WATCHDOG.decode(b"\xff") == control_table.WATCHDOG_TRIPPED
    assert Register.PRESENT_CURRENT.decode(b"\xff\xff") == -1
    assert Register.MODEL_NUMBER.decode(b"\xff\xff") == 65535


def test_units() -> None:
    """4096 counts are one turn; the velocity count is the vendor's 0.229 rpm within 0.1 %."""
    assert math.isclose(control_table.RAD_PER_COUNT * 4096, 2 * math.pi)
    nominal = 0.229 * 2 * math.pi / 60
    assert math.isclose(control_table.RAD_PER_S_PER_COUNT, nominal, rel_tol=1e-3)


def test_hardware_errors_have_names() -> None:
    """Bits are told by name, unknown ones by value."""
    assert HardwareError.names_of(0) == "none"
    assert HardwareError.names_of(0x24) == "overheat and overload"
    assert HardwareError.names_of(0x82) == "unknown bits 0x82"
    assert HardwareError.names_of(0x41) == "voltage and unknown bits 0x40"


def test_models() -> None:
    """Model numbers of the e-Manual; only the XL430 has no current."""
    numbers = {model.name: number for number, model in MODELS.items()}
    assert numbers["XM430-W350"] == 1020
    assert numbers["XM430-W210"] == 1030
    assert numbers["XL430-W250"] == 1060
    assert numbers["XL330-M288"] == 1200
    assert [model.name for model in MODELS.values() if model.ampere_per_count is None] == [
        "XL430-W250"
    ]
    assert model_named("XL330-M077").number == 1190
    with pytest.raises(ValueError, match="'AX-12'; expected one of XM430-W350"):
        model_named("AX-12")


def test_features_by_firmware() -> None:
    """Fast sync read comes with firmware 45 or 46; the XL330 moved its indirect data at 52."""
    assert not model_named("XM430-W210").fast_sync_read(44)
    assert model_named("XM430-W210").fast_sync_read(45)
    assert not model_named("XL330-M288").fast_sync_read(45)
    assert model_named("XL330-M288").fast_sync_read(46)
    assert model_named("XL330-M288").indirect(51).data == 224
    assert model_named("XL330-M288").indirect(52).data == 208
    assert model_named("XM430-W210").indirect(52).data == 224
