from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robots import Guard, SafetyStopError, State
from robots.safety import Event
from robots.safety.states import MOVING, TABLE, TORQUE_OFF, after

if TYPE_CHECKING:
    from tests.robots.safety.conftest import Bench

OPERATOR_AND_SENSORS = (
    *(Event.ENABLE, Event.STOP, Event.ESTOP, Event.CLEAR, Event.DISARM, Event.PLACE),
    *(Event.DOUBT, Event.RECOVERED, Event.GIVE_UP, Event.DANGER),
)
"""Events that can be made to happen in any state."""

ROWS = sorted(TABLE.items(), key=str)
NO_ROWS = [
    (state, event)
    for state in State
    for event in OPERATOR_AND_SENSORS
    if (state, event) not in TABLE
    if (state, event) != (State.ACTIVE, Event.GIVE_UP)  # the doubt before it leads to HOLD
]


def name(value: object) -> str:
    """A short name for a parametrised case."""
    if isinstance(value, tuple):
        return "-".join(part.name.lower() for part in value)
    return str(getattr(value, "name", value)).lower()


@pytest.mark.parametrize(("row", "following"), ROWS, ids=name)
def test_every_row_of_the_table_happens(
    bench: Bench, row: tuple[State, Event], following: State
) -> None:
    """The event leads from the state to the one that the table names, and to no other."""
    state, event = row
    bench.to(state, latched=event not in (Event.DAMPED, Event.DISARM))
    bench.fire(event)
    assert bench.state is following


@pytest.mark.parametrize(("state", "event"), NO_ROWS, ids=name)
def test_an_event_without_a_row_changes_nothing(bench: Bench, state: State, event: Event) -> None:
    """A held button, a second enable, a clear at the wrong time: the state stays."""
    bench.to(state)
    bench.fire(event)
    assert bench.state is state


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_the_table_is_all_there_is(state: State, event: Event) -> None:
    """An event that is not listed for a state means nothing in it."""
    assert after(state, event) is TABLE.get((state, event), state)


def test_only_the_operator_or_a_simulator_leads_from_no_torque_to_motion() -> None:
    """Out of STANDBY there is ENABLE; out of FAULT and ESTOP nothing but STANDBY."""
    leaving = {(state, event): to for (state, event), to in TABLE.items() if state in TORQUE_OFF}
    assert {row: to for row, to in leaving.items() if to in MOVING} == {
        (State.STANDBY, Event.ENABLE): State.RAMP
    }
    latched = {
        state: {to for (of, _), to in leaving.items() if of is state} for state in TORQUE_OFF
    }
    assert latched[State.FAULT] == {State.STANDBY, State.ESTOP}
    assert latched[State.ESTOP] == {State.STANDBY}


def test_damping_never_turns_into_motion() -> None:
    """From DAMP the way leads through no torque."""
    assert {to for (state, _), to in TABLE.items() if state is State.DAMP} == TORQUE_OFF


def test_a_process_that_starts_moves_nothing(bench: Bench) -> None:
    """Connecting, reading and writing are not enough; the torque is taken off every 0.5 s."""
    for tick in range(51):
        if tick % 25 == 0:
            bench.robot.limp = False
        applied = bench.tick()
        assert bench.robot.limp
        np.testing.assert_array_equal(applied.kp, 0)
        np.testing.assert_array_equal(applied.kd, 0)
        np.testing.assert_array_equal(applied.torque, 0)
    assert not bench.robot.written
    assert bench.robot.calls.count("disarm") == 3


def test_waiting_with_no_torque_is_no_fault(bench: Bench) -> None:
    """A caller that only writes in STANDBY has old readings, and acts on none of them."""
    bench.read()
    for _ in range(100):
        bench.safe.write(bench.command())
        bench.safe.wait_until(bench.safe.now() + bench.period_ns)
    assert bench.state is State.STANDBY


@pytest.mark.parametrize("state", [State.RAMP, State.ACTIVE, State.HOLD, State.SIT])
def test_a_second_enable_is_ignored_and_logged(
    bench: Bench, state: State, caplog: pytest.LogCaptureFixture
) -> None:
    """Double enable does not start the ramp anew (rule g)."""
    bench.to(state)
    bench.tick()
    before = bench.last.position
    with caplog.at_level(logging.INFO):
        bench.safe.enable()
    assert "enable ignored" in caplog.text
    bench.safe.write(bench.command())
    np.testing.assert_allclose(bench.last.position, before, atol=0.1)


