from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

import robots
from robots import BaseMotion, JointCommand, LegOdometry, Legs, RobotSpecError
from sim.mujoco_robot import MujocoRobot, load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from robots import RobotState

    Array = NDArray[np.float64]
    Feet = Callable[[float], Array]

WALKERS = ("pup", "go2")
DT_S = 0.05


def stance(name: str) -> Array:
    """Where the feet stand (L, 3), m."""
    spec = robots.find(name).spec
    legs = Legs(spec)
    return legs.feet(spec.column("stance").astype(np.float64)[legs.joints])


def trot(name: str) -> Feet:
    """Diagonal pairs in turn, three times a second: sweep back on the ground, lift, come forward.

    Without feedback, go2 rocks and so walks backwards on it; odometry has to tell.
    """
    home, phases = stance(name), np.array([0.0, 0.5, 0.5, 0.0])
    stride_m, lift_m = {"pup": (0.044, 0.029), "go2": (0.05, 0.065)}[name]

    def feet(time_s: float) -> Array:
        phase = (time_s * 3.0 + phases) % 1.0
        swing = phase >= 0.5
        part = np.where(swing, 2 * phase - 1, 2 * phase)
        where = home.copy()
        where[:, 0] += stride_m * np.where(swing, part - 0.5, 0.5 - part)
        where[:, 2] += np.where(swing, lift_m * np.sin(np.pi * part), 0.0)
        return where

    return feet


def drive(
    robot: MujocoRobot, feet: Feet, seconds: float, *, dt_s: float = DT_S
) -> Iterator[tuple[RobotState, BaseMotion]]:
    """Let the feet follow a path in the base frame; a reading and the truth after every step."""
    spec = robot.spec
    legs = Legs(spec)
    start = robot.now()
    yield robot.read(), robot.base_motion()
    for tick in range(round(seconds / dt_s)):
        target = spec.column("stance")
        target[legs.joints] = legs.angles(feet((tick + 1) * dt_s))
        robot.write(JointCommand.towards(target, spec))
        robot.wait_until(start + round((tick + 1) * dt_s * 1e9))
        yield robot.read(), robot.base_motion()


def standing(name: str) -> MujocoRobot:
    """A robot that has stood for a while."""
    robot = MujocoRobot(robots.find(name))
    robot.connect()
    home = stance(name)
    for _ in drive(robot, lambda _: home, 1.0):
        pass
    return robot


def velocities(
    odometry: LegOdometry, readings: Iterator[tuple[RobotState, BaseMotion]], dt_s: float = DT_S
) -> tuple[Array, Array]:
    """Estimated and true mean velocities of every step (T, 3), m/s, in the world's directions."""
    pairs = [(odometry.update(state, dt_s).position, true.position) for state, true in readings]
    estimated, true = np.diff(np.array(pairs, dtype=np.float64), axis=0).transpose(1, 0, 2) / dt_s
    return estimated, true


def rms(error: Array) -> Array:
    """Root mean square over time."""
    found: Array = np.sqrt(np.mean(error**2, axis=0))
    return found


@pytest.mark.parametrize("name", WALKERS)
def test_standing_still_is_no_motion(name: str) -> None:
    """Two seconds in the stance: not a millimetre."""
    robot, odometry, home = standing(name), LegOdometry(robots.find(name).spec), stance(name)
    for state, _ in drive(robot, lambda _: home, 2.0):
        found = odometry.update(state, DT_S)
        np.testing.assert_allclose(found.velocity, 0, atol=2e-3)
    np.testing.assert_allclose(found.position, 0, atol=1e-3)
    assert found.yaw == pytest.approx(robot.base_motion().yaw, abs=1e-3)
    assert found.source == "leg odometry"


def test_the_same_reading_again_is_exactly_no_motion() -> None:
    """Zero, not nearly zero."""
    state, odometry = standing("pup").read(), LegOdometry(robots.find("pup").spec)
    for _ in range(5):
        found = odometry.update(state, DT_S)
    np.testing.assert_array_equal(found.velocity, 0)
    np.testing.assert_array_equal(found.position, 0)


