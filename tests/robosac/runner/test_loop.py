"""The control loop with a small environment and a link that notes everything."""

from __future__ import annotations

import gc
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from robosac.policy import Contract
from robosac.replay import RowLayout, Transition
from robosac.runner.link import Acting, Link
from robosac.runner.loop import Loop, Tally, WithdrawnError
from robosac.wire.messages import Episode

FloatArray = NDArray[np.float32]

LAYOUT = RowLayout(obs=1, extra=0, action=1)
RUN = "a" * 32
EPISODE = 4


class Counting(gymnasium.Env[FloatArray, FloatArray]):
    """Observes the step it is at; ends by itself after four, by time after two when `timed`."""

    def __init__(self, *, timed: bool = False) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = gymnasium.spaces.Box(0.0, 4.0, (1,), np.float32)
        self.timed = timed
        self.goes_on = False
        self.seeds: list[int | None] = []
        self.actions: list[float] = []
        self.at = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Start at zero."""
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.at = 0
        return np.zeros(1, np.float32), {"goes_on": True} if self.goes_on else {}

    def step(self, action: FloatArray) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Count; the reward is ten times the step."""
        self.actions.append(float(action[0]))
        self.at += 1
        terminated = not self.timed and self.at == EPISODE
        truncated = self.timed and self.at == EPISODE // 2
        info = {"dt": 0.02, "rewards": {"step": 10.0 * self.at}, "guards": 2}
        return np.full(1, self.at, np.float32), 10.0 * self.at, terminated, truncated, info


class FakePolicy:
    """Answers with the noise, so that exploration is visible, or with a constant."""

    def __init__(self, constant: float | None = None, *, theta: float = 1.0, hold: int = 1) -> None:
        self.constant = constant
        self.contract = Contract(
            action_lower=(0.0,),
            action_upper=(4.0,),
            obs=(),
            exploration_theta=theta,
            exploration_hold=hold,
        )

    def act(self, obs: FloatArray, noise: FloatArray) -> FloatArray:
        """One action in output units."""
        return noise if self.constant is None else np.full(1, self.constant, np.float32)


class NotedLink(Link):
    """Keeps what it gets; credit grows by one at every pause."""

    def __init__(self, policy: FakePolicy, *, credit: int | None = None) -> None:
        self.credit = credit
        self.enough = False
        self.policy = policy
        self.events: list[str] = []
        self.rows: list[FloatArray] = []
        self.episodes: list[Episode] = []
        self.version = 1

    @property
    def acting(self) -> Acting:
        """A new version at every look."""
        self.version += 1
        return Acting(self.policy, self.version)  # type: ignore[arg-type]

    def wait_until_ready(self) -> None:
        """Noted."""
        self.events.append("ready")

    def record(self, row: FloatArray) -> None:
        """Noted."""
        self.rows.append(row)

    def report(self, episode: Episode) -> None:
        """Noted."""
        self.episodes.append(episode)

    def begin(self, *, in_motion: bool) -> None:
        """Noted."""
        self.events.append("begin in motion" if in_motion else "begin")

    def poll(self) -> None:
        """Noted."""
        self.events.append("poll")

    def pause(self) -> None:
        """Noted; a step is allowed."""
        self.events.append("pause")
        assert self.credit is not None
        self.credit += 1

    def finish(self, made: int) -> None:
        """Noted."""
        self.events.append(f"finish {made}")


def play(
    env: Counting, link: NotedLink, steps: int, *, seed: int = 0
) -> list[Transition[FloatArray]]:
    """Run a loop to its end and unpack what it has recorded."""
    loop = Loop(env, link, LAYOUT, run=RUN, seed=seed)
    loop.run(steps, stopped=lambda: False)
    assert loop.made == len(link.rows) == steps
    return [LAYOUT.view(row) for row in link.rows]


@pytest.mark.parametrize(("goes_on", "heard"), [(False, "begin"), (True, "begin in motion")])
def test_the_link_hears_how_an_episode_begins(heard: str, *, goes_on: bool) -> None:
    """In motion a policy that jumps must not take over at once."""
    env, link = Counting(), NotedLink(FakePolicy(1.0))
    env.goes_on = goes_on
    play(env, link, 2 * EPISODE + 1)
    assert [one for one in link.events if one.startswith("begin")] == [heard] * 2


def test_correlated_noise_ends_with_its_episode() -> None:
    """A policy that asks for it gets noise with a memory, and without one at every reset."""
    env, link = Counting(timed=True), NotedLink(FakePolicy(theta=0.25))
    play(env, link, 6)
    white = Counting(timed=True)
    play(white, NotedLink(FakePolicy()), 6)
    expected = np.array(white.actions)
    expected[1::2] += 0.75 * expected[::2]
    np.testing.assert_allclose(env.actions, expected, rtol=1e-5)


