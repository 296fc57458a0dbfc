"""Watches what changes slowly: temperatures of the joints and the voltage of the supply."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from robots.safety.guards import Alarm, Guard

if TYPE_CHECKING:
    from robots.robot import RobotState
    from robots.spec import RobotSpec

_log = logging.getLogger(__name__)

_SLOWEST = 0.3
"""Share of their speed that targets keep at the temperature where the robot sits down."""


class SupplyWatch:
    """Slows a hot robot down, then stops it; stops one whose battery is flat."""

    def __init__(self, spec: RobotSpec) -> None:
        """Take thresholds from robot.toml."""
        self._limits = spec.safety
        self._names = spec.joint_names
        self._voltage: float | None = None
        self._stamp_ns = 0
        self.speed = 1.0
        """Share of their speed that targets may have."""

    def judge(self, reading: RobotState) -> list[Alarm]:
        """Judge a reading as far as it has temperatures and a voltage."""
        return [*self._judge_temperature(reading), *self._judge_voltage(reading)]

    def _judge_temperature(self, reading: RobotState) -> list[Alarm]:
        if reading.temperature is None:
            return []
        hottest = float(reading.temperature.max())
        warm, hot = self._limits.derate_c, self._limits.sit_c
        excess = min(max((hottest - warm) / (hot - warm), 0.0), 1.0)
        before, self.speed = self.speed, 1.0 - (1.0 - _SLOWEST) * excess
        if not excess:
            return []
        words = f"{self._names[int(reading.temperature.argmax())]} has {hottest:.0f} °C"
        if hottest >= hot:
            return [Alarm(Guard.TEMPERATURE, words, damp=False)]
        if before == 1.0:
            _log.warning("safety: %s; targets move slower up to %g °C, then it sits", words, hot)
        return []

    def _judge_voltage(self, reading: RobotState) -> list[Alarm]:
        voltage, limits = reading.voltage, self._limits
        if voltage is None:
            return []
        if limits.voltage_brownout is not None and voltage < limits.voltage_brownout:
            words = f"the supply has dropped to {voltage:.1f} V"
            return [Alarm(Guard.VOLTAGE, words, damp=True)]
        if limits.voltage_min is None:
            return []
        elapsed_s, self._stamp_ns = (reading.stamp_ns - self._stamp_ns) / 1e9, reading.stamp_ns
        if self._voltage is None:
            self._voltage = voltage
        self._voltage += min(elapsed_s / limits.voltage_s, 1.0) * (voltage - self._voltage)
        if self._voltage >= limits.voltage_min:
            return []
        words = f"the supply has {self._voltage:.1f} V on average; charge the battery"
        return [Alarm(Guard.VOLTAGE, words, damp=False)]
