"""Left against right: ranges, gains, masses and places must be mirror images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from sim.lint.subject import Finding, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robots import RobotSpec

_LEFT = ("l", "fl", "rl", "bl", "hl", "lf", "lr", "lb", "lh")
_RIGHT = ("r", "fr", "rr", "br", "hr", "rf", "rr", "rb", "rh")
_PARTNER = dict(zip(_LEFT, _RIGHT, strict=True))

_PARALLEL = 0.999
"""Cosine of 2.5 degrees."""


def mirrored_numbers(spec: RobotSpec) -> Iterator[Finding]:
    """Left and right joints of robot.toml: what does not depend on the sense of rotation."""
    joints = {joint.name: joint for joint in spec.joints}
    pairs = list(_pairs(spec.joint_names))
    if not pairs:
        yield Finding("mirror", "info", "no joint names pair left with right; nothing compared")
    for left, right in pairs:
        for field in ("action_scale", "effort_max", "velocity_max", "kp", "kd"):
            mine, yours = getattr(joints[left], field), getattr(joints[right], field)
            if not np.isclose(mine, yours, rtol=1e-3):
                yield _unequal(field, (left, mine), (right, yours))
    for name in spec.joint_names:
        partner = right_of(name)
        if partner is not None and partner not in joints:
            yield Finding("mirror", "warning", f"joint {name} has no counterpart {partner}")


def mirrored_limits(spec: RobotSpec) -> Iterator[Finding]:
    """Limits and stances of robot.toml where no model tells the axes: equal, or all negated."""
    joints = {joint.name: joint for joint in spec.joints}
    for left, right in _pairs(spec.joint_names):
        mine = (joints[left].lower, joints[left].stance, joints[left].upper)
        same = (joints[right].lower, joints[right].stance, joints[right].upper)
        negated = tuple(-number for number in reversed(same))
        if not any(np.allclose(mine, wanted, atol=1e-3) for wanted in (same, negated)):
            yield _unequal("lower, stance, upper", (left, mine), (right, same))


def mirrored_model(subject: Subject) -> Iterator[Finding]:
    """Left and right joints and bodies of the model against each other."""
    model = subject.model
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    frame = data.body(subject.spec.base).xmat.reshape(3, 3)
    origin = data.body(subject.spec.base).xpos
    for left, right in _pairs(subject.spec.joint_names):
        ids = subject.joints[left], subject.joints[right]
        anchors = [(data.xanchor[joint] - origin) @ frame for joint in ids]
        if not np.allclose(anchors[0] * [1, -1, 1], anchors[1], atol=1e-3):
            yield _unequal("place", (left, anchors[0].round(4)), (right, anchors[1].round(4)))
        yield from _mirrored_range(subject, (left, right), [data.xaxis[i] @ frame for i in ids])
        for field in ("dof_damping", "dof_armature", "dof_frictionloss"):
            numbers = [float(getattr(model, field)[subject.dof(name)]) for name in (left, right)]
            if not np.isclose(numbers[0], numbers[1], rtol=1e-3):
                yield _unequal(field.removeprefix("dof_"), (left, numbers[0]), (right, numbers[1]))
    for left, right in _pairs(tuple(model.body(body).name for body in range(model.nbody))):
        for field in ("mass", "inertia"):
            parts = [np.sort(getattr(model.body(name), field)) for name in (left, right)]
            if not np.allclose(parts[0], parts[1], rtol=1e-3):
                yield _unequal(f"body {field}", (left, parts[0]), (right, parts[1]))


def right_of(name: str) -> str | None:
    """Name of the right counterpart of a left part, None when the name says nothing of left."""
    swapped = re.sub("left", "right", re.sub("Left", "Right", name))
    if swapped != name:
        return swapped
    parts = re.split(r"([_\-.])", name)
    swap = [_PARTNER.get(part.lower(), part) for part in parts]
    renamed = [new.upper() if old.isupper() else new for old, new in zip(parts, swap, strict=True)]
    return "".join(renamed) if renamed != parts else None


def _pairs(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Every left name whose right counterpart exists, with it."""
    for name in names:
        partner = right_of(name)
        if partner in names:
            yield name, partner


def _mirrored_range(
    subject: Subject, names: tuple[str, str], axes: list[NDArray[np.float64]]
) -> Iterator[Finding]:
    """Ranges of the model and limits of robot.toml, with the sign the axes demand."""
    left, right = names
    # A reflection at y = 0 turns an axis of rotation as it turns a cross product.
    sign = float(np.dot(axes[0] * [-1, 1, -1], axes[1]))
    if abs(sign) < _PARALLEL:
        yield _unequal("axis", (left, axes[0].round(3)), (right, axes[1].round(3)))
        return
    ranges = [subject.model.jnt_range[subject.joints[name]] for name in names]
    if not np.allclose(ranges[0], _turned(ranges[1], sign), atol=1e-3):
        yield _unequal("model range", (left, ranges[0]), (right, ranges[1]))
    joints = {joint.name: joint for joint in subject.spec.joints}
    limits = [np.array([joints[name].lower, joints[name].upper]) for name in names]
    if not np.allclose(limits[0], _turned(limits[1], sign), atol=1e-3):
        yield _unequal("limits", (left, limits[0]), (right, limits[1]))
    if not np.isclose(joints[left].stance, np.sign(sign) * joints[right].stance, atol=1e-3):
        stances = joints[left].stance, joints[right].stance
        yield _unequal("stance", (left, stances[0]), (right, stances[1]))


def _turned(limits: NDArray[np.float64], sign: float) -> NDArray[np.float64]:
    """Limits as seen along the axis, or against it for a negative sign."""
    return limits if sign > 0 else -limits[::-1]


def _unequal(what: str, mine: tuple[str, object], yours: tuple[str, object]) -> Finding:
    """One difference between left and right."""
    return Finding(
        "mirror",
        "error",
        f"{what}: {mine[0]} has {mine[1]}, {yours[0]} has {yours[1]}; make them mirror images",
    )
