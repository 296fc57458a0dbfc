"""Shafts in motion: loops, units, turns, heat and battery."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from robots.dynamixel.control_table import RAD_PER_COUNT, RAD_PER_S_PER_COUNT
from robots.dynamixel.control_table import Register as R  # noqa: N817 -- on every line here
from robots.dynamixel.protocol import ErrorNumber, Instruction
from sim.emulator.bench import Battery, Bench, Mount
from sim.emulator.motion import SimpleJoints
from sim.emulator.motors import MOTORS, Drive
from sim.emulator.servo import Servo

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.emulator.conftest import Rig

TURN = 4096


def on(rig: Callable[..., Rig], mode: int = 3, **options: object) -> Rig:
    """One servo with the torque on."""
    made = rig(eeprom={"operating_mode": mode}, **options)
    assert made.write(R.TORQUE_ENABLE, 1) == 0
    return made


@pytest.mark.parametrize("goal", [0, 1000, 4095])
def test_a_servo_goes_to_its_goal(goal: int, rig: Callable[..., Rig]) -> None:
    """And says that it is there, at rest."""
    servo = on(rig)
    assert servo.write(R.GOAL_POSITION, goal) == 0
    servo.port.sleep(0.1)
    assert servo.read(R.MOVING) == 1
    servo.port.sleep(2.0)
    assert servo.read(R.PRESENT_POSITION) == pytest.approx(goal, abs=10)
    assert servo.read(R.MOVING) == 0
    assert servo.read(R.MOVING_STATUS) & 1 == 1
    angle = (servo.read(R.PRESENT_POSITION) - 2048) * RAD_PER_COUNT
    assert servo.bench.plant.position[0] == pytest.approx(angle, abs=RAD_PER_COUNT)


def test_without_torque_nothing_moves(rig: Callable[..., Rig]) -> None:
    """A goal is only stored, and the shaft gives way to a load."""
    plant = SimpleJoints(1)
    servo = rig(plant=plant)
    assert servo.write(R.GOAL_POSITION, 3000) == 0
    servo.port.sleep(0.5)
    assert servo.read(R.PRESENT_POSITION) == 2048
    plant.load[:] = 0.5
    servo.port.sleep(0.5)
    assert servo.read(R.PRESENT_POSITION) < 1000


def test_stiffness_is_that_of_the_gain(rig: Callable[..., Rig]) -> None:
    """Stall torque over the error at which the output saturates, 885 / (P / 128) counts."""
    plant = SimpleJoints(1, friction=0.0)
    servo = on(rig, plant=plant)
    plant.load[:] = 1.0
    servo.port.sleep(3.0)
    saturation = 885 / (800 / 128) * RAD_PER_COUNT
    assert -plant.position[0] == pytest.approx(1.0 / (3.0 / saturation), rel=0.02)
    assert saturation == pytest.approx(0.217, abs=0.001)


@pytest.mark.parametrize("model", [1020, 1030, 1060, 1190, 1200])
def test_full_duty_reaches_the_no_load_speed(model: int, rig: Callable[..., Rig]) -> None:
    """In PWM mode, in the register's unit."""
    motor = MOTORS[model]
    servo = on(
        rig,
        mode=16,
        model=model,
        plant=SimpleJoints(1, inertia=1e-3, friction=0.0),
        volts=motor.volts,
    )
    assert servo.write(R.GOAL_PWM, 885) == 0
    servo.port.sleep(2.0)
    speed = servo.read(R.PRESENT_VELOCITY) * RAD_PER_S_PER_COUNT
    assert speed == pytest.approx(motor.no_load_speed, rel=0.01)
    assert servo.read(R.PRESENT_PWM) == 885


def test_velocity_mode_holds_a_speed_against_a_load(rig: Callable[..., Rig]) -> None:
    """The integral part does."""
    servo = on(rig, mode=1, plant=SimpleJoints(1, load=0.5))
    assert servo.write(R.GOAL_VELOCITY, 100) == 0
    servo.port.sleep(5.0)
    assert servo.read(R.PRESENT_VELOCITY) == pytest.approx(100, abs=3)


def test_integrals_do_not_wind_up(rig: Callable[..., Rig]) -> None:
    """Held fast for seconds, then let go: the speed is right soon."""
    plant = SimpleJoints(1, load=3.5)
    servo = on(rig, mode=1, plant=plant)
    assert servo.write(R.VELOCITY_I, 16383) == 0
    plant.velocity[:] = 0
    assert servo.write(R.GOAL_VELOCITY, 50) == 0
    for _ in range(2500):
        servo.port.sleep(0.001)
        plant.velocity[:] = 0
    assert servo.read(R.PRESENT_PWM) == 885
    plant.load[:] = 0
    servo.port.sleep(0.2)
    assert servo.read(R.PRESENT_VELOCITY) == pytest.approx(50, abs=5)


