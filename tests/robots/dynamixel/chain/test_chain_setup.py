"""What the chain checks and repairs before a servo may move."""

from __future__ import annotations

import msgspec
import pytest

from robots.dynamixel.control_table import Register
from robots.dynamixel.protocol import BROADCAST, Instruction, encode
from robots.errors import ServoRefusedError, ServoSetupError
from sim.emulator.bench import Battery
from sim.emulator.servo import ServoOptions
from tests.robots.dynamixel.chain.conftest import (
    EEPROM,
    IDS,
    bus_spec,
    refused,
    replaced,
    rig,
)


def test_open_accepts_good_servos() -> None:
    """Servos as robot.toml says need no repair and are left with the torque off."""
    made = rig()
    assert made.chain.open() == ()
    assert made.torques() == [0, 0, 0]
    assert made.bus.return_delay_s == 0.0


def test_open_repairs_what_it_may() -> None:
    """Return delay and gains are written where they differ, and that is told (B13)."""
    factory = replaced(return_delay=250)
    made = rig(changes=factory, repair={"return_delay": 0, "position_p": 640})
    assert made.chain.open() == (
        "servo 11 (joint0): Return Delay (9) 250 -> 0",
        "servo 11 (joint0): Position P (84) 800 -> 640",
        "servo 12 (joint1): Position P (84) 800 -> 640",
        "servo 13 (joint2): Position P (84) 800 -> 640",
    )
    assert made.get(Register.RETURN_DELAY) == 0
    assert made.get(Register.POSITION_P, 2) == 640


def test_a_slope_is_repaired_where_there_is_one() -> None:
    """Only the XL330 has a PWM slope."""
    assert rig(repair={"pwm_slope": 255}).chain.open() == ()


@pytest.mark.parametrize(
    ("register", "value", "text"),
    [
        ("return_delay", 250, "Return Delay (9) is 250; expected 0"),
        ("operating_mode", 4, "Operating Mode (11) is 4; expected 3"),
        ("drive_mode", 8, "Drive Mode (10) is 8; expected 0"),
        ("homing_offset", -5, "Homing Offset (20) is -5; expected 0"),
        ("startup", 1, "Startup (60) is 1; expected 0"),
        ("shadow_id", 3, "Shadow Id (12) is 3; expected 255 (off)"),
        ("shutdown", 0x04, "Shutdown (63) is overheat; expected shock and overload, too"),
        ("min_position_limit", 1500, "Min Position Limit (52) is 1500; expected at most 1396"),
        ("max_position_limit", 2500, "Max Position Limit (48) is 2500; expected at least 2700"),
    ],
)
def test_open_refuses_what_it_may_not_repair(register: str, value: int, text: str) -> None:
    """Every register that differs is named with value and expectation."""
    made = rig(changes=replaced(**{register: value}), repair={})
    assert refused(made) == f"servo 11 (joint0): {text}"


@pytest.mark.parametrize(
    ("register", "value", "text"),
    [
        (Register.POSITION_P, 80, "Position P (84) is 80; expected 800"),
        (Register.POSITION_I, 9, "Position I (82) is 9; expected 0"),
        (Register.POSITION_D, 400, "Position D (80) is 400; expected 0"),
        (Register.FEEDFORWARD_1, 3, "Feedforward 1 (90) is 3; expected 0"),
        (Register.FEEDFORWARD_2, 3, "Feedforward 2 (88) is 3; expected 0"),
        (Register.PROFILE_ACCELERATION, 1, "Profile Acceleration (108) is 1; expected 0"),
        (Register.PROFILE_VELOCITY, 5, "Profile Velocity (112) is 5; expected 0"),
    ],
)
def test_open_refuses_what_another_program_has_left(
    register: Register, value: int, text: str
) -> None:
    """A robot of other gains is another one; they go with the power, or by [bus.repair]."""
    made = rig()
    made.set(register, value)
    assert refused(made) == f"servo 11 (joint0): {text}"
    repairing = rig(repair={"return_delay": 0, register.name.lower(): value})
    repairing.chain.open()
    assert repairing.get(register, 0) == value


def test_open_refuses_quiet_servos() -> None:
    """A servo that does not confirm writes could refuse them unheard."""
    made = rig()
    made.set(Register.STATUS_RETURN_LEVEL, 1)
    assert "Status Return Level (68) is 1; expected 2" in refused(made)


def test_open_refuses_hardware_errors() -> None:
    """A latched error is named, and nothing is reset on the way."""
    made = rig("hardware-error@0,id=12,amount=36")
    made.bench.advance(10_000_000)
    text = refused(made)
    assert "servo 12 (joint1): Hardware Error (70) is overheat and overload" in text
    assert made.get(Register.HARDWARE_ERROR, 1) == 0x24


def test_open_switches_the_torque_off() -> None:
    """Servos that hold from an earlier run let go before anything else is looked at."""
    made = rig()
    made.set(Register.TORQUE_ENABLE, 1)
    made.chain.open()
    assert made.torques() == [0, 0, 0]


def test_open_names_who_is_missing() -> None:
    """A servo that does not answer is named with its joint."""
    assert refused(rig("silence@0,id=13")) == (
        "servo 13 (joint2) does not answer; check its cable, ID and baud"
    )


def test_open_hints_at_the_baud() -> None:
    """When nobody answers, the speed is the suspect (B12)."""
    assert "no servo answers at 1000000 baud" in refused(rig("baud@0,amount=57600"))


