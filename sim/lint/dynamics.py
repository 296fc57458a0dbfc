"""Masses, inertias and joint losses that a machine can have."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from sim.lint.subject import Finding, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robots import RobotFolder

_DAMPING = 1.0
"""Share of the stall torque at no-load speed; published models have 0.1 to 1."""
_FRICTION = 0.25
"""Share of the stall torque; measured servos stay under 0.06."""
_START_S = (2e-4, 0.5)
"""Time that the armature alone takes to no-load speed; 13 ms in a Go2, 160 ms in hobby servos."""


def written_inertia(folder: RobotFolder) -> Iterator[Finding]:
    """Masses and inertias as model.xml states them, before a compiler may balance them."""
    try:
        source = mujoco.MjSpec.from_file(str(folder.model_path))
    except ValueError:
        return  # load_model() says it better
    for body in source.bodies:
        if not body.explicitinertial:
            continue
        xx, yy, zz, xy, xz, yz = (float(number) for number in body.fullinertia)
        tensor = np.diag([float(number) for number in body.inertia])
        if np.isfinite(xx):
            tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        small, middle, large = np.linalg.eigvalsh(tensor)
        if not body.mass > 0:
            problem = f"mass {body.mass:.4g} kg; expected a positive number"
        elif not small > 0:
            problem = (
                f"principal inertias {small:.4g} {middle:.4g} {large:.4g}; expected positive ones"
            )
        elif small + middle < large * (1 - 1e-6):
            problem = (
                f"principal inertias {small:.4g} + {middle:.4g} < {large:.4g} kg·m²; no mass "
                "distribution has these, recompute them"
            )
        else:
            continue
        yield Finding("inertia", "error", f"body {body.name}: {problem}")


def placeholder_inertia(subject: Subject) -> Iterator[Finding]:
    """Radius of gyration against the size of the body: inertias of 1 are left-over placeholders."""
    model = subject.model
    for body in range(1, model.nbody):
        size = _size(model, body)
        radius = float(np.sqrt(model.body_inertia[body].max() / max(model.body_mass[body], 1e-12)))
        if 0 < size < radius:
            yield Finding(
                "inertia",
                "error",
                f"body {model.body(body).name}: its mass would sit {radius:.3g} m from its centre, "
                f"its shape ends at {size:.3g} m; recompute the inertia from the geometry",
            )


def passive(subject: Subject) -> Iterator[Finding]:
    """Damping, friction and armature against what a motor of that torque and speed can have."""
    model = subject.model
    for joint in subject.spec.joints:
        dof = subject.dof(joint.name)
        damping = float(model.dof_damping[dof]) * joint.velocity_max / joint.effort_max
        friction = float(model.dof_frictionloss[dof]) / joint.effort_max
        start_s = float(model.dof_armature[dof]) * joint.velocity_max / joint.effort_max
        for problem in _band(damping, friction, start_s):
            yield Finding("passive", "warning", f"joint {joint.name}: {problem}")


def _band(damping: float, friction: float, start_s: float) -> Iterator[str]:
    """What lies outside the plausible band, as shares of the stall torque and as time to speed."""
    if damping > _DAMPING:
        yield (
            f"damping takes {damping:.0%} of the stall torque at no-load speed; "
            f"expected under {_DAMPING:.0%}"
        )
    if friction > _FRICTION:
        yield f"frictionloss is {friction:.0%} of the stall torque; expected under {_FRICTION:.0%}"
    if damping == friction == 0:
        yield "neither damping nor frictionloss; every gear loses something"
    if not _START_S[0] <= start_s <= _START_S[1]:
        yield (
            f"armature takes {1e3 * start_s:.3g} ms from rest to no-load speed; expected "
            f"{1e3 * _START_S[0]:.3g} to {1e3 * _START_S[1]:.3g} ms (rotor times gear squared)"
        )


def _size(model: mujoco.MjModel, body: int) -> float:
    """How far the geoms and the next joints of a body lie from its centre of mass, m."""
    centre = model.body_ipos[body]
    geoms = np.flatnonzero(model.geom_bodyid == body)
    reach = np.linalg.norm(model.geom_pos[geoms] - centre, axis=1) + model.geom_rbound[geoms]
    children = np.flatnonzero(model.body_parentid == body)
    offsets = np.linalg.norm(model.body_pos[children] - centre, axis=1)
    return float(max(itertools.chain(reach, offsets), default=0.0))
