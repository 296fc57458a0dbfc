"""What a servo may be asked, and how it answers: the rules of its control table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robots.dynamixel.control_table import Register as R  # noqa: N817 -- on every line here
from robots.dynamixel.protocol import BROADCAST, ErrorNumber, Instruction
from sim.emulator.servo import ServoOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.emulator.conftest import Rig

CLEAR = bytes.fromhex("01 44 58 4C 22")
STORE = bytes.fromhex("01 43 54 52 4C")
RESTORE = bytes.fromhex("02 43 54 52 4C")


@pytest.mark.parametrize(
    ("model", "p_gain", "temperature", "volts"),
    [(1020, 800, 80, (95, 160)), (1060, 640, 72, (60, 140)), (1200, 400, 70, (35, 70))],
)
def test_a_new_servo_has_the_factory_contents(
    model: int, p_gain: int, temperature: int, volts: tuple[int, int], rig: Callable[..., Rig]
) -> None:
    """Model by model, as the vendor's tables have it."""
    new = rig(model=model, volts=5.0 if model == 1200 else 12.0)
    assert new.read(R.MODEL_NUMBER) == model
    assert new.read(R.POSITION_P) == p_gain
    assert new.read(R.TEMPERATURE_LIMIT) == temperature
    assert (new.read(R.MIN_VOLTAGE_LIMIT), new.read(R.MAX_VOLTAGE_LIMIT)) == volts
    assert new.read(R.HARDWARE_ERROR) == 0


def test_settings_of_the_box_are_named(rig: Callable[..., Rig]) -> None:
    """A name that is no register of the EEPROM area is refused, with those that are."""
    assert rig(eeprom={"homing_offset": -5}).read(R.HOMING_OFFSET) == -5
    with pytest.raises(ValueError, match="no register 'goal_position' in EEPROM"):
        rig(eeprom={"goal_position": 1})


@pytest.mark.parametrize(
    ("register", "value", "number"),
    [
        (R.MODEL_NUMBER, 5, ErrorNumber.ACCESS),
        (R.PRESENT_POSITION, 5, ErrorNumber.ACCESS),
        (R.LED, 2, ErrorNumber.DATA_RANGE),
        (R.OPERATING_MODE, 2, ErrorNumber.DATA_RANGE),
        (R.PROTOCOL, 1, ErrorNumber.DATA_RANGE),
        (R.BUS_WATCHDOG, -1, ErrorNumber.DATA_RANGE),
        (R.BUS_WATCHDOG, 128, ErrorNumber.DATA_RANGE),
        (R.CURRENT_LIMIT, 1194, ErrorNumber.DATA_RANGE),
        (R.GOAL_CURRENT, 1194, ErrorNumber.DATA_LIMIT),
        (R.GOAL_PWM, -886, ErrorNumber.DATA_RANGE),
        (R.GOAL_VELOCITY, 351, ErrorNumber.DATA_LIMIT),
        (R.GOAL_POSITION, -1, ErrorNumber.DATA_LIMIT),
        (R.GOAL_POSITION, 4096, ErrorNumber.DATA_LIMIT),
        (R.GOAL_POSITION, 1_048_576, ErrorNumber.DATA_RANGE),
        (R.GOAL_POSITION, 4095, ErrorNumber.NONE),
        (R.BUS_WATCHDOG, 127, ErrorNumber.NONE),
    ],
)
def test_values_are_checked(
    register: R, value: int, number: ErrorNumber, rig: Callable[..., Rig]
) -> None:
    """A refused value changes nothing; an accepted one is there."""
    servo = rig(model=1020)
    before = servo.read(register)
    assert servo.write(register, value) == number
    assert servo.read(register) == (before if number else value)


def test_goals_obey_the_configured_limits(rig: Callable[..., Rig]) -> None:
    """Position limits hold in mode 3 only, the other limits in every mode."""
    servo = rig(eeprom={"max_position_limit": 3000, "pwm_limit": 400})
    assert servo.write(R.GOAL_POSITION, 3001) == ErrorNumber.DATA_LIMIT
    assert servo.write(R.GOAL_PWM, 401) == ErrorNumber.DATA_LIMIT
    assert servo.write(R.OPERATING_MODE, 4) == 0
    assert servo.write(R.GOAL_POSITION, 3001) == 0
    assert servo.write(R.GOAL_PWM, 401) == ErrorNumber.DATA_LIMIT


