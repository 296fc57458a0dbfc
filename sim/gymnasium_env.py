"""Any Gymnasium environment with continuous actions, in the flat float32 form the learner takes."""

from __future__ import annotations

import logging
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium import error, spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from sim.errors import EnvDependencyError, UnknownEnvError, UnsupportedEnvError
from sim.opengl import choose

FloatArray: TypeAlias = NDArray[np.float32]

_WIDE_BOUND = 10.0
_log = logging.getLogger(__name__)


def make(env_id: str, *, render_mode: str | None = None) -> gymnasium.Env[FloatArray, FloatArray]:
    """Make an environment whose observations and actions are flat float32 vectors.

    Raises UnknownEnvError with the nearest ids, EnvDependencyError when a package is missing, and
    UnsupportedEnvError for spaces SAC cannot use: discrete or unbounded actions, observations that
    are no boxes.  Bounds beyond ±10 are only warned of.
    """
    choose()
    try:
        env = gymnasium.make(env_id, render_mode=render_mode)
    except (error.DependencyNotInstalled, ImportError) as cause:
        raise EnvDependencyError(env_id, str(cause)) from None
    except error.Error:
        raise UnknownEnvError(env_id, _newest_ids()) from None
    try:
        return FlatEnv(env, env_id)
    except UnsupportedEnvError:
        env.close()
        raise


class FlatEnv(gymnasium.Wrapper[FloatArray, FloatArray, Any, Any], RecordConstructorArgs):
    """Flattens observations and actions to float32 vectors; bounds stay the environment's own."""

    def __init__(self, env: gymnasium.Env[Any, Any], env_id: str) -> None:
        """Check both spaces; raises UnsupportedEnvError."""
        RecordConstructorArgs.__init__(self, env_id=env_id)
        gymnasium.Wrapper.__init__(self, env)
        self._box = check_action_space(env_id, env.action_space)
        _check_observation_space(env_id, env.observation_space)
        self.action_space = _float32(self._box)
        flat = spaces.flatten_space(env.observation_space)
        assert isinstance(flat, spaces.Box)
        self.observation_space = _float32(flat)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._flat(obs), info

    def step(self, action: FloatArray) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Take one action, in the bounds of action_space."""
        obs, reward, terminated, truncated, info = self.env.step(self._native(action))
        return self._flat(obs), float(reward), bool(terminated), bool(truncated), info

    def _flat(self, obs: Any) -> FloatArray:  # noqa: ANN401 - whatever the environment observes
        """One observation as a new float32 vector."""
        flat = spaces.flatten(self.env.observation_space, obs)
        return np.array(flat, dtype=np.float32)

    def _native(self, action: FloatArray) -> NDArray[Any]:
        """The action in the environment's own shape and precision."""
        box = self._box
        native = np.asarray(action, dtype=box.dtype).reshape(box.shape)
        # float32 may round a bound outward; in float32 itself there is nothing to round.
        return native if box.dtype == np.float32 else native.clip(box.low, box.high)


def check_action_space(env_id: str, space: spaces.Space[Any]) -> spaces.Box[Any]:
    """Return the space if SAC can act in it; raises UnsupportedEnvError."""
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise UnsupportedEnvError(
            env_id,
            f"has {space} actions; expected a Box of floats, because SAC is for continuous actions",
        )
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise UnsupportedEnvError(
            env_id,
            f"has unbounded actions, {space}; expected finite bounds: wrap it in "
            "gymnasium.wrappers.RescaleAction or give the Box bounds",
        )
    widest = float(np.abs([space.low, space.high]).max())
    if widest > _WIDE_BOUND:
        _log.warning(
            "%s takes actions up to %g; policies spread over all of it, narrow bounds learn faster",
            env_id,
            widest,
        )
    return space


def _check_observation_space(env_id: str, space: spaces.Space[Any]) -> None:
    """Refuse observations that are no boxes; raises UnsupportedEnvError."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.values() if isinstance(space, spaces.Dict) else space
        for part in parts:
            _check_observation_space(env_id, part)
    elif not isinstance(space, spaces.Box):
        raise UnsupportedEnvError(
            env_id, f"has {space} observations; expected a Box, or a Dict or Tuple of Boxes"
        )


def _float32(box: spaces.Box[Any]) -> spaces.Box[np.float32]:
    """The box as a flat float32 one; bounds beyond float32 become infinite."""
    with np.errstate(over="ignore"):
        low, high = (bound.ravel().astype(np.float32) for bound in (box.low, box.high))
    return spaces.Box(low, high, dtype=np.float32)


def _newest_ids() -> list[str]:
    """The newest version of every registered environment."""
    newest: dict[tuple[str | None, str], gymnasium.envs.registration.EnvSpec] = {}
    for spec in gymnasium.registry.values():
        known = newest.get((spec.namespace, spec.name))
        if known is None or (spec.version or 0) > (known.version or 0):
            newest[spec.namespace, spec.name] = spec
    return [spec.id for spec in newest.values()]
