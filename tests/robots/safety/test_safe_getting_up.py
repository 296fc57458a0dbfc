"""From lying anyhow to standing, and the first second of the caller's commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

import robots
from robots import Guard, JointCommand, SafeRobot, State
from sim.robots import make

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tests.robots.safety.conftest import Bench


def f4(*numbers: float) -> NDArray[np.float32]:
    """A float32 vector."""
    return np.array(numbers, np.float32)


@pytest.fixture
def fading(new_bench: Callable[..., Bench]) -> Bench:
    """A robot whose commands are faded in over a second."""
    usual = new_bench().robot.spec
    limits = msgspec.structs.replace(usual.safety, fade_in_s=1.0)
    return new_bench(msgspec.structs.replace(usual, safety=limits), fade_in=True)


def test_a_robot_far_from_its_stance_folds_its_legs_first(bench: Bench) -> None:
    """At ramp speed to the crouch, from there to the stance."""
    bench.say(position=f4(-0.4, -1.5))
    bench.safe.enable()
    bench.ticks_until(State.ACTIVE)
    path = np.array([command.position for _, command in bench.robot.written])
    np.testing.assert_array_equal(path[0], f4(-0.4, -1.5))
    assert (path == bench.crouch).all(axis=1).any()
    np.testing.assert_array_equal(path[-1], bench.stance)
    assert (np.abs(np.diff(path, axis=0)) <= f4(0.02, 0.01) + 1e-6).all()


def test_a_robot_near_its_stance_stands_up_directly(bench: Bench) -> None:
    """Within 0.5 rad on every joint."""
    bench.say(position=f4(-0.29, -1.89))
    bench.safe.enable()
    bench.ticks_until(State.ACTIVE)
    path = np.array([command.position for _, command in bench.robot.written])
    assert path[:, 1].min() >= -1.9
    assert path[0, 1] < path[-1, 1]


def test_gains_rise_while_a_lying_robot_begins_to_move(bench: Bench) -> None:
    """From a fifth to all of it in half a second; damping is whole from the beginning."""
    bench.say(position=f4(-0.4, -1.5))
    bench.safe.enable()
    shares = [float(bench.tick().kp[0] / 20.0) for _ in range(30)]
    np.testing.assert_allclose([shares[0], shares[5], shares[10]], [0.2, 0.2, 0.4], rtol=1e-5)
    assert shares[25:] == [1.0] * 5
    assert np.diff(shares).min() >= 0
    np.testing.assert_array_equal(bench.last.kd, [0.5, 1.0])


def test_a_standing_robot_keeps_its_gains(bench: Bench) -> None:
    """It would sag."""
    bench.to(State.RAMP)
    np.testing.assert_array_equal(bench.tick().kp, [20.0, 30.0])


def test_a_robot_that_is_not_upright_does_not_get_up(bench: Bench) -> None:
    """Folding legs under a back helps nobody."""
    bench.tilt(120)
    bench.robot.sensors["position"] = f4(-0.4, -1.5)
    with pytest.raises(robots.SafetyStopError, match="tilt"):
        bench.safe.enable()


def test_commands_fade_in_and_what_was_applied_is_returned(fading: Bench) -> None:
    """From the stance to what is commanded in one second; neither limited nor marked."""
    fading.to(State.ACTIVE)
    applied = [float(fading.tick(fading.command(f4(0.3, -1.4))).position[0]) for _ in range(60)]
    expected = [0.2 + 0.1 * min((n + 1) * 0.02, 1.0) for n in range(60)]
    np.testing.assert_allclose(applied, expected, rtol=1e-5)
    assert fading.safe.take_guards() is Guard.NONE


def test_a_robot_that_learns_is_not_faded_in(new_bench: Callable[..., Bench]) -> None:
    """Whatever robot.toml says: what it executes is what its policy asked for."""
    usual = new_bench().robot.spec
    limits = msgspec.structs.replace(usual.safety, fade_in_s=1.0)
    bench = new_bench(msgspec.structs.replace(usual, safety=limits))
    bench.safe.enable()
    bench.ticks_until(State.ACTIVE)
    target = bench.stance + f4(0.01, 0.01)
    bench.tick(bench.command(target))
    np.testing.assert_array_equal(bench.last.position, target)


def test_a_doubt_does_not_fade_in_again(fading: Bench) -> None:
    """Only standing up does."""
    fading.to(State.ACTIVE)
    for _ in range(60):
        fading.tick(fading.command(f4(0.3, -1.4)))
    fading.tick(fading.nan())
    fading.tick(fading.command(f4(0.3, -1.4)))
    assert fading.state is State.ACTIVE
    np.testing.assert_array_equal(fading.last.position, f4(0.3, -1.4))


def test_a_collapsed_pup_gets_up() -> None:
    """Its torque goes while it stands; it lies on its legs, and stands again 3 s later."""
    safe = SafeRobot(make(robots.find("pup")))
    stance = JointCommand.towards(safe.spec.column("stance"), safe.spec)

    def ticks_until(wanted: State | None, most: int) -> None:
        for _ in range(most):
            if safe.state is wanted:
                return
            safe.write(stance)
            safe.wait_until(safe.now() + 20_000_000)
            safe.read()
        assert wanted in (None, safe.state)

    safe.connect()
    safe.place(np.random.default_rng(0))
    safe.enable()
    ticks_until(State.ACTIVE, 10)
    standing = safe.base_motion()
    safe.disarm("let it fall")
    ticks_until(None, 100)
    lying = safe.base_motion()
    assert standing is not None
    assert lying is not None
    assert lying.position[2] < 0.6 * standing.position[2]
    assert np.abs(safe.read().position - stance.position).max() > 0.5
    safe.enable()
    ticks_until(State.ACTIVE, 250)
    ticks_until(None, 50)
    up = safe.base_motion()
    assert up is not None
    assert up.position[2] == pytest.approx(standing.position[2], rel=0.05)
    assert set(safe.interventions) == {"operator_stop"}
    safe.close()