def test_eeprom_is_locked_by_torque(rig: Callable[..., Rig]) -> None:
    """What is kept without power can be written with the torque off only."""
    servo = rig()
    assert servo.write(R.RETURN_DELAY, 10) == 0
    assert servo.write(R.TORQUE_ENABLE, 1) == 0
    assert servo.write(R.RETURN_DELAY, 20) == ErrorNumber.ACCESS
    assert servo.write(R.LED, 1) == 0
    assert servo.write(R.TORQUE_ENABLE, 0) == 0
    assert servo.write(R.RETURN_DELAY, 20) == 0


@pytest.mark.parametrize(
    ("address", "data", "number"),
    [
        (116, b"\x00\x08", ErrorNumber.DATA_LENGTH),
        (117, b"\x00\x08\x00", ErrorNumber.DATA_LENGTH),
        (116, b"", ErrorNumber.DATA_LENGTH),
        (15, b"\x00", ErrorNumber.ACCESS),
        (660, b"\x00\x00\x00", ErrorNumber.ACCESS),
        (64, b"\x00\x01", ErrorNumber.NONE),
        (64, b"\x00\x02", ErrorNumber.DATA_RANGE),
    ],
)
def test_writes_cover_whole_registers(
    address: int, data: bytes, number: ErrorNumber, rig: Callable[..., Rig]
) -> None:
    """Some of a register's bytes, gaps and what is behind the end are refused; runs are not."""
    parameters = address.to_bytes(2, "little") + data
    assert rig().ask(1, Instruction.WRITE, parameters).number == number


def test_a_write_that_fails_in_part_changes_nothing(rig: Callable[..., Rig]) -> None:
    """Torque on and a wrong value for the LED behind it: the torque stays off."""
    servo = rig()
    assert servo.ask(1, Instruction.WRITE, b"\x40\x00\x01\x02").number == ErrorNumber.DATA_RANGE
    assert servo.read(R.TORQUE_ENABLE) == 0


def test_reads_may_go_over_gaps_but_not_over_the_end(rig: Callable[..., Rig]) -> None:
    """The whole EEPROM area comes in one read, gaps being zero."""
    servo = rig()
    whole = servo.ask(1, Instruction.READ, b"\x00\x00\x40\x00").data
    assert len(whole) == 64
    assert whole[:2] == (1030).to_bytes(2, "little")
    assert whole[14:20] == bytes(6)
    assert servo.ask(1, Instruction.READ, b"\x95\x02\x02\x00").number == ErrorNumber.ACCESS
    assert servo.ask(1, Instruction.READ, b"\x00\x00\x00\x00").number == ErrorNumber.DATA_LENGTH
    assert servo.ask(1, Instruction.READ, b"\x00\x00\x01").number == ErrorNumber.DATA_LENGTH


def test_models_have_the_registers_of_theirs(rig: Callable[..., Rig]) -> None:
    """No current on an XL430, no PWM slope on an XM430, no watchdog before firmware 38."""
    assert rig(model=1060).write(R.GOAL_CURRENT, 1) == ErrorNumber.ACCESS
    assert rig(model=1060).write(R.OPERATING_MODE, 5) == ErrorNumber.DATA_RANGE
    assert rig(model=1030).write(R.PWM_SLOPE, 140) == ErrorNumber.ACCESS
    assert rig(model=1200, volts=5.0).write(R.PWM_SLOPE, 255) == 0
    assert rig(model=1200, volts=5.0).write(R.BAUD_RATE, 7) == ErrorNumber.DATA_RANGE
    assert rig(firmware=37).write(R.BUS_WATCHDOG, 5) == ErrorNumber.ACCESS
    assert rig(firmware=38).write(R.BUS_WATCHDOG, 5) == 0


