"""Limits, targets and torques of robot.toml against themselves and against the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robots.spec import problems
from sim.lint.subject import Finding, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    import mujoco

    from robots import RobotSpec


def limits(spec: RobotSpec) -> Iterator[Finding]:
    """Stance, crouch and action box against the limits of robot.toml."""
    for problem in problems(spec):
        yield Finding("limits", "error", problem)
    lower, upper = spec.soft_limits()
    for joint, low, high in zip(spec.joints, lower, upper, strict=True):
        reach = (joint.stance - joint.action_scale, joint.stance + joint.action_scale)
        if reach[0] < low - 1e-4 or reach[1] > high + 1e-4:
            yield Finding(
                "limits",
                "warning",
                f"joint {joint.name}: actions reach [{reach[0]:.3f}, {reach[1]:.3f}] rad, targets "
                f"are held to [{low:.3f}, {high:.3f}]; lower action_scale, the rest does nothing",
            )
    for joint, position, low, high in zip(spec.joints, spec.crouch, lower, upper, strict=False):
        if not low - 1e-4 <= position <= high + 1e-4:
            yield Finding(
                "limits",
                "warning",
                f"joint {joint.name}: crouch {position} outside the soft limits "
                f"[{low:.3f}, {high:.3f}] rad; the robot will not reach it",
            )


def model_range(subject: Subject) -> Iterator[Finding]:
    """Limits of robot.toml, position targets and keyframes against the model's joint ranges."""
    model, actuators = subject.model, subject.actuators()
    for joint in subject.spec.joints:
        number = subject.joints[joint.name]
        low, high = model.jnt_range[number]
        if not model.jnt_limited[number]:
            yield Finding("range", "warning", f"joint {joint.name} has no range in the model")
            continue
        if joint.lower < low - 1e-4 or joint.upper > high + 1e-4:
            yield Finding(
                "range",
                "error",
                f"joint {joint.name}: robot.toml allows [{joint.lower}, {joint.upper}] rad, the "
                f"model [{low:.4f}, {high:.4f}]; narrow robot.toml or widen the model",
            )
        yield from _targets(subject, joint.name, actuators.get(joint.name, []))
        for key in range(model.nkey):
            position = model.key_qpos[key, model.jnt_qposadr[number]]
            if not low - 1e-4 <= position <= high + 1e-4:
                yield Finding(
                    "range",
                    "warning",
                    f"keyframe {model.key(key).name!r}: joint {joint.name} at {position:.4f} rad, "
                    f"outside [{low:.4f}, {high:.4f}]",
                )


def effort(subject: Subject) -> Iterator[Finding]:
    """Stall torque of robot.toml against what the model's actuators can give at the joint."""
    actuators = subject.actuators()
    for joint in subject.spec.joints:
        for actuator in actuators.get(joint.name, []):
            limit = _torque_limit(subject.model, actuator)
            if np.isfinite(limit) and not np.isclose(limit, joint.effort_max, rtol=0.01):
                yield Finding(
                    "effort",
                    "error",
                    f"joint {joint.name}: effort_max {joint.effort_max} N·m in robot.toml, "
                    f"{limit:.4g} in the model; both take the data sheet's figure after the gear",
                )


def _targets(subject: Subject, joint: str, actuators: list[int]) -> Iterator[Finding]:
    """A position actuator must not accept targets its joint cannot reach."""
    model = subject.model
    low, high = model.jnt_range[subject.joints[joint]]
    for actuator in actuators:
        is_servo = model.actuator_biasprm[actuator, 1] < 0
        least, most = model.actuator_ctrlrange[actuator]
        if is_servo and model.actuator_ctrllimited[actuator] and not low <= least <= most <= high:
            yield Finding(
                "range",
                "warning",
                f"actuator of {joint} takes targets [{least:.4f}, {most:.4f}] rad, its joint moves "
                f"in [{low:.4f}, {high:.4f}]",
            )


def _torque_limit(model: mujoco.MjModel, actuator: int) -> float:
    """Largest joint torque an actuator can give, N·m; infinite when nothing limits it."""
    gear = abs(float(model.actuator_gear[actuator, 0]))
    joint = int(model.actuator_trnid[actuator, 0])
    limits = []
    if model.actuator_forcelimited[actuator]:
        limits.append(gear * np.abs(model.actuator_forcerange[actuator]).max())
    is_motor = not model.actuator_biasprm[actuator].any()
    if is_motor and model.actuator_ctrllimited[actuator]:
        gain = abs(float(model.actuator_gainprm[actuator, 0]))
        limits.append(gear * gain * np.abs(model.actuator_ctrlrange[actuator]).max())
    if model.jnt_actfrclimited[joint]:
        limits.append(np.abs(model.jnt_actfrcrange[joint]).max())
    return float(min(limits, default=np.inf))
