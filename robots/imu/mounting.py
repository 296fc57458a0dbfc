"""How the sensor sits in the body, and quaternions as far as that needs them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    Quaternion = tuple[float, float, float, float]
    Vector = tuple[float, float, float]


def product(a: Sequence[float], b: Sequence[float]) -> Quaternion:
    """Rotation b followed by a; quaternions w x y z."""
    aw, ax, ay, az = a
    bw, bx, by, bz = b
    return (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )


def inverse(q: Sequence[float]) -> Quaternion:
    """The rotation back, of a unit quaternion w x y z."""
    w, x, y, z = q
    return (w, -x, -y, -z)


def rotate(q: Sequence[float], vector: Sequence[float]) -> Vector:
    """Turn a vector by a unit quaternion w x y z."""
    turned = product(product(q, (0.0, *vector)), inverse(q))
    return turned[1:]


def from_angles(roll: float, pitch: float, yaw: float) -> Quaternion:
    """Unit quaternion w x y z of rotations about fixed x, then y, then z, rad."""
    (cr, sr), (cp, sp), (cy, sy) = (
        (math.cos(angle / 2), math.sin(angle / 2)) for angle in (roll, pitch, yaw)
    )
    about_x, about_y, about_z = (cr, sr, 0.0, 0.0), (cp, 0.0, sp, 0.0), (cy, 0.0, 0.0, sy)
    return product(about_z, product(about_y, about_x))


class Mounting:
    """Turns what the sensor measures into what the body does."""

    def __init__(self, angles_deg: Sequence[float]) -> None:
        """Take the sensor's roll, pitch and yaw in the body, degrees."""
        roll, pitch, yaw = (math.radians(angle) for angle in angles_deg)
        self._sensor = from_angles(roll, pitch, yaw)

    def attitude(self, quaternion: Sequence[float]) -> Quaternion:
        """Attitude of the body in the world, from that of the sensor."""
        return product(quaternion, inverse(self._sensor))

    def vector(self, vector: Sequence[float]) -> Vector:
        """A vector along the body's axes, from one along the sensor's."""
        return rotate(self._sensor, vector)