def test_current_mode_gives_the_torque_of_its_current(rig: Callable[..., Rig]) -> None:
    """Half the stall current balances half the stall torque."""
    plant = SimpleJoints(1, friction=0.0, load=1.5)
    servo = on(rig, mode=0, plant=plant)
    counts = round(MOTORS[1030].stall_current / 2 / 0.00269)
    assert servo.write(R.GOAL_CURRENT, counts) == 0
    before = plant.velocity[0]
    servo.port.sleep(0.5)
    assert plant.velocity[0] - before == pytest.approx(0.0, abs=0.2)
    assert servo.read(R.PRESENT_CURRENT) == pytest.approx(counts, abs=1)


def test_current_limits_a_position(rig: Callable[..., Rig]) -> None:
    """Mode 5 pushes no harder than Goal Current."""
    plant = SimpleJoints(1, inertia=1e6)
    servo = on(rig, mode=5, plant=plant)
    assert servo.write(R.GOAL_CURRENT, 100) == 0
    assert servo.write(R.GOAL_POSITION, 4000) == 0
    servo.port.sleep(0.1)
    assert servo.read(R.PRESENT_CURRENT) == 100
    assert servo.read(R.PRESENT_PWM) == pytest.approx(885 * 0.269 / 2.3, abs=2)


def test_the_xl430_shows_load_instead_of_current(rig: Callable[..., Rig]) -> None:
    """In 0.1 % of the stall torque."""
    servo = on(rig, model=1060, plant=SimpleJoints(1, inertia=1e6))
    assert servo.write(R.GOAL_POSITION, 4000) == 0
    servo.port.sleep(0.1)
    assert servo.read(R.PRESENT_CURRENT) == pytest.approx(1000, abs=10)


def test_a_profile_limits_speed_and_acceleration(rig: Callable[..., Rig]) -> None:
    """The trajectory registers show the way the reference takes."""
    servo = on(rig)
    assert servo.write(R.PROFILE_VELOCITY, 50) == 0
    assert servo.write(R.PROFILE_ACCELERATION, 5) == 0
    assert servo.write(R.GOAL_POSITION, 4000) == 0
    servo.port.sleep(0.1)
    assert 0 < servo.read(R.VELOCITY_TRAJECTORY) < 30
    servo.port.sleep(0.6)
    assert servo.read(R.VELOCITY_TRAJECTORY) == 50
    assert servo.read(R.MOVING_STATUS) & 2
    assert servo.read(R.PRESENT_VELOCITY) == pytest.approx(50, abs=5)
    servo.port.sleep(3.0)
    assert servo.read(R.POSITION_TRAJECTORY) == 4000
    assert servo.read(R.PRESENT_POSITION) == pytest.approx(4000, abs=10)


def test_reverse_mode_turns_the_other_way(rig: Callable[..., Rig]) -> None:
    """More counts are fewer radians, for goals and for readings."""
    servo = rig(eeprom={"drive_mode": 1})
    assert servo.write(R.TORQUE_ENABLE, 1) == 0
    assert servo.write(R.GOAL_POSITION, 3000) == 0
    servo.port.sleep(1.0)
    assert servo.read(R.PRESENT_POSITION) == pytest.approx(3000, abs=10)
    assert servo.bench.plant.position[0] < -1.0


def test_turns_are_counted_until_the_torque_comes_on(rig: Callable[..., Rig]) -> None:
    """By hand past the encoder's seam: the reading goes on, and jumps back at enable."""
    plant = SimpleJoints(1)
    servo = rig(plant=plant)
    plant.position[:] = 1.5 * math.tau
    servo.port.sleep(0.01)
    assert servo.read(R.PRESENT_POSITION) == 2048 + 6144
    assert servo.write(R.TORQUE_ENABLE, 1) == 0
    assert servo.read(R.PRESENT_POSITION) == 2048 + 6144 - 2 * TURN


