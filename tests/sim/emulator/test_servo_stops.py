"""What stops a servo: its bus watchdog, and hardware errors that shut it down."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robots.dynamixel.control_table import HardwareError
from robots.dynamixel.control_table import Register as R  # noqa: N817 -- on every line here
from robots.dynamixel.protocol import BROADCAST, ErrorNumber, Instruction
from sim.emulator.motion import SimpleJoints

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.emulator.conftest import Rig

TRIPPED = -1


def armed(rig: Callable[..., Rig], *, mode: int = 3, **options: object) -> Rig:
    """Two servos with the torque on and a watchdog of 100 ms."""
    eeprom = {"operating_mode": mode, "homing_offset": 10}
    made = rig((1, 2), eeprom=eeprom, **options)
    for device in (1, 2):
        assert made.write(R.TORQUE_ENABLE, 1, device) == 0
        assert made.write(R.BUS_WATCHDOG, 5, device) == 0
    return made


def test_the_watchdog_trips_when_nothing_is_heard(rig: Callable[..., Rig]) -> None:
    """After its time and not before; goals are then refused until 0 is written."""
    servo = armed(rig)
    servo.port.sleep(0.098)
    assert servo.servo.memory.get(R.BUS_WATCHDOG) == 5
    servo.port.sleep(0.004)
    assert servo.read(R.BUS_WATCHDOG) == TRIPPED
    assert servo.read(R.TORQUE_ENABLE) == 1
    assert servo.write(R.GOAL_POSITION, 2000) == ErrorNumber.DATA_RANGE
    assert servo.write(R.BUS_WATCHDOG, 0) == 0
    assert servo.write(R.GOAL_POSITION, 2000) == 0


def test_a_tripped_servo_ignores_sync_writes_silently(rig: Callable[..., Rig]) -> None:
    """The goal stays, and nobody says so."""
    servo = armed(rig)
    servo.port.sleep(0.2)
    goal = servo.read(R.GOAL_POSITION)
    assert servo.ask_all(BROADCAST, Instruction.SYNC_WRITE, b"\x74\x00\x04\x00\x01\0\0\0\0") == []
    assert servo.read(R.GOAL_POSITION) == goal


@pytest.mark.parametrize(("fed_by", "shows"), [("own", TRIPPED), ("any", 5)])
def test_who_feeds_the_watchdog_is_an_option(
    fed_by: str, shows: int, rig: Callable[..., Rig]
) -> None:
    """Packets for servo 1 alone: whether they count for servo 2."""
    servo = armed(rig, watchdog_fed_by=fed_by)
    for _ in range(10):
        servo.port.sleep(0.03)
        assert servo.read(R.BUS_WATCHDOG) == 5
    assert servo.read(R.BUS_WATCHDOG, 2) == shows


@pytest.mark.parametrize(
    "frame",
    [
        (Instruction.SYNC_READ, b"\x84\x00\x04\x00\x01\x02"),
        (Instruction.SYNC_WRITE, b"\x41\x00\x01\x00\x01\x00\x02\x00"),
        (Instruction.BULK_READ, b"\x01\x84\x00\x04\x00\x02\x84\x00\x04\x00"),
    ],
)
def test_instructions_for_many_feed_those_they_list(
    frame: tuple[Instruction, bytes], rig: Callable[..., Rig]
) -> None:
    """All of them, even with the stricter option."""
    servo = armed(rig, watchdog_fed_by="own")
    for _ in range(5):
        servo.port.sleep(0.05)
        servo.ask_all(BROADCAST, *frame)
    assert [servo.read(R.BUS_WATCHDOG, device) for device in (1, 2)] == [5, 5]


def test_without_torque_the_watchdog_does_not_run(rig: Callable[..., Rig]) -> None:
    """It begins when the torque is switched on."""
    servo = rig()
    assert servo.write(R.BUS_WATCHDOG, 1) == 0
    servo.port.sleep(1.0)
    assert servo.read(R.BUS_WATCHDOG) == 1
    assert servo.write(R.TORQUE_ENABLE, 1) == 0
    servo.port.sleep(0.03)
    assert servo.read(R.BUS_WATCHDOG) == TRIPPED


def test_in_position_mode_a_trip_holds(rig: Callable[..., Rig]) -> None:
    """The servo stops on its way and resists a load: that is not torque-off."""
    plant = SimpleJoints(2)
    servo = armed(rig, plant=plant)
    assert servo.write(R.GOAL_POSITION, 4000) == 0
    servo.port.sleep(0.12)
    assert servo.read(R.BUS_WATCHDOG) == TRIPPED
    stopped_at = servo.read(R.PRESENT_POSITION)
    assert 2100 < stopped_at < 3900
    plant.load[:] = 1.0
    servo.port.sleep(1.0)
    assert abs(servo.read(R.PRESENT_POSITION) - stopped_at) < 200


def test_in_current_mode_a_trip_lets_go(rig: Callable[..., Rig]) -> None:
    """The shaft turns freely."""
    plant = SimpleJoints(2)
    servo = armed(rig, mode=0, plant=plant)
    servo.port.sleep(0.2)
    plant.load[0] = 0.5
    servo.port.sleep(0.5)
    assert plant.position[0] < -1.0
    assert servo.read(R.PRESENT_CURRENT) == 0


@pytest.mark.parametrize(("mode", "furthest"), [(3, 100), (4, math.inf)])
def test_old_firmware_runs_away_on_a_trip(
    mode: int, furthest: float, rig: Callable[..., Rig]
) -> None:
    """In extended position mode with a homing offset, without end; in mode 3 it does not."""
    servo = armed(rig, mode=mode, runs_away=True)
    servo.port.sleep(3.0)
    gone = abs(servo.read(R.PRESENT_POSITION) - 2058)
    assert gone < furthest
    assert gone > 1000 or mode == 3


def test_a_shutdown_is_ended_by_reboot_only(rig: Callable[..., Rig]) -> None:
    """Torque off and refused, the Alert bit in every answer; the fault being gone helps nothing."""
    servo = rig(faults=["hardware-error@0.5,amount=32,for=0.1"])
    assert servo.write(R.TORQUE_ENABLE, 1) == 0
    servo.port.sleep(1.0)
    answer = servo.ask(1, Instruction.PING)
    assert (answer.alert, answer.number) == (True, 0)
    assert servo.read(R.HARDWARE_ERROR) == HardwareError.OVERLOAD
    assert servo.read(R.TORQUE_ENABLE) == 0
    assert servo.write(R.TORQUE_ENABLE, 1) == ErrorNumber.RESULT_FAIL
    assert servo.ask(1, Instruction.REBOOT).alert
    servo.port.sleep(1.0)
    assert not servo.ask(1, Instruction.PING).alert
    assert servo.write(R.TORQUE_ENABLE, 1) == 0


def test_errors_outside_the_mask_only_alert(rig: Callable[..., Rig]) -> None:
    """An encoder error is not in the default mask: the torque stays on."""
    servo = rig(faults=["hardware-error@0.5,amount=8"])
    assert servo.write(R.TORQUE_ENABLE, 1) == 0
    servo.port.sleep(1.0)
    assert servo.ask(1, Instruction.PING).alert
    assert servo.read(R.TORQUE_ENABLE) == 1


def test_heat_shuts_down(rig: Callable[..., Rig]) -> None:
    """The temperature rises visibly until the limit is passed."""
    servo = rig(faults=["overheat@1,amount=10"])
    assert servo.write(R.TORQUE_ENABLE, 1) == 0
    servo.port.sleep(4.0)
    assert servo.read(R.PRESENT_TEMPERATURE) == pytest.approx(55, abs=1)
    assert servo.read(R.HARDWARE_ERROR) == 0
    servo.port.sleep(4.0)
    assert servo.read(R.HARDWARE_ERROR) == HardwareError.OVERHEAT
    assert servo.read(R.TORQUE_ENABLE) == 0


def test_a_sagging_battery_is_seen(rig: Callable[..., Rig]) -> None:
    """Below the limit an error is latched; it is in the XL330's mask, not in the XM430's."""
    servo = rig(faults=["sag@1,amount=4,for=1"])
    servo.port.sleep(1.5)
    assert servo.read(R.PRESENT_VOLTAGE) == 80
    servo.port.sleep(1.5)
    assert servo.read(R.PRESENT_VOLTAGE) == 120
    assert servo.read(R.HARDWARE_ERROR) == HardwareError.VOLTAGE


def test_a_blocked_servo_overloads(rig: Callable[..., Rig]) -> None:
    """Near stall current for seconds."""
    plant = SimpleJoints(1, inertia=1e6)
    servo = rig(plant=plant)
    assert servo.write(R.TORQUE_ENABLE, 1) == 0
    assert servo.write(R.GOAL_POSITION, 4000) == 0
    servo.port.sleep(2.5)
    assert servo.read(R.HARDWARE_ERROR) == 0
    servo.port.sleep(1.0)
    assert servo.read(R.HARDWARE_ERROR) == HardwareError.OVERLOAD
    assert np.all(plant.position < 0.01)