@pytest.mark.parametrize("state", [State.DAMP, State.FAULT])
def test_enabling_a_latched_robot_is_refused_with_the_cause(bench: Bench, state: State) -> None:
    """No path from FAULT to a moving state without clear (rule f)."""
    bench.to(state)
    with pytest.raises(SafetyStopError) as refused:
        bench.safe.enable()
    assert (refused.value.state, refused.value.cause) == (state.value, "state_not_finite")
    assert bench.state is state


def test_the_first_cause_is_kept_and_later_ones_are_appended(bench: Bench) -> None:
    """Rule a: what began it stays first, each cause once."""
    bench.to(State.ACTIVE)
    bench.say(imu_age_s=0.2)
    bench.read()
    bench.fire(Event.DANGER)
    bench.fire(Event.DANGER)
    bench.tilt(90)
    for _ in range(5):
        bench.tick()
    assert bench.safe.causes == (Guard.STALE_STATE, Guard.STATE_NOT_FINITE, Guard.TILT)
    assert bench.safe.why == "stale_state"


def test_no_timer_clears_a_latched_cause(bench: Bench) -> None:
    """A minute of good readings leaves FAULT as it is."""
    bench.to(State.FAULT)
    for _ in range(3000):
        bench.tick()
    assert bench.state is State.FAULT
    assert bench.robot.limp


def test_clear_forgets_the_causes_and_starts_no_motion(bench: Bench) -> None:
    """Clear is not enable."""
    bench.to(State.FAULT).safe.clear()
    for _ in range(50):
        bench.tick()
    assert (bench.state, bench.safe.causes) == (State.STANDBY, ())
    assert not bench.robot.written
    bench.safe.enable()
    bench.tick()
    assert bench.robot.written


