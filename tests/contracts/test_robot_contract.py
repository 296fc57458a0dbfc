"""What the control loop relies on, for every robot there is."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robots import BaseMotion, JointCommand, NotConnectedError
from tests.contracts.conftest import REAL, SIMULATORS, VIRTUAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from robots import Robot, RobotState

    NewRobot = Callable[[], Robot]

PERIOD_NS = 20_000_000
FINE_NS = 10_000_000
"""A whole number of physics steps of every robot."""

in_simulation = pytest.mark.parametrize("new_robot", SIMULATORS, indirect=True)
"""For what a machine cannot do: place itself, know the truth of its base and feet, take targets
finer than a servo's counts, stop time while it is read."""
in_real_time = pytest.mark.parametrize("new_robot", REAL, indirect=True)
in_exact_time = pytest.mark.parametrize("new_robot", VIRTUAL, indirect=True)
"""For what needs the same times again, or readings as far apart as they should be."""


def hold(robot: Robot, seconds: float, command: JointCommand | None = None) -> RobotState:
    """Write one command every 20 ms, the stance by default, and return the last reading."""
    command = command or JointCommand.towards(robot.spec.column("stance"), robot.spec)
    deadline, state = robot.now(), robot.read()
    for _ in range(round(seconds / 0.02)):
        deadline += PERIOD_NS
        robot.write(command)
        robot.wait_until(deadline)
        state = robot.read()
    return state


def strain(robot: Robot) -> Iterator[RobotState]:
    """Ask for far more than the motors have, ten times, every 20 ms; what is read after each."""
    wild = JointCommand.towards(robot.spec.column("upper"), robot.spec)
    wild.kp[:] *= 100
    start = robot.now()
    for tick in range(10):
        robot.write(wild)
        robot.wait_until(start + (tick + 1) * PERIOD_NS)
        yield robot.read()


def stir(robot: Robot, seconds: float, *, seed: int = 0) -> Iterator[RobotState]:
    """Move every joint about its stance and yield a reading every 10 ms."""
    rng = np.random.default_rng(seed)
    stance, scale = robot.spec.column("stance"), robot.spec.column("action_scale")
    target, deadline = stance, robot.now()
    for tick in range(round(seconds * 1e9 / FINE_NS)):
        if tick % 20 == 0:
            target = stance + 0.7 * scale * rng.uniform(-1, 1, stance.size).astype(np.float32)
            robot.write(JointCommand.towards(target, robot.spec))
        deadline += FINE_NS
        robot.wait_until(deadline)
        yield robot.read()


def numbers(state: RobotState) -> list[NDArray[np.float32]]:
    """Every array of a reading."""
    return [
        *(state.position, state.velocity, state.effort),
        *(state.quaternion, state.gyro, state.accelerometer),
    ]


def motion(robot: Robot) -> BaseMotion:
    """The base motion, which these robots know."""
    found = robot.base_motion()
    assert found is not None
    return found


