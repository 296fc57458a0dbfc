from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium
import msgspec
import numpy as np
import pytest

import robots
from robosac.cli import resolve
from robosac.errors import ConfigError
from robosac.tasks import Walk, WalkConfig

if TYPE_CHECKING:
    from robots import RobotSpec


def robot_with(numbers: dict[str, float]) -> RobotSpec:
    """A robot whose robot.toml has these numbers for the walk."""
    return msgspec.structs.replace(robots.find("go2").spec, tasks={"walk": numbers})


def test_a_robot_without_numbers_of_its_own_gets_the_published_ones() -> None:
    """Which is what go2 learned with all along."""
    assert robots.find("go2").spec.tasks == {}
    task = resolve.make_task("walk", robots.find("go2").spec)
    assert task.numbers() == Walk().numbers()


def test_a_robot_walks_at_its_own_speed() -> None:
    """What robot.toml names is taken from there, the rest is the task's."""
    task = resolve.make_task("walk", robot_with({"forward_mps": 0.2}))
    assert task.numbers() == msgspec.structs.asdict(WalkConfig(forward_mps=0.2))


def test_pup_is_asked_for_a_pace_of_its_size() -> None:
    """The contract of its policies says so, too."""
    with resolve.make(robot="pup", task="walk", env=None) as place:
        assert place.contract.commands == {"forward_mps": (0.25, 0.25)}
        assert place.contract.task_config["forward_mps"] == 0.25


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"forwards_mps": 0.2}, "tasks.walk: Object contains unknown field `forwards_mps`"),
        ({"forward_mps": 0.0}, "tasks.walk: walk: forward_mps is 0.0; expected more than 0"),
    ],
)
def test_numbers_that_the_task_has_not_are_refused(numbers: dict[str, float], message: str) -> None:
    """With the file and the table to look at."""
    with pytest.raises(ConfigError, match=message) as caught:
        resolve.make_task("walk", robot_with(numbers))
    assert "robot.toml of go2" in str(caught.value)


class Gallery(gymnasium.Env[np.ndarray, np.ndarray]):
    """Observes colour pictures, as CarRacing does."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - as Gymnasium has it
    render_mode = "rgb_array"

    observation_space = gymnasium.spaces.Box(0, 255, (96, 96, 3), np.uint8)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


def test_an_environment_of_pictures_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a run folder is made for it; its rows would be wider than any."""
    spec = gymnasium.envs.registration.EnvSpec("Gallery-v0", entry_point=lambda **_: Gallery())
    monkeypatch.setitem(gymnasium.registry, "Gallery-v0", spec)
    with pytest.raises(ConfigError, match=r"--env Gallery-v0: .*expected .* at most .* no images"):
        resolve.make(robot=None, task=None, env="Gallery-v0")
