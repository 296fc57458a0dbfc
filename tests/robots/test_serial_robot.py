"""The serial robot: when torque is on, what is applied, how old readings are, how it ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

import robots
from robots import JointCommand, RobotSpecError, SafeRobot, State
from robots.dynamixel.control_table import RAD_PER_COUNT, Register
from robots.errors import (
    HardwareFaultError,
    PortBusyError,
    PortLostError,
    ServoEnableError,
    ServoSetupError,
)
from robots.imu import ImuLostError, ImuRefusedError, ImuSpec, reader, vectornav
from robots.serial_robot import SerialRobot, serial_robot
from sim.emulator.imu_terminal import ImuTerminal
from sim.emulator.robot import make_bus, make_imu
from sim.emulator.terminal import Terminal
from tests.robots.serial_rig import SeenJoints, SerialRig, serial_rig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robots import Robot, RobotSpec, RobotState

PERIOD_NS = 20_000_000
ON, OFF = [1] * 12, [0] * 12


def stance(spec: RobotSpec) -> JointCommand:
    """Command to stand."""
    return JointCommand.towards(spec.column("stance"), spec)


def tick(robot: Robot, times: int = 1) -> RobotState:
    """Command the stance every 20 ms and return the last reading."""
    for _ in range(times):
        deadline_ns = robot.now() + PERIOD_NS
        robot.write(stance(robot.spec))
        robot.wait_until(deadline_ns)
        state = robot.read()
    return state


@pytest.fixture
def rig() -> Iterator[SerialRig]:
    """A connected robot without faults."""
    rig = serial_rig()
    rig.robot.connect()
    yield rig
    rig.line.lost = False
    rig.robot.close()


def driven(*faults: str) -> SerialRig:
    """A robot that stands with its torque on, just before the third second."""
    rig = serial_rig(*faults)
    rig.robot.connect()
    tick(rig.robot, 20)
    while rig.robot.now() < 3_000_000_000 - 2 * PERIOD_NS:
        tick(rig.robot)
    return rig


def test_servos_without_fast_reads_are_known_before_the_first_reading() -> None:
    """Else the first reading would be no numbers, and a guard would latch it."""
    rig = serial_rig("no-fast-read@0")
    with rig.robot as robot:
        assert robot.read().is_finite()


def test_a_silent_servo_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    """An age says how old the oldest sample is, and not whose."""
    rig = driven("drop@3.0,id=3,for=0.4")
    tick(rig.robot, 20)
    named = [text for text in caplog.messages if "no usable answer" in text]
    assert len(named) == 1
    assert "FR_calf_joint (servo 3)" in named[0]
    rig.robot.close()


def test_connecting_reading_and_waiting_leave_the_torque_off(rig: SerialRig) -> None:
    """Only a command switches it on."""
    rig.robot.read()
    rig.robot.wait_until(rig.robot.now() + 10 * PERIOD_NS)
    rig.robot.read()
    assert rig.torques() == OFF


def test_the_first_command_switches_the_torque_on_where_the_joints_are(rig: SerialRig) -> None:
    """Goals begin at the measured positions, so that commanding those moves nothing."""
    rig.robot.wait_until(rig.robot.now() + 100 * PERIOD_NS)
    lying = rig.robot.read().position
    rig.robot.write(JointCommand.towards(lying, rig.robot.spec))
    assert rig.torques() == ON
    for _ in range(5):
        rig.robot.wait_until(rig.robot.now() + PERIOD_NS)
        assert np.abs(rig.robot.read().position - lying).max() < 0.05


def test_connecting_again_does_nothing(rig: SerialRig) -> None:
    """A robot that stands stays standing."""
    tick(rig.robot)
    rig.robot.connect()
    assert rig.torques() == ON


def test_a_driven_robot_stands_up_and_knows_how_far_it_rose(rig: SerialRig) -> None:
    """Targets reach the joints, effort holds the weight, legs measure the way."""
    assert rig.robot.base_motion() is None
    rig.robot.wait_until(rig.robot.now() + 100 * PERIOD_NS)
    rig.robot.read()
    low, lying = rig.robot.base_motion(), rig.plant.height
    state = tick(rig.robot, 100)
    high = rig.robot.base_motion()
    assert np.abs(state.position - rig.robot.spec.column("stance")).max() < 0.1
    assert np.abs(state.effort).max() > 0.1
    assert low is not None
    assert high is not None
    rose = rig.plant.height - lying
    assert rose > 0.05
    assert high.position[2] - low.position[2] == pytest.approx(rose, abs=0.02)
    assert high.source == "leg odometry"


def test_all_that_servos_measure_is_known_from_the_start_and_renewed(rig: SerialRig) -> None:
    """Who starts the robot knows heat and supply; then they come anew one servo at a time."""
    for state in (rig.robot.read(), tick(rig.robot, 60)):
        assert state.temperature is not None
        np.testing.assert_allclose(state.temperature, 25, atol=1)
        assert state.voltage == pytest.approx(11.1, abs=0.2)
    rig.bench.servos[5].actuator.temperature = 60.0
    hot = tick(rig.robot, 60).temperature
    assert hot is not None
    assert hot.argmax() == 5


def test_what_is_applied_is_whole_counts_within_the_mechanical_limits(rig: SerialRig) -> None:
    """Own gains of the servos, no feed-forward: nothing is claimed that they do not do."""
    spec = rig.robot.spec
    asked = stance(spec)
    asked.kp[:], asked.kd[:], asked.torque[:] = 50.0, 3.0, 1.0
    asked.position[0] = 2.0
    applied = rig.robot.write(asked)
    assert applied.position[0] == pytest.approx(spec.joints[0].upper, abs=RAD_PER_COUNT)
    assert applied.position[0] <= spec.joints[0].upper
    assert np.abs(applied.position - asked.position)[1:].max() <= 0.501 * RAD_PER_COUNT
    np.testing.assert_array_equal(applied.kp, spec.column("kp"))
    np.testing.assert_array_equal(applied.kd, spec.column("kd"))
    np.testing.assert_array_equal(applied.torque, 0)
    again = rig.robot.write(applied)
    np.testing.assert_array_equal(again.position, applied.position)


def test_damping_lets_the_motors_brake(rig: SerialRig) -> None:
    """Torque on, pulse width 0; the answer says how much that is; then targets move it again."""
    state = tick(rig.robot, 20)
    standing = rig.plant.height
    damping = JointCommand.damping(state.position, rig.robot.spec)
    damping.kd[:] = 99.0
    speeds = []
    for _ in range(5):
        applied = rig.robot.write(damping)
        rig.robot.wait_until(rig.robot.now() + PERIOD_NS)
        speeds.append(float(np.abs(rig.robot.read().velocity).max()))
    assert rig.torques() == ON
    np.testing.assert_array_equal(applied.kp, 0)
    np.testing.assert_array_equal(applied.torque, 0)
    np.testing.assert_array_equal(applied.kd, rig.robot.spec.column("kd"))
    assert 0.2 < max(speeds) < 3.0
    assert rig.plant.height > 0.5 * standing, "it sinks slowly"
    tick(rig.robot, 20)
    assert rig.torques() == ON
    assert rig.plant.height > 0.9 * standing


def test_neither_stiffness_nor_damping_takes_the_torque_off(rig: SerialRig) -> None:
    """As does damping where no torque was on: nothing is claimed that does not happen."""
    state = tick(rig.robot, 5)
    nothing = JointCommand.damping(state.position, rig.robot.spec)
    nothing.kd[:] = 0.0
    rig.robot.write(nothing)
    assert rig.torques() == OFF
    rig.robot.wait_until(rig.robot.now() + PERIOD_NS)
    np.testing.assert_array_equal(rig.robot.read().effort, 0)
    applied = rig.robot.write(JointCommand.damping(state.position, rig.robot.spec))
    for part in (applied.kp, applied.kd, applied.torque):
        np.testing.assert_array_equal(part, 0)
    assert rig.torques() == OFF


def test_a_servo_that_does_not_brake_makes_the_robot_limp(rig: SerialRig) -> None:
    """One whose watchdog has tripped takes no goals, so the torque of all goes off."""
    state = tick(rig.robot, 5)
    rig.bench.servos[4].trip()
    applied = rig.robot.write(JointCommand.damping(state.position, rig.robot.spec))
    np.testing.assert_array_equal(applied.kd, 0)
    assert rig.torques() == OFF


def test_a_lost_port_while_damping_is_told(rig: SerialRig) -> None:
    """Nobody can say whether it brakes."""
    state = tick(rig.robot, 5)
    damping = JointCommand.damping(state.position, rig.robot.spec)
    rig.robot.write(damping)
    rig.line.lost = True
    with pytest.raises(ServoEnableError, match="did not confirm"):
        rig.robot.write(damping)
    rig.line.lost = False


def test_impossible_commands_are_refused_before_the_torque_comes_on(rig: SerialRig) -> None:
    """Stiffness in some joints only; a target that is no number."""
    partly, blank = stance(rig.robot.spec), stance(rig.robot.spec)
    partly.kp[3] = 0.0
    blank.position[3] = np.nan
    with pytest.raises(ValueError, match="all positive, or all zero"):
        rig.robot.write(partly)
    with pytest.raises(ValueError, match="expected finite ones, rad"):
        rig.robot.write(blank)
    assert rig.torques() == OFF


def test_disarming_takes_the_torque_off_for_good(rig: SerialRig) -> None:
    """Read back from the servos, and reading goes on."""
    tick(rig.robot, 5)
    rig.robot.disarm("test")
    assert rig.torques() == OFF
    rig.robot.wait_until(rig.robot.now() + 20 * PERIOD_NS)
    rig.robot.read()
    assert rig.torques() == OFF


def test_closing_takes_the_torque_off_and_releases_both_devices(rig: SerialRig) -> None:
    """Again and again, and before connecting, too."""
    tick(rig.robot)
    rig.robot.close()
    assert rig.torques() == OFF
    assert not rig.line.is_open
    assert not rig.imu.is_open
    rig.robot.close()
    rig.robot.disarm("nothing to do")
    serial_rig().robot.close()


def test_waiting_ends_exactly_at_the_deadline(rig: SerialRig) -> None:
    """On the line's clock; a deadline that has passed takes no time."""
    deadline_ns = rig.robot.now() + 12_345_678
    rig.robot.wait_until(deadline_ns)
    rig.robot.wait_until(deadline_ns - PERIOD_NS)
    assert rig.robot.now() == deadline_ns


