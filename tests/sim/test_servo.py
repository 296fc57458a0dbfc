from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import robots
from robots import JointCommand, JointSpec, RobotSpec, SimSpec
from sim.servo import Servo

SPEC = RobotSpec(
    name="two",
    joints=tuple(
        JointSpec(
            name=name,
            lower=-2.0,
            upper=2.0,
            stance=0.0,
            action_scale=1.0,
            effort_max=effort_max,
            velocity_max=velocity_max,
            kp=10.0,
            kd=1.0,
        )
        for name, effort_max, velocity_max in (("weak", 10.0, 20.0), ("strong", 40.0, 8.0))
    ),
)


def servo(*, position: float = 0.0, kp: float = 0.0, kd: float = 0.0, torque: float = 0.0) -> Servo:
    """Both joints under one command."""
    columns = (np.full(2, value, np.float32) for value in (position, kp, kd, torque))
    made = Servo(SPEC)
    made.command(
        JointCommand(**dict(zip(("position", "kp", "kd", "torque"), columns, strict=True)))
    )
    return made


def test_pd_torque_by_hand() -> None:
    """3·(0.5 - 0.1) - 0.2·2 + 0.6 = 1.4 N·m, far from any limit."""
    torque = servo(position=0.5, kp=3, kd=0.2, torque=0.6).torque(np.full(2, 0.1), np.full(2, 2.0))
    np.testing.assert_allclose(torque, [1.4, 1.4], rtol=1e-6)


@pytest.mark.parametrize(
    ("velocity", "driving"),
    [
        (0.0, [10, 40]),  # stall
        (2.0, [9, 30]),  # 10·(1 - 2/20), 40·(1 - 2/8)
        (4.0, [8, 20]),
        (8.0, [6, 0]),  # the strong joint's no-load speed
        (20.0, [0, 0]),
        (30.0, [0, 0]),  # faster than no-load: nothing left, and no reversal
    ],
)
def test_driving_torque_falls_on_a_line_to_no_load_speed(
    velocity: float, driving: list[float]
) -> None:
    """Stall torque at rest, nothing at no-load speed, straight between; the same both ways."""
    speed, zeros = np.full(2, velocity), np.zeros(2)
    np.testing.assert_allclose(servo(torque=1000).torque(zeros, speed), driving)
    np.testing.assert_allclose(servo(torque=-1000).torque(zeros, -speed), np.negative(driving))


@pytest.mark.parametrize("velocity", [0.0, 5.0, 20.0, 100.0])
def test_braking_keeps_the_full_torque(velocity: float) -> None:
    """A motor that is driven backwards can hold against it with all it has."""
    speed, zeros = np.full(2, velocity), np.zeros(2)
    np.testing.assert_allclose(servo(torque=-1000).torque(zeros, speed), [-10, -40])
    np.testing.assert_allclose(servo(torque=1000).torque(zeros, -speed), [10, 40])


@pytest.mark.parametrize(
    ("velocity", "driving"),
    [
        (0.0, [8, 32]),  # four fifths of the stall torque
        (4.0, [6, 12]),  # both lines keep their slopes, 0.5 and 5 N·m·s/rad
        (16.0, [0, 0]),  # four fifths of the first joint's no-load speed
    ],
)
def test_a_lower_supply_moves_the_line_down_and_keeps_its_slope(
    velocity: float, driving: list[float]
) -> None:
    """Torque at rest and speed without load are proportional to the voltage."""
    weak = Servo(msgspec.structs.replace(SPEC, sim=SimSpec(supply=0.8)))
    zero, rest, speed = np.zeros(2, np.float32), np.zeros(2), np.full(2, velocity)
    for sign in (1, -1):
        torque = np.full(2, sign * 1000, np.float32)
        weak.command(JointCommand(position=zero, kp=zero, kd=zero, torque=torque))
        np.testing.assert_allclose(weak.torque(rest, sign * speed), np.multiply(sign, driving))
        np.testing.assert_allclose(weak.torque(rest, -sign * speed), np.multiply(sign, [8, 32]))


@given(st.floats(-1.5, 1.5), st.floats(-7.4, 7.4))
def test_pup_has_a_servo_that_regulates_its_pulse_width(error: float, velocity: float) -> None:
    """Written down from the motor: duty from the position error, torque from voltage and back-EMF.

    Full voltage against the motion is held to the stall torque, by the current limit; beyond
    no-load speed, 7.46 rad/s at this supply, the line ends.
    """
    spec = robots.find("pup").spec
    joints, first = len(spec.joints), spec.joints[0]
    duty = np.clip(error / (885 / (800 / 128) * 2 * np.pi / 4096), -1, 1)
    stall = first.effort_max * spec.sim.supply
    back_emf = velocity * first.effort_max / first.velocity_max
    made = Servo(spec)
    made.command(JointCommand.towards(np.full(joints, error, np.float32), spec))
    np.testing.assert_allclose(
        made.torque(np.zeros(joints), np.full(joints, velocity)),
        np.clip(stall * duty - back_emf, -stall, stall),
        atol=0.01 * stall,
    )


def test_off_gives_nothing() -> None:
    """After off() neither error nor speed makes a torque, until the next command."""
    made = servo(position=1, kp=50, kd=5, torque=3)
    made.off()
    np.testing.assert_array_equal(made.torque(np.full(2, -1.0), np.full(2, 4.0)), 0)


def test_a_command_may_be_reused_by_its_writer() -> None:
    """The servo keeps its own copy."""
    command = JointCommand.towards(np.ones(2, np.float32), SPEC)
    made = Servo(SPEC)
    made.command(command)
    before = made.torque(np.zeros(2), np.zeros(2))
    command.position[:] = command.kp[:] = command.kd[:] = 99
    made.off()
    np.testing.assert_array_equal(before, [10, 10])
    np.testing.assert_array_equal(command.kp, 99)


FINITE = st.floats(-1e6, 1e6)


@given(*[FINITE] * 5, st.floats(0, 1e6))
def test_torque_never_leaves_its_limits(  # noqa: PLR0917 - one argument per strategy
    target: float, position: float, velocity: float, kd: float, torque: float, kp: float
) -> None:
    """Whatever is commanded, whatever the joint does."""
    made = servo(position=target, kp=kp, kd=kd, torque=torque)
    given_torque = made.torque(np.full(2, position), np.full(2, velocity))
    assert (np.abs(given_torque) <= [10, 40]).all()


@given(FINITE, st.floats(0, 1e3), st.floats(20, 1e6))
def test_nothing_drives_a_joint_beyond_its_no_load_speed(
    torque: float, kp: float, velocity: float
) -> None:
    """From no-load speed on, the torque can only brake."""
    made = servo(position=1, kp=kp, torque=torque)
    assert (made.torque(np.zeros(2), np.full(2, velocity)) <= 0).all()
    assert (made.torque(np.zeros(2), np.full(2, -velocity)) >= 0).all()