def test_status_return_level_decides_who_is_answered(rig: Callable[..., Rig]) -> None:
    """Level 0 answers pings, 1 reads too, 2 everything; what is not answered is done anyway."""
    servo = rig()
    write_led = (Instruction.WRITE, b"\x41\x00\x01")
    read_led = (Instruction.READ, b"\x41\x00\x01\x00")
    assert servo.write(R.STATUS_RETURN_LEVEL, 1) == 0
    servo.ask_all(1, *write_led)
    assert servo.ask(1, *read_led).data == b"\x01"
    assert servo.ask_all(1, Instruction.WRITE, b"\x44\x00\x00") == []
    assert servo.ask_all(1, *read_led) == []
    assert len(servo.ask_all(1, Instruction.PING)) == 1
    assert servo.sync_read([1]) == []


def test_reg_write_waits_for_action(rig: Callable[..., Rig]) -> None:
    """Register 69 says that something waits; an action without is refused."""
    servo = rig()
    assert servo.ask(1, Instruction.ACTION).number == ErrorNumber.INSTRUCTION
    assert servo.ask(1, Instruction.REG_WRITE, b"\x41\x00\x01").number == 0
    assert (servo.read(R.REGISTERED), servo.read(R.LED)) == (1, 0)
    assert servo.ask_all(BROADCAST, Instruction.ACTION) == []
    assert (servo.read(R.REGISTERED), servo.read(R.LED)) == (0, 1)
    assert servo.ask(1, Instruction.REG_WRITE, b"\x41\x00\x02").number == ErrorNumber.DATA_RANGE
    assert servo.ask(1, Instruction.REG_WRITE, b"\x41").number == ErrorNumber.DATA_LENGTH


def test_unknown_instructions_are_refused(rig: Callable[..., Rig]) -> None:
    """Code 21 of third-party lists among them; backups and clearing need their firmware."""
    assert rig().ask(1, 0x21).number == ErrorNumber.INSTRUCTION
    assert rig(firmware=41).ask(1, Instruction.CLEAR, CLEAR).number == ErrorNumber.INSTRUCTION
    assert rig(firmware=44).ask(1, Instruction.BACKUP, STORE).number == ErrorNumber.INSTRUCTION


def test_reboot_keeps_eeprom_and_loses_ram(rig: Callable[..., Rig]) -> None:
    """It answers, is off the bus for its time, and comes back as after power-up."""
    servo = rig(reboot_s=0.3)
    for register, value in ((R.RETURN_DELAY, 7), (R.POSITION_P, 900), (R.TORQUE_ENABLE, 1)):
        assert servo.write(register, value) == 0
    assert servo.ask(1, Instruction.REBOOT).number == 0
    assert servo.ask_all(1, Instruction.PING) == []
    servo.port.sleep(0.3)
    assert servo.read(R.RETURN_DELAY) == 7
    assert servo.read(R.POSITION_P) == 800
    assert servo.read(R.TORQUE_ENABLE) == 0
    assert servo.read(R.REALTIME_TICK) < 120


def test_startup_may_switch_the_torque_on(rig: Callable[..., Rig]) -> None:
    """Bit 0 of the startup configuration does, on firmware that knows it."""
    assert rig(eeprom={"startup": 1}).read(R.TORQUE_ENABLE) == 1
    assert rig(eeprom={"startup": 1}, firmware=44).read(R.TORQUE_ENABLE) == 0


def test_backup_and_restore(rig: Callable[..., Rig]) -> None:
    """What was stored comes back, with a reboot; never with the torque on."""
    servo = rig(eeprom={"startup": 2})
    assert servo.ask(1, Instruction.BACKUP, RESTORE).number == ErrorNumber.RESULT_FAIL
    assert servo.write(R.MOVING_THRESHOLD, 33) == 0
    assert servo.write(R.POSITION_P, 321) == 0
    assert servo.ask(1, Instruction.BACKUP, STORE).number == 0
    assert servo.read(R.BACKUP_READY) == 1
    assert servo.write(R.MOVING_THRESHOLD, 44) == 0
    assert servo.write(R.TORQUE_ENABLE, 1) == 0
    assert servo.ask(1, Instruction.BACKUP, RESTORE).number == ErrorNumber.RESULT_FAIL
    assert servo.write(R.TORQUE_ENABLE, 0) == 0
    assert servo.ask(1, Instruction.BACKUP, b"\x02CTRX").number == ErrorNumber.DATA_RANGE
    assert servo.ask(1, Instruction.BACKUP, RESTORE).number == 0
    servo.port.sleep(1.0)
    assert servo.read(R.MOVING_THRESHOLD) == 33
    assert servo.read(R.POSITION_P) == 321
    assert servo.read(R.TORQUE_ENABLE) == 0


