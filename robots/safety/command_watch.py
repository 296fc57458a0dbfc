"""Watches whether whoever commands still reacts to what the robot does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robots.spec import SafetyLimits

    FloatArray = NDArray[np.float32]


class CommandWatch:
    """Tells when the same targets come over and over, bit for bit, while the joints move.

    Off unless robot.toml gives a time: a caller may well hold a pose.
    """

    def __init__(self, limits: SafetyLimits) -> None:
        """Take time and distance from robot.toml."""
        self._limits = limits
        self._target: FloatArray | None = None
        self._since_ns = 0
        self._lowest = self._highest = np.zeros(0, np.float32)

    def frozen(self, target: FloatArray, measured: FloatArray, now_ns: int) -> bool:
        """Judge the targets (J,) of one tick and the positions (J,) they answer, rad."""
        patience_s = self._limits.frozen_command_s
        if patience_s is None:
            return False
        if self._target is None or (target != self._target).any():
            self._target = target.copy()
            self._since_ns, self._lowest, self._highest = now_ns, measured, measured
            return False
        self._lowest = np.minimum(self._lowest, measured)
        self._highest = np.maximum(self._highest, measured)
        moved = (self._highest - self._lowest > self._limits.frozen_command_move).any()
        return bool(moved) and now_ns - self._since_ns >= patience_s * 1e9

    def forget(self) -> None:
        """Start anew."""
        self._target = None
