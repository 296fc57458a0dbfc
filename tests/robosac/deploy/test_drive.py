"""The control loop under an operator's hand: the robot is at rest before anything is waited for."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from robosac.deploy.drive import Mission, drive
from robosac.deploy.watch import Watch
from robosac.policy.describe import describe_robot
from robosac.runner.solo_link import SoloLink
from robots import State
from robots.errors import PortLostError
from tests.patience import until
from tests.robosac.deploy.conftest import Rig, times

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from robosac.flight_log.log import FlightLog
    from robosac.policy import OnnxPolicy

    FloatArray = NDArray[np.float32]

RUN = "a" * 32


class Still:
    """A policy that keeps the stance, until the test says otherwise."""

    def __init__(self) -> None:
        self.on_act: Callable[[], object] = lambda: None

    def act(self, obs: FloatArray, noise: FloatArray | None = None) -> FloatArray:
        self.on_act()
        return np.zeros(12, np.float32)


class NotedLog:
    """Counts how often it is polled, and keeps transitions."""

    state = "recording"

    def __init__(self) -> None:
        self.polls = 0
        self.rows: list[FloatArray] = []
        self.outcomes: list[dict[str, float]] = []

    def transition(self, row: FloatArray) -> None:
        self.rows.append(row)

    def outcome(self, **told: float) -> None:
        self.outcomes.append(told)

    def poll(self) -> None:
        self.polls += 1


class WatchedLink(SoloLink):
    """Remembers in which state the robot was when it was asked to finish."""

    def __init__(self, policy: Still, rig: Rig) -> None:
        super().__init__(cast("OnnxPolicy", policy))
        self.rows: list[FloatArray] = []
        self.finished: list[tuple[int, State]] = []
        self.error: Exception | None = None
        self._rig = rig

    def record(self, row: FloatArray) -> None:
        self.rows.append(row)

    def finish(self, made: int) -> None:
        self.finished.append((made, self._rig.state))
        if self.error is not None:
            raise self.error


class Drive:
    """One deployment in simulated time."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.log, self.policy = rig, NotedLog(), Still()
        self.link = WatchedLink(self.policy, rig)

    def run(self, steps: int | None = None) -> None:
        """Drive until the end."""
        layout = describe_robot(self.rig.env, model_sha256="").row_layout
        drive(
            *(self.rig.env, self.link, self.rig.operator, self.rig.journey),
            mission=Mission(RUN, layout, steps=steps),
            log=cast("FlightLog", self.log),
            tell=self.rig.told.append,
        )


@pytest.fixture
def driven(rig: Rig) -> Drive:
    """A deployment that has not begun, its operator about to say go."""
    rig.operator.then(rig.operator.go)
    return Drive(rig)


def test_it_runs_its_steps_and_sits_down_before_rows_are_waited_for(driven: Drive) -> None:
    """The torque is off, and then the rest may take as long as it takes."""
    driven.run(steps=25)
    rig = driven.rig
    assert driven.link.finished == [(25, State.STANDBY)]
    assert len(driven.link.rows) == rig.journey.steps == 25
    assert rig.journey.limp
    assert not rig.journey.stops


def test_it_ends_when_the_operator_quits(driven: Drive) -> None:
    """In the middle of an episode."""
    driven.policy.on_act = times(driven.rig.operator.quit, 7)
    driven.run()
    assert driven.link.finished == [(7, State.STANDBY)]
    assert [one.cause for one in driven.rig.journey.stops] == ["operator_stop"]


def test_it_never_moves_when_the_operator_quits_at_once(driven: Drive) -> None:
    """There is nothing to wait for then."""
    driven.rig.operator.deeds.clear()
    driven.rig.operator.then(driven.rig.operator.quit)
    driven.run()
    assert driven.link.finished == [(0, State.STANDBY)]
    assert driven.rig.machine.stiff == 0
    assert driven.log.polls == 1