@pytest.mark.parametrize("name", WALKERS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_body_that_sways_over_its_feet_is_followed(name: str, axis: int) -> None:
    """Forward, left or up, all feet planted: to a tenth, rolling of the soles included."""
    robot, odometry, home = standing(name), LegOdometry(robots.find(name).spec), stance(name)
    reach = 0.15 * -home[0, 2]
    sway = np.eye(3)[axis] * reach

    def feet(time_s: float) -> Array:
        low: Array = home - sway * (1 - math.cos(2 * math.pi * time_s)) / 2
        return low

    estimated, true = velocities(odometry, drive(robot, feet, 2.0))
    assert rms(true)[axis] > 1.5 * reach
    assert (rms(estimated - true) < 0.1 * rms(true)[axis]).all()


@pytest.mark.parametrize("name", WALKERS)
def test_an_open_loop_trot_is_followed(name: str) -> None:
    """Two feet stand, two swing: the velocity of every step to a fifth, the way to a tenth."""
    robot, odometry = standing(name), LegOdometry(robots.find(name).spec)
    estimated, true = velocities(odometry, drive(robot, trot(name), 3.0))
    speed = abs(true[:, 0].mean())
    assert speed > 0.15
    assert rms(estimated - true)[0] < 0.2 * speed
    assert estimated[:, 0].sum() == pytest.approx(true[:, 0].sum(), rel=0.1)


@pytest.mark.parametrize("dt_s", [0.02, 0.01])
def test_faster_loops_are_followed_as_well(dt_s: float) -> None:
    """How much a foot counts does not hang on the rate."""
    robot, odometry = standing("pup"), LegOdometry(robots.find("pup").spec)
    estimated, true = velocities(odometry, drive(robot, trot("pup"), 3.0, dt_s=dt_s), dt_s)
    assert rms(estimated - true)[0] < 0.2 * true[:, 0].mean()
    assert estimated[:, 0].sum() == pytest.approx(true[:, 0].sum(), rel=0.1)


def test_noise_of_encoders_and_attitude_leaves_the_way_right() -> None:
    """Positions in counts of 4096, torques and attitude with noise: no bias, a little jitter."""
    robot, odometry = standing("pup"), LegOdometry(robots.find("pup").spec)
    rng, count = np.random.default_rng(0), 2 * np.pi / 4096

    def noisy() -> Iterator[tuple[RobotState, BaseMotion]]:
        for state, true in drive(robot, trot("pup"), 4.0):
            quaternion = state.quaternion + rng.normal(0, 0.002, 4).astype(np.float32)
            yield (
                replace(
                    state,
                    position=(np.round(state.position / count) * count).astype(np.float32),
                    effort=state.effort + rng.normal(0, 0.05, 12).astype(np.float32),
                    quaternion=quaternion / np.linalg.norm(quaternion),
                ),
                true,
            )

    estimated, true = velocities(odometry, noisy())
    assert rms(estimated - true)[0] < 0.1
    assert estimated[:, 0].sum() == pytest.approx(true[:, 0].sum(), rel=0.15)


def test_a_push_from_the_side_is_felt_through_planted_feet() -> None:
    """8 N for 0.2 s on a robot that stands: how it sways and comes back."""
    robot, odometry, home = standing("pup"), LegOdometry(robots.find("pup").spec), stance("pup")
    base = robot.model.body("base").id

    def pushed() -> Iterator[tuple[RobotState, BaseMotion]]:
        for tick, reading in enumerate(drive(robot, lambda _: home, 1.0)):
            robot.data.xfrc_applied[base, 1] = 8.0 if 2 <= tick < 6 else 0.0
            yield reading

    estimated, true = velocities(odometry, pushed())
    assert np.abs(true[:, 1]).max() > 0.02
    assert rms(estimated - true)[1] < 0.15 * rms(true)[1]


def test_a_leg_that_waves_while_three_stand_moves_nothing() -> None:
    """The foot in the air is high and goes elsewhere than the base did."""
    robot, home = standing("pup"), stance("pup")
    centre = home.copy()
    centre[:, :2] += [0.02, 0.015]  # the body leans away from the leg that is lifted

    def lean(time_s: float) -> Array:
        return home + min(time_s, 1.0) * (centre - home)

    def wave(time_s: float) -> Array:
        feet = centre.copy()
        feet[1, 2] += 0.03 * min(4 * time_s, 1.0)
        feet[1, 0] += 0.03 * math.sin(2 * math.pi * time_s)
        return feet

    for _ in drive(robot, lean, 1.5):
        pass
    odometry = LegOdometry(robot.spec)
    estimated, true = velocities(odometry, drive(robot, wave, 3.0))
    assert rms(estimated - true)[0] < 0.02
    assert abs((estimated - true)[:, 0].mean()) < 0.005


def sliding(speed: float, ticks: int) -> list[RobotState]:
    """Readings of a robot whose base goes forward over planted feet, torques as in the stance."""
    robot, home = standing("pup"), stance("pup")
    legs, start, states = Legs(robot.spec), robot.read(), []
    for tick in range(ticks):
        position = start.position.copy()
        position[legs.joints] = legs.angles(home - [speed * DT_S * tick, 0, 0])
        states.append(replace(start, position=position))
    return states


def test_a_robot_that_falls_freely_keeps_its_velocity_and_lets_it_decay() -> None:
    """Nothing is felt by the accelerometer: by 1/e in half a second, whatever the legs do."""
    odometry = LegOdometry(robots.find("pup").spec)
    states = sliding(0.2, 6)
    *_, before = (odometry.update(state, DT_S) for state in states)
    assert before.velocity[0] == pytest.approx(0.2, rel=0.1)
    weightless = np.array([0.1, 0.2, 0.3], np.float32)
    falling = [replace(state, accelerometer=weightless) for state in states[:5] * 2]
    found = [odometry.update(state, DT_S) for state in falling]
    np.testing.assert_allclose(found[-1].velocity, before.velocity * math.exp(-1), rtol=1e-4)
    way = found[-1].position[0] - before.position[0]
    assert way == pytest.approx(0.5 * before.velocity[0] * (1 - math.exp(-1)), rel=0.1)


def test_a_robot_that_is_held_up_comes_to_rest_whatever_its_legs_do() -> None:
    """No leg carries anything for three seconds: swinging them is no walking."""
    odometry = LegOdometry(robots.find("pup").spec)
    states = sliding(0.2, 6)
    swing = [*states, *states[-2:0:-1]]
    limp = [replace(state, effort=np.zeros(12, np.float32)) for state in swing]
    speeds = [abs(odometry.update(limp[k % 10], DT_S).velocity[0]) for k in range(100)]
    assert max(speeds[:10]) > 0.15
    assert max(speeds[-20:]) < 0.02
    assert speeds[-1] < speeds[-20]


@pytest.mark.parametrize(("share", "stands"), [(0.12, True), (0.09, False)])
def test_a_tenth_of_the_weight_on_the_legs_is_standing(share: float, *, stands: bool) -> None:
    """Torques of the stance, which carry all but the calves, in part: which side of the border."""
    odometry = LegOdometry(robots.find("pup").spec)
    states = [replace(state, effort=state.effort * share) for state in sliding(0.2, 6)]
    for _ in range(200):
        odometry.update(states[0], DT_S)
    *_, last = (odometry.update(state, DT_S) for state in states)
    assert last.velocity[0] == pytest.approx(0.2 if stands else 0.0, abs=0.02)


def test_a_robot_that_is_put_down_again_walks_on() -> None:
    """Load on the legs counts again, after a while."""
    odometry = LegOdometry(robots.find("pup").spec)
    states = sliding(0.2, 6)
    for _ in range(80):
        odometry.update(replace(states[0], effort=np.zeros(12, np.float32)), DT_S)
    for _ in range(10):
        odometry.update(states[0], DT_S)
    *_, last = (odometry.update(state, DT_S) for state in states)
    assert last.velocity[0] == pytest.approx(0.2, rel=0.1)


@pytest.mark.parametrize("field", ["position", "effort", "quaternion", "gyro"])
def test_a_reading_that_is_no_number_is_passed_over(field: str) -> None:
    """The velocity decays for a step or two, and nothing that is not a number ever comes out."""
    odometry = LegOdometry(robots.find("pup").spec)
    states = sliding(0.2, 9)
    for state in states[:6]:
        before = odometry.update(state, DT_S)
    bad = getattr(states[6], field).copy()
    bad[0] = np.nan
    found = [odometry.update(replace(states[6], **{field: bad}), DT_S)]
    found += [odometry.update(state, DT_S) for state in states[7:]]
    for motion in found:
        assert np.isfinite([*motion.position, *motion.velocity, motion.yaw]).all()
    assert 0.7 * before.velocity[0] < found[0].velocity[0] < before.velocity[0]
    assert found[-1].velocity[0] == pytest.approx(0.2, rel=0.1)


def test_a_lost_reading_is_bridged_and_forgotten() -> None:
    """The base goes on at nearly its speed, to where the next reading finds it after both steps."""
    spec, states = robots.find("pup").spec, sliding(0.2, 9)
    whole, lossy = LegOdometry(spec), LegOdometry(spec)
    for state in states[:6]:
        before = lossy.update(state, DT_S)
        assert whole.update(state, DT_S) == before
    stale = replace(states[6], position=states[5].position)
    bridged, truth = lossy.predict(stale, DT_S), whole.update(states[6], DT_S)
    step = truth.position[0] - before.position[0]
    assert bridged.position[0] - before.position[0] == pytest.approx(step, rel=0.1)
    assert lossy.predict(stale, DT_S) == bridged
    after, truth = lossy.update(states[7], 2 * DT_S), whole.update(states[7], DT_S)
    np.testing.assert_allclose(after.position, truth.position, atol=1e-4)
    assert after.position[0] - bridged.position[0] == pytest.approx(step, rel=0.1)


def test_a_bridge_turns_with_the_imu_and_ends_somewhere() -> None:
    """Heading is measured still; a velocity that nothing measures leads no further than 0.5 s."""
    odometry, states = LegOdometry(robots.find("pup").spec), sliding(0.2, 6)
    for state in states:
        last = odometry.update(state, DT_S)
    left = np.array([math.sqrt(0.5), 0, 0, math.sqrt(0.5)], np.float32)
    found = odometry.predict(replace(states[5], quaternion=left), 60.0)
    assert found.yaw == pytest.approx(math.pi / 2, abs=1e-6)
    assert found.position[0] - last.position[0] == pytest.approx(0.5 * last.velocity[0], rel=1e-3)
    np.testing.assert_allclose(found.velocity, 0, atol=1e-6)
    blind = odometry.predict(replace(states[5], quaternion=left * np.nan), 0.0)
    assert blind == last


def test_straight_legs_are_no_error() -> None:
    """At zero, where a bus may well start, no torque tells of the force along the leg."""
    odometry = LegOdometry(robots.find("pup").spec)
    straight = replace(standing("pup").read(), position=np.zeros(12, np.float32))
    for _ in range(100):
        found = odometry.update(straight, DT_S)
    np.testing.assert_array_equal(found.velocity, 0)
    np.testing.assert_array_equal(found.position, 0)


def test_no_time_is_no_motion() -> None:
    """Two readings of one instant divide nothing by zero."""
    odometry = LegOdometry(robots.find("pup").spec)
    for state in sliding(0.2, 3):
        found = odometry.update(state, 0.0)
    np.testing.assert_array_equal(found.position, 0)
    np.testing.assert_array_equal(found.velocity, 0)


def test_velocity_is_told_in_the_body_frame_and_position_in_the_world() -> None:
    """A robot that faces left, world y, and goes forward."""
    odometry = LegOdometry(robots.find("pup").spec)
    left = np.array([math.sqrt(0.5), 0, 0, math.sqrt(0.5)], np.float32)
    *_, found = (
        odometry.update(replace(state, quaternion=left), DT_S) for state in sliding(0.2, 6)
    )
    np.testing.assert_allclose(found.velocity, [0.2, 0, 0], atol=0.02)
    np.testing.assert_allclose(found.position, [0, 0.05, 0], atol=0.005)
    assert found.yaw == pytest.approx(math.pi / 2, abs=1e-6)


def test_reset_starts_at_the_origin_at_rest() -> None:
    """As a new one does, to the last bit."""
    states, spec = sliding(0.2, 6), robots.find("pup").spec
    used, new = LegOdometry(spec), LegOdometry(spec)
    for state in states:
        used.update(replace(state, effort=-state.effort), DT_S)
    used.reset()
    for state in states:
        assert used.update(state, DT_S) == new.update(state, DT_S)


def test_a_robot_without_mass_or_legs_is_refused() -> None:
    """With what robot.toml should have."""
    spec = robots.find("pup").spec
    with pytest.raises(RobotSpecError, match=r"pup: robot.toml has no mass; expected .* kg"):
        LegOdometry(msgspec.structs.replace(spec, mass=None))
    with pytest.raises(RobotSpecError, match=r"no \[\[legs\]\]"):
        LegOdometry(msgspec.structs.replace(spec, legs=()))


@pytest.mark.parametrize("name", WALKERS)
def test_masses_are_those_of_the_models(name: str) -> None:
    """What the load on the feet is compared with."""
    folder = robots.find(name)
    assert folder.spec.mass == pytest.approx(load_model(folder).body_mass.sum(), rel=1e-3)
