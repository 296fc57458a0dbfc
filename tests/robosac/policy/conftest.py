"""A small policy of a robot that does not exist, exported once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from robosac.algorithms.networks import Actor
from robosac.policy.contract import Contract, Golden, JointContract
from robosac.policy.export import PolicyTemplate
from robosac.tasks.observation import Term

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Weights = dict[str, NDArray[np.float32]]


def joint(name: str) -> JointContract:
    """Describe one joint."""
    return JointContract(
        name=name,
        default=0.1,
        action_scale=0.3,
        lower=-1.0,
        upper=1.2,
        soft_lower=-0.9,
        soft_upper=1.1,
        velocity_max=30.0,
        effort_max=23.7,
        kp=60.0,
        kd=3.0,
    )


def draw_actor(seed: int = 0) -> Actor:
    """Draw a policy of 6 observations and 2 actions whose actions depend on everything."""
    torch.manual_seed(seed)
    actor = Actor(6, 2, hidden=(24, 16), log_std=(-5.0, 2.0), initial_std=0.5)
    with torch.no_grad():
        actor.head.weight.mul_(100)
    return actor


def weights_of(actor: Actor) -> Weights:
    """Copy the weights as the learner hands them over."""
    return {name: value.detach().numpy().copy() for name, value in actor.named_parameters()}


@pytest.fixture(scope="session")
def contract() -> Contract:
    """What the small policy says about its robot."""
    rng = np.random.default_rng(0)
    return Contract(
        robot="twoleg",
        task="walk",
        control_hz=20.0,
        joints=(joint("left"), joint("right")),
        action_lower=(-1.0, -1.0),
        action_upper=(1.0, 1.0),
        obs=(
            Term(name="gyro", size=2, unit="rad/s"),
            Term(name="lean", size=2, unit="1", history=2),
        ),
        extra=3,
        commands={"forward_mps": (0.2, 0.7)},
        safety={"tilt_deg": 60.0, "soft_limit": 0.95},
        golden=tuple(
            Golden(sensors={}, obs=rng.standard_normal(6).astype(np.float32).tolist())
            for _ in range(3)
        ),
    )


@pytest.fixture(scope="session")
def actor() -> Actor:
    """The policy's network."""
    return draw_actor()


@pytest.fixture(scope="session")
def other_actor() -> Actor:
    """A network of the same sizes with other weights."""
    return draw_actor(seed=5)


@pytest.fixture(scope="session")
def template(contract: Contract, actor: Actor) -> PolicyTemplate:
    """The exported graph."""
    return PolicyTemplate(actor, contract)


@pytest.fixture(scope="session")
def file(template: PolicyTemplate, contract: Contract, actor: Actor) -> bytes:
    """The policy file."""
    return template.fill(weights_of(actor), contract)
