"""The stance, held for two seconds: what it costs and whether it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from robots import JointCommand
from sim.errors import SimError
from sim.lint.subject import Finding
from sim.robots import make

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from robots import RobotFolder
    from sim.lint.subject import Severity

_PERIOD_NS = 20_000_000
_SETTLED_S = 0.5

_UPRIGHT = 0.7
"""Cosine of 45 degrees."""
_DROP = 0.25
"""Of the base's height."""
_PENETRATION_M = 0.001
"""Contacts are soft to about a millimetre."""
_LOAD = 0.8
"""Of the stall torque; beyond it nothing is left to walk with."""
_SLIP_M = 0.02
"""About a foot's radius."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Measured while the stance was held."""

    upright: float
    """Cosine of the final tilt: 1 level, 0 on its side."""
    drop: float
    """Share of the base's initial height lost at the end."""
    load: float
    """Largest share of its torque limit that a joint needed once it stood."""
    loaded: str
    """Name of that joint."""
    slip_m: float
    """Farthest a foot slid on the ground once it stood, m."""
    penetration_m: float
    """How deep the robot was in the ground at the start, m."""
    keyframes: Mapping[str, float]
    """How deep each keyframe of the model puts it into the ground, m."""

    def summary(self) -> str:
        """All of it in one line."""
        return (
            f"stands at {self.upright:.3f} upright, base {self.drop:.1%} lower, {self.loaded} at "
            f"{self.load:.0%} of its torque, feet slip {1e3 * self.slip_m:.1f} mm, starts "
            f"{1e3 * self.penetration_m:.1f} mm in the ground"
        )


def standing(folder: RobotFolder) -> Iterator[Finding]:
    """The stance, held for two seconds."""
    try:
        result = stand(folder)
    except SimError as error:
        yield Finding("standing", "error", str(error))
        return
    yield Finding("standing", "info", result.summary())
    for severity, message in _judge(result):
        yield Finding("standing", severity, message)


def stand(folder: RobotFolder, *, seconds: float = 2.0) -> Standing:
    """Hold the stance with the gains of robot.toml and measure.

    Raises ModelError, and DivergedError when the physics blows up.
    """
    with make(folder) as robot:
        keyframes = _keyframes(robot.model)
        feet = [robot.model.geom(name).id for name in folder.spec.feet]
        start, deep = robot.base_motion(), _penetration(robot.data)
        loads, tracks = [], []
        command = JointCommand.towards(folder.spec.column("stance"), folder.spec)
        for tick in range(round(seconds * 1e9 / _PERIOD_NS)):
            robot.write(command)
            robot.wait_until(robot.now() + _PERIOD_NS)
            if tick * _PERIOD_NS >= _SETTLED_S * 1e9:
                loads.append(np.abs(robot.read().effort) / folder.spec.column("effort_max"))
                tracks.append(robot.data.geom_xpos[feet, :2].copy())
        load = np.max(loads, axis=0)
        return Standing(
            upright=float(-robot.read().gravity[2]),
            drop=float(1 - robot.base_motion().position[2] / start.position[2]),
            load=float(load.max()),
            loaded=folder.spec.joint_names[int(load.argmax())],
            slip_m=_farthest(np.array(tracks)),
            penetration_m=deep,
            keyframes=keyframes,
        )


def _farthest(tracks: NDArray[np.float64]) -> float:
    """Largest distance of any foot from where its track (T, F, 2) begins, m."""
    distances = np.linalg.norm(tracks - tracks[0], axis=-1)
    return float(distances.max(initial=0.0))


def _penetration(data: mujoco.MjData) -> float:
    """Depth of the deepest contact, m."""
    return float(max(0.0, -data.contact.dist[: data.ncon].min(initial=0.0)))


def _keyframes(model: mujoco.MjModel) -> dict[str, float]:
    """Depth of the deepest contact in every keyframe, m."""
    data = mujoco.MjData(model)
    depths = {}
    for key in range(model.nkey):
        mujoco.mj_resetDataKeyframe(model, data, key)
        mujoco.mj_forward(model, data)
        depths[model.key(key).name] = _penetration(data)
    return depths


def _judge(result: Standing) -> Iterator[tuple[Severity, str]]:
    """What is wrong with how it stands."""
    if not result.upright > _UPRIGHT:  # NaN counts as fallen
        yield "error", "it falls over in its stance; check stance, kp and the feet"
    elif result.drop > _DROP:
        yield "warning", f"the base sinks by {result.drop:.0%}; raise kp or bend the stance less"
    elif result.drop < -_DROP:
        yield "error", f"the base rises by {-result.drop:.0%}; something throws it off the ground"
    if result.penetration_m > _PENETRATION_M:
        yield "error", f"it starts {1e3 * result.penetration_m:.0f} mm in the ground; check feet"
    for name, depth in result.keyframes.items():
        if depth > _PENETRATION_M:
            yield "warning", f"keyframe {name!r} starts {1e3 * depth:.0f} mm in the ground"
    if result.load > _LOAD:
        yield "warning", f"{result.loaded} stands at {result.load:.0%} of its torque"
    if result.slip_m > _SLIP_M:
        yield "warning", f"feet slip by {1e3 * result.slip_m:.0f} mm; check friction and the stance"