def test_lost_replies_show_in_the_age_of_the_joints() -> None:
    """Old positions are never passed off as new; one good reply makes them young again."""
    rig = driven("drop@3,for=0.07")
    assert rig.robot.read().joint_age_s < 0.005
    ages = [tick(rig.robot).joint_age_s for _ in range(6)]
    assert max(ages) > 0.05
    assert ages[-1] < 0.005
    assert rig.torques() == ON


def test_the_base_is_not_moved_by_joints_that_are_old() -> None:
    """It goes on at the speed it had until the next whole sample; connecting anew starts afresh."""
    rig = driven("drop@3,for=0.07")
    tick(rig.robot)
    before = rig.robot.base_motion()
    assert before is not None
    assert tick(rig.robot).joint_age_s > 0.01
    bridged = rig.robot.base_motion()
    assert bridged is not None
    way = before.velocity * PERIOD_NS / 1e9  # level and straight on: both frames are the same
    np.testing.assert_allclose(bridged.position - before.position, way, rtol=0.1, atol=1e-5)
    tick(rig.robot, 5)
    after = rig.robot.base_motion()
    assert after is not None
    assert after.position[2] > 0.02
    rig.robot.close()
    rig.robot.connect()
    assert rig.robot.base_motion() is None
    rig.robot.read()
    fresh = rig.robot.base_motion()
    assert fresh is not None
    np.testing.assert_array_equal(fresh.position, 0)


