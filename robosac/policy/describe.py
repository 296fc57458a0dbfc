"""What a contract says about an environment: the half that is known before anything is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from robosac.errors import PolicyError
from robosac.policy.contract import Contract, Golden, JointContract
from robosac.policy.onnx_policy import close
from robosac.tasks.observation import Term
from robots import RobotState

if TYPE_CHECKING:
    import gymnasium
    from numpy.typing import NDArray

    from robosac.env import RobotEnv
    from robots import RobotSpec

    FloatArray = NDArray[np.float32]

_GOLDEN_VECTORS = 3


def describe_robot(env: RobotEnv, *, model_sha256: str = "") -> Contract:
    """Contract of a robot and a task, with golden observations and no golden actions yet."""
    spec, task = env.robot.spec, env.task
    rng = np.random.default_rng(0)
    return Contract(
        robot=spec.name,
        model_sha256=model_sha256,
        task=task.name,
        task_config=task.numbers(),
        control_hz=task.control_hz,
        action_delay_ms=spec.sim.action_delay_ms,
        joints=_joints(spec),
        action_lower=(-1.0,) * len(spec.joints),
        action_upper=(1.0,) * len(spec.joints),
        obs=task.actor_terms(spec),
        extra=sum(term.size * term.history for term in task.critic_terms(spec)),
        commands=task.commands(),
        safety={
            "tilt_deg": spec.safety.tilt_deg,
            "stale_damp_s": spec.safety.stale_damp_s,
            "soft_limit": spec.safety.soft_limit,
        },
        golden=tuple(_golden(env, _draw_sensors(spec, rng)) for _ in range(_GOLDEN_VECTORS)),
    )


def describe_env(env: gymnasium.Env[FloatArray, FloatArray], env_id: str) -> Contract:
    """Contract of any Gymnasium environment with Box spaces."""
    obs, action = env.observation_space, cast("gymnasium.spaces.Box", env.action_space)
    rng = np.random.default_rng(0)
    size = int(np.prod(obs.shape or (1,)))
    return Contract(
        env=env_id,
        action_lower=tuple(action.low.ravel().tolist()),
        action_upper=tuple(action.high.ravel().tolist()),
        obs=(Term(name="observation", size=size, unit="", clip=None),),
        golden=tuple(
            Golden(sensors={}, obs=rng.standard_normal(size).astype(np.float32).tolist())
            for _ in range(_GOLDEN_VECTORS)
        ),
    )


def check_golden_sensors(env: RobotEnv, contract: Contract) -> None:
    """Replay the sensor half of the golden vectors: raw readings must give the same observation.

    Raises PolicyError when this code computes another observation than the one trained on.
    """
    drawn = _draw_sensors(env.robot.spec, np.random.default_rng(0))
    sizes = {name: len(values) for name, values in drawn.items()}
    for number, golden in enumerate(contract.golden):
        got_sizes = {name: len(values) for name, values in golden.sensors.items()}
        if got_sizes != sizes:
            raise PolicyError(
                f"golden vector {number} has sensors {got_sizes}, expected {sizes}; "
                "export the policy again"
            )
        got = env.observe_once(_state(golden.sensors), _array(golden.sensors["last_action"]))
        expected = _array(golden.obs)
        if got.shape != expected.shape or not close(got, expected):
            raise PolicyError(
                f"golden vector {number}: {_difference(got, expected, contract)}; "
                "this robosac observes otherwise than the one that trained the policy"
            )


def _difference(got: FloatArray, expected: FloatArray, contract: Contract) -> str:
    """Where two observations differ most."""
    if got.shape != expected.shape:
        return f"observation has {len(got)} numbers, trained with {len(expected)}"
    names = [
        f"{term.name}[{index}]"
        for term in contract.obs
        for index in range(term.size * term.history)
    ]
    worst = int(np.argmax(np.abs(got - expected)))
    return f"{names[worst]} is {got[worst]:g}, trained with {expected[worst]:g}"


def _joints(spec: RobotSpec) -> tuple[JointContract, ...]:
    lower, upper = spec.soft_limits()
    return tuple(
        JointContract(
            name=joint.name,
            default=joint.stance,
            action_scale=joint.action_scale,
            lower=joint.lower,
            upper=joint.upper,
            soft_lower=float(low),
            soft_upper=float(high),
            velocity_max=joint.velocity_max,
            effort_max=joint.effort_max,
            kp=joint.kp,
            kd=joint.kd,
        )
        for joint, low, high in zip(spec.joints, lower, upper, strict=True)
    )


def _draw_sensors(spec: RobotSpec, rng: np.random.Generator) -> dict[str, list[float]]:
    """Draw plausible raw readings."""
    joints = len(spec.joints)
    lower, upper = spec.soft_limits()
    quaternion = rng.normal([1, 0, 0, 0], 0.2)
    drawn = {
        "position": rng.uniform(lower, upper),
        "velocity": rng.normal(0, 3, joints),
        "quaternion": quaternion / np.linalg.norm(quaternion),
        "gyro": rng.normal(0, 1, 3),
        "accelerometer": rng.normal([0, 0, 9.81], 1),
        "last_action": rng.uniform(-1, 1, joints),
    }
    return {name: value.astype(np.float32).tolist() for name, value in drawn.items()}


def _golden(env: RobotEnv, sensors: dict[str, list[float]]) -> Golden:
    obs = env.observe_once(_state(sensors), _array(sensors["last_action"]))
    return Golden(sensors=sensors, obs=obs.tolist())


def _state(sensors: dict[str, list[float]]) -> RobotState:
    return RobotState(
        stamp_ns=0,
        position=_array(sensors["position"]),
        velocity=_array(sensors["velocity"]),
        effort=np.zeros(len(sensors["position"]), dtype=np.float32),
        quaternion=_array(sensors["quaternion"]),
        gyro=_array(sensors["gyro"]),
        accelerometer=_array(sensors["accelerometer"]),
    )


def _array(values: list[float]) -> FloatArray:
    return np.array(values, dtype=np.float32)
