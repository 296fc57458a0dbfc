from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robots import Guard, JointCommand, JointSpec, RobotSpec, RobotState, SafetyLimits
from robots.safety.guards import label
from robots.safety.limits import Limited, Limits, unusable
from robots.safety.sensor_watch import SensorWatch, StillWatch, age_s, unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

JOINT = JointSpec(
    name="knee",
    lower=-2.5,
    upper=-0.5,
    stance=-1.4,
    action_scale=0.4,
    effort_max=15.0,
    velocity_max=4.0,
    kp=30.0,
    kd=1.0,
)
SPEC = RobotSpec(
    name="pair", joints=(JOINT, msgspec.structs.replace(JOINT, name="other", velocity_max=0.5))
)
LIMITS = Limits(SPEC)
MS = 1_000_000
WHOLE: dict[str, list[float]] = {
    "position": [-1.4, -1.4],
    "kp": [30, 30],
    "kd": [1, 1],
    "torque": [0, 0],
}


def f4(*numbers: float) -> NDArray[np.float32]:
    """A float32 vector."""
    return np.array(numbers, np.float32)


def command(**parts: object) -> JointCommand:
    """A command to the stance with some parts changed."""
    usual: dict[str, Any] = {name: f4(*numbers) for name, numbers in WHOLE.items()}
    return JointCommand(**(usual | parts))


def held_to(command: JointCommand, previous: NDArray[np.float32], dt_s: float) -> Limited:
    """The command after the limits, with the joints in the middle of their ranges."""
    return LIMITS.apply(command, previous=previous, measured=f4(-1.5, -1.5), dt_s=dt_s)


def reading(**parts: Any) -> RobotState:  # noqa: ANN401 - fields of many types
    """A level robot at rest with some readings changed."""
    usual: dict[str, Any] = {
        "stamp_ns": 0,
        "position": f4(-1.4, -1.4),
        "velocity": f4(0, 0),
        "effort": f4(0, 0),
        "quaternion": f4(1, 0, 0, 0),
        "gyro": f4(0, 0, 0),
        "accelerometer": f4(0, 0, 9.81),
    }
    return RobotState(**(usual | parts))


def tilted(degrees: float, axis: int = 1, **parts: Any) -> RobotState:  # noqa: ANN401 - as above
    """A robot turned about its x (1), y (2) or z (3) axis."""
    half = math.radians(degrees) / 2
    quaternion = f4(math.cos(half), 0, 0, 0)
    quaternion[axis] = math.sin(half)
    return reading(quaternion=quaternion, **parts)


