"""What a contract says about a robot, and that observation code cannot change unnoticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium
import msgspec
import numpy as np
import pytest

import robots
from robosac.algorithms.algorithm import Sizes
from robosac.algorithms.config import SACConfig
from robosac.algorithms.sac import SAC
from robosac.env import RobotEnv
from robosac.errors import PolicyError
from robosac.policy.contract import check, decode, encode
from robosac.policy.describe import check_golden_sensors, describe_env, describe_robot
from robosac.tasks import Walk
from sim.robots import make

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from robosac.policy import Contract
    from robosac.tasks.task import Tick

    FloatArray = NDArray[np.float32]

replace = msgspec.structs.replace


class OtherWalk(Walk):
    """A later version of the task that observes the rate of turning in another unit."""

    def readings(self, tick: Tick) -> dict[str, FloatArray]:
        readings = super().readings(tick)
        return readings | {"gyro": readings["gyro"] * np.float32(1.001)}


class ShorterWalk(Walk):
    """A later version of the task that forgets the command."""

    def actor_terms(self, spec: robots.RobotSpec) -> tuple[object, ...]:  # type: ignore[override]
        return super().actor_terms(spec)[:-1]


@pytest.fixture(scope="module")
def walker() -> Iterator[RobotEnv]:
    """The Go2 in simulation with the walk task."""
    env = RobotEnv(make(robots.find("go2")), Walk())
    yield env
    env.close()


@pytest.fixture(scope="module")
def contract(walker: RobotEnv) -> Contract:
    """What a policy for it must fulfil."""
    return describe_robot(walker, model_sha256="abc")


def with_task(walker: RobotEnv, task: Walk) -> RobotEnv:
    """Put another task on the same robot."""
    return RobotEnv(walker.robot, task)


def test_a_robot_is_described_in_full(walker: RobotEnv, contract: Contract) -> None:
    """Every number a runner needs, in the order of robot.toml, and it survives JSON."""
    spec = walker.robot.spec
    assert (contract.robot, contract.task, contract.env) == ("go2", "walk", "")
    assert contract.model_sha256 == "abc"
    assert contract.control_hz == walker.task.control_hz
    assert [joint.name for joint in contract.joints] == list(spec.joint_names)
    for joint, ours in zip(spec.joints, contract.joints, strict=True):
        assert (ours.default, ours.action_scale) == (joint.stance, joint.action_scale)
        assert (ours.kp, ours.kd) == (joint.kp, joint.kd)
        assert joint.lower < ours.soft_lower < ours.soft_upper < joint.upper
        assert (ours.velocity_max, ours.effort_max) == (joint.velocity_max, joint.effort_max)
    assert contract.action_lower == (-1.0,) * 12
    assert contract.obs_size == walker.observation_space.shape[0]  # type: ignore[index]
    assert contract.commands == walker.task.commands()
    assert contract.safety["tilt_deg"] == spec.safety.tilt_deg
    assert contract.task_config == walker.task.numbers()
    assert decode(encode(contract)) == contract


def test_describing_twice_says_the_same(walker: RobotEnv, contract: Contract) -> None:
    """Golden readings are drawn from a fixed seed, and differ from each other."""
    assert describe_robot(walker, model_sha256="abc") == contract
    observed = [golden.obs for golden in contract.golden]
    assert len(observed) == 3
    assert observed[0] != observed[1]
    assert all(golden.action == [] for golden in contract.golden)


def test_the_same_code_observes_the_same(walker: RobotEnv, contract: Contract) -> None:
    """The sensor half of the golden vectors, after a round through JSON."""
    check_golden_sensors(walker, decode(encode(contract)))


def test_changed_observation_code_is_refused(walker: RobotEnv, contract: Contract) -> None:
    """A change of a thousandth in one term, with the term, the index and both numbers."""
    changed = with_task(walker, OtherWalk())
    check(contract, describe_robot(changed))  # nothing in the contract's fields gives it away
    with pytest.raises(PolicyError, match=r"golden vector 0: gyro\[\d\] is .*, trained with"):
        check_golden_sensors(changed, contract)


def test_an_observation_of_another_size_is_refused(walker: RobotEnv, contract: Contract) -> None:
    """Sizes are told instead of indices."""
    size = contract.obs_size
    with pytest.raises(PolicyError, match=rf"has {size - 1} numbers, trained with {size}"):
        check_golden_sensors(with_task(walker, ShorterWalk()), contract)


def spoiled(sensors: Mapping[str, list[float]], name: str) -> dict[str, list[float]]:
    """Take the last number of one sensor away."""
    return dict(sensors) | {name: sensors[name][:-1]}


@pytest.mark.parametrize("name", ["position", "quaternion", "gyro", "last_action"])
def test_readings_of_another_size_are_refused(
    walker: RobotEnv, contract: Contract, name: str
) -> None:
    """A vector of another robot's sensors, or none at all, is an error in one line."""
    first = contract.golden[0]
    bad = replace(first, sensors=spoiled(first.sensors, name))
    none = replace(first, sensors={})
    for golden in (bad, none):
        with pytest.raises(PolicyError, match=r"golden vector 0 has sensors .*export the policy"):
            check_golden_sensors(walker, replace(contract, golden=(golden,)))


def test_a_matrix_of_actions_counts_its_elements() -> None:
    """Two legs of three joints are six actions, and the target entropy is -6 (trap 7).

    Put back by counting the rows of the box.
    """
    with gymnasium.make("Pendulum-v1") as env:
        env.action_space = gymnasium.spaces.Box(-1, 1, (2, 3), np.float32)
        layout = describe_env(env, "Legs-v0").row_layout
    assert layout.action == 6
    config = SACConfig(hidden=(8,), target_entropy_scale=1.0)
    sac = SAC(config, Sizes(layout.obs, layout.extra, layout.action), seed=0)
    assert sac.target_entropy == -6.0


def test_an_environment_is_described_by_its_spaces() -> None:
    """Bounds of the action become the scaling; observations have no bound."""
    with gymnasium.make("Pendulum-v1") as env:
        contract = describe_env(env, "Pendulum-v1")
    assert (contract.env, contract.robot, contract.control_hz) == ("Pendulum-v1", "", None)
    assert (contract.action_lower, contract.action_upper) == ((-2.0,), (2.0,))
    assert (contract.obs_size, contract.action_size, contract.extra) == (3, 1, 0)
    assert decode(encode(contract)) == contract
    check(contract, contract)
