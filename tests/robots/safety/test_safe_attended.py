"""A robot that moves only while an operator gives signs of life."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from robots import Guard, SafetyStopError, State
from robots.safety.states import MOVING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.robots.safety.conftest import Bench


@pytest.fixture
def attended(new_bench: Callable[..., Bench]) -> Bench:
    """A robot that demands a sign of life every 0.5 s, and has just had one."""
    bench = new_bench(attended=True)
    bench.safe.alive()
    return bench


@pytest.mark.parametrize("state", sorted(MOVING - {State.SIT}, key=str))
def test_half_a_second_of_silence_sits_a_moving_robot_down(
    attended: Bench, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first tick after it, and once."""
    monkeypatch.setattr(attended, "tick", _with_a_heartbeat(attended))
    attended.to(state)
    monkeypatch.undo()
    attended.safe.alive()
    start = attended.safe.now()
    if state is State.HOLD:
        attended.say()  # or it would sit down for the doubt
    assert attended.ticks_until(State.SIT) > 0
    assert (attended.safe.now() - start) / 1e9 == pytest.approx(0.52, abs=0.021)
    assert attended.safe.causes == (Guard.OPERATOR_GONE,)
    attended.ticks_until(State.STANDBY)
    assert attended.safe.interventions["operator_gone"] == 1


def _with_a_heartbeat(bench: Bench) -> Callable[..., object]:
    usual = bench.tick

    def tick(*args: object) -> object:
        bench.safe.alive()
        return usual(*args)  # type: ignore[arg-type]

    return tick


def test_signs_of_life_from_another_thread_keep_it_moving(attended: Bench) -> None:
    """For as long as they come."""
    attended.safe.enable()
    for count in range(500):
        if count % 20 == 0:
            thread = threading.Thread(target=attended.safe.alive)
            thread.start()
            thread.join()
        attended.tick()
    assert attended.state is State.ACTIVE
    assert not attended.safe.interventions


@pytest.mark.parametrize("silence_ms", [None, 501])
def test_nobody_there_is_no_start(new_bench: Callable[..., Bench], silence_ms: int | None) -> None:
    """Neither if none has ever come, nor if the last one is too old."""
    bench = new_bench(attended=True)
    if silence_ms is not None:
        bench.safe.alive()
        bench.robot.clock_ns += silence_ms * 1_000_000
    with pytest.raises(SafetyStopError, match="operator_gone"):
        bench.safe.enable()
    assert bench.state is State.STANDBY
    bench.safe.alive()
    bench.safe.enable()


def test_where_two_attend_both_must(new_bench: Callable[..., Bench]) -> None:
    """One alone is no start, and the robot sits down for whichever falls silent."""
    bench = new_bench(attended=2)
    bench.safe.alive("gamepad")
    with pytest.raises(SafetyStopError, match="operator_gone"):
        bench.safe.enable()
    bench.safe.alive("attend")
    bench.safe.enable()
    for _ in range(25):
        bench.safe.alive("attend")
        bench.tick()
    assert bench.state.value != "sit"
    for _ in range(2):
        bench.safe.alive("attend")
        bench.tick()
    assert bench.state is State.SIT
    assert bench.safe.causes == (Guard.OPERATOR_GONE,)


def test_silence_in_standby_is_nothing(attended: Bench) -> None:
    """Nobody has to watch a limp robot."""
    for _ in range(100):
        attended.tick()
    assert (attended.state, attended.safe.interventions) == (State.STANDBY, {})


def test_an_unattended_robot_needs_nobody(bench: Bench) -> None:
    """Simulated ones, above all."""
    bench.to(State.ACTIVE)
    for _ in range(100):
        bench.tick()
    assert bench.state is State.ACTIVE
