"""Every robot that the contract holds for; a new one is one line in SIMULATORS, VIRTUAL or REAL."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import robots
from robots import SafeRobot
from sim.robots import make
from tests.robots.serial_rig import serial_rig
from tests.robots.terminal_rig import terminal_robot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np

    from robots import Robot

CRAWLER_XML = """
<mujoco model="crawler">
  <compiler angle="radian"/>
  <default>
    <joint axis="0 1 0" damping="0.02" armature="0.002"/>
    <geom contype="0" conaffinity="1" density="400"/>
  </default>
  <worldbody>
    <geom name="ground" type="plane" size="0 0 1" contype="1" conaffinity="0"/>
    <body name="plate" pos="0 0 0.3">
      <freejoint/>
      <geom type="box" size="0.12 0.08 0.02" mass="1.2"/>
      <site name="chip" pos="0.02 0 0.02"/>
      <body pos="-0.1 0.08 0">
        <joint name="back_left" range="-1.2 1.2"/>
        <geom type="capsule" fromto="0 0 0 0 0 -0.12" size="0.01"/>
        <geom name="back_left_tip" type="sphere" pos="0 0 -0.12" size="0.015"/>
      </body>
      <body pos="-0.1 -0.08 0">
        <joint name="back_right" range="-1.2 1.2"/>
        <geom type="capsule" fromto="0 0 0 0 0 -0.12" size="0.01"/>
        <geom name="back_right_tip" type="sphere" pos="0 0 -0.12" size="0.015"/>
      </body>
      <body pos="0.1 0.08 0">
        <joint name="front_left" range="-1.2 1.2"/>
        <geom type="capsule" fromto="0 0 0 0 0 -0.12" size="0.01"/>
        <geom name="front_left_tip" type="sphere" pos="0 0 -0.12" size="0.015"/>
      </body>
      <body pos="0.1 -0.08 0">
        <joint name="front_right" range="-1.2 1.2"/>
        <geom type="capsule" fromto="0 0 0 0 0 -0.12" size="0.01"/>
        <geom name="front_right_tip" type="sphere" pos="0 0 -0.12" size="0.015"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""

CRAWLER_JOINT = (
    "lower = -1.2, upper = 1.2, stance = 0.4, action_scale = 0.3, "
    "effort_max = 3.0, velocity_max = 8.0, kp = 15.0, kd = 0.4"
)
CRAWLER_LEGS = ("front_left", "front_right", "back_left", "back_right")


def write_crawler(folder: Path) -> Path:
    """A user's own robot: four legs of one hinge each, in another order than the model's."""
    joints = "".join(f'  {{ name = "{leg}", {CRAWLER_JOINT} }},\n' for leg in CRAWLER_LEGS)
    feet = ", ".join(f'"{leg}_tip"' for leg in CRAWLER_LEGS)
    (folder / "model.xml").write_text(CRAWLER_XML, "utf-8")
    (folder / "robot.toml").write_text(
        f'name = "crawler"\nbase = "plate"\nimu = "chip"\nfeet = [{feet}]\n'
        f"joints = [\n{joints}]\n[safety]\ndamp_kd = 0.2\n",
        "utf-8",
    )
    return folder


class Enabled(SafeRobot):
    """A SafeRobot whose operator enables it whenever it has been connected or placed."""

    def connect(self) -> None:
        """Connect and enable."""
        super().connect()
        self.enable()

    def place(self, rng: np.random.Generator) -> bool:
        """Place and enable."""
        placed = super().place(rng)
        self.enable()
        return placed


SIMULATORS: dict[str, Callable[[Path], Robot]] = {
    "mujoco go2": lambda _: make(robots.find("go2")),
    "mujoco pup": lambda _: make(robots.find("pup")),
    "mujoco folder of a user": lambda folder: make(robots.find(str(write_crawler(folder)))),
    "dm_control quadruped": lambda _: make(robots.find("quadruped")),
    "safe mujoco go2": lambda _: Enabled(make(robots.find("go2"))),
    "safe dm_control quadruped": lambda _: Enabled(make(robots.find("quadruped"))),
}
VIRTUAL: dict[str, Callable[[Path], Robot]] = SIMULATORS | {
    "serial pup": lambda _: serial_rig().robot,
    "safe serial pup": lambda _: Enabled(serial_rig(ramp_speed=8.0).robot),
}
"""The serial ones lie on the ground when they are connected, so the safe one is quick to stand."""
REAL: dict[str, Callable[[ExitStack], Robot]] = {
    "real-time serial pup": terminal_robot,
    "safe real-time serial pup": lambda stack: Enabled(terminal_robot(stack, ramp_speed=8.0)),
}
"""On pseudo-terminals that last as long as the test."""


@pytest.fixture(params=[*VIRTUAL, *REAL])
def new_robot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Robot]]:
    """Builds a robot of one kind; all are closed afterwards."""
    with ExitStack() as stack:

        def build() -> Robot:
            name = request.param
            robot = REAL[name](stack) if name in REAL else VIRTUAL[name](tmp_path)
            stack.callback(robot.close)
            return robot

        yield build


@pytest.fixture
def robot(new_robot: Callable[[], Robot]) -> Robot:
    """A connected robot in its stance."""
    robot = new_robot()
    robot.connect()
    return robot
