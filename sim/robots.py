"""The simulated robot of a folder, whichever simulator that folder is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robots import RobotFolder
    from sim.simulated_robot import SimulatedRobot


def make(folder: RobotFolder, *, realtime: bool = False) -> SimulatedRobot:
    """Simulate a robot folder with the engine its robot.toml names.

    With realtime, simulated time never runs ahead of the wall clock.  Raises ModelError.
    """
    if folder.spec.sim.engine == "dm_control":
        from sim.dm_control_robot import DmControlRobot

        return DmControlRobot(folder, realtime=realtime)
    from sim.mujoco_robot import MujocoRobot

    return MujocoRobot(folder, realtime=realtime)