def test_extended_mode_keeps_its_turns(rig: Callable[..., Rig]) -> None:
    """Until they are cleared, which a turning servo refuses."""
    plant = SimpleJoints(1)
    servo = rig(plant=plant, eeprom={"operating_mode": 4})
    plant.position[:] = 2 * math.tau
    servo.port.sleep(0.01)
    assert servo.write(R.TORQUE_ENABLE, 1) == 0
    assert servo.read(R.PRESENT_POSITION) == pytest.approx(2048 + 2 * TURN, abs=1)
    clear = bytes.fromhex("01 44 58 4C 22")
    assert servo.write(R.GOAL_POSITION, 0) == 0
    servo.port.sleep(0.2)
    assert servo.ask(1, Instruction.CLEAR, clear).number == ErrorNumber.RESULT_FAIL
    assert servo.write(R.TORQUE_ENABLE, 0) == 0
    plant.velocity[:] = 0
    servo.port.sleep(0.1)
    assert servo.ask(1, Instruction.CLEAR, clear).number == 0
    assert 0 <= servo.read(R.PRESENT_POSITION) < TURN


@pytest.mark.parametrize(
    ("mode", "offset", "shown"), [(3, 1024, 3072), (3, 1025, 2048), (4, 1025, 3073)]
)
def test_a_homing_offset_shifts_the_reading(
    mode: int, offset: int, shown: int, rig: Callable[..., Rig]
) -> None:
    """In mode 3 by a quarter turn at most; more is ignored."""
    servo = rig(eeprom={"operating_mode": mode, "homing_offset": offset})
    assert servo.read(R.PRESENT_POSITION) == shown


def test_encoder_faults_show_in_the_reading_only(rig: Callable[..., Rig]) -> None:
    """A jump stays; a reading that stands still goes on afterwards."""
    servo = rig(faults=["jump@1,amount=-300", "stuck@2,for=1"])
    servo.port.sleep(1.5)
    assert servo.read(R.PRESENT_POSITION) == 1748
    servo.port.sleep(1.0)
    assert servo.write(R.TORQUE_ENABLE, 1) == 0
    assert servo.write(R.GOAL_POSITION, 2000) == 0
    servo.port.sleep(0.2)
    assert servo.read(R.PRESENT_POSITION) == 1748
    servo.port.sleep(2.0)
    assert servo.read(R.PRESENT_POSITION) == pytest.approx(2000, abs=10)


def test_work_heats_and_draws_the_battery_down(rig: Callable[..., Rig]) -> None:
    """Stalled at full duty: warmer, and less than the battery's voltage arrives."""
    servo = on(rig, mode=16, plant=SimpleJoints(1, inertia=1e6))
    assert servo.write(R.GOAL_PWM, 885) == 0
    servo.port.sleep(2.0)
    assert servo.read(R.PRESENT_TEMPERATURE) > 25
    assert servo.bench.volts == pytest.approx(12.0 - 0.05 * 2.3, abs=0.01)


def test_mounts_turn_and_shift() -> None:
    """The horn's angle is direction * (joint - offset), and its drive comes back the same way."""
    plant = SimpleJoints(1)
    plant.position[:] = 0.5
    bench = Bench([Servo()], plant=plant, mounts=[Mount(direction=-1.0, offset=0.2)])
    (servo,) = bench.servos
    bench.advance(10_000_000)
    assert servo.actuator.position == pytest.approx(2048 - 0.3 / RAD_PER_COUNT)
    servo.write(R.TORQUE_ENABLE.address, b"\x01")
    servo.write(R.GOAL_POSITION.address, (2148).to_bytes(4, "little"))
    bench.advance(40_000_000)
    speed = int.from_bytes(servo.read(R.PRESENT_VELOCITY.address, 4).data, "little", signed=True)
    assert speed * RAD_PER_S_PER_COUNT == pytest.approx(-plant.velocity[0], abs=0.02)
    assert speed > 10
    bench.advance(1_000_000_000)
    assert plant.position[0] == pytest.approx(0.2 - 100 * RAD_PER_COUNT, abs=0.02)


def test_a_bench_wants_a_joint_per_servo() -> None:
    """Numbers that do not fit are refused at once."""
    with pytest.raises(ValueError, match="2 servos with 2 mounts on 1 joints"):
        Bench([Servo(), Servo()], plant=SimpleJoints(1))


def test_simple_joints_stay_at_rest_under_friction() -> None:
    """A drive below the friction moves nothing; one above does; huge damping is stable."""
    plant = SimpleJoints(1, friction=0.1)
    for _ in range(100):
        plant.step([Drive(0.09, 0.0)])
    assert plant.position[0] == 0
    for _ in range(1000):
        plant.step([Drive(1.0, 1e6)])
    assert 0 < plant.velocity[0] < 1e-6
    with pytest.raises(ValueError, match="friction -1"):
        SimpleJoints(1, friction=-1)


def test_a_battery_has_sensible_defaults() -> None:
    """Three cells, full."""
    assert Battery().volts == 12.0
