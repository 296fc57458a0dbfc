"""A caller that repeats itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robots import Guard, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tests.robots.safety.conftest import Bench


def f4(*numbers: float) -> NDArray[np.float32]:
    """A float32 vector."""
    return np.array(numbers, np.float32)


@pytest.fixture
def watched(new_bench: Callable[..., Bench]) -> Bench:
    """A robot whose commands may repeat for 0.5 s while its joints move by 0.1 rad."""
    usual = new_bench().robot.spec
    limits = msgspec.structs.replace(usual.safety, frozen_command_s=0.5)
    return new_bench(msgspec.structs.replace(usual, safety=limits)).to(State.ACTIVE)


def drive(bench: Bench, *, swing: float, tremble: float = 0.0, ticks: int = 100) -> int:
    """Let the hip swing by so much and tell after how many ticks the robot was stopped."""
    for tick in range(ticks):
        bench.say(position=f4(0.1 + swing / 2 * np.sin(0.3 * tick), -1.5))
        bench.tick(bench.command(f4(0.2 + tremble * (tick % 2), -1.4)))
        if bench.state is not State.ACTIVE:
            return tick
    return ticks


def test_the_same_command_for_half_a_second_while_joints_move_sits_down(watched: Bench) -> None:
    """Its first tick is where the time begins."""
    assert drive(watched, swing=0.11) == 25
    assert watched.state is State.SIT
    assert watched.safe.causes == (Guard.FROZEN_COMMAND,)
    assert watched.safe.interventions == {"frozen_command": 1}


@pytest.mark.parametrize(("swing", "tremble"), [(0.09, 0.0), (0.5, 1e-6)])
def test_holding_a_pose_and_the_smallest_reaction_are_fine(
    watched: Bench, swing: float, tremble: float
) -> None:
    """Neither a robot at rest nor a policy that answers is frozen."""
    assert drive(watched, swing=swing, tremble=tremble) == 100


def test_robots_that_do_not_ask_for_it_may_hold_a_pose_and_be_pushed(bench: Bench) -> None:
    """Off by default."""
    bench.to(State.ACTIVE)
    assert drive(bench, swing=0.5) == 100


def test_the_time_begins_anew_after_a_stop(watched: Bench) -> None:
    """The command of the last run is not the first of the next one."""
    drive(watched, swing=0.11, ticks=20)
    watched.safe.stop()
    watched.ticks_until(State.STANDBY)
    watched.say()
    watched.to(State.ACTIVE)
    assert drive(watched, swing=0.11) == 25