def test_goals_are_not_restored(rig: Callable[..., Rig]) -> None:
    """After a restart the goal is where the servo stands, whatever it was when it was stored."""
    servo = rig(eeprom={"startup": 2})
    assert servo.write(R.GOAL_POSITION, 3000) == 0
    assert servo.write(R.GOAL_VELOCITY, 100) == 0
    assert servo.ask(1, Instruction.BACKUP, STORE).number == 0
    assert servo.ask(1, Instruction.REBOOT).number == 0
    servo.port.sleep(1.0)
    assert servo.read(R.GOAL_POSITION) == 2048
    assert servo.read(R.GOAL_VELOCITY) == 350


@pytest.mark.parametrize(("what", "answers_as"), [(1, 9), (2, 9), (0xFF, 1)])
def test_factory_reset_keeps_what_it_should(
    what: int, answers_as: int, rig: Callable[..., Rig]
) -> None:
    """01 keeps the ID, 02 the baud rate too, FF nothing."""
    servo = rig([9], eeprom={"return_delay": 5})
    assert servo.ask(9, Instruction.FACTORY_RESET, bytes([what])).number == 0
    servo.port.sleep(1.0)
    servo.bus.host_baud = 1_000_000 if what == 2 else 57_600
    assert servo.read(R.RETURN_DELAY, answers_as) == 250


def test_a_broadcast_resets_nobody_entirely(rig: Callable[..., Rig]) -> None:
    """FF to all is not heeded."""
    servo = rig([9])
    assert servo.ask_all(BROADCAST, Instruction.FACTORY_RESET, b"\xff") == []
    assert servo.read(R.ID, 9) == 9


def test_operating_mode_resets_gains(rig: Callable[..., Rig]) -> None:
    """And the profile, and the goals of effort."""
    servo = rig(eeprom={"pwm_limit": 500})
    for register, value in ((R.POSITION_P, 1), (R.PROFILE_VELOCITY, 9), (R.GOAL_PWM, 3)):
        assert servo.write(register, value) == 0
    assert servo.write(R.OPERATING_MODE, 4) == 0
    assert [servo.read(one) for one in (R.POSITION_P, R.PROFILE_VELOCITY, R.GOAL_PWM)] == [
        *(800, 0, 500)
    ]


def test_goal_writes_may_switch_the_torque_on(rig: Callable[..., Rig]) -> None:
    """Bit 3 of the drive mode does that."""
    for drive_mode, torque in ((0, 0), (8, 1)):
        servo = rig(eeprom={"drive_mode": drive_mode})
        assert servo.write(R.GOAL_POSITION, 2000) == 0
        assert servo.read(R.TORQUE_ENABLE) == torque


def test_a_new_id_answers_from_the_next_instruction_on(rig: Callable[..., Rig]) -> None:
    """The write itself is answered under the old one."""
    servo = rig()
    assert servo.ask(1, Instruction.WRITE, b"\x07\x00\x05").id == 1
    assert servo.ask_all(1, Instruction.PING) == []
    assert servo.ask(5, Instruction.PING).id == 5


def test_realtime_tick_counts_milliseconds(rig: Callable[..., Rig]) -> None:
    """And wraps behind 32767."""
    servo = rig()
    first = servo.read(R.REALTIME_TICK)
    servo.port.sleep(0.1)
    assert servo.read(R.REALTIME_TICK) - first in (100, 101)
    servo.port.sleep(32.768)
    assert servo.read(R.REALTIME_TICK) - first in (100, 101)


def test_options_default_to_a_servo_of_the_small_quadruped() -> None:
    """An XM430-W210 whose firmware knows everything."""
    assert ServoOptions() == ServoOptions(id=1, model=1030, firmware=50)