@pytest.mark.parametrize("part", ["position", "kp", "kd", "torque"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_one_number_that_is_none_spoils_a_command(part: str, number: float) -> None:
    """In whatever part and joint it stands."""
    assert unusable(command(**{part: f4(0.0, number)}), 2) is Guard.COMMAND_NOT_FINITE


@pytest.mark.parametrize("part", ["position", "kp", "kd", "torque"])
@pytest.mark.parametrize(
    "value",
    [f4(1), f4(1, 1, 1), f4(1, 1)[None], np.float32(1), np.array(["a", "b"]), np.array([None] * 2)],
    ids=["short", "long", "row", "scalar", "words", "nothing"],
)
def test_a_part_of_another_shape_or_kind_spoils_a_command(part: str, value: object) -> None:
    """A scalar would broadcast to every joint; it is refused, not guessed at."""
    assert unusable(command(**{part: value}), 2) is Guard.COMMAND_SHAPE


def test_a_finite_command_of_the_right_shape_may_be_used() -> None:
    """Far out of every limit, too: that is for the limits to say."""
    assert unusable(command(position=f4(3e38, -3e38)), 2) is Guard.NONE
    assert unusable(command(position=np.array([0, 1])), 2) is Guard.NONE


def test_limits_by_hand() -> None:
    """Slew 4.0·0.02 and 0.5·0.02 rad from the last target; 0.4 of what is left to -1.5 + 0.95."""
    held = held_to(command(position=f4(0, 0)), f4(-0.6, -1.4), 0.02)
    np.testing.assert_allclose(held.command.position, [-0.58, -1.39], rtol=1e-6)
    assert held.guards == Guard.SLEW_LIMIT | Guard.POSITION_LIMIT


def test_a_command_within_the_limits_passes_unchanged_and_unmarked() -> None:
    """Bit for bit."""
    asked = command(position=f4(-1.41, -1.39), torque=f4(-15, 15), kp=f4(0, 30), kd=f4(1, 0))
    held = held_to(asked, f4(-1.4, -1.4), 0.05)
    assert held.guards is Guard.NONE
    for part in ("position", "kp", "kd", "torque"):
        np.testing.assert_array_equal(getattr(held.command, part), getattr(asked, part))


@pytest.mark.parametrize(
    ("part", "asked", "allowed"),
    [
        ("kp", (30.5, -1), (30, 0)),
        ("kd", (-0.1, 2), (0, 1)),
        ("torque", (15.5, -99), (15, -15)),
    ],
)
def test_gains_and_torques_are_held(
    part: str, asked: tuple[float, ...], allowed: tuple[float, ...]
) -> None:
    """Gains between zero and robot.toml's, feed-forward within the stall torque."""
    held = held_to(command(**{part: f4(*asked)}), f4(-1.4, -1.4), 0.02)
    np.testing.assert_array_equal(getattr(held.command, part), allowed)
    assert held.guards is Guard.GAIN_LIMIT


@pytest.mark.parametrize("dt_s", [0.0, -0.02])
def test_no_time_allows_no_step(dt_s: float) -> None:
    """A clock that stands or runs backwards does not widen the slew limit."""
    held = held_to(command(position=f4(-1.0, -2.0)), f4(-1.4, -1.4), dt_s)
    np.testing.assert_array_equal(held.command.position, f4(-1.4, -1.4))
    np.testing.assert_array_equal(LIMITS.script(f4(-1.4, -1.4), f4(-1, -1), dt_s), f4(-1.4, -1.4))


def test_float64_commands_come_out_as_float32() -> None:
    """Numbers that float32 cannot hold are limited before they are narrowed."""
    huge = command(position=np.array([1e300, -1e300]), torque=np.array([1e300, 0.0]))
    held = held_to(huge, f4(-1.4, -1.4), 0.02)
    np.testing.assert_allclose(held.command.position, [-1.32, -1.41], rtol=1e-6)
    for part in ("position", "kp", "kd", "torque"):
        assert getattr(held.command, part).dtype == np.float32


finite = arrays.arrays(np.float32, 2, elements=st.floats(-(2.0**100), 2.0**100, width=32))
within = arrays.arrays(np.float32, 2, elements=st.floats(-2.4375, -0.5625, width=32))


@given(asked=finite, torque=finite, kp=finite, previous=within, dt_s=st.floats(0, 1))
def test_limited_commands_lie_within_every_bound(
    asked: NDArray[np.float32],
    torque: NDArray[np.float32],
    kp: NDArray[np.float32],
    previous: NDArray[np.float32],
    dt_s: float,
) -> None:
    """Whatever is asked: position, step, gains and torque at once."""
    held = held_to(command(position=asked, torque=torque, kp=kp), previous, dt_s).command
    lower, upper = SPEC.soft_limits()
    assert ((held.position >= lower) & (held.position <= upper)).all()
    step = np.abs(held.position.astype(float) - previous.astype(float))
    assert (step <= SPEC.column("velocity_max") * dt_s + 1e-6).all()
    assert ((held.kp >= 0) & (held.kp <= 30)).all()
    assert (np.abs(held.torque) <= 15).all()


def test_scripted_steps_keep_to_the_slower_of_ramp_speed_and_joint() -> None:
    """1.0 rad/s of robot.toml for the first joint, its own 0.5 rad/s for the second."""
    step = LIMITS.script(f4(-1.4, -1.4), f4(-2.0, -2.0), 0.1)
    np.testing.assert_allclose(step, [-1.5, -1.45], rtol=1e-6)


def test_a_scripted_move_from_outside_the_limits_goes_inwards_at_the_same_speed() -> None:
    """Clamping the first target would throw the joint to the limit at once."""
    step = LIMITS.script(f4(-0.3, -2.7), f4(-1.4, -1.4), 0.1)
    np.testing.assert_allclose(step, [-0.4, -2.65], rtol=1e-6)


def test_a_scripted_move_ends_on_the_goal() -> None:
    """To the last bit, so that arrival can be seen."""
    goal = f4(-1.2345678, -1.4)
    np.testing.assert_array_equal(LIMITS.script(f4(-1.3, -1.4), goal, 0.1), goal)


@pytest.mark.parametrize(
    "parts",
    [
        {"position": f4(math.nan, 0)},
        {"velocity": f4(0, math.inf)},
        {"effort": f4(math.nan, 0)},
        {"quaternion": f4(1, math.nan, 0, 0)},
        {"gyro": f4(0, 0, math.nan)},
        {"accelerometer": f4(-math.inf, 0, 0)},
        {"position": f4(0)},
        {"velocity": f4(0, 0, 0)},
        {"effort": np.float32(0)},
        {"quaternion": f4(0, 0, 0, 0)},
        {"quaternion": f4(0.5, 0, 0, 0)},
        {"quaternion": f4(1, 1, 1, 1)},
    ],
    ids=lambda parts: f"{next(iter(parts))} {np.ravel(next(iter(parts.values())))}",
)
def test_readings_that_sensors_cannot_have_made(parts: dict[str, Any]) -> None:
    """Not finite, a joint missing, or no attitude: all zeros would read as upright."""
    assert unreadable(reading(**parts), 2)
    assert SensorWatch(SPEC).judge(reading(**parts), 0).danger is Guard.STATE_NOT_FINITE


def test_ordinary_readings_are_readable() -> None:
    """Also with the rounding of a real attitude sensor."""
    assert not unreadable(reading(quaternion=f4(0.99, 0.05, -0.05, 0.05)), 2)


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        ((0.0, 0.0), 0.0),
        ((0.01, 0.03), 0.03),
        ((0.03, 0.01), 0.03),
        ((-0.5, -1.0), 0.0),
        ((math.nan, 0.0), math.inf),
        ((0.0, math.nan), math.inf),
        ((-math.inf, 0.0), math.inf),
        ((0.0, math.inf), math.inf),
    ],
)
def test_the_age_is_that_of_the_oldest_sensor(ages: tuple[float, float], expected: float) -> None:
    """What is no number is infinitely old; nothing is younger than now."""
    assert age_s(reading(joint_age_s=ages[0], imu_age_s=ages[1]), 0) == expected


