"""The one place that knows both sides: turns names into robots, tasks and environments, lazily."""

from __future__ import annotations

import difflib
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

import msgspec

from robosac.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    import gymnasium
    import numpy as np
    from numpy.typing import NDArray

    from robosac.policy import Contract
    from robosac.tasks import Task
    from robots import RobotSpec

    Frame = NDArray[np.uint8]
    Filming = AbstractContextManager["Camera"]

TASKS = ("walk",)


class Camera(Protocol):
    """Something that draws a frame (H, W, 3) of the environment as it is now."""

    def frame(self) -> Frame:
        """Draw."""


class EnvCamera:
    """The camera that an environment brings itself."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Draw with this environment's render()."""
        self._env = env

    def frame(self) -> Frame:
        """Draw; raises RenderingError where the environment cannot."""
        from sim.errors import RenderingError

        try:
            frame = self._env.render()
        except Exception as error:  # noqa: BLE001 -- every environment fails in a way of its own
            raise RenderingError(str(error).partition("\n")[0]) from None
        if frame is None:
            raise RenderingError("the environment draws nothing")
        return cast("Frame", frame)


class Workplace:
    """An environment, the contract a policy for it must fulfil, and how to look at it."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        contract: Contract,
        *,
        frame_hz: float,
        camera: Callable[[], Filming],
    ) -> None:
        """Bring the parts together; `camera` is set up only when a picture is wanted."""
        self.env = env
        self.contract = contract
        self.frame_hz = frame_hz
        self.camera = camera

    def __enter__(self) -> Self:
        """Use the environment."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.env.close()


def make(
    *, robot: str | None, task: str | None, env: str | None, realtime: bool = False
) -> Workplace:
    """Build the environment that a run or a policy names.

    Raises the errors that name what is unknown or does not fit.
    """
    if env is not None:
        return _make_env(env)
    return _make_robot(robot or "", task or "", realtime=realtime)


def make_task(name: str, spec: RobotSpec) -> Task:
    """Return a task by name, with the robot's own numbers for it; raises ConfigError."""
    from robosac.tasks import Walk, WalkConfig

    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, cutoff=0.3) or TASKS
        raise ConfigError(f"unknown task {name!r}; expected {' or '.join(near)}")
    try:
        return Walk(msgspec.convert(spec.tasks.get(name, {}), WalkConfig))
    except msgspec.ValidationError as error:
        raise ConfigError(f"robot.toml of {spec.name}, tasks.{name}: {error}") from None


def check_sensors(place: Workplace, policy: Contract) -> None:
    """Replay the sensor half of a policy's golden vectors, where there are sensors."""
    from robosac.env import RobotEnv
    from robosac.policy.describe import check_golden_sensors

    if isinstance(place.env, RobotEnv):
        check_golden_sensors(place.env, policy)


def _make_robot(name: str, task_name: str, *, realtime: bool) -> Workplace:
    import robots
    from robosac.env import RobotEnv
    from robosac.policy.describe import describe_robot
    from sim.robots import make as make_simulator

    folder = robots.find(name)
    task = make_task(task_name, folder.spec)
    simulated = make_simulator(folder, realtime=realtime)
    env = RobotEnv(simulated, task)

    def camera() -> Filming:
        from sim.render import Camera

        return Camera(simulated)

    contract = describe_robot(env, model_sha256=folder.model_sha256)
    return Workplace(env, contract, frame_hz=task.control_hz, camera=camera)


def _make_env(env_id: str) -> Workplace:
    from robosac.policy.describe import describe_env

    if env_id.startswith("dm_control/"):
        from sim.dm_control_env import DmControlEnv, parse_id

        env: gymnasium.Env[Any, Any] = DmControlEnv(*parse_id(env_id))
    else:
        from sim.gymnasium_env import make as make_gymnasium

        env = make_gymnasium(env_id, render_mode="rgb_array")

    contract = describe_env(env, env_id)
    try:
        contract.row_layout  # noqa: B018 - it judges how many numbers there are
    except ValueError as error:
        env.close()
        raise ConfigError(
            f"--env {env_id}: {error}; choose one that observes numbers, no images"
        ) from None
    hertz = float(env.metadata.get("render_fps", 30))
    return Workplace(env, contract, frame_hz=hertz, camera=lambda: nullcontext(EnvCamera(env)))
