from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

import robots
from robosac.tasks import Observer, Tick, Walk, WalkConfig
from robots import BaseMotion, RobotState

CONFIG = WalkConfig(
    control_hz=25.0,
    episode_s=8.0,
    forward_mps=0.5,
    lateral_weight=0.3,
    yaw_weight=0.2,
    upright_weight=0.4,
    smooth_weight=2.0,
    velocity_scale=0.1,
)
"""Numbers of this test; those of the recipe may change."""


def tick(
    x: float = 0.0,
    y: float = 0.0,
    *,
    yaw: float = 0.0,
    roll: float = 0.0,
    action: tuple[float, ...] = (0.0, 0.0),
    effort: tuple[float, ...] = (0.0, 0.0),
) -> Tick:
    """A robot of two joints that lies at (x, y), heads for yaw and is rolled over."""
    return Tick(
        state=RobotState(
            stamp_ns=0,
            position=np.array([0.1, -0.2], np.float32),
            velocity=np.array([3.0, -4.0], np.float32),
            effort=np.array(effort, np.float32),
            quaternion=np.array([math.cos(roll / 2), math.sin(roll / 2), 0, 0], np.float32),
            gyro=np.array([0.4, 0.5, 0.6], np.float32),
            accelerometer=np.array([0, 0, 9.81], np.float32),
        ),
        motion=BaseMotion(
            position=np.array([x, y, 0.3], np.float32),
            velocity=np.array([0.7, 0.8, 0.9], np.float32),
            yaw=yaw,
            source="truth",
        ),
        action=np.array(action, np.float32),
        dt_s=0.04,
    )


def reward(before: Tick, after: Tick, **numbers: float) -> dict[str, float]:
    """Rewards of one step under CONFIG with some numbers changed."""
    return Walk(msgspec.structs.replace(CONFIG, **numbers)).rewards(before, after)


@pytest.mark.parametrize(
    ("metres", "expected"),
    [(0.02, 1.0), (0.01, 0.5), (0.0, 0.0), (-0.02, -1.0), (0.03, 0.5), (0.06, -1.0)],
)
def test_forward_is_1_at_the_command_and_0_at_rest(metres: float, expected: float) -> None:
    """0.5 m/s for 40 ms are 20 mm; slower, faster and backwards cost the same per m/s."""
    assert reward(tick(), tick(metres))["forward"] == pytest.approx(expected, abs=1e-6)


def test_costs_by_hand() -> None:
    """-0.3·0.25 m/s sideways, -0.2·0.5 rad/s, -0.4·(1 - cos 60°), -2·(0.04 + 0.16)/2."""
    after = tick(0.02, -0.01, yaw=-0.02, roll=math.pi / 3, action=(0.2, -0.4))
    assert reward(tick(), after) == pytest.approx(
        {
            "forward": 1.0,
            "lateral": -0.075,
            "yaw": -0.1,
            "upright": -0.2,
            "smooth": -0.2,
            "effort": 0.0,
            "alive": 0.0,
        },
        abs=1e-6,
    )


def test_smoothness_is_about_the_change_not_the_action() -> None:
    """An action that stays costs nothing."""
    same = (0.9, -0.9)
    assert reward(tick(action=same), tick(action=same))["smooth"] == 0
    turned = reward(tick(action=(1, 1)), tick(action=(-1, -1)))["smooth"]
    assert turned == pytest.approx(-2.0 * 4.0)


def test_the_heading_does_not_matter() -> None:
    """The reward is the same wherever the robot faces."""
    east = reward(tick(), tick(0.02, 0.005, yaw=0.02))
    north = reward(tick(yaw=math.pi / 2), tick(-0.005, 0.02, yaw=math.pi / 2 + 0.02))
    assert east == pytest.approx(north, abs=1e-5)


@pytest.mark.parametrize("speed", np.linspace(-3, 3, 13))
def test_no_step_earns_more_than_1(speed: float) -> None:
    """What is best is upright, straight and at the command."""
    terms = reward(tick(), tick(0.04 * speed, 0.01 * speed, roll=speed / 3, yaw=speed / 9))
    assert sum(terms.values()) <= 1 + 1e-6
    assert all(value <= 1e-6 for name, value in terms.items() if name != "forward")