def test_the_age_goes_on_after_the_reading() -> None:
    """A stamp of the future makes nothing younger."""
    assert age_s(reading(stamp_ns=5 * MS, joint_age_s=0.01), 25 * MS) == pytest.approx(0.03)
    assert age_s(reading(stamp_ns=25 * MS, joint_age_s=0.01), 5 * MS) == pytest.approx(0.01)


@pytest.mark.parametrize("sensor", ["joint_age_s", "imu_age_s"])
def test_stale_readings_are_doubted_at_40_ms_and_a_danger_at_100_ms(sensor: str) -> None:
    """The bounds belong to the worse side."""
    verdicts = [
        SensorWatch(SPEC).judge(reading(**{sensor: age}), 0) for age in (0.0399, 0.04, 0.0999, 0.1)
    ]
    stale, none = Guard.STALE_STATE, Guard.NONE
    assert verdicts == [(none, none), (none, stale), (none, stale), (stale, none)]


def test_a_reading_can_be_stale_and_not_finite_at_once() -> None:
    """Both are told."""
    both = SensorWatch(SPEC).judge(reading(gyro=f4(0, 0, math.nan), imu_age_s=math.nan), 0)
    assert both.danger == Guard.STATE_NOT_FINITE | Guard.STALE_STATE


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_tilt_fires_after_60_ms_beyond_60_degrees(axis: int, sign: int) -> None:
    """Roll and pitch, either way; not one millisecond sooner."""
    watch = SensorWatch(SPEC)
    fired = [watch.judge(tilted(61 * sign, axis, stamp_ns=t * MS), t * MS) for t in range(0, 80, 5)]
    assert [verdict.danger for verdict in fired] == [Guard.NONE] * 12 + [Guard.TILT] * 4