def test_transitions_belong_together() -> None:
    """next_obs is of the same episode; the reset's observation is the next (trap 15).

    Put back by recording a row after the reset that follows it.
    """
    env, link = Counting(), NotedLink(FakePolicy(3.0))
    rows = play(env, link, 10)
    assert [float(row.obs[0]) for row in rows] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert [float(row.next_obs[0]) for row in rows] == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]
    assert [float(row.reward) for row in rows] == [10, 20, 30, 40, 10, 20, 30, 40, 10, 20]
    assert [float(row.terminated) for row in rows] == [0, 0, 0, 1, 0, 0, 0, 1, 0, 0]
    assert [float(row.truncated) for row in rows] == [0.0] * 10
    assert [float(row.policy_version) for row in rows] == list(range(2, 12))
    assert {(round(float(row.dt), 3), float(row.guards)) for row in rows} == {(0.02, 2.0)}


def test_a_time_limit_is_no_termination() -> None:
    """The value of what would have come is kept (trap 1); put back by one flag for both ends."""
    rows = play(Counting(timed=True), NotedLink(FakePolicy(3.0)), 4)
    assert [float(row.truncated) for row in rows] == [0, 1, 0, 1]
    assert [float(row.terminated) for row in rows] == [0.0] * 4


def test_actions_are_stored_in_the_units_of_the_learner() -> None:
    """The policy answers in those of the environment, 0 to 4 here; a row has -1 to 1 (trap 8).

    Put back by recording what the environment was given.
    """
    env, link = Counting(), NotedLink(FakePolicy(3.0))
    rows = play(env, link, 2)
    assert env.actions == [3.0, 3.0]
    assert [float(row.action[0]) for row in rows] == [0.5, 0.5]
    assert [float(row.executed[0]) for row in rows] == [0.5, 0.5]


def test_the_robot_does_not_move_before_everything_is_ready() -> None:
    """A robot that stands up first would wait for its first command."""
    env, link = Counting(), NotedLink(FakePolicy(3.0))

    def wait_until_ready() -> None:
        assert env.seeds == []
        link.events.append("ready")

    link.wait_until_ready = wait_until_ready  # type: ignore[method-assign]
    play(env, link, 1)
    assert link.events == ["ready", "poll", "finish 1"]


def test_a_simulated_robot_waits_for_credit() -> None:
    """It makes no row more than it may, and looks for news before every tick."""
    link = NotedLink(FakePolicy(3.0), credit=2)
    play(Counting(), link, 4)
    assert link.events == [
        *("ready", "poll", "poll", "poll", "pause", "poll", "poll", "pause", "poll", "finish 4")
    ]


def test_a_run_ends_where_it_is_told_to_stop() -> None:
    """Between two ticks; what was made is still delivered."""
    env, link = Counting(), NotedLink(FakePolicy(3.0))
    loop = Loop(env, link, LAYOUT, run=RUN, seed=0)
    loop.run(100, stopped=lambda: loop.made == 5)
    assert len(link.rows) == 5
    assert link.events[-1] == "finish 5"


@pytest.mark.parametrize("steps", [0, 5])
def test_a_run_with_nothing_to_do_touches_nothing(steps: int) -> None:
    """No steps left, or stopped before the first: the robot does not even stand up."""
    env, link = Counting(), NotedLink(FakePolicy(3.0))
    Loop(env, link, LAYOUT, run=RUN, seed=0).run(steps, stopped=lambda: True)
    assert env.seeds == []
    assert link.events == ["ready", "finish 0"]


def test_the_last_step_of_a_run_needs_no_reset() -> None:
    """A robot that has fallen at the very end is not stood up for nothing."""
    env = Counting()
    play(env, NotedLink(FakePolicy(3.0)), EPISODE)
    assert len(env.seeds) == 1


def test_exploration_and_first_reset_follow_the_seed() -> None:
    """Same seed, same noise; another seed, another; later resets go on by themselves."""
    envs = [Counting() for _ in range(3)]
    for env, seed in zip(envs, (1, 1, 2), strict=True):
        play(env, NotedLink(FakePolicy()), 10, seed=seed)
    assert envs[0].actions == envs[1].actions != envs[2].actions
    assert envs[0].seeds[0] == envs[1].seeds[0] != envs[2].seeds[0]
    assert envs[0].seeds[1:] == [None, None]
    assert len(set(envs[0].actions)) == 10


def test_noise_is_held_as_the_policy_asks() -> None:
    """Some steps repeat the noise of the one before, and never across the end of an episode."""
    env = Counting()
    play(env, NotedLink(FakePolicy(hold=16)), 10 * EPISODE)
    episodes = np.reshape(env.actions, (10, EPISODE))
    repeated = np.diff(episodes, axis=1) == 0
    assert 5 < repeated.sum() < 25
    assert len(set(episodes[:, 0].tolist())) == 10


