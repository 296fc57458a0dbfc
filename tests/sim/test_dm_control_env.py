from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from sim.dm_control_env import DmControlEnv, parse_id
from sim.errors import EpisodeOverError, RenderingError, UnknownEnvError, UnsupportedEnvError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

UNBOUNDED_OBS = "ignore:.*A Box observation space (minimum|maximum) value is -?infinity"


@pytest.fixture
def env() -> Iterator[DmControlEnv]:
    """The walker's walk."""
    env = DmControlEnv("walker", "walk", seed=1)
    yield env
    env.close()


@pytest.mark.parametrize(
    ("env_id", "parts"),
    [
        ("dm_control/walker-walk", ("walker", "walk")),
        ("dm_control/ball_in_cup-catch", ("ball_in_cup", "catch")),
        ("dm_control/point_mass-hard", ("point_mass", "hard")),
    ],
)
def test_ids_name_domain_and_task(env_id: str, parts: tuple[str, str]) -> None:
    """Underscores belong to names, the hyphen divides."""
    assert parse_id(env_id) == parts


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("dm_control/walker-wlak", "dm_control/walker-walk"),
        ("dm_control/quadrupd-walk", "dm_control/quadruped-walk"),
        ("dm_control/walker_walk", "dm_control/walker-walk"),
        ("walker-walk", "dm_control/walker-walk"),
    ],
)
def test_unknown_ids_offer_the_nearest(asked: str, nearest: str) -> None:
    """Domain or task misspelt, or the prefix forgotten."""
    with pytest.raises(UnknownEnvError, match=f"'{asked}'") as caught:
        parse_id(asked)
    assert nearest in caught.value.near


def test_the_constructor_refuses_unknown_tasks_too() -> None:
    """Not with the KeyError of the suite."""
    with pytest.raises(UnknownEnvError, match="dm_control/walker-walk"):
        DmControlEnv("walker", "walks")


def side_by_side(domain: str, task: str, *, steps: int, seed: int) -> tuple[int, list[object]]:
    """Compare both adapters; returns the steps that ran, and the last terminated and truncated."""
    from dm_control import suite
    from shimmy import DmControlCompatibilityV0

    mine, theirs = DmControlEnv(domain, task), DmControlCompatibilityV0(suite.load(domain, task))
    rng = np.random.default_rng(0)
    obs, _ = mine.reset(seed=seed)
    expected, _ = theirs.reset(seed=seed)
    assert isinstance(mine.action_space, spaces.Box)
    done, outcome = 0, [0.0, False, False]
    while done < steps and not (outcome[1] or outcome[2]):
        np.testing.assert_array_equal(obs, flat(expected))
        action = rng.uniform(mine.action_space.low, mine.action_space.high).astype(np.float32)
        obs, *outcome, _ = mine.step(action)
        expected, *their_outcome, _ = theirs.step(action.astype(np.float64))
        assert outcome == their_outcome
        done += 1
    np.testing.assert_array_equal(obs, flat(expected))
    mine.close()
    theirs.close()
    return done, list(outcome[1:])


def flat(parts: dict[str, NDArray[np.float64]]) -> NDArray[np.float32]:
    """Shimmy's dictionary as one float32 vector."""
    return np.concatenate([np.ravel(part) for part in parts.values()]).astype(np.float32)


@pytest.mark.parametrize(
    ("domain", "task"),
    [("walker", "walk"), ("quadruped", "run"), ("finger", "turn_hard"), ("humanoid", "run")],
)
def test_it_agrees_with_shimmy(domain: str, task: str) -> None:
    """Same seed: the observations, rewards and flags of the established adapter."""
    assert side_by_side(domain, task, steps=40, seed=3) == (40, [False, False])


def test_a_whole_episode_agrees_with_shimmy_and_is_truncated() -> None:
    """The suite's time limit, 1000 steps, cuts the episode off; it does not end it."""
    assert side_by_side("cartpole", "balance", steps=1001, seed=4) == (1000, [False, True])


