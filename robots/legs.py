"""Legs of three joints, in closed form: where the feet are, how they move, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robots.errors import OutOfReachError, RobotSpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robots.spec import RobotSpec

    Array = NDArray[np.float64]


class Legs:
    """All legs of one robot at once: arrays (L, ...) in the order of robot.toml, SI, base frame.

    A leg is an abduction joint about x, then thigh and knee about y.  At zero it hangs straight
    down; positive angles turn as the right-hand rule has it.
    """

    def __init__(self, spec: RobotSpec) -> None:
        """Take the geometry; raises RobotSpecError when robot.toml has none."""
        if not spec.legs:
            raise RobotSpecError(spec.name, "robot.toml has no [[legs]]; expected one per leg")
        names, legs = spec.joint_names, spec.legs
        self.joints = np.array([[names.index(joint) for joint in leg.joints] for leg in legs])
        """Where the joints of each leg stand in arrays of all joints (L, 3)."""
        self.hip = np.array([leg.hip for leg in legs])
        """Where the abduction axis meets the thigh's plane of rotation, were its offset zero."""
        self.sole = np.array([leg.sole for leg in legs])
        """Radius of each foot (L,), m."""
        self._offset = np.array([leg.offset for leg in legs])
        self._thigh = np.array([leg.thigh for leg in legs])
        self._calf = np.array([leg.calf for leg in legs])

    def feet(self, angles: Array) -> Array:
        """Centres of the feet (L, 3), m, at these joint angles (L, 3), rad."""
        return self.feet_and_jacobian(angles)[0]

    def feet_and_jacobian(self, angles: Array) -> tuple[Array, Array]:
        """Centres of the feet (L, 3), m, and how they follow the joints (L, 3, 3), m/rad."""
        sine, cosine = np.sin(angles[:, 0]), np.cos(angles[:, 0])
        knee = angles[:, 1] + angles[:, 2]
        x_calf, z_calf = -self._calf * np.sin(knee), -self._calf * np.cos(knee)
        x = x_calf - self._thigh * np.sin(angles[:, 1])
        z = z_calf - self._thigh * np.cos(angles[:, 1])
        feet = np.empty((len(angles), 3))
        feet[:, 0] = x
        feet[:, 1] = self._offset * cosine - z * sine
        feet[:, 2] = self._offset * sine + z * cosine
        jacobian = np.empty((len(angles), 3, 3))
        jacobian[:, 0, 0] = 0
        jacobian[:, 1, 0], jacobian[:, 2, 0] = -feet[:, 2], feet[:, 1]
        for column, along, down in ((1, x, z), (2, x_calf, z_calf)):
            jacobian[:, 0, column] = down
            jacobian[:, 1, column], jacobian[:, 2, column] = along * sine, -along * cosine
        feet += self.hip
        return feet, jacobian

    def angles(self, feet: Array) -> Array:
        """Joint angles (L, 3), rad, that put the feet there (L, 3), m.

        Of the solutions, the one with the knee bent backwards (negative) and the foot below the
        abduction axis, as walking robots stand.  Raises OutOfReachError.
        """
        x, y, z = (feet - self.hip).T
        down_squared = y * y + z * z - self._offset**2
        reach_squared = x * x + down_squared
        bend = (reach_squared - self._thigh**2 - self._calf**2) / (2 * self._thigh * self._calf)
        for leg in np.flatnonzero(~((down_squared >= 0) & (np.abs(bend) <= 1))):
            raise OutOfReachError(int(leg), feet[leg], float(self._thigh[leg] + self._calf[leg]))
        down = -np.sqrt(down_squared)
        knee = -np.arccos(bend)
        hip = np.arctan2(z, y) - np.arctan2(down, self._offset)
        to_knee = np.arctan2(self._calf * np.sin(knee), self._thigh + self._calf * np.cos(knee))
        thigh = np.arctan2(-x, -down) - to_knee
        return np.stack([(hip + np.pi) % (2 * np.pi) - np.pi, thigh, knee], axis=1)