def test_one_silent_servo_makes_the_joints_old() -> None:
    """The torque stays, as the caller judges ages; when it goes, the one cut off is named."""
    rig = driven("silence@3,id=3")
    ages = [tick(rig.robot).joint_age_s for _ in range(8)]
    assert ages[-1] > 0.1
    assert ages[-1] == max(ages)
    with pytest.raises(ServoEnableError, match="servos 3 did not confirm"):
        rig.robot.disarm("test")
    assert rig.torques() == [0, 0, 1, *[0] * 9]


def test_a_frozen_imu_ages(rig: SerialRig) -> None:
    """It is its first repetition that counts; joints stay young."""
    tick(rig.robot, 2)
    rig.imu.frozen = True
    states = [tick(rig.robot) for _ in range(4)]
    passed_s = np.diff([state.stamp_ns for state in states]) / 1e9
    assert np.diff([state.imu_age_s for state in states]) == pytest.approx(passed_s)
    assert states[-1].imu_age_s > 0.06
    assert rig.robot.read().joint_age_s < 0.005


def test_an_imu_without_a_sample_gives_no_numbers(rig: SerialRig) -> None:
    """A reading that is not finite is no reading to any guard."""
    rig.imu.silent = True
    state = rig.robot.read()
    assert not state.is_finite()
    assert np.isfinite(state.position).all()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("reboot@3,id=5", r"FL_thigh_joint \(servo 5\): has restarted"),
        ("watchdog@3,id=5", r"FL_thigh_joint \(servo 5\): Bus Watchdog \(98\) has tripped"),
        ("hardware-error@3,id=5", r"FL_thigh_joint \(servo 5\): Hardware Error \(70\) is 0x20"),
    ],
)
def test_a_driven_servo_that_gives_up_is_an_error(fault: str, words: str) -> None:
    """Not a matter of patience: it will not hold the robot any more."""
    rig = driven(fault)
    with pytest.raises(HardwareFaultError, match=words):
        tick(rig.robot, 30)
    rig.robot.disarm("test")
    assert rig.torques() == OFF


