from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from sim.errors import EnvDependencyError, SimError, UnknownEnvError, UnsupportedEnvError
from sim.gymnasium_env import FlatEnv, make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNBOUNDED_OBS = "ignore:.*A Box observation space (minimum|maximum) value is -?infinity"
WRAPPED = "ignore:.*is different from the unwrapped version"
WIDE_ACTIONS = "ignore:.*For Box action spaces, we recommend using a symmetric and normalized"

BOX = spaces.Box(-1, 1, (2,), np.float32)


class Fixed(gymnasium.Env[Any, Any]):
    """Shows one observation for ever and remembers the last action."""

    def __init__(
        self,
        *,
        obs: spaces.Space[Any] = BOX,
        action: spaces.Space[Any] = BOX,
        shows: object = None,
    ) -> None:
        self.observation_space = obs
        self.action_space = action
        self.shows = obs.sample() if shows is None else shows
        self.last_action: Any = None
        self.closed = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.shows, {}

    def step(self, action: object) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        assert action in self.action_space
        self.last_action = action
        return self.shows, np.float64(1), np.bool_(1), np.bool_(0), {}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def register() -> Iterator[Callable[..., str]]:
    """Registers environments under ids that vanish after the test."""
    ids = []

    def register(entry_point: object, name: str = "Fixed-v0") -> str:
        gymnasium.register(f"robosac_test/{name}", entry_point, disable_env_checker=True)  # type: ignore[arg-type] # any callable
        ids.append(f"robosac_test/{name}")
        return ids[-1]

    yield register
    for env_id in ids:
        del gymnasium.registry[env_id]


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("HalfCheeta", "HalfCheetah-v5"),
        ("halfcheetah-v5", "HalfCheetah-v5"),
        ("Pendulum-v7", "Pendulum-v1"),
        ("Humanoid-v6", "Humanoid-v5"),
    ],
)
def test_an_unknown_id_offers_the_newest_of_the_nearest(asked: str, nearest: str) -> None:
    """One line: what was asked for, and what it may have meant."""
    with pytest.raises(UnknownEnvError, match=f"unknown environment '{asked}'") as caught:
        make(asked)
    assert caught.value.near[0] == nearest
    assert nearest in str(caught.value)


def test_an_id_near_nothing_is_still_one_line() -> None:
    """No nearest name is made up."""
    with pytest.raises(UnknownEnvError, match="'qqqq'; no id comes near it") as caught:
        make("qqqq")
    assert caught.value.near == []


def test_discrete_actions_are_refused() -> None:
    """SAC is for continuous actions, and the message says which space it got."""
    with pytest.raises(
        UnsupportedEnvError, match=r"CartPole-v1 has Discrete\(2\) actions; expected a Box"
    ):
        make("CartPole-v1")


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (spaces.MultiBinary(3), "has MultiBinary"),
        (spaces.Box(0, 5, (2,), np.int64), "expected a Box of floats"),
        (spaces.Box(-np.inf, np.inf, (2,), np.float32), "has unbounded actions"),
        (spaces.Box(-1, np.array([1, np.inf], np.float32)), "has unbounded actions"),
        (spaces.Dict({"arm": BOX}), "has Dict"),
    ],
)
def test_actions_sac_cannot_take_are_refused(
    register: Callable[..., str], action: spaces.Space[Any], message: str
) -> None:
    """And the environment is closed again; unbounded ones among them (trap 9).

    Put back by taking infinite bounds for ±1, or as they are: every action would be no number.
    """
    made: list[Fixed] = []

    def build(render_mode: None = None) -> Fixed:
        made.append(Fixed(action=action))
        return made[-1]

    with pytest.raises(UnsupportedEnvError, match=message):
        make(register(build))
    assert made[0].closed


@pytest.mark.parametrize("bound", [10.0, 10.5, 100.0])
def test_wide_bounds_are_warned_of(bound: float, caplog: pytest.LogCaptureFixture) -> None:
    """A policy over ±100 explores nothing that matters (trap 9); ±10 is still fine."""
    with caplog.at_level(logging.WARNING, "sim.gymnasium_env"):
        FlatEnv(Fixed(action=spaces.Box(-bound, bound, (2,), np.float32)), "Wide-v0")
    warned = [record.getMessage() for record in caplog.records]
    assert [f"Wide-v0 takes actions up to {bound:g}" in text for text in warned] == [True] * (
        bound > 10
    )


