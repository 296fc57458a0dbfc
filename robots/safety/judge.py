"""The guards that judge readings, commands and the control loop, side by side; none acts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robots.safety.command_watch import CommandWatch
from robots.safety.guards import BLIND, Alarm, Guard
from robots.safety.jump_filter import JumpFilter
from robots.safety.limits import unusable
from robots.safety.sensor_watch import SensorWatch, Verdict
from robots.safety.servo_watch import ServoWatch
from robots.safety.supply_watch import SupplyWatch
from robots.safety.tick_watch import TickWatch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robots.robot import JointCommand, RobotState
    from robots.spec import RobotSpec

    FloatArray = NDArray[np.float32]


class Judge:
    """Says what is wrong with what the robot senses and is told; the wrapper does about it."""

    def __init__(self, spec: RobotSpec) -> None:
        """Take every threshold from robot.toml."""
        self._joints = len(spec.joints)
        self._sensors, self._jumps = SensorWatch(spec), JumpFilter(spec)
        self._servos, self._supply = ServoWatch(spec), SupplyWatch(spec)
        self._commands, self._ticks = CommandWatch(spec.safety), TickWatch(spec.safety)
        self._late = ""
        self.dangers = self.sensor_doubt = self.command_doubt = Guard.NONE
        self.refused = 0
        """How many commands in a row could not be used."""

    @property
    def doubt(self) -> Guard:
        """What is to be waited for, in command and sensors."""
        return self.sensor_doubt | self.command_doubt

    @property
    def blind(self) -> bool:
        """Whether the last reading says nothing about the robot."""
        return bool(self.dangers & BLIND)

    @property
    def speed(self) -> float:
        """Share of their speed that targets may have."""
        return self._supply.speed

    def sift(self, reading: RobotState, *, limp: bool) -> RobotState:
        """The reading, impossible joint samples replaced; limp joints are moved by anybody."""
        if limp:
            self._jumps.forget()
        return self._jumps.take(reading)

    def sense(self, reading: RobotState, now_ns: int) -> Verdict:
        """Judge what a reading, also an old one, is worth at this robot time."""
        verdict = self._sensors.judge(reading, now_ns)
        self.dangers, self.sensor_doubt = verdict
        return verdict

    def examine(self, reading: RobotState, target: FloatArray | None) -> list[Alarm]:
        """Judge control loop, supply and joints by a reading, once; no target (J,) while limp."""
        late, self._late = self._late, ""
        alarms = []
        if late:
            blind = bool(self.dangers | self.sensor_doubt) or not self._sensors.upright(reading)
            alarms.append(Alarm(Guard.OVERRUN, late, damp=blind))
        if self.blind:
            return alarms
        alarms += self._supply.judge(reading)
        if target is not None:
            alarms += self._servos.judge(reading, target)
        return alarms

    def hear(self, command: JointCommand) -> Guard:
        """Judge whether a command can be used."""
        self.command_doubt = unusable(command, self._joints)
        self.refused = self.refused + 1 if self.command_doubt else 0
        return self.command_doubt

    def frozen(self, command: JointCommand, measured: FloatArray, now_ns: int) -> bool:
        """Judge whether a usable command only repeats itself while the joints (J,) move, rad."""
        return self._commands.frozen(command.position, measured, now_ns)

    def tick(self, late_s: float) -> None:
        """Take a tick of the control loop that began so late, s; examine() tells what it means."""
        self._late = self._ticks.add(late_s) or self._late

    def upright(self, reading: RobotState) -> bool:
        """Judge the tilt of a reading by itself, without patience."""
        return self._sensors.upright(reading)

    def unfit(self, reading: RobotState) -> Guard:
        """What speaks against a start, without the patience that motion gets."""
        unfit = self.dangers | self.sensor_doubt
        if self.blind:
            return unfit
        if not self._sensors.upright(reading):
            unfit |= Guard.TILT
        for alarm in self._supply.judge(reading):
            unfit |= alarm.guard
        return unfit

    def forget(self) -> None:
        """Start anew; what is slow, as temperature, is no news of yesterday."""
        self.sensor_doubt = self.command_doubt = Guard.NONE
        self.refused, self._late = 0, ""
        for watch in (self._jumps, self._servos, self._commands, self._ticks):
            watch.forget()
