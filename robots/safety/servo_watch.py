"""Watches what every joint gives and does: torque, speed, and whether it follows its target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robots.safety.guards import Alarm, Guard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robots.robot import RobotState
    from robots.spec import RobotSpec

    FloatArray = NDArray[np.float32]
    Flags = NDArray[np.bool_]


class ServoWatch:
    """Judges the joints of a robot that moves; every reading once, in the order of their coming."""

    def __init__(self, spec: RobotSpec) -> None:
        """Take thresholds from robot.toml."""
        self._names = spec.joint_names
        safety = spec.safety
        self._peak = _Twice(safety.effort_peak * spec.column("effort_max"))
        self._speed = _Twice(safety.overspeed * spec.column("velocity_max"))
        continuous = spec.column("effort_continuous")
        self._load = None if np.isnan(continuous).all() else _Load(continuous, spec)
        self._follow = _Follow(spec)
        self._last: RobotState | None = None

    def judge(self, reading: RobotState, target: FloatArray) -> list[Alarm]:
        """Judge a readable reading, given the targets (J,) that were sent before it, rad."""
        last, self._last = self._last, reading
        if last is None or reading.stamp_ns <= last.stamp_ns:
            return []
        effort = np.abs(reading.effort)
        alarms = []
        for watch, values, guard, unit in (
            (self._peak, effort, Guard.EFFORT, "N·m"),
            (self._speed, np.abs(reading.velocity), Guard.OVERSPEED, "rad/s"),
        ):
            joint = watch.fired(values, last, reading)
            if joint is not None:
                words = f"{self._names[joint]} has {values[joint]:.1f} {unit}, twice in a row"
                alarms.append(Alarm(guard, words, damp=True))
        if self._load is not None:
            joint = self._load.fired(effort, (reading.stamp_ns - last.stamp_ns) / 1e9)
            if joint is not None:
                words = f"{self._names[joint]} has given {self._load.mean(joint):.2f} N·m too long"
                alarms.append(Alarm(Guard.EFFORT, words, damp=False))
        joint = self._follow.fired(last, reading, target, effort)
        if joint is not None:
            words = (
                f"{self._names[joint]} is at {reading.position[joint]:.2f} rad "
                f"with its target at {target[joint]:.2f}"
            )
            alarms.append(Alarm(Guard.STUCK, words, damp=False))
        return alarms

    def forget(self) -> None:
        """Start anew."""
        self._last = None
        for watch in (self._peak, self._speed, self._load, self._follow):
            if watch is not None:
                watch.forget()


class _Twice:
    """Fires when a joint is over its bound in two samples in a row; one may be a bad reading."""

    def __init__(self, bound: FloatArray) -> None:
        self._bound = bound
        self._over = np.zeros(bound.shape, dtype=np.bool_)
        self._any = False

    def fired(self, values: FloatArray, last: RobotState, reading: RobotState) -> int | None:
        """First such joint; a sample that is repeated, bit for bit, is not another one."""
        over = values > self._bound
        if not (self._any or over.any()):
            return None
        fresh = ~_same(last, reading) | (last.effort != reading.effort)
        twice = over & self._over & fresh
        self._over = np.where(fresh, over, self._over)
        self._any = bool(self._over.any())
        return _first(twice)

    def forget(self) -> None:
        self._over = np.zeros_like(self._over)
        self._any = False


class _Load:
    """Fires when the root mean square of a joint's torque exceeds its share of the continuous one.

    The mean fades with a time constant, so a joint that stalls fires within that time.
    """

    def __init__(self, continuous: FloatArray, spec: RobotSpec) -> None:
        self._bound = (spec.safety.effort_share * continuous) ** 2  # nan never fires
        self._most = 10 * spec.column("effort_max")  # the square of a wild reading overflows
        self._time_s = spec.safety.effort_s
        self._square = np.zeros_like(continuous)

    def fired(self, effort: FloatArray, dt_s: float) -> int | None:
        """First such joint."""
        square = np.minimum(effort, self._most) ** 2
        self._square += np.float32(min(dt_s / self._time_s, 1.0)) * (square - self._square)
        return _first(self._square > self._bound)

    def mean(self, joint: int) -> float:
        """Root mean square torque of a joint, N·m."""
        return float(np.sqrt(self._square[joint]))

    def forget(self) -> None:
        self._square[:] = 0


class _Follow:
    """Fires when a joint is blocked, or its reading does not change although its target moves.

    Blocked: far from its target, pushing hard, and not moving, for stuck_s.  Frozen: position and
    velocity the same, bit for bit, for stuck_s in which the target has moved by half as far; or a
    position that is the same, bit for bit, while the velocity says that it has gone as far.
    """

    def __init__(self, spec: RobotSpec) -> None:
        safety = spec.safety
        self._far, self._move = safety.stuck_rad, safety.stuck_move
        self._patience_ns = safety.stuck_s * 1e9
        self._hard = safety.stuck_effort * spec.column("effort_max")
        self._turning = safety.stuck_move / safety.stuck_s
        size = len(spec.joints)
        self._gone = np.zeros(size, np.float32)
        self._blocked_ns, self._frozen_ns = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self._anchor = self._lowest = self._highest = np.zeros(size, np.float32)
        self._idle = True

    def fired(
        self, last: RobotState, reading: RobotState, target: FloatArray, effort: FloatArray
    ) -> int | None:
        """First such joint."""
        far = np.abs(target - reading.position) > self._far
        unmoved = reading.position == last.position
        if not (far.any() or unmoved.any()):
            self._idle = True
            return None
        now_ns = reading.stamp_ns
        if self._idle:
            self._begin(last)
        same = unmoved & (reading.velocity == last.velocity)
        self._gone = np.where(unmoved, self._gone + self._step(last, reading), 0)
        blocked = far & (effort > self._hard)
        blocked &= reading.position <= self._anchor + self._move
        blocked &= reading.position >= self._anchor - self._move
        self._blocked_ns[~blocked] = now_ns
        self._anchor = np.where(blocked, self._anchor, reading.position)
        self._frozen_ns[~same] = now_ns
        self._lowest = np.where(same, np.minimum(self._lowest, target), target)
        self._highest = np.where(same, np.maximum(self._highest, target), target)
        frozen = same & (self._highest - self._lowest > self._far / 2)
        blocked &= now_ns - self._blocked_ns >= self._patience_ns
        frozen &= now_ns - self._frozen_ns >= self._patience_ns
        return _first(blocked | frozen | (self._gone > self._far))

    def forget(self) -> None:
        self._idle = True

    def _step(self, last: RobotState, reading: RobotState) -> FloatArray:
        """How far joints have turned since the last reading if their velocities are right, rad.

        Slow ones may flicker, and what repeats the velocity as well is no new sample.
        """
        speed = np.abs(reading.velocity)
        speed *= (speed > self._turning) & (reading.velocity != last.velocity)
        step: FloatArray = speed * np.float32((reading.stamp_ns - last.stamp_ns) / 1e9)
        return step

    def _begin(self, last: RobotState) -> None:
        """Count every joint's time from the reading before."""
        self._idle = False
        self._blocked_ns[:] = self._frozen_ns[:] = last.stamp_ns
        self._gone = np.zeros_like(self._gone)
        self._anchor = last.position
        self._lowest = np.full_like(self._lowest, np.inf)
        self._highest = np.full_like(self._highest, -np.inf)


def _same(last: RobotState, reading: RobotState) -> Flags:
    """Which joints repeat position and velocity bit for bit."""
    same: Flags = (last.position == reading.position) & (last.velocity == reading.velocity)
    return same


def _first(flags: Flags) -> int | None:
    """Number of the first joint that is flagged."""
    return int(flags.argmax()) if flags.any() else None
