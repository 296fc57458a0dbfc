"""What the rules look at, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import mujoco

if TYPE_CHECKING:
    from robots import RobotSpec

Severity = Literal["error", "warning", "info"]

# Plain numbers: an enum member never equals a number of numpy on its right.
_ON_A_JOINT = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))


@dataclass(frozen=True)
class Finding:
    """What one rule says about a robot folder."""

    rule: str
    """Name of the rule."""
    severity: Severity
    """An error makes policies that fail; a warning deserves a look; an info is a measurement."""
    message: str
    """Got, expected, and what to do, in one line."""


@dataclass(frozen=True)
class Subject:
    """A compiled model and where the joints of robot.toml lie in it."""

    spec: RobotSpec
    model: mujoco.MjModel
    joints: dict[str, int]
    """Joint ids by name, in the order of robot.toml."""

    def dof(self, name: str) -> int:
        """Where a joint's velocity lies."""
        return int(self.model.jnt_dofadr[self.joints[name]])

    def actuators(self) -> dict[str, list[int]]:
        """Ids of the actuators on each joint, in the model's order."""
        by_id = {number: name for name, number in self.joints.items()}
        found: dict[str, list[int]] = {}
        kinds, joints = self.model.actuator_trntype, self.model.actuator_trnid[:, 0]
        for actuator, (kind, joint) in enumerate(zip(kinds, joints.tolist(), strict=True)):
            if kind in _ON_A_JOINT and joint in by_id:
                found.setdefault(by_id[joint], []).append(actuator)
        return found
