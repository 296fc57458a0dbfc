"""Indirect registers: bytes from anywhere in RAM side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robots.dynamixel.control_table import Register as R  # noqa: N817 -- on every line here
from robots.dynamixel.protocol import ErrorNumber, Instruction

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.emulator.conftest import Rig


def words(*values: int) -> bytes:
    """16-bit numbers as they stand in parameters."""
    return b"".join(value.to_bytes(2, "little") for value in values)


def write(rig: Rig, address: int, data: bytes) -> int:
    """Error number of a write of bytes."""
    return rig.ask(1, Instruction.WRITE, words(address) + data).number


@pytest.mark.parametrize(
    ("model", "firmware", "data", "count"),
    [(1030, 50, 224, 28), (1200, 51, 224, 28), (1200, 52, 208, 20)],
)
def test_data_stand_where_model_and_firmware_have_them(
    model: int, firmware: int, data: int, count: int, rig: Callable[..., Rig]
) -> None:
    """The XL330 moved its bank; unmapped bytes are plain memory, each mapped to itself."""
    servo = rig(model=model, firmware=firmware, volts=5.0 if model == 1200 else 12.0)
    last = data + count - 1
    place = 168 + 2 * (count - 1)
    assert servo.ask(1, Instruction.READ, words(place, 2)).data == words(last)
    assert write(servo, last, b"\x5a") == 0
    assert servo.ask(1, Instruction.READ, words(last, 1)).data == b"\x5a"


def test_a_block_reads_what_it_is_mapped_to(rig: Callable[..., Rig]) -> None:
    """Position, torque and errors in one read."""
    servo = rig()
    block = [*range(132, 136), 64, 70]
    assert write(servo, 168, words(*block)) == 0
    assert servo.write(R.TORQUE_ENABLE, 1) == 0
    data = servo.ask(1, Instruction.READ, words(224, 6)).data
    assert int.from_bytes(data[:4], "little") == servo.read(R.PRESENT_POSITION)
    assert data[4:] == b"\x01\x00"


def test_a_mapped_byte_inherits_access_and_range(rig: Callable[..., Rig]) -> None:
    """Writing through the map is writing the register."""
    servo = rig()
    assert write(servo, 168, words(65, 132, *range(116, 120))) == 0
    assert write(servo, 224, b"\x01") == 0
    assert servo.read(R.LED) == 1
    assert write(servo, 224, b"\x02") == ErrorNumber.DATA_RANGE
    assert write(servo, 225, b"\x00") == ErrorNumber.ACCESS
    assert write(servo, 226, words(1234, 0)) == 0
    assert servo.read(R.GOAL_POSITION) == 1234
    assert write(servo, 226, b"\x00\x00") == ErrorNumber.DATA_LENGTH


def test_the_map_points_into_ram_only(rig: Callable[..., Rig]) -> None:
    """Addresses of EEPROM, behind the end, or cut in two are refused."""
    servo = rig()
    assert write(servo, 168, words(63)) == ErrorNumber.DATA_RANGE
    assert write(servo, 168, words(662)) == ErrorNumber.DATA_RANGE
    assert write(servo, 168, words(170)) == ErrorNumber.DATA_RANGE
    assert write(servo, 168, b"\x40") == ErrorNumber.DATA_LENGTH
    assert write(servo, 169, words(64)) == ErrorNumber.DATA_LENGTH


def test_there_is_a_second_bank(rig: Callable[..., Rig]) -> None:
    """But not on the XL330."""
    servo = rig()
    assert write(servo, 578, words(65)) == 0
    assert write(servo, 634, b"\x01") == 0
    assert servo.read(R.LED) == 1
    assert write(rig(model=1200, volts=5.0), 578, words(65)) == ErrorNumber.ACCESS


def test_reboot_forgets_the_map(rig: Callable[..., Rig]) -> None:
    """A host that did not notice would read something else."""
    servo = rig()
    assert write(servo, 168, words(65)) == 0
    servo.servo.reboot()
    servo.port.sleep(1.0)
    assert servo.ask(1, Instruction.READ, words(168, 2)).data == words(224)