def test_an_episode_that_ends_by_itself_is_terminated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Discount 0 is an end; Shimmy agrees."""
    from dm_control.suite.cartpole import Balance

    monkeypatch.setattr(
        Balance, "get_termination", lambda _, physics: 0.0 if physics.time() > 0.1 else None
    )
    steps, flags = side_by_side("cartpole", "balance", steps=100, seed=4)
    assert flags == [True, False]
    assert steps < 20


def test_stepping_after_the_end_is_an_error(
    env: DmControlEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The suite would silently start a new episode (trap 30); put back by stepping all the same."""
    from dm_control.suite.walker import PlanarWalker

    action = np.zeros(6, np.float32)
    with pytest.raises(EpisodeOverError, match=r"walker-walk .* call reset"):
        env.step(action)
    env.reset()
    monkeypatch.setattr(PlanarWalker, "get_termination", lambda *_: 0.0)
    assert env.step(action)[2]
    with pytest.raises(EpisodeOverError):
        env.step(action)
    env.reset()
    env.step(action)


def test_reset_with_a_seed_repeats_and_without_goes_on(env: DmControlEnv) -> None:
    """Episodes differ, but the run is the same again."""
    first = [env.reset(seed=5)[0], env.reset()[0], env.reset()[0]]
    again = [env.reset(seed=5)[0], env.reset()[0], env.reset()[0]]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(env.reset(seed=6)[0], first[0])


def test_the_constructors_seed_is_the_tasks() -> None:
    """Two environments of one seed start alike."""
    starts = [DmControlEnv("walker", "walk", seed=seed).reset()[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])


def test_scalars_are_part_of_the_observation(env: DmControlEnv) -> None:
    """The walker's height has shape (); 14 orientations, 1 height, 9 velocities."""
    obs, _ = env.reset(seed=1)
    assert obs.shape == env.observation_space.shape == (24,)
    assert obs.dtype == np.float32
    assert obs[14] > 0.5


def test_action_bounds_come_from_the_task(env: DmControlEnv) -> None:
    """Never assumed to be ±1: the quadruped's are not."""
    assert env.action_space == spaces.Box(-1, 1, (6,), np.float32)
    quadruped = DmControlEnv("quadruped", "walk")
    assert isinstance(quadruped.action_space, spaces.Box)
    np.testing.assert_allclose(quadruped.action_space.high[:3], [1.0, 1.1, 0.8])


def test_unbounded_actions_are_refused() -> None:
    """The suite writes 1e10 where there is no limit (trap 9); put back by believing it."""
    with pytest.raises(UnsupportedEnvError, match=r"dm_control/lqr-lqr_2_1 has unbounded actions"):
        DmControlEnv("lqr", "lqr_2_1")


@pytest.mark.filterwarnings(UNBOUNDED_OBS)
@pytest.mark.parametrize("name", ["walker-walk", "cheetah-run"])
def test_gymnasiums_own_checker_passes(name: str) -> None:
    """Spaces, seeding, determinism and return types, as Gymnasium sees them."""
    env = DmControlEnv(*parse_id(f"dm_control/{name}"))
    check_env(env, skip_render_check=True)
    env.close()


def test_pictures(env: DmControlEnv) -> None:
    """One frame in colour, at the pace of the task."""
    env.reset(seed=1)
    try:
        frame = env.render()
    except RenderingError:
        pytest.skip("no OpenGL on this machine")
    assert frame.shape == (480, 640, 3)
    assert frame.dtype == np.uint8
    assert frame.std() > 10
    assert env.metadata["render_fps"] == 40


def test_a_machine_without_opengl_says_so(
    env: DmControlEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with the way out, not the engine's traceback."""

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("No OpenGL rendering\nbackend is available.")

    env.reset()
    monkeypatch.setattr("dm_control.mujoco.engine.Physics.render", fails)
    with pytest.raises(RenderingError, match=r"No OpenGL rendering backend .* MUJOCO_GL"):
        env.render()