@pytest.mark.parametrize(
    "obs",
    [
        spaces.Discrete(4),
        spaces.Dict({"map": BOX, "room": spaces.Discrete(3)}),
        spaces.Tuple([BOX, spaces.Text(5)]),
    ],
)
def test_observations_that_are_no_boxes_are_refused(obs: spaces.Space[Any]) -> None:
    """Also inside a Dict or Tuple."""
    with pytest.raises(UnsupportedEnvError, match="observations; expected a Box"):
        FlatEnv(Fixed(obs=obs), "Fixed-v0")


def test_a_missing_package_is_named(register: Callable[..., str]) -> None:
    """Whether the environment says so or Python does."""

    def needs(render_mode: None = None) -> Fixed:
        raise gymnasium.error.DependencyNotInstalled(
            "box3d is not installed,\nrun `pip install box3d`"
        )

    with pytest.raises(EnvDependencyError, match=r"box3d is not installed, run `pip") as caught:
        make(register(needs, "Needs-v0"))
    assert "\n" not in str(caught.value)
    with pytest.raises(EnvDependencyError, match="no_such_module"):
        make(register("no_such_module:Env", "Absent-v0"))


def test_every_refusal_is_one_kind_of_error() -> None:
    """The command line catches SimError and prints it."""
    for kind in (UnknownEnvError, UnsupportedEnvError, EnvDependencyError):
        assert issubclass(kind, SimError)


def test_nested_observations_become_one_float32_vector() -> None:
    """Dict keys in their sorted order, arrays row by row, float64 or not (trap 23)."""
    part: spaces.Space[Any] = spaces.Tuple(
        [spaces.Box(0, 9, (1,), np.int64), spaces.Box(-2, 2, (2, 2), np.float64)]
    )
    nested = spaces.Dict({"b": part, "a": spaces.Box(-1e300, 1e300, (), np.float64)})
    shows = {
        "a": np.array(0.5),
        "b": (np.array([7]), np.array([[1.0, 2.0], [-1.0, -2.0]])),
    }
    env = FlatEnv(Fixed(obs=nested, shows=shows), "Nested-v0")
    obs, _ = env.reset()
    np.testing.assert_array_equal(obs, np.array([0.5, 7, 1, 2, -1, -2], np.float32))
    assert obs.dtype == np.float32
    assert isinstance(env.observation_space, spaces.Box)
    np.testing.assert_array_equal(env.observation_space.low, [-np.inf, 0, -2, -2, -2, -2])


def test_actions_reach_the_environment_in_its_own_shape_and_precision() -> None:
    """A float32 bound that rounds outward is not outside for the environment."""
    box = spaces.Box(-0.1, 0.1, (2, 2), np.float64)
    inner = Fixed(action=box)
    env = FlatEnv(inner, "Matrix-v0")
    assert env.action_space == spaces.Box(-0.1, 0.1, (4,), np.float32)
    env.step(np.array([0.1, -0.1, 0.05, 0.0], np.float32))
    assert inner.last_action.dtype == np.float64
    np.testing.assert_allclose(inner.last_action, [[0.1, -0.1], [0.05, 0.0]], rtol=1e-6)


def test_reward_and_flags_are_plain_python() -> None:
    """NumPy booleans would travel as arrays."""
    _, reward, terminated, truncated, _ = FlatEnv(Fixed(), "Fixed-v0").step(np.zeros(2, np.float32))
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert {type(reward), type(terminated), type(truncated)} == {float, bool}


def test_a_time_limit_truncates() -> None:
    """Pendulum-v1 stops after 200 steps and never terminates."""
    env = make("Pendulum-v1")
    env.reset(seed=0)
    flags = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(200)]
    assert flags == [(False, False)] * 199 + [(False, True)]


@pytest.mark.filterwarnings(UNBOUNDED_OBS)
@pytest.mark.filterwarnings(WIDE_ACTIONS)
@pytest.mark.filterwarnings(WRAPPED)
@pytest.mark.parametrize(
    ("env_id", "size", "bound"), [("Pendulum-v1", 3, 2.0), ("HalfCheetah-v5", 17, 1.0)]
)
def test_gymnasiums_own_checker_passes(env_id: str, size: int, bound: float) -> None:
    """Spaces, seeding, determinism and return types, as Gymnasium sees them."""
    env = make(env_id)
    assert env.observation_space.shape == (size,)
    assert isinstance(env.action_space, spaces.Box)
    assert env.action_space.high.max() == bound
    check_env(env, skip_render_check=True)
    env.close()