def test_a_servo_that_lost_its_torque_is_an_error_only_while_driven(rig: SerialRig) -> None:
    """While nobody commands, having no torque is as it should be."""
    tick(rig.robot)
    rig.set(Register.TORQUE_ENABLE, 0, servo=1)
    words = r"FR_thigh_joint \(servo 2\): Torque Enable \(64\) is 0"
    with pytest.raises(HardwareFaultError, match=words):
        tick(rig.robot)
    rig.robot.disarm("test")
    assert rig.robot.read().is_finite()


def test_a_missing_servo_is_named_and_everything_is_closed_again() -> None:
    """As is an IMU that refuses; then connect() may be tried again."""
    rig = serial_rig("silence@0,id=7,for=1.5")
    with pytest.raises(ServoSetupError, match=r"servo 7 \(RR_hip_joint\) does not answer"):
        rig.robot.connect()
    assert not rig.line.is_open
    with pytest.raises(robots.NotConnectedError):
        rig.robot.read()
    rig.line.sleep(1.5)
    rig.imu.refuses = True
    with pytest.raises(ImuRefusedError):
        rig.robot.connect()
    assert not rig.line.is_open
    rig.imu.refuses = False
    rig.robot.connect()
    assert rig.robot.read().is_finite()


def test_a_lost_imu_is_latched_and_the_motors_brake_from_the_next_tick_on() -> None:
    """Through SafeRobot, which damps for any error of a driver; at the end the torque is off."""
    rig = serial_rig(ramp_speed=8.0)
    safe = SafeRobot(rig.robot)
    safe.connect()
    safe.enable()
    tick(safe, 20)
    assert safe.state is State.ACTIVE
    assert rig.torques() == ON
    rig.imu.lost = True
    with pytest.raises(ImuLostError):
        tick(safe)
    assert robots.Guard.LINK_LOST in safe.causes
    applied = safe.write(stance(safe.spec))
    np.testing.assert_array_equal(applied.kp, 0)
    np.testing.assert_array_equal(applied.kd, rig.robot.spec.column("kd"))
    assert rig.torques() == ON
    assert {servo.memory.get(Register.GOAL_PWM) for servo in rig.bench.servos} == {0}
    safe.close()
    assert rig.torques() == OFF


def test_a_lost_port_is_latched_and_the_end_says_that_torque_may_be_on() -> None:
    """Taking it off is tried at every command and at the end; opening it again does it."""
    rig = serial_rig(ramp_speed=8.0)
    safe = SafeRobot(rig.robot)
    safe.connect()
    safe.enable()
    tick(safe, 20)
    rig.line.lost = True
    with pytest.raises(PortLostError):
        tick(safe)
    assert robots.Guard.LINK_LOST in safe.causes
    refused = rig.line.refused
    with pytest.raises(ServoEnableError, match=r"did not confirm .*; cut their power"):
        safe.write(stance(safe.spec))
    assert rig.line.refused > refused
    refused = rig.line.refused
    with pytest.raises(ServoEnableError, match="did not confirm"):
        safe.close()
    assert rig.line.refused > refused
    assert not rig.line.is_open
    assert not rig.imu.is_open
    safe.close()
    rig.line.lost = False
    assert rig.torques() == ON
    with rig.robot:
        assert rig.torques() == OFF


def test_a_safe_robot_stands_up_slowly_and_sits_down_before_the_torque_goes() -> None:
    """The whole way on servos: ramp, stance, stop."""
    rig = serial_rig()
    safe = SafeRobot(rig.robot)
    safe.connect()
    safe.wait_until(safe.now() + 50 * PERIOD_NS)
    safe.enable()
    assert rig.torques() == OFF
    lying, fastest = rig.plant.height, 0.0
    while safe.state is State.RAMP:
        fastest = max(fastest, float(np.abs(tick(safe).velocity).max()))
    tick(safe, 50)
    assert safe.state is State.ACTIVE
    assert rig.plant.height > lying + 0.05
    assert 0.5 < fastest < 3.0
    safe.stop()
    safe.close()
    assert rig.torques() == OFF
    assert not safe.causes or safe.causes == (robots.Guard.OPERATOR_STOP,)


