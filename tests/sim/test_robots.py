from __future__ import annotations

import subprocess
import sys

import pytest

import robots
from sim.robots import make


@pytest.mark.parametrize(
    ("name", "kind"), [("go2", "MujocoRobot"), ("quadruped", "DmControlRobot")]
)
def test_the_folder_says_which_simulator(name: str, kind: str) -> None:
    """robot.toml names the engine."""
    assert type(make(robots.find(name))).__name__ == kind


def test_only_the_engine_in_use_is_imported() -> None:
    """A MuJoCo robot works where dm_control is not installed."""
    script = (
        "import sys, robots, sim.robots; sim.robots.make(robots.find('go2'));"
        "print('dm_control' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
