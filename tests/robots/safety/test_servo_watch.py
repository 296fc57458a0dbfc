"""Torque, speed and obedience of the joints, judged reading by reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from robots import Guard, JointSpec, RobotSpec, RobotState
from robots.safety.servo_watch import ServoWatch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from robots.safety.guards import Alarm

JOINT = JointSpec(
    name="hip",
    lower=-1.0,
    upper=1.0,
    stance=0.0,
    action_scale=0.4,
    effort_max=10.0,
    velocity_max=6.0,
    effort_continuous=5.0,
    kp=30.0,
    kd=1.0,
)
SPEC = RobotSpec(
    name="pair",
    joints=(JOINT, msgspec.structs.replace(JOINT, name="knee", effort_continuous=None)),
)
MS = 1_000_000
REST = np.zeros(2, np.float32)


def f4(*numbers: float) -> NDArray[np.float32]:
    """A float32 vector."""
    return np.array(numbers, np.float32)


def reading(at_ms: int, **parts: Any) -> RobotState:  # noqa: ANN401 - fields of many types
    """A reading whose velocities have noise that never repeats, unless they are given."""
    usual: dict[str, Any] = {
        "position": REST,
        "velocity": f4(1e-4, 1e-4) * np.float32(1 + at_ms % 997),
        "effort": REST,
        "quaternion": f4(1, 0, 0, 0),
        "gyro": f4(0, 0, 0),
        "accelerometer": f4(0, 0, 9.81),
    }
    return RobotState(stamp_ns=at_ms * MS, **(usual | parts))


def first(
    readings: Iterable[RobotState], targets: Iterable[NDArray[np.float32]] | None = None
) -> tuple[int, Alarm] | None:
    """When, in ms, and what the first alarm was."""
    watch = ServoWatch(SPEC)
    targets = iter(targets) if targets is not None else None
    for state in readings:
        alarms = watch.judge(state, REST if targets is None else next(targets))
        if alarms:
            return state.stamp_ns // MS, alarms[0]
    return None


def every_20_ms(count: int, **parts: Any) -> list[RobotState]:  # noqa: ANN401 - as above
    """As many readings that are alike."""
    return [reading(20 * number, **parts) for number in range(count)]


@pytest.mark.parametrize(
    ("parts", "guard", "words"),
    [
        ({"effort": f4(0, -12.1)}, Guard.EFFORT, "knee has 12.1 N·m, twice in a row"),
        ({"velocity": f4(7.9, 0)}, Guard.OVERSPEED, "hip has 7.9 rad/s, twice in a row"),
    ],
)
def test_two_samples_beyond_the_peak_damp(parts: dict[str, Any], guard: Guard, words: str) -> None:
    """Named are joint and number; the samples differ, as real ones do."""
    noise = {**parts, "position": f4(1e-3, 1e-3)}
    found = first([reading(0), reading(20, **parts), reading(40, **noise), reading(60)])
    assert found == (40, (guard, words, True))


@pytest.mark.parametrize("parts", [{"effort": f4(0, 12.1)}, {"velocity": f4(-7.9, 0)}])
def test_one_sample_alone_or_repeated_is_no_peak(parts: dict[str, Any]) -> None:
    """A joint that did not answer repeats its last sample, a bad one too."""
    turned = {"position": f4(-0.1, 0)} | parts
    assert first([reading(0), reading(20, **turned), reading(40), reading(60, **turned)]) is None
    same = {"velocity": f4(0.1, 0.1)} | parts
    assert first([reading(0), *(reading(ms, **same) for ms in (20, 40, 60))]) is None


def test_the_peaks_themselves_are_allowed() -> None:
    """1.2 times the stall torque, 1.3 times the no-load speed."""
    parts = {"effort": f4(0, 12.0), "velocity": f4(7.79, 0)}
    assert first(reading(20 * n, position=f4(1e-3 * n, 0), **parts) for n in range(50)) is None


def test_a_torque_above_80_percent_of_the_continuous_one_sits_after_a_while() -> None:
    """Root mean square with 1 s time constant: 8 N·m against 4 take 1 s · ln(4/3)."""
    found = first(every_20_ms(100, effort=f4(-8.0, 0)))
    assert found is not None
    at_ms, (guard, words, damp) = found
    assert at_ms == pytest.approx(1000 * np.log(4 / 3), abs=21)
    assert (guard, damp) == (Guard.EFFORT, False)
    assert words.startswith("hip has given 4.")


def test_less_torque_for_ever_and_more_in_strokes_are_fine() -> None:
    """What counts is the mean square; a joint without the number has no bound."""
    assert first(every_20_ms(2000, effort=f4(3.9, 9.9))) is None
    strokes = (reading(20 * n, effort=f4(9.0 if n % 10 == 0 else 0.5, 0)) for n in range(2000))
    assert first(strokes) is None


def test_a_blocked_joint_sits_after_300_ms() -> None:
    """Far from its target, pushing hard, not moving."""
    targets = [f4(0, 0.31)] * 100
    found = first(every_20_ms(100, effort=f4(0, 7.1)), targets)
    assert found is not None
    at_ms, alarm = found
    assert at_ms == 300
    assert alarm == (Guard.STUCK, "knee is at 0.00 rad with its target at 0.31", False)


@pytest.mark.parametrize(
    ("error", "effort", "speed"),
    [(0.3, 7.1, 0.0), (0.31, 6.9, 0.0), (0.9, 7.1, 0.3)],
    ids=["near", "soft", "moving"],
)
def test_a_joint_that_is_near_soft_or_moving_is_not_blocked(
    error: float, effort: float, speed: float
) -> None:
    """One of the three is enough."""
    readings = [
        reading(20 * n, position=f4(0, speed * 0.02 * n), effort=f4(0, effort)) for n in range(40)
    ]
    targets = [state.position + f4(0, error) for state in readings]
    assert first(readings, targets) is None


def test_a_joint_blocked_in_strokes_is_not_blocked() -> None:
    """The 300 ms are in a row."""
    readings = [reading(20 * n, effort=f4(0, 7.1 if n % 12 else 0.0)) for n in range(100)]
    assert first(readings, [f4(0, 0.5)] * 100) is None


def test_a_reading_that_does_not_change_while_the_target_moves_is_found_in_300_ms() -> None:
    """A joint that answers with the same position and velocity: a walk would hide it else."""
    readings = [reading(20 * n, velocity=f4(1e-3 * n, 0.0)) for n in range(100)]
    targets = [f4(0, 0.2 * np.sin(2 * np.pi * 2.5 * 0.02 * n)) for n in range(100)]
    found = first(readings, targets)
    assert found is not None
    assert found[0] == 300
    assert found[1].guard is Guard.STUCK
    assert found[1].words.startswith("knee is at 0.00 rad")


def test_a_joint_that_holds_a_target_may_read_the_same_for_ever() -> None:
    """Quantised readings of a joint at rest; also while its target trembles."""
    readings = every_20_ms(500, velocity=REST)
    assert first(readings, [f4(0, 0.07 * (-1) ** n) for n in range(500)]) is None


def test_a_position_that_does_not_change_while_the_joint_turns_is_found() -> None:
    """Its velocity says that it has gone 0.3 rad; either way, and at once."""
    readings = [reading(20 * n, velocity=f4(0, 2.0 * (-1) ** n)) for n in range(100)]
    found = first(readings)
    assert found is not None
    assert (found[0], found[1].guard) == (160, Guard.STUCK)


@pytest.mark.parametrize("velocity", [0.15, -0.15])
def test_the_noise_of_a_velocity_is_no_motion(velocity: float) -> None:
    """Serial servos flicker by some hundredths while they stand."""
    readings = [reading(20 * n, velocity=f4(0, velocity + 1e-3 * (n % 2))) for n in range(500)]
    assert first(readings) is None


def test_one_changed_bit_is_a_joint_that_lives() -> None:
    """In position or in velocity."""
    readings = [
        reading(20 * n, velocity=f4(0, 0.023 if n % 14 == 0 else 0.0), position=f4(n * 1e-3, 0))
        for n in range(200)
    ]
    assert first(readings, [f4(0, 0.2 * (-1) ** n) for n in range(200)]) is None


def test_forgetting_starts_anew() -> None:
    """Nothing of the last run counts: not the mean, not the peak, not the blocked time."""
    watch = ServoWatch(SPEC)
    parts = {"effort": f4(8.0, 12.1), "velocity": f4(0, 7.9)}
    for number in range(2):
        assert not watch.judge(reading(20 * number, **parts), REST)
    for number in range(2, 14):
        assert not watch.judge(reading(20 * number, effort=f4(7.9, 7.9)), f4(0.5, 0.5))
    watch.forget()
    for number in range(14, 28):
        assert not watch.judge(reading(20 * number, effort=f4(7.9, 7.9)), f4(0.5, 0.5))


def test_a_reading_judged_twice_counts_once() -> None:
    """The same stamp is the same reading."""
    watch = ServoWatch(SPEC)
    watch.judge(reading(0), REST)
    twice = reading(20, effort=f4(0, 12.1)), reading(20, effort=f4(0, 12.2))
    assert not any(watch.judge(state, REST) for state in twice)


def test_wild_numbers_do_not_overflow() -> None:
    """Finite and absurd: they fire, and no warning is raised."""
    wild = f4(3.4e38, -3.4e38)
    readings = [
        reading(20 * n, position=wild * (-1) ** n, velocity=wild, effort=wild) for n in range(40)
    ]
    assert first(readings) is not None