def turn(quaternion: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rotation matrix from the body to the world."""
    w, x, y, z = quaternion.astype(np.float64)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_the_spec_is_readable_before_connecting(new_robot: NewRobot) -> None:
    """A policy can be checked against a robot that is not there yet."""
    robot = new_robot()
    spec = robot.spec
    assert len(spec.joints) == len(spec.joint_names) > 0
    robot.connect()
    assert robot.spec == spec


def test_nothing_works_before_connecting_or_after_closing(new_robot: NewRobot) -> None:
    """Every use says that the robot is not connected, and which one."""
    robot = new_robot()
    command = JointCommand.towards(robot.spec.column("stance"), robot.spec)
    uses: tuple[Callable[[], object], ...] = (
        robot.read,
        lambda: robot.write(command),
        lambda: robot.wait_until(PERIOD_NS),
        lambda: robot.place(np.random.default_rng(0)),
    )
    for use in uses:
        with pytest.raises(NotConnectedError, match=robot.spec.name):
            use()
    robot.connect()
    robot.close()
    for use in uses:
        with pytest.raises(NotConnectedError, match=robot.spec.name):
            use()


def test_a_reading_has_the_shapes_of_the_spec_in_float32(robot: Robot) -> None:
    """One number per joint of robot.toml; never float64, never a row short."""
    state = hold(robot, 0.1)
    joints = len(robot.spec.joints)
    assert [part.shape for part in numbers(state)] == [*[(joints,)] * 3, (4,), (3,), (3,)]
    assert {part.dtype for part in numbers(state)} == {np.dtype(np.float32)}
    if state.foot_contact is not None:
        assert state.foot_contact.shape == (len(robot.spec.feet),)
        assert state.foot_contact.dtype == np.bool_


def test_readings_are_finite_and_attitudes_have_unit_norm_while_moving(robot: Robot) -> None:
    """Nothing in a moving robot's readings is NaN or infinite."""
    for state in stir(robot, 1.0):
        assert state.is_finite()
        assert np.isfinite(state.effort).all()
        assert np.linalg.norm(state.quaternion) == pytest.approx(1, abs=1e-5)


def test_a_reading_does_not_change_afterwards(robot: Robot) -> None:
    """Views into the simulator's arrays would let a stored transition change under the learner."""
    state = hold(robot, 0.1)
    copies = [part.copy() for part in numbers(state)]
    hold(robot, 0.1, JointCommand.damping(state.position, robot.spec))
    for part, copy in zip(numbers(state), copies, strict=True):
        np.testing.assert_array_equal(part, copy)


@in_simulation
def test_the_stance_is_held_without_falling(robot: Robot) -> None:
    """Two seconds in the stance with the gains of robot.toml end standing still on all feet."""
    start = motion(robot).position[2]
    state = hold(robot, 2.0)
    assert motion(robot).position[2] > 0.7 * start
    assert state.foot_contact is not None
    assert state.foot_contact.all()
    assert np.abs(state.velocity).max() < 0.05


def test_gravity_points_down_and_the_accelerometer_up_when_standing(robot: Robot) -> None:
    """Frames and signs of the IMU as the conventions have them."""
    state = hold(robot, 2.0)
    np.testing.assert_allclose(state.gravity, [0, 0, -1], atol=0.05)
    np.testing.assert_allclose(state.accelerometer, [0, 0, 9.81], atol=0.5)
    np.testing.assert_allclose(state.gyro, 0, atol=0.02)


@in_exact_time
def test_the_gyro_is_the_rate_of_the_attitude_in_the_body_frame(robot: Robot) -> None:
    """Every axis, with its sign."""
    errors, rates = [], []
    states = list(stir(robot, 1.0))
    for before, after in itertools.pairwise(states):
        step = turn(before.quaternion).T @ turn(after.quaternion)
        rate = np.array([step[2, 1], step[0, 2], step[1, 0]]) / (FINE_NS / 1e9)
        errors.append(rate - (before.gyro + after.gyro) / 2)
        rates.append(rate)
    assert np.abs(rates).max(axis=0).min() > 0.1  # all three axes were turned about
    assert np.sqrt(np.mean(np.square(errors))) < 0.3 * np.sqrt(np.mean(np.square(rates)))


@in_exact_time
def test_joint_velocity_is_the_rate_of_the_position(robot: Robot) -> None:
    """Same joint, same sign, same unit."""
    states = list(stir(robot, 1.0))
    rates = np.diff([state.position for state in states], axis=0) / (FINE_NS / 1e9)
    velocities = np.array([state.velocity for state in states])
    error = rates - (velocities[1:] + velocities[:-1]) / 2
    assert np.sqrt(np.mean(error**2)) < 0.3 * np.sqrt(np.mean(rates**2))


@in_simulation
def test_base_velocity_is_the_displacement_in_the_body_frame(robot: Robot) -> None:
    """The reward's velocity is where the base really went."""
    robot.place(np.random.default_rng(3))  # facing anywhere: world and body frame differ
    errors, rates = [], []
    before, attitude = motion(robot), turn(robot.read().quaternion)
    for state in stir(robot, 1.0):
        after = motion(robot)
        rate = attitude.T @ (after.position - before.position) / (FINE_NS / 1e9)
        errors.append(rate - (before.velocity + after.velocity) / 2)
        rates.append(rate)
        before, attitude = after, turn(state.quaternion)
    assert np.sqrt(np.mean(np.square(errors))) < 0.3 * np.sqrt(np.mean(np.square(rates)))
    assert before.source == "truth"


def test_yaw_is_the_heading_of_the_attitude(robot: Robot) -> None:
    """Zero along world x, counter-clockwise positive."""
    robot.place(np.random.default_rng(5))
    forward = turn(robot.read().quaternion)[:, 0]
    assert motion(robot).yaw == pytest.approx(np.arctan2(forward[1], forward[0]), abs=1e-4)


@in_simulation
def test_waiting_ends_at_the_deadline_to_a_physics_step(robot: Robot) -> None:
    """Time belongs to the robot: it stops at the deadline, never after it."""
    step_ns = 1e9 / robot.spec.sim.physics_hz
    start = robot.now()
    for deadline in (start + PERIOD_NS, start + 2 * PERIOD_NS, start + 3 * PERIOD_NS):
        robot.wait_until(deadline)
        assert robot.now() == deadline == robot.read().stamp_ns
    odd = robot.now() + 7_777_777
    robot.wait_until(odd)
    assert odd - step_ns < robot.now() <= odd


@in_simulation
def test_past_deadlines_return_at_once(robot: Robot) -> None:
    """A loop that is late does not move time."""
    hold(robot, 0.1)
    before = robot.read()
    robot.wait_until(before.stamp_ns - PERIOD_NS)
    assert robot.now() == before.stamp_ns
    np.testing.assert_array_equal(robot.read().position, before.position)


@in_simulation
def test_stamps_rise_through_everything(robot: Robot) -> None:
    """Placing the robot again does not turn time back."""
    stamps = [state.stamp_ns for state in stir(robot, 0.2)]
    robot.place(np.random.default_rng(0))
    stamps += [state.stamp_ns for state in stir(robot, 0.2)]
    assert np.diff(stamps).min() == FINE_NS


@in_exact_time
def test_writing_what_was_applied_gives_the_same_motion(new_robot: NewRobot) -> None:
    """The returned command is the whole truth, also when the request was out of reach."""
    asked, told = new_robot(), new_robot()
    for robot in (asked, told):
        robot.connect()
    request = JointCommand.towards(asked.spec.column("upper") + 0.5, asked.spec)
    applied = asked.write(request)
    told.write(applied)
    for robot, _ in itertools.product((asked, told), range(10)):
        robot.wait_until(robot.now() + PERIOD_NS)
        robot.read()  # servos stop by themselves when nobody talks to them
    for mine, yours in zip(numbers(asked.read()), numbers(told.read()), strict=True):
        np.testing.assert_array_equal(mine, yours)


@in_simulation
def test_a_target_in_reach_is_applied_as_it_is(robot: Robot) -> None:
    """Nothing is clipped that need not be."""
    command = JointCommand.towards(robot.spec.column("stance"), robot.spec)
    applied = robot.write(command)
    np.testing.assert_array_equal(applied.position, command.position)
    np.testing.assert_array_equal(applied.kp, command.kp)
    np.testing.assert_array_equal(applied.kd, command.kd)
    np.testing.assert_array_equal(applied.torque, command.torque)


@in_exact_time
def test_effort_stays_within_its_limit(robot: Robot) -> None:
    """A hundredfold gain asks for more than the motors have, and does not get it."""
    limit = robot.spec.column("effort_max") * (1 + 1e-6)
    efforts = np.array([np.abs(state.effort) for state in strain(robot)])
    assert (efforts <= limit).all()
    assert efforts.max() > 0


@in_real_time
def test_effort_is_beyond_its_limit_where_a_motor_is_pushed_back_alone(robot: Robot) -> None:
    """It brakes with more than it has at rest; when one is pushed back depends on exact times."""
    rest, no_load = (robot.spec.column(name) for name in ("effort_max", "velocity_max"))
    efforts = []
    for state in strain(robot):
        pushed_back = np.maximum(-np.sign(state.effort) * state.velocity, 0)
        efforts.append(np.abs(state.effort))
        assert (efforts[-1] <= rest * (1 + pushed_back / no_load + 1e-6)).all()
    assert np.max(efforts) > 0


@in_simulation
def test_a_damping_command_lets_it_sink_without_exploding(robot: Robot) -> None:
    """No stiffness: it goes down, slowly, and stays a robot."""
    state = hold(robot, 1.0)
    start, fastest = motion(robot).position[2], 0.0
    damping = JointCommand.damping(state.position, robot.spec)
    for _ in range(50):
        state = hold(robot, 0.04, damping)
        fastest = max(fastest, float(np.abs(state.velocity).max()))
    assert motion(robot).position[2] < 0.8 * start
    assert state.is_finite()
    assert fastest < 10


@in_simulation
def test_disarm_takes_all_effort_away(robot: Robot) -> None:
    """From the next physics step on, and for good."""
    assert np.abs(hold(robot, 0.5).effort).max() > 0
    start = motion(robot).position[2]
    robot.disarm("test")
    robot.wait_until(robot.now() + PERIOD_NS)
    np.testing.assert_array_equal(robot.read().effort, 0)
    robot.wait_until(robot.now() + 50 * PERIOD_NS)
    assert motion(robot).position[2] < 0.8 * start


def test_disarm_forgets_a_command_that_is_still_under_way(robot: Robot) -> None:
    """What was written before is not applied after."""
    robot.write(JointCommand.towards(robot.spec.column("upper"), robot.spec))
    robot.disarm("test")
    robot.wait_until(robot.now() + 10 * PERIOD_NS)
    np.testing.assert_array_equal(robot.read().effort, 0)


def test_connecting_puts_no_effort_on_the_joints(robot: Robot) -> None:
    """Nothing moves because a process started."""
    robot.wait_until(robot.now() + 5 * PERIOD_NS)
    np.testing.assert_array_equal(robot.read().effort, 0)


def test_closing_disarms_and_may_be_repeated(robot: Robot) -> None:
    """A robot that is opened again is limp, whatever it did before."""
    hold(robot, 0.2)
    robot.close()
    robot.close()
    robot.connect()
    robot.wait_until(robot.now() + 5 * PERIOD_NS)
    np.testing.assert_array_equal(robot.read().effort, 0)


def test_a_with_block_connects_and_closes_whatever_happens(new_robot: NewRobot) -> None:
    """An exception in the loop still closes the robot."""
    robot = new_robot()
    with pytest.raises(ZeroDivisionError, match="in the loop"), robot:
        raise ZeroDivisionError(f"in the loop at {robot.read().stamp_ns}")
    with pytest.raises(NotConnectedError):
        robot.read()


@in_exact_time
def test_same_seed_and_commands_give_the_same_bits(new_robot: NewRobot) -> None:
    """Two robots, one seed: every reading equal to the last bit."""
    runs = []
    for _ in range(2):
        with new_robot() as robot:
            robot.place(np.random.default_rng(7))
            runs.append([numbers(state) for state in stir(robot, 0.5, seed=7)])
    for mine, yours in zip(*runs, strict=True):
        for left, right in zip(mine, yours, strict=True):
            np.testing.assert_array_equal(left, right)


@in_simulation
def test_placing_again_forgets_the_past(robot: Robot) -> None:
    """A servo's memory that survives would make episodes depend on each other."""
    runs = []
    for _ in range(2):
        robot.place(np.random.default_rng(7))
        runs.append([numbers(state) for state in stir(robot, 0.3, seed=7)])
    for mine, yours in zip(*runs, strict=True):
        for left, right in zip(mine, yours, strict=True):
            np.testing.assert_array_equal(left, right)


@in_simulation
def test_different_seeds_place_differently(robot: Robot) -> None:
    """The heading and the joints."""
    robot.place(np.random.default_rng(1))
    first, yaw = robot.read(), motion(robot).yaw
    robot.place(np.random.default_rng(2))
    assert abs(motion(robot).yaw - yaw) > 0.01
    assert np.abs(robot.read().position - first.position).max() > 0.001


@in_simulation
def test_placed_at_the_origin_near_the_stance_just_above_the_ground(robot: Robot) -> None:
    """An episode starts at rest, feet free, and lands at once."""
    hold(robot, 0.2)
    assert robot.place(np.random.default_rng(1))
    state = robot.read()
    np.testing.assert_allclose(motion(robot).position[:2], 0, atol=1e-6)
    np.testing.assert_allclose(state.position, robot.spec.column("stance"), atol=0.05)
    np.testing.assert_array_equal(state.velocity, 0)
    assert state.foot_contact is not None
    assert not state.foot_contact.any()
    after = hold(robot, 0.3)
    assert after.foot_contact is not None
    assert after.foot_contact.any()
