from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from robots import Guard, State
from robots.safety import Event

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.robots.safety.conftest import Bench


def f4(*numbers: float) -> NDArray[np.float32]:
    """A float32 vector."""
    return np.array(numbers, np.float32)


def test_guards_are_told_once(bench: Bench) -> None:
    """Taking them empties them."""
    bench.to(State.ACTIVE)
    bench.tick(bench.command(f4(0.9, -1.4)))
    assert bench.safe.take_guards() == Guard.SLEW_LIMIT
    assert bench.safe.take_guards() == Guard.NONE


def test_a_lasting_cause_is_one_intervention(bench: Bench) -> None:
    """Lying on its side for ten seconds is one fall, not five hundred."""
    bench.to(State.ACTIVE)
    bench.tilt(90)
    for _ in range(500):
        bench.tick()
    assert bench.safe.interventions == {"tilt": 1}


def test_interventions_count_limited_commands(bench: Bench) -> None:
    """Each limited command is one."""
    bench.to(State.ACTIVE)
    for _ in range(4):
        bench.tick(bench.command(f4(0.94, -1.4)))
    assert bench.safe.interventions == {"slew_limit": 4}


def test_moderate_motion_trips_nothing(bench: Bench) -> None:
    """Half the range at half the speed, for a minute."""
    bench.to(State.ACTIVE)
    for tick in range(3000):
        phase = np.sin(2 * np.pi * tick * 0.02 * 0.1)
        bench.tick(bench.command(bench.stance + f4(0.3 * phase, 0.35 * phase)))
    assert bench.state is State.ACTIVE
    assert not bench.safe.interventions
    assert bench.safe.take_guards() == Guard.NONE


def test_the_written_stream_is_slew_limited_across_every_transition(bench: Bench) -> None:
    """Ramp, policy, hold, sit, ramp again from the pose it sat in: no step beyond the joint."""
    bench.to(State.ACTIVE)
    pose = bench.robot.sensors["position"]
    for target, event in itertools.product(
        (f4(0.9, -2.3), f4(-0.9, -0.6)), (Event.RECOVERED, Event.DOUBT, Event.STOP)
    ):
        for _ in range(20):
            bench.tick(bench.command(target))
        bench.fire(event)
        bench.robot.sensors["position"] = pose
        for _ in range(200):
            bench.tick(bench.command(-target))
        if bench.state is State.STANDBY:
            pose = bench.last.position.copy()
            bench.say(position=pose)
            bench.to(State.ACTIVE)
    times = np.array([when for when, _ in bench.robot.written])
    path = np.array([command.position for _, command in bench.robot.written])
    allowed = f4(6.0, 0.5) * np.minimum(np.diff(times) / 1e9, 0.1)[:, None]
    assert (np.abs(np.diff(path, axis=0)) <= allowed + 1e-6).all()
    assert len(path) > 1000


def test_the_interface_is_passed_through(bench: Bench) -> None:
    """Spec, clock and base motion are the wrapped robot's."""
    assert bench.robot.calls == ["connect"]
    assert bench.safe.spec is bench.robot.spec
    bench.robot.clock_ns = 123
    assert bench.safe.now() == 123
    assert bench.safe.base_motion() is None