def test_a_robot_without_legs_or_bus() -> None:
    """Without legs nothing measures the base; without a bus there is nothing to drive."""
    rig = serial_rig()
    spec = msgspec.structs.replace(rig.robot.spec, legs=())
    robot = SerialRobot(spec, line=rig.line, imu=rig.imu, sleep=rig.line.sleep)
    with robot:
        robot.read()
        assert robot.base_motion() is None
    bare = msgspec.structs.replace(spec, bus=None)
    with pytest.raises(RobotSpecError, match=r"no \[bus\]"):
        SerialRobot(bare, line=rig.line, imu=rig.imu)
    with pytest.raises(RobotSpecError, match=r"no \[bus\]"):
        serial_robot(bare, port="-", imu_port="-")
    blind = msgspec.structs.replace(rig.robot.spec, imu_device=None)
    with pytest.raises(RobotSpecError, match=r"no \[imu_device\]"):
        serial_robot(blind, port="-", imu_port="-")
    imu = ImuSpec(model="vn100", baud=921_600, rate_hz=300.0)
    odd = msgspec.structs.replace(rig.robot.spec, imu_device=imu)
    with pytest.raises(RobotSpecError, match=r"imu_device.*rate_hz 300; expected 800 divided by"):
        serial_robot(odd, port="-", imu_port="-")


def test_what_was_found_is_described_while_connected(rig: SerialRig) -> None:
    """The bus, every servo, what was repaired, the IMU."""
    lines = rig.robot.describe()
    assert lines[0] == (
        "servo bus: 1000000 bit/s, fast sync read, adapter latency 0 ms, bus watchdog 100 ms"
    )
    assert lines[1] == (
        "servo 1 (FR_hip_joint): XM430-W210, firmware 50, 25 °C, 11.1 V, return delay 0 µs"
    )
    assert lines[12].startswith("servo 12 (RL_calf_joint): ")
    assert lines[13] == "repaired servo 1 (FR_hip_joint): Return Delay (9) 250 -> 0"
    assert lines[-1] == "IMU: PlantImu"
    assert len(lines) == 26
    rig.robot.close()
    assert rig.robot.describe() == []


def is_fresh(state: RobotState) -> bool:
    """Whether nothing was held up between the measurements and the reading."""
    return 0 <= state.imu_age_s < 0.5 and 0 < state.joint_age_s < 0.5


def test_it_works_over_real_terminals_and_is_the_only_one_on_its_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Real ports, real time: refused to a second one, stands up, loses its IMU, ends limp.

    The drivers are patient: what they wait for always comes.
    """
    monkeypatch.setattr(reader, "SETTLE_S", 5.0)
    monkeypatch.setattr(vectornav, "ANSWER_S", 5.0)
    folder = robots.find("pup")
    assert folder.spec.bus is not None
    patient = msgspec.structs.replace(folder.spec.bus, usb_latency_s=5.0, watchdog_s=2.54)
    spec = msgspec.structs.replace(folder.spec, bus=patient)
    plant = SeenJoints(folder)
    imu = folder.spec.imu_device
    assert imu is not None
    bus = make_bus(folder, patient, plant=plant)
    with Terminal(bus) as servos, ImuTerminal(make_imu(plant, imu)) as sensor:
        with serial_robot(spec, port=servos.path, imu_port=sensor.path) as robot:
            with pytest.raises(PortBusyError):
                serial_robot(spec, port=servos.path, imu_port=sensor.path).connect()
            began_ns = time.monotonic_ns()
            state = tick(robot, 20)
            assert began_ns < state.stamp_ns < time.monotonic_ns()
            assert robot.now() - began_ns >= 20 * PERIOD_NS
            assert state.is_finite()
            deadline = time.monotonic() + 10
            while not (is_fresh(state) and plant.height > 0.08):
                assert time.monotonic() < deadline, state
                state = tick(robot)
            sensor.inject("unplug")
            with pytest.raises(ImuLostError):
                tick(robot, 250)
        torques = [servo.memory.get(Register.TORQUE_ENABLE) for servo in bus.bench.servos]
        assert torques == OFF