@pytest.mark.parametrize(("degrees", "axis"), [(59, 1), (-59, 2), (179, 3)])
def test_less_tilt_and_any_heading_are_fine(degrees: float, axis: int) -> None:
    """Turning on the spot is no tilt."""
    watch = SensorWatch(SPEC)
    for t in range(0, 1000, 20):
        assert watch.judge(tilted(degrees, axis, stamp_ns=t * MS), t * MS).danger is Guard.NONE


def test_one_upright_reading_starts_the_tilt_time_anew() -> None:
    """A stumble of 50 ms, and another one, are not 100 ms."""
    watch = SensorWatch(SPEC)
    for t in range(0, 300, 10):
        state = reading(stamp_ns=t * MS) if t % 60 == 0 else tilted(80, stamp_ns=t * MS)
        assert watch.judge(state, t * MS).danger is Guard.NONE


def test_still_means_slow_joints_and_a_slow_body_for_a_second() -> None:
    """Motion of either kind starts the second anew."""
    watch = StillWatch(SPEC)
    moving: dict[int, dict[str, Any]] = {
        500: {"gyro": f4(0.15, 0.15, 0)},
        1200: {"velocity": f4(0, -0.11)},
    }
    fired = [t for t in range(0, 2400, 20) if watch.fired(reading(**moving.get(t, {})), t * MS)]
    assert (fired[0], len(fired)) == (2220, 9)


@pytest.mark.parametrize("parts", [{"gyro": f4(math.nan, 0, 0)}, {"velocity": f4(math.nan, 0)}])
def test_what_is_no_number_is_not_still(parts: dict[str, Any]) -> None:
    """A comparison with NaN must not count as slow."""
    watch = StillWatch(SPEC)
    assert not any(watch.fired(reading(**parts), t * MS) for t in range(0, 3000, 100))


def test_thresholds_come_from_robot_toml() -> None:
    """Another robot, another patience."""
    limits = SafetyLimits(tilt_deg=20, tilt_s=0.01, stale_hold_s=0.2, stale_damp_s=0.5)
    watch = SensorWatch(msgspec.structs.replace(SPEC, safety=limits))
    watch.judge(tilted(25), 0)
    assert watch.judge(tilted(25), 10 * MS).danger is Guard.TILT
    assert watch.judge(reading(imu_age_s=0.19), 0) == (Guard.NONE, Guard.NONE)
    assert watch.judge(reading(imu_age_s=0.2), 0).doubt is Guard.STALE_STATE


def test_guards_are_one_bit_each_and_fit_a_transition() -> None:
    """float32 holds the mask exactly; the numbers are on disk, so they never change."""
    assert {guard.name: guard.value for guard in Guard} == {
        "COMMAND_NOT_FINITE": 1,
        "COMMAND_SHAPE": 2,
        "POSITION_LIMIT": 4,
        "SLEW_LIMIT": 8,
        "GAIN_LIMIT": 16,
        "STATE_NOT_FINITE": 32,
        "TILT": 64,
        "STALE_STATE": 128,
        "OPERATOR_STOP": 256,
        "DRIVER_ERROR": 512,
        "HARDWARE_ERROR": 1024,
        "LINK_LOST": 2048,
        "ESTOP": 4096,
        "OPERATOR_GONE": 8192,
        "OVERRUN": 16384,
        "EFFORT": 32768,
        "OVERSPEED": 65536,
        "TEMPERATURE": 131072,
        "VOLTAGE": 262144,
        "ENCODER_JUMP": 524288,
        "STUCK": 1048576,
        "FROZEN_COMMAND": 2097152,
    }
    assert sum(Guard) < 2**24


def test_labels_name_every_guard_of_a_mask() -> None:
    """As logs and reports show them."""
    assert label(Guard.TILT | Guard.COMMAND_SHAPE) == "command_shape+tilt"
    assert label(Guard.NONE) == "no guard"
