"""Whatever is commanded and whatever the sensors say, what reaches the joints is bounded."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robots import Guard, SafetyStopError, State
from robots.safety import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy
    from numpy.typing import NDArray

    from robots import JointCommand
    from tests.robots.safety.conftest import Bench

    Reading = dict[str, Any]

nasty = st.one_of(
    st.floats(-3, 3, width=32),
    st.floats(width=32, allow_nan=True, allow_infinity=True),
    st.sampled_from([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38]),
)


def vectors(size: int, elements: SearchStrategy[float]) -> SearchStrategy[NDArray[np.float32]]:
    """float32 vectors."""
    return arrays.arrays(np.float32, size, elements=elements)


nasty_pairs = vectors(2, nasty)
parts = st.one_of(
    vectors(2, st.floats(-3, 3, width=32)),
    nasty_pairs,
    vectors(3, nasty),
    vectors(1, nasty),
)
commands = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("position", "kp", "kd", "torque"), parts)
)
ages = st.sampled_from([0.0, 0.01, 0.04, 0.09, 0.1, 5.0, -1.0, np.nan, np.inf])
attitudes = st.sampled_from(
    [(1, 0, 0, 0), (0, 1, 0, 0), (0.5, 0.5, 0.5, 0.5), (0, 0, 0, 0), (np.nan, 0, 0, 0)]
)
trouble = st.fixed_dictionaries(
    {},
    optional={
        "position": nasty_pairs,
        "velocity": nasty_pairs,
        "effort": nasty_pairs,
        "gyro": vectors(3, nasty),
        "quaternion": attitudes.map(lambda numbers: np.array(numbers, np.float32)),
        "joint_age_s": ages,
        "imu_age_s": ages,
        "joint_jumps": st.integers(0, 4),
        "temperature": nasty_pairs,
        "voltage": nasty,
    },
)
readings: SearchStrategy[Reading] = st.one_of(st.just({}), trouble)
pauses = st.sampled_from([0, 1, 20, 20, 20, 39, 120, 3000])
operators = ["enable", "stop", "clear", "disarm", "place", "estop", "release_estop", "late"]
acts = st.sampled_from(["", "", "", "", *operators])
ticks = st.lists(st.tuples(acts, readings, commands, pauses), max_size=25)
starts = st.tuples(
    st.floats(-1.046875, 1.046875, width=32), st.floats(-2.546875, -0.453125, width=32)
).map(lambda pair: np.array(pair, np.float32))
"""Also beyond the soft and the mechanical limits, as far as a robot may be enabled there."""


def drive(bench: Bench, act: str, reading: Reading, pause_ms: int) -> None:
    """Do what an operator, time and the sensors do in one tick."""
    with contextlib.suppress(SafetyStopError):
        if act == "place":
            bench.robot.simulated = True
            bench.safe.place(np.random.default_rng(0))
        elif act == "disarm":
            bench.safe.disarm("test")
        elif act == "late":
            bench.safe.tick_late(0.2)
        elif act:
            getattr(bench.safe, act)()
    bench.safe.wait_until(bench.safe.now() + pause_ms * 1_000_000)
    bench.say(**reading)
    bench.safe.read()


class Watcher:
    """Looks at everything that reaches the joints."""

    def __init__(self, bench: Bench) -> None:
        """Take the bounds from the spec."""
        spec = bench.robot.spec
        self._bench = bench
        self._lower, self._upper = spec.soft_limits()
        lower, upper = spec.column("lower"), spec.column("upper")
        self._middle, self._farthest = (lower + upper) / 2, 0.526 * (upper - lower)
        self._reach, self._effort = spec.column("velocity_max"), spec.column("effort_max")
        self._kp = spec.column("kp")
        self._kd = np.maximum(spec.column("kd"), np.float32(spec.safety.damp_kd))
        self._seen = 0
        self._last: tuple[int, JointCommand] | None = None
        self._was_inside = np.zeros(2, bool)

    def look(self) -> None:
        """Check what was written since the last look."""
        robot = self._bench.robot
        for number in range(self._seen, len(robot.written)):
            when, command = robot.written[number]
            if number in robot.limp_before:
                self._last, self._was_inside = None, np.zeros(2, bool)
            self._check(command)
            if self._last is not None:
                self._check_step(when, command)
            self._last = when, command
        self._seen = len(robot.written)

    def _check(self, command: JointCommand) -> None:
        for part in (command.position, command.kp, command.kd, command.torque):
            assert part.shape == (2,)
            assert part.dtype == np.float32
            assert np.isfinite(part).all()
        assert ((command.kp >= 0) & (command.kp <= self._kp)).all()
        assert ((command.kd >= 0) & (command.kd <= self._kd)).all()
        assert (np.abs(command.torque) <= self._effort).all()
        assert (np.abs(command.position - self._middle) <= self._farthest).all()
        inside = (command.position >= self._lower) & (command.position <= self._upper)
        assert inside[self._was_inside].all()
        self._was_inside |= inside

    def _check_step(self, when: int, command: JointCommand) -> None:
        assert self._last is not None
        before, previous = self._last
        allowed = self._reach * min((when - before) / 1e9, 0.1)
        step = np.abs(command.position.astype(float) - previous.position.astype(float))
        assert (step <= allowed + 2e-6).all()


@settings(max_examples=150)
@given(start=starts, sequence=ticks)
def test_whatever_happens_what_is_written_is_bounded(
    new_bench: Callable[..., Bench],
    start: NDArray[np.float32],
    sequence: list[tuple[str, Reading, Reading, int]],
) -> None:
    """Finite, inside the soft limits once inside, no step beyond velocity_max·dt, gains held."""
    bench = new_bench()
    watcher = Watcher(bench)
    bench.say(position=start)
    bench.safe.enable()
    for act, reading, command, pause_ms in sequence:
        drive(bench, act, reading, pause_ms)
        bench.safe.write(bench.command(**command))
        watcher.look()


@settings(max_examples=100)
@given(command=commands)
def test_a_command_is_refused_or_limited_never_both(
    new_bench: Callable[..., Bench], command: Reading
) -> None:
    """A command with one number that is none changes nothing at all."""
    bench = new_bench()
    bench.to(State.ACTIVE)
    bench.safe.take_guards()
    before = bench.last.position
    whole = bench.command(**command)
    everything = (whole.position, whole.kp, whole.kd, whole.torque)
    usable = all(part.shape == (2,) and np.isfinite(part).all() for part in everything)
    bench.safe.write(whole)
    guards = bench.safe.take_guards()
    refused = bool(guards & (Guard.COMMAND_NOT_FINITE | Guard.COMMAND_SHAPE))
    assert refused is not usable
    assert (bench.state is State.HOLD) is refused
    if refused:
        assert guards in {Guard.COMMAND_NOT_FINITE, Guard.COMMAND_SHAPE}
        np.testing.assert_array_equal(bench.last.position, before)


@settings(max_examples=100)
@given(sequence=st.lists(st.tuples(readings, pauses), max_size=30))
def test_nothing_leads_from_a_latched_cause_to_motion_but_clear_and_enable(
    new_bench: Callable[..., Bench], sequence: list[tuple[Reading, int]]
) -> None:
    """No reading, no command, no time."""
    bench = new_bench()
    bench.to(State.FAULT)
    for reading, pause_ms in sequence:
        drive(bench, "enable", reading, pause_ms)
        bench.tick()
        assert bench.state is State.FAULT
        assert bench.robot.limp


@settings(max_examples=150)
@given(
    state=st.sampled_from(State),
    sequence=st.lists(st.tuples(acts, readings, pauses), max_size=25),
)
def test_nothing_leads_out_of_an_emergency_stop_but_release_and_then_clear(
    new_bench: Callable[..., Bench],
    state: State,
    sequence: list[tuple[str, Reading, int]],
) -> None:
    """From whatever state it came; and then the robot is limp in STANDBY."""
    bench = new_bench()
    bench.to(state)
    bench.fire(Event.ESTOP)
    held = True
    for act, reading, pause_ms in sequence:
        drive(bench, act, reading, pause_ms)
        held = act == "estop" or (held and act != "release_estop")
        if act == "clear" and not held:
            assert bench.state in (State.STANDBY, State.FAULT)
            assert bench.robot.limp
            return
        assert bench.state is State.ESTOP
        assert bench.robot.limp


@settings(max_examples=50)
@given(sequence=st.lists(readings, min_size=1, max_size=8))
def test_torque_is_off_soon_after_a_latched_cause(
    new_bench: Callable[..., Bench], sequence: list[Reading]
) -> None:
    """Within damp_s and two ticks, whatever the sensors say in the meantime."""
    bench = new_bench()
    bench.to(State.DAMP)
    start = bench.safe.now()
    limit_ns = round(bench.robot.spec.safety.damp_s * 1e9) + 2 * bench.period_ns
    for reading in itertools.islice(itertools.cycle(sequence), 200):
        bench.say(**reading)
        bench.tick()
        if bench.safe.now() - start > limit_ns:
            assert bench.robot.limp
    assert bench.state is State.FAULT
