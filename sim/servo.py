"""The simulated joint servo: a PD loop behind a torque limit that falls with speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robots import JointCommand, RobotSpec

    Array = NDArray[np.float64]


class Servo:
    """All joints of one robot at the physics rate.

    The torque a motor can still give in the direction of motion falls along the straight line from
    stall torque at rest to zero at no-load speed; braking keeps the full torque.  Both ends of the
    line are proportional to the supply voltage, its slope is not.

    A servo that regulates the voltage of its motor by pulse width, as hobby and Dynamixel servos in
    position mode do, is the case kd = effort_max / velocity_max: the back-EMF.
    """

    def __init__(self, spec: RobotSpec) -> None:
        """Take torque and speed limits from the robot's description, at the simulated supply."""
        rated = spec.column("effort_max").astype(np.float64)
        self._effort_max = rated * spec.sim.supply
        self._slope = rated / spec.column("velocity_max").astype(np.float64)
        joints = len(spec.joints)
        self._kp, self._kd = np.zeros(joints), np.zeros(joints)
        self._bias = np.zeros(joints)

    def command(self, command: JointCommand) -> None:
        """Take a new command; it holds until the next one."""
        self._kp = command.kp.astype(np.float64)
        self._kd = command.kd.astype(np.float64)
        self._bias = self._kp * command.position + command.torque

    def off(self) -> None:
        """Give no torque from now on."""
        for array in (self._kp, self._kd, self._bias):
            array[:] = 0

    def torque(self, position: Array, velocity: Array) -> Array:
        """Torque of every joint (J,), N·m, at these positions (rad) and velocities (rad/s)."""
        wanted = self._bias - self._kp * position - self._kd * velocity
        upper = np.clip(self._effort_max - self._slope * velocity, 0, self._effort_max)
        lower = np.clip(-self._effort_max - self._slope * velocity, -self._effort_max, 0)
        return np.minimum(np.maximum(wanted, lower), upper)
