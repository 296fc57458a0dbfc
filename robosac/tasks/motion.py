"""Speed from displacement: what rewards and evaluation mean by velocity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from robots import BaseMotion


def planar_velocity(
    before: BaseMotion | None, after: BaseMotion | None, dt_s: float
) -> tuple[float, float, float]:
    """Forward and left speed (m/s) and turn rate (rad/s) from displacement over one step."""
    if before is None or after is None or dt_s <= 0:
        return 0.0, 0.0, 0.0
    dx, dy = (after.position[:2] - before.position[:2]) / dt_s
    cosine, sine = np.cos(before.yaw), np.sin(before.yaw)
    turn = (after.yaw - before.yaw + np.pi) % (2 * np.pi) - np.pi
    return float(cosine * dx + sine * dy), float(cosine * dy - sine * dx), float(turn / dt_s)
