"""Tasks of the dm_control suite as Gymnasium environments."""

from __future__ import annotations

from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sim.errors import EpisodeOverError, RenderingError, UnknownEnvError
from sim.gymnasium_env import check_action_space
from sim.opengl import choose

FloatArray: TypeAlias = NDArray[np.float32]

PREFIX = "dm_control/"
_NO_LIMIT = 1e10


def parse_id(env_id: str) -> tuple[str, str]:
    """Split "dm_control/walker-walk" into domain and task.

    Raises UnknownEnvError with the nearest ids when the suite has no such task.
    """
    known = {f"{PREFIX}{domain}-{task}": (domain, task) for domain, task in _suite().ALL_TASKS}
    if env_id not in known:
        raise UnknownEnvError(env_id, known)
    return known[env_id]


class DmControlEnv(gymnasium.Env[FloatArray, FloatArray]):
    """One task of the suite, its observations flattened to float32 in the suite's own order.

    An episode that ends with discount above zero was cut off by its time limit: it is truncated.
    """

    def __init__(
        self, domain: str, task: str, *, seed: int | None = None, render_mode: str | None = None
    ) -> None:
        """Load the task; raises UnknownEnvError, and UnsupportedEnvError for unbounded actions."""
        self._id = f"{PREFIX}{domain}-{task}"
        parse_id(self._id)
        self._env = _suite().load(domain, task, task_kwargs={"random": seed})
        self._over = True
        size = sum(int(np.prod(part.shape)) for part in self._env.observation_spec().values())
        actions = self._env.action_spec()
        low, high = (
            np.broadcast_to(bound, actions.shape).astype(np.float32)
            for bound in (actions.minimum, actions.maximum)
        )
        # The suite writes MuJoCo's largest number where an actuator has no limit.
        low[low <= -_NO_LIMIT], high[high >= _NO_LIMIT] = -np.inf, np.inf
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.action_space = check_action_space(self._id, spaces.Box(low, high))
        self.render_mode = render_mode
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": round(1 / self._env.control_timestep()),
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode; a seed restarts the task's own random numbers."""
        super().reset(seed=seed, options=options)
        if seed is not None:
            self._env.task.random.seed(seed)
        self._over = False
        return self._flat(self._env.reset().observation), {}

    def step(self, action: FloatArray) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Take one action; raises EpisodeOverError where the suite would silently start anew."""
        if self._over:
            raise EpisodeOverError(self._id)
        timestep = self._env.step(np.asarray(action, dtype=np.float64))
        self._over = timestep.last()
        truncated = self._over and timestep.discount > 0
        obs = self._flat(timestep.observation)
        return obs, float(timestep.reward), self._over and not truncated, truncated, {}

    def render(self) -> NDArray[np.uint8]:
        """Picture of the first camera (480, 640, 3); raises RenderingError."""
        try:
            frame: NDArray[np.uint8] = self._env.physics.render(480, 640, camera_id=0)
        except (RuntimeError, ImportError, AttributeError) as error:
            raise RenderingError(str(error)) from None
        return frame

    def close(self) -> None:
        """Release the physics and its pictures."""
        self._env.close()
        self._over = True

    def _flat(self, observation: dict[str, Any]) -> FloatArray:
        """All parts, scalars of shape () included, in one new vector."""
        parts = [np.ravel(part) for part in observation.values()]
        return np.concatenate(parts).astype(np.float32)


def _suite() -> Any:  # noqa: ANN401 - dm_control has no type information
    """The suite, imported after its OpenGL is settled."""
    choose()
    from dm_control import suite

    return suite
