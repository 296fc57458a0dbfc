"""What is told of a session, and the exit code that scripts rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from robosac.deploy.journey import Journey
from robosac.deploy.report import conclude
from robosac.exit_codes import EXIT_DONE, EXIT_INCOMPLETE, EXIT_SAFETY
from robots import State
from tests.robosac.deploy.conftest import Rig, decoded

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {
    *("env_steps", "updates", "wall_s", "updates_per_s", "utd", "return_mean", "return_std"),
    *("episodes", "speed_mps", "falls", "lost", "duplicated", "policy_versions"),
    *("policy_lag_steps_p50", "policy_lag_steps_p99", "missed_ticks", "seed", "recipe"),
    *("robot", "task", "env"),
}
"""What other tools expect in every summary."""


def add(journey: Journey, *, reward: float, ended: bool = False, fell: bool = False) -> None:
    """A step of 20 ms that goes 1 cm forward."""
    journey.add({"dt": 0.02, "forward_mps": 0.5}, reward=reward, fell=fell, ended=ended)


def end(rig: Rig, path: Path, **more: Any) -> tuple[int, list[str], dict[str, Any]]:  # noqa: ANN401
    """Close the session and conclude: exit code, what was said, the summary."""
    said: list[str] = []
    rig.session.close()
    code = conclude(path, rig.env, rig.journey, said.append, **more)
    return code, said, decoded(path.read_bytes())


def test_a_journey_adds_up() -> None:
    """Time and distance of every step, returns of whole episodes."""
    journey = Journey()
    for reward, ended in ((1.0, False), (2.0, True), (7.0, True), (100.0, False)):
        add(journey, reward=reward, ended=ended, fell=ended)
    assert journey.steps == 4
    assert journey.episodes == journey.falls == 2
    assert journey.moving_s == pytest.approx(0.08)
    assert journey.speed_mps == pytest.approx(0.5)
    assert journey.return_mean == pytest.approx(5.0)
    assert journey.return_std == pytest.approx(2.0)


def test_what_was_not_measured_is_none() -> None:
    """A robot that has not moved has no speed, not the speed zero."""
    journey = Journey()
    add_nothing = (journey.speed_mps, journey.return_mean, journey.return_std)
    assert add_nothing == (None, None, None)


def test_a_summary_has_the_keys_of_every_run(rig: Rig, tmp_path: Path) -> None:
    """Null where only a learner could tell; exit code 0 when all went well."""
    rig.go()
    rig.step(10)
    code, said, summary = end(rig, tmp_path / "s.json", seed=7, log_lost=0, rows_dropped=None)
    assert code == EXIT_DONE
    assert summary.keys() >= KEYS
    assert summary["updates"] is summary["lost"] is summary["return_mean"] is None
    expected = {"robot": "pup", "task": "walk", "env_steps": 10, "falls": 0, "seed": 7}
    expected |= {"missed_ticks": 0, "ended_in": "standby", "torque_off": True, "stops": []}
    assert {key: summary[key] for key in expected} == expected
    assert summary["moving_s"] == pytest.approx(0.2)
    assert said[0].startswith("moved for 0.2 s, 10 steps, speed ")
    assert said[-1] == f"summary  {tmp_path / 's.json'}"


@pytest.mark.parametrize("state", [State.FAULT, State.ESTOP])
def test_a_stop_that_is_latched_is_told_by_the_exit_code(
    rig: Rig, tmp_path: Path, state: State
) -> None:
    """3, and what the cause was."""
    rig.go()
    if state is State.ESTOP:
        rig.operator.estop()
    else:
        rig.say(joint_age_s=1.0)
    rig.step()
    code, said, summary = end(rig, tmp_path / "s.json")
    assert code == EXIT_SAFETY
    assert summary["ended_in"] == state.value
    (stop,) = summary["stops"]
    assert stop["cause"] == {State.ESTOP: "estop", State.FAULT: "stale_state"}[state]
    assert any(stop["cause"] in line for line in said)


def test_torque_that_may_be_on_is_said_last_of_all(rig: Rig, tmp_path: Path) -> None:
    """In capitals, with exit code 3, whatever state the robot is in."""
    rig.journey.limp = False
    code, said, summary = end(rig, tmp_path / "s.json")
    assert code == EXIT_SAFETY
    assert any(line.startswith("CUT THE ROBOT'S POWER") for line in said)
    assert not summary["torque_off"]


@pytest.mark.parametrize(("error", "lost"), [("the uplink has failed", 0), ("", 3)])
def test_what_is_missing_is_told_by_the_exit_code(
    rig: Rig, tmp_path: Path, error: str, lost: int
) -> None:
    """4 after an error, and when the log has lost something."""
    rig.journey.error = error
    code, said, summary = end(rig, tmp_path / "s.json", log_lost=lost)
    assert code == EXIT_INCOMPLETE
    assert summary["error"] == (error or None)
    assert summary["log_lost"] == lost
    assert any(error in line for line in said)


def test_steps_that_were_asked_for_and_not_made_are_told(rig: Rig, tmp_path: Path) -> None:
    """The robot is at rest and all is well, and yet it is not what was wanted."""
    code, said, _ = end(rig, tmp_path / "s.json", steps_short_of=30)
    assert code == EXIT_INCOMPLETE
    assert "ended after 0 of 30 steps" in said


def test_a_summary_that_cannot_be_written_is_told(rig: Rig, tmp_path: Path) -> None:
    """Everything else is said all the same."""
    said: list[str] = []
    rig.session.close()
    code = conclude(tmp_path / "gone" / "s.json", rig.env, rig.journey, said.append)
    assert code == EXIT_INCOMPLETE
    assert said[0].startswith("moved for 0.0 s")
    assert said[-1].startswith("no summary: ")