def test_clear_during_a_stop_is_ignored_and_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The cause of a stop cannot be cleared before the torque is off."""
    bench.to(State.DAMP)
    with caplog.at_level(logging.INFO):
        bench.safe.clear()
    assert "clear ignored" in caplog.text
    assert bench.safe.causes == (Guard.STATE_NOT_FINITE,)


def test_what_was_cleared_does_not_latch_the_next_stop(bench: Bench) -> None:
    """A doubt during the ramp ends in STANDBY, whatever happened before."""
    bench.to(State.FAULT).safe.clear()
    bench.to(State.DAMP, latched=False)
    bench.fire(Event.DAMPED)
    assert bench.state is State.STANDBY


def test_clearing_while_the_cause_persists_does_not_help(bench: Bench) -> None:
    """Enable judges a fresh reading, so a cause that is still there forbids the start."""
    bench.to(State.FAULT)
    bench.fire(Event.DANGER)
    bench.safe.clear()
    with pytest.raises(SafetyStopError, match="state_not_finite"):
        bench.safe.enable()
    assert bench.state is State.STANDBY
    assert not bench.robot.written


@pytest.mark.parametrize(
    "sensors",
    [
        {"quaternion": np.array([0, 1, 0, 0], np.float32)},
        {"joint_age_s": 1.0},
        {"gyro": np.array([0, np.nan, 0], np.float32)},
        {"position": np.zeros(5, np.float32)},
    ],
    ids=["upside down", "stale", "not finite", "too many joints"],
)
def test_a_limp_robot_may_be_handled(bench: Bench, sensors: dict[str, object]) -> None:
    """At rest no reading latches or counts; as long as it lasts, enable refuses."""
    bench.say(**sensors)
    for _ in range(20):
        bench.read()
        bench.robot.clock_ns += bench.period_ns
    with pytest.raises(SafetyStopError):
        bench.safe.enable()
    assert (bench.state, bench.safe.causes) == (State.STANDBY, ())
    assert not bench.safe.interventions
    bench.say()
    bench.safe.enable()
    assert bench.state is State.RAMP


@pytest.mark.parametrize(
    ("sensors", "cause"),
    [
        ({"joint_age_s": 0.04}, "stale_state"),
        ({"imu_age_s": 0.1}, "stale_state"),
        ({"quaternion": np.array([0, 1, 0, 0], np.float32)}, "tilt"),
        ({"effort": np.array([0, np.inf], np.float32)}, "state_not_finite"),
        ({"position": np.array([1.06, -1.5], np.float32)}, "position_limit"),
        ({"position": np.array([0.1, 4.8], np.float32)}, "position_limit"),
    ],
    ids=["a little stale", "stale", "upside down", "not finite", "beyond the stop", "a turn off"],
)
def test_enable_wants_one_fresh_finite_upright_possible_reading(
    bench: Bench, sensors: dict[str, object], cause: str
) -> None:
    """All guards green means without the patience that motion gets."""
    bench.say(**sensors)
    with pytest.raises(SafetyStopError) as refused:
        bench.safe.enable()
    assert refused.value.cause == cause
    bench.tick()
    assert not bench.robot.written


@pytest.mark.parametrize("latched", [True, False])
def test_disarm_keeps_a_latched_cause(bench: Bench, *, latched: bool) -> None:
    """Torque off at once is no way around clear."""
    bench.to(State.DAMP, latched=latched)
    first = bench.safe.causes[0]
    bench.safe.disarm("test")
    assert bench.robot.limp
    assert bench.state is (State.FAULT if latched else State.STANDBY)
    assert bench.safe.causes[0] is first


def test_disarming_a_moving_robot_counts_as_an_operators_stop(bench: Bench) -> None:
    """Whoever looks later sees that somebody took the torque off."""
    bench.to(State.ACTIVE).safe.disarm("test")
    assert bench.safe.causes == (Guard.OPERATOR_STOP,)
    assert bench.safe.take_guards() == Guard.OPERATOR_STOP
    bench.safe.disarm("again")
    assert bench.safe.interventions == {"operator_stop": 1}


def test_only_a_simulators_place_clears(bench: Bench) -> None:
    """A real robot says that it cannot be placed, and stays latched."""
    bench.to(State.FAULT)
    assert not bench.safe.place(np.random.default_rng(0))
    assert bench.state is State.FAULT
    assert list(bench.safe.causes) == [Guard.STATE_NOT_FINITE]
    bench.fire(Event.PLACE)
    assert bench.state.value == "standby"
    assert not bench.safe.causes
    assert bench.robot.limp


def test_a_placed_robot_is_not_judged_by_what_it_said_before(bench: Bench) -> None:
    """Placed and enabled, it ramps from where it is now."""
    bench.to(State.ACTIVE)
    bench.fire(Event.PLACE)
    bench.say(position=np.array([-0.3, -1.0], np.float32))
    bench.safe.enable()
    bench.safe.write(bench.command())
    np.testing.assert_allclose(bench.last.position, [-0.3, -1.0])


def test_transitions_are_logged_with_cause_and_time(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Who reads the log learns what happened, when, and because of which guard."""
    bench.to(State.ACTIVE)
    at_s = bench.safe.now() / 1e9
    with caplog.at_level(logging.INFO):
        bench.fire(Event.DANGER)
    assert f"active -> damp at {at_s:.3f} s" in caplog.text
    assert "state_not_finite" in caplog.text


def test_causes_of_the_last_stop_are_gone_after_enable(bench: Bench) -> None:
    """An operator's stop does not latch: the operator may enable again without clear."""
    bench.to(State.SIT)
    bench.ticks_until(State.STANDBY)
    assert list(bench.safe.causes) == [Guard.OPERATOR_STOP]
    bench.safe.enable()
    assert bench.state.value == "ramp"
    assert not bench.safe.causes


@pytest.mark.parametrize("state", State)
def test_every_state_has_an_operators_word(state: State) -> None:
    """No two the same."""
    assert [other for other in State if other.words == state.words] == [state]


def test_why_says_more_than_the_name_of_the_first_cause(bench: Bench) -> None:
    """What was known when it began, until it is cleared."""
    bench.to(State.ACTIVE)
    bench.safe.tick_late(0.25)
    bench.tick()
    bench.fire(Event.DANGER)
    assert bench.safe.why == "overrun: a tick began 250 ms late"
    bench.ticks_until(State.FAULT)
    bench.safe.clear()
    assert "overrun" not in bench.safe.why