def test_open_refuses_other_models_and_old_firmware() -> None:
    """A wrong model, an unknown one, and firmware without a watchdog are refused."""
    assert "servo 11 (joint0) is XM430-W350; expected XM430-W210" in refused(
        rig(changes=replaced(model=1020))
    )
    assert "firmware 37 has no bus watchdog" in refused(rig(changes=replaced(firmware=37)))


def test_open_refuses_mixed_firmware() -> None:
    """Servos whose indirect data lie at different addresses cannot be read at once."""
    made = rig(
        changes={
            index: ServoOptions(id=device, model=1200, firmware=firmware, eeprom=EEPROM)
            for index, (device, firmware) in enumerate(zip(IDS, (50, 52, 52), strict=True))
        },
        servos=tuple(
            msgspec.structs.replace(servo, model="XL330-M288") for servo in bus_spec().servos
        ),
    )
    assert "indirect data at different addresses" in refused(made)


def test_the_xl330_has_its_data_elsewhere() -> None:
    """Newer XL330 are driven like the others, with their own address and unit of current."""
    options = [ServoOptions(id=device, model=1200, firmware=52, eeprom=EEPROM) for device in IDS]
    servos = tuple(msgspec.structs.replace(one, model="XL330-M288") for one in bus_spec().servos)
    made = rig(changes=dict(enumerate(options)), servos=servos)
    made.bench.battery = Battery(volts=5.0)
    made.chain.open()
    made.chain.enable()
    made.tick([0.1, 0.1, 0.1], 20)
    assert made.chain.faults() == []
    assert made.chain.state.position == pytest.approx(made.bench.plant.position, abs=0.01)


@pytest.mark.parametrize(
    ("back", "register", "text"),
    [
        (4, Register.RETURN_DELAY, "Return Delay (9) is 7; expected 0, as written"),
        (1, None, "servo 13 (joint2): indirect addresses were not taken"),
    ],
)
def test_open_reads_back_what_it_writes(back: int, register: Register | None, text: str) -> None:
    """A write that was confirmed and has not stayed is found."""
    sent = rig(changes=replaced(return_delay=250))
    sent.chain.open()
    made = rig(changes=replaced(return_delay=250))

    def spoil() -> None:
        if register is None:
            made.bench.servos[2].write(168, b"\x40\x00")
        else:
            made.set(register, 7)

    reads_back = [at for at, frame in enumerate(sent.line.written) if frame[7] == Instruction.READ]
    made.line.before[reads_back[-back]] = spoil
    with pytest.raises(ServoSetupError) as caught:
        made.chain.open()
    assert text in str(caught.value)


def test_open_finds_strangers() -> None:
    """A servo that robot.toml does not know is refused."""
    stranger = ServoOptions(id=99, eeprom=EEPROM)
    assert refused(rig(strangers=[stranger])) == (
        "servo 99 answers and is not in robot.toml; remove it or add it"
    )


def test_open_finds_collisions() -> None:
    """Two servos of one ID are refused, and what may be the cause is said (B26)."""
    assert refused(rig("collision@0,id=12")) == (
        "servo 12 (joint1) does not answer; check its cable, ID and baud; "
        "answers to a ping of all collide (ID 12); do two servos share an ID?"
    )
    assert refused(rig("duplicate@0,id=12,nth=2")) == (
        "two servos answer as ID 12; give each its own"
    )


def test_noise_alone_is_no_reason_to_refuse() -> None:
    """Adapters that switch late make noise, which costs no answer."""
    made = rig("noise@0")
    assert made.chain.open() == ()
    assert made.bus.stats.rejects.noise_bytes > 50


def test_open_refuses_locked_registers() -> None:
    """A servo that does not let itself be repaired is an error that names the register (B25)."""
    made = rig("locked@0", changes=replaced(return_delay=250))
    with pytest.raises(ServoRefusedError, match="servo 11 refused write of 00 to 9: error 7"):
        made.chain.open()


def test_torque_that_a_killed_process_left_on_goes_off_before_anything_can_fail() -> None:
    """A missing servo is refused, and the others are limp by then, from the very first frame."""
    made = rig("silence@0.001,id=12,for=9")
    for index in range(len(IDS)):
        made.set(Register.TORQUE_ENABLE, 1, index)
    made.line.sleep(0.01)
    with pytest.raises(ServoSetupError, match=r"servo 12 .* does not answer"):
        made.chain.open()
    assert made.torques() == [0, 1, 0], "only the deaf one keeps it"
    assert made.line.written[0] == encode(BROADCAST, Instruction.WRITE, b"\x40\x00\x00")


def test_servos_of_another_speed_are_found_and_named() -> None:
    """By pings only; afterwards the bus talks at its own speed again."""
    made = rig(changes={at: ServoOptions(id=one) for at, one in enumerate(IDS)})
    words = refused(made)
    assert "no servo answers at 1000000 baud, but some do at 57600; correct baud" in words
    assert made.line.baud == 1_000_000
    asked = {frame[7] for frame in made.line.written[3:]}
    assert asked == {Instruction.PING}


def test_a_bus_without_power_is_silent_at_every_speed() -> None:
    """Then it is not the speed."""
    made = rig("silence@0")
    assert "nor at any other; check power and cable" in refused(made)