def test_episodes_are_reported_with_their_sums() -> None:
    """Return, length, and the mean of every reward term."""
    link = NotedLink(FakePolicy(3.0))
    play(Counting(), link, 10)
    assert [episode.end for episode in link.episodes] == [4, 8]
    assert link.episodes[0] == Episode(
        run=RUN, end=4, return_=100.0, length=4, rewards={"step": 25.0}
    )


def test_speed_is_the_distance_over_the_time() -> None:
    """Steps of different length count by their length; nothing measured is None, not 0."""
    tally = Tally()
    assert tally.speed_mps is None
    tally.add(1.0, fell=False, info={})
    assert (tally.speed_mps, tally.fell) == (None, None)
    tally.add(1.0, fell=False, info={"forward_mps": 1.0, "dt": 0.01})
    tally.add(1.0, fell=True, info={"forward_mps": 2.0, "dt": 0.03})
    assert tally.speed_mps == pytest.approx(1.75)
    assert tally.fell is True


def test_without_a_number_of_steps_the_learner_says_when_it_is_enough() -> None:
    """In the middle of an episode, between two ticks; no reset follows."""
    env, link = Counting(), NotedLink(FakePolicy(3.0))
    loop = Loop(env, link, LAYOUT, run=RUN, seed=0)

    def poll() -> None:
        link.enough = loop.made == 6

    link.poll = poll  # type: ignore[method-assign]
    loop.run(None, stopped=lambda: False)
    assert (len(link.rows), len(env.seeds)) == (7, 2)
    assert link.events[-1] == "finish 7"


def test_a_run_that_is_not_wanted_makes_nothing() -> None:
    """The robot does not even stand up, and says goodbye all the same."""
    env, link = Counting(), NotedLink(FakePolicy(3.0))
    link.enough = True
    Loop(env, link, LAYOUT, run=RUN, seed=0).run(None, stopped=lambda: False)
    assert env.seeds == []
    assert link.events == ["ready", "finish 0"]


def test_enough_ends_the_waiting_for_credit() -> None:
    """A simulated robot without credit is not left standing."""
    link = NotedLink(FakePolicy(3.0), credit=2)

    def pause() -> None:
        link.enough = True

    link.pause = pause  # type: ignore[method-assign]
    Loop(Counting(), link, LAYOUT, run=RUN, seed=0).run(None, stopped=lambda: False)
    assert link.events[-1] == "finish 2"


def test_garbage_is_collected_between_episodes_when_it_is_put_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And only then: between two ticks it would make the second one late."""
    collected: list[int] = []
    env = Counting()
    monkeypatch.setattr(gc, "collect", lambda: collected.append(env.at))
    play(env, NotedLink(FakePolicy(3.0)), 10)
    assert collected == []
    gc.disable()
    try:
        play(env, NotedLink(FakePolicy(3.0)), 10)
    finally:
        gc.enable()
    assert collected == [EPISODE, EPISODE]


class Leaving(Counting):
    """Withdraws instead of its third episode, as a robot whose operator has quit."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        if len(self.seeds) == 2:
            raise WithdrawnError("no more")
        return super().reset(seed=seed, options=options)


def test_an_environment_may_withdraw() -> None:
    """What was made is delivered, and the loop ends well."""
    env, link = Leaving(), NotedLink(FakePolicy(3.0))
    loop = Loop(env, link, LAYOUT, run=RUN, seed=0)
    loop.run(None, stopped=lambda: False)
    assert loop.made == len(link.rows) == 2 * EPISODE
    assert len(link.episodes) == 2
    assert link.events[-1] == f"finish {2 * EPISODE}"


def test_play_leaves_what_is_under_way_to_the_caller() -> None:
    """A robot must be at rest before anything is waited for."""
    env, link = Counting(), NotedLink(FakePolicy(3.0))
    loop = Loop(env, link, LAYOUT, run=RUN, seed=0)
    loop.play(3, stopped=lambda: False)
    assert loop.made == env.at == 3
    assert not [event for event in link.events if event.startswith("finish")]


@pytest.mark.parametrize(("explore", "different"), [(True, True), (False, False)])
def test_only_who_explores_is_given_noise(*, explore: bool, different: bool) -> None:
    """A robot without a learner acts as the policy was evaluated."""
    given: list[FloatArray | None] = []

    class Listening(FakePolicy):
        def act(self, obs: FloatArray, noise: FloatArray | None) -> FloatArray:
            given.append(noise)
            return np.full(1, 3.0, np.float32)

    link = NotedLink(Listening())
    Loop(Counting(), link, LAYOUT, run=RUN, seed=0, explore=explore).run(3, stopped=lambda: False)
    assert len(given) == 3
    assert all((noise is not None) is different for noise in given)
