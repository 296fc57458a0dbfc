"""Simulated time: as fast as it can, or tied to the wall with every delay in sight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import robots
from robosac.env import RobotEnv
from robosac.tasks import Walk
from sim import clock as clock_module
from sim.clock import SimClock
from sim.robots import make

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = 1_000_000_000


class Wall:
    """A wall clock that moves when something sleeps, or when a test says so."""

    def __init__(self) -> None:
        self.now_ns = 5 * SECOND
        self.slept_ns = 0

    def monotonic_ns(self) -> int:
        """Present time."""
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        """Let time go by."""
        self.slept_ns += round(1e9 * seconds)
        self.now_ns += round(1e9 * seconds)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """The wall clock of simulators."""
    wall = Wall()
    monkeypatch.setattr(clock_module, "time", wall)
    return wall


def test_free_time_stands_still_between_steps(wall: Wall) -> None:
    """A slow policy costs nothing in simulation; nothing ever sleeps."""
    clock = SimClock()
    clock.begin()
    clock.now_ns += 7
    wall.now_ns += SECOND
    clock.pace(clock.now_ns)
    assert (clock.read(), wall.slept_ns) == (7, 0)


def test_real_time_waits_for_the_wall(wall: Wall) -> None:
    """Physics is done early and sleeps for the rest of the period."""
    clock = SimClock(realtime=True)
    clock.begin()
    for _ in range(3):
        clock.now_ns += SECOND // 50
        wall.now_ns += 3_000_000
        clock.pace(clock.now_ns)
    assert wall.slept_ns == 3 * (SECOND // 50 - 3_000_000)
    assert clock.read() == clock.now_ns


def test_real_time_goes_by_while_the_loop_thinks(wall: Wall) -> None:
    """It reads later than physics, and then does not sleep."""
    clock = SimClock(realtime=True)
    clock.begin()
    wall.now_ns += 30_000_000
    assert clock.read() == 30_000_000
    clock.now_ns += 20_000_000
    clock.pace(clock.now_ns)
    assert (clock.read(), wall.slept_ns) == (30_000_000, 0)


def test_time_between_episodes_is_not_late(wall: Wall) -> None:
    """A new policy, a reset, a coffee: begin() starts anew."""
    clock = SimClock(realtime=True)
    clock.begin()
    wall.now_ns += 60 * SECOND
    clock.begin()
    assert clock.read() == 0


def test_a_long_lag_is_cut(wall: Wall) -> None:
    """Physics that is slower than the wall would fall behind more and more, and never return."""
    clock = SimClock(realtime=True)
    clock.begin()
    wall.now_ns += 60 * SECOND
    assert clock.read() == SECOND
    clock.now_ns += SECOND
    assert clock.read() == SECOND


@pytest.fixture
def env() -> Iterator[RobotEnv]:
    """The Go2 in real time, standing."""
    env = RobotEnv(make(robots.find("go2"), realtime=True), Walk())
    yield env
    env.close()


def test_a_late_control_loop_misses_ticks_in_simulation_too(wall: Wall, env: RobotEnv) -> None:
    """A policy that thinks for three and a half periods: three ticks are gone, and are counted."""
    env.reset(seed=0)
    env.overruns = 0
    still = np.zeros(env.action_space.shape or (), np.float32)
    period_ns = round(SECOND / env.task.control_hz)
    for _ in range(10):
        env.step(still)
    assert env.overruns == 0
    started_ns = env.robot.now()
    wall.now_ns += round(3.5 * period_ns)
    info = env.step(still)[-1]
    assert env.overruns == 3
    assert env.robot.now() - started_ns == pytest.approx(4 * period_ns, abs=period_ns / 4)
    assert info["dt"] == pytest.approx(4 * period_ns / SECOND, rel=0.1)


def test_real_time_keeps_the_control_rate(wall: Wall, env: RobotEnv) -> None:
    """A hundred ticks take a hundred periods of the wall, whatever the loop does in between."""
    env.reset(seed=0)
    still = np.zeros(env.action_space.shape or (), np.float32)
    started_ns = wall.now_ns
    for _ in range(100):
        wall.now_ns += 4_000_000
        env.step(still)
    period_ns = SECOND / env.task.control_hz
    assert wall.now_ns - started_ns == pytest.approx(100 * period_ns, abs=period_ns)
    assert env.overruns == 0


def test_what_a_held_up_loop_reads_is_fresh(wall: Wall, env: RobotEnv) -> None:
    """Sensors do not wait for the loop: physics catches up before they are read."""
    env.reset(seed=0)
    wall.now_ns += SECOND // 3
    state = env.robot.read()
    assert env.robot.now() - state.stamp_ns < 5_000_000
    assert env.robot.active
    assert not env.robot.causes