@pytest.mark.parametrize("error", [ValueError("a bug"), MemoryError(), KeyboardInterrupt()])
def test_whatever_is_raised_in_the_loop_leaves_the_robot_at_rest(
    driven: Drive, error: BaseException
) -> None:
    """It sits down, the torque goes off, and the error goes on."""

    def fail() -> None:
        raise error

    driven.policy.on_act = times(fail, 10)
    with pytest.raises(type(error)):
        driven.run()
    rig = driven.rig
    assert rig.state is State.STANDBY
    assert rig.machine._connected is False  # noqa: SLF001 - closed
    assert rig.journey.steps == 9


def test_an_error_after_the_walk_finds_the_robot_at_rest(driven: Drive) -> None:
    """What the learner's side raises at the end."""
    driven.link.error = OSError("no uplink")
    with pytest.raises(OSError, match="no uplink"):
        driven.run(steps=3)
    assert driven.link.finished == [(3, State.STANDBY)]


def test_a_driver_that_fails_ends_the_episode_only(driven: Drive) -> None:
    """The operator clears it, and the same run goes on."""
    rig = driven.rig
    operator, machine = rig.operator, rig.machine

    def lose() -> None:
        machine.error = PortLostError("/dev/ttyUSB0", "unplugged")

    def find() -> None:
        machine.error = None

    driven.policy.on_act = times(lose, 5)
    operator.then(find, operator.clear, operator.go)
    driven.run(steps=12)
    assert rig.journey.steps == 12
    assert rig.journey.episodes == 1
    assert [one.state for one in rig.journey.stops] == ["fault"]
    assert len(driven.link.rows) == 12


def test_the_log_gets_what_a_learner_gets(driven: Drive) -> None:
    """The same rows, bit for bit."""
    driven.run(steps=5)
    assert len(driven.log.rows) == 5
    assert np.array(driven.log.rows).tobytes() == np.array(driven.link.rows).tobytes()


def test_ticks_get_the_reward_of_the_step_that_led_to_them(driven: Drive) -> None:
    """Told after every step, and how the episode ended with the last one."""
    driven.policy.on_act = times(driven.rig.operator.quit, 4)
    driven.run()
    told = driven.log.outcomes
    layout = describe_robot(driven.rig.env, model_sha256="").row_layout
    rewards = layout.view(np.array(driven.log.rows)).reward
    assert [one["reward"] for one in told] == rewards.tolist()
    assert [one["truncated"] for one in told] == [False, False, False, True]
    assert not any(one["terminated"] for one in told)


def test_collections_are_short_while_it_runs(driven: Drive) -> None:
    """What exists when it begins is set aside, if whoever calls has switched them off."""
    frozen: list[int] = []
    driven.policy.on_act = lambda: frozen.append(gc.get_freeze_count())
    gc.disable()
    before = gc.get_freeze_count()
    try:
        driven.run(steps=1)
    finally:
        gc.unfreeze()
        gc.enable()
    assert frozen[0] > before


def test_the_status_tells_what_people_look_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it runs: speed, falls, ticks, the hottest joint, the supply, learner and log."""
    monkeypatch.setattr("robosac.deploy.watch._SHOW_S", 0.01)
    remarks: Callable[[], Any] = lambda: "no learner  LOG: disk full; 3 entries lost"  # noqa: E731
    with Watch(rig.env, rig.journey, remarks=remarks, tell=rig.told.append):
        rig.go()
        rig.step(3)
        before = len(rig.told)
        until(lambda: len(rig.told) > before)
    line = rig.told[-1]
    assert line.startswith("running     0 s  speed ")
    assert "falls 0  missed ticks 0  hottest 30 °C FR_hip_joint  supply 11.1 V  no learner" in line
    assert line.endswith("LOG: disk full; 3 entries lost")


def test_a_robot_at_rest_has_no_status(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line on the terminal is what to do."""
    monkeypatch.setattr("robosac.deploy.watch._SHOW_S", 0.001)
    looks: list[int] = []
    monkeypatch.setattr(type(rig.robot), "active", property(lambda _: looks.append(1)))
    with Watch(rig.env, rig.journey, remarks=str, tell=rig.told.append):
        until(lambda: len(looks) > 5)
    assert not rig.told