def test_without_odometry_there_is_no_motion_to_reward() -> None:
    """The other terms stay."""
    blind = Tick(state=tick().state, motion=None, action=tick().action, dt_s=0.04)
    terms = reward(blind, blind)
    assert (terms["forward"], terms["lateral"], terms["yaw"]) == pytest.approx((0, 0, 0))


def test_the_actor_observes_what_is_measured_on_board() -> None:
    """Gravity, gyro/4, positions, scaled velocities, last action, command, in this order."""
    task = Walk(CONFIG)
    spec = robots.find("go2").spec
    two = msgspec.structs.replace(spec, joints=spec.joints[:2])
    obs = Observer(task.actor_terms(two)).observe(task.readings(tick(action=(0.6, -0.7))))
    expected = [0, 0, -1, 0.1, 0.125, 0.15, 0.1, -0.2, 0.3, -0.4, 0.6, -0.7, 0.5]
    np.testing.assert_allclose(obs, expected, rtol=1e-6)


def test_the_critic_observes_the_true_velocity() -> None:
    """Zeros where nobody knows it."""
    task, spec = Walk(CONFIG), robots.find("go2").spec
    extra = Observer(task.critic_terms(spec))
    np.testing.assert_allclose(extra.observe(task.readings(tick())), [0.7, 0.8, 0.9], rtol=1e-6)
    blind = Tick(state=tick().state, motion=None, action=tick().action, dt_s=0.04)
    np.testing.assert_array_equal(extra.observe(task.readings(blind)), 0)


@pytest.mark.parametrize("robot", robots.names())
def test_terms_fit_every_robot(robot: str) -> None:
    """Three terms with one number per joint; no term of the actor needs a simulator."""
    spec = robots.find(robot).spec
    task = Walk(CONFIG)
    sizes = {term.name: term.size for term in task.actor_terms(spec)}
    joints = len(spec.joints)
    assert [name for name, size in sizes.items() if size == joints] == [
        "joint_position",
        "joint_velocity",
        "last_action",
    ]
    assert "base_velocity" not in sizes


def test_the_contract_gets_every_number() -> None:
    """A policy says what it was trained for."""
    task = Walk(CONFIG)
    assert task.numbers() == msgspec.structs.asdict(CONFIG)
    assert task.commands() == {"forward_mps": (0.5, 0.5)}
    assert (task.control_hz, task.episode_s) == (25.0, 8.0)


def test_a_walk_never_ends_by_itself() -> None:
    """Falls are the safety wrapper's to see, in simulation as on the machine."""
    task = Walk(CONFIG)
    task.begin(tick(), np.random.default_rng(0))
    assert not task.fallen(tick(roll=math.pi))


@pytest.mark.parametrize(
    "numbers",
    [
        {"forward_mps": 0.0},
        {"forward_mps": -0.5},
        {"control_hz": 0.0},
        {"episode_s": -1.0},
        {"episode_s": math.inf},
        {"yaw_weight": math.nan},
        {"smooth_weight": -0.1},
        {"velocity_scale": 0.0},
    ],
    ids=str,
)
def test_numbers_that_no_walk_could_have_are_refused(numbers: dict[str, Any]) -> None:
    """By name, when they are given, and when they are read."""
    (field,) = numbers
    with pytest.raises(ValueError, match=f"{field} is {numbers[field]}; expected"):
        WalkConfig(**numbers)
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert(numbers, WalkConfig)


def test_a_cost_may_be_switched_off() -> None:
    """A weight of zero is a weight."""
    still = tick(action=(1, 1)), tick(action=(-1, -1))
    assert reward(*still, smooth_weight=0.0)["smooth"] == 0


def test_torque_costs_its_mean_square() -> None:
    """3 and 1 N·m at 0.1 per (N·m)²: half of 10, a tenth of it; by default nothing."""
    after = tick(effort=(3.0, -1.0))
    assert reward(tick(), after, effort_weight=0.1)["effort"] == pytest.approx(-0.5)
    assert reward(tick(), after)["effort"] == 0.0


def test_to_be_alive_may_be_worth_something() -> None:
    """Half a point a step, whatever else it does."""
    assert reward(tick(), tick(), alive=0.5)["alive"] == 0.5
    assert reward(tick(), tick(-0.02), alive=0.5)["alive"] == 0.5
