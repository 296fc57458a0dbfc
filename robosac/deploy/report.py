"""What a deployment leaves behind: summary.json with the keys of every run, and a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robosac.errors import StorageError
from robosac.exit_codes import EXIT_DONE, EXIT_INCOMPLETE, EXIT_SAFETY
from robosac.run_folder import RunFolder
from robots import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from robosac.deploy.journey import Journey
    from robosac.env import RobotEnv

NOT_MEASURED = (
    *("updates", "updates_per_s", "utd", "lost", "duplicated", "policy_versions"),
    *("policy_lag_steps_p50", "policy_lag_steps_p99", "recipe", "env"),
)
"""Figures that the learner has, not the robot."""


def conclude(
    path: Path,
    env: RobotEnv,
    journey: Journey,
    say: Callable[[str], None],
    *,
    steps_short_of: int | None = None,
    **more: Any,  # noqa: ANN401
) -> int:
    """Say what counts and write the summary; returns the exit code.

    3 when the robot ended in a fault, or its torque may be on; 4 when something is missing: what an
    error has cut off, steps that were asked for, entries of the log, the summary itself.
    """
    if steps_short_of is not None:
        say(f"ended after {journey.steps} of {steps_short_of} steps")
    for line in _lines(env, journey):
        say(line)
    complete = not (journey.error or steps_short_of or more.get("log_lost"))
    try:
        RunFolder.write_json(path, summarise(env, journey) | more)
        say(f"summary  {path}")
    except StorageError as error:
        say(f"no summary: {error}")
        complete = False
    if env.robot.state in (State.FAULT, State.ESTOP) or not journey.limp:
        return EXIT_SAFETY
    return EXIT_DONE if complete else EXIT_INCOMPLETE


def summarise(env: RobotEnv, journey: Journey) -> dict[str, Any]:
    """Figures of a deployment; what only a learner measures is null."""
    return dict.fromkeys(NOT_MEASURED) | {
        "robot": env.robot.spec.name,
        "task": env.task.name,
        "env_steps": journey.steps,
        "episodes": journey.episodes,
        "return_mean": journey.return_mean,
        "return_std": journey.return_std,
        "wall_s": journey.wall_s,
        "moving_s": journey.moving_s,
        "speed_mps": journey.speed_mps,
        "falls": journey.falls,
        "missed_ticks": env.overruns,
        "lateness": env.lateness.report(),
        "guards": dict(env.robot.interventions),
        "stops": journey.stops,
        "ended_in": env.robot.state.value,
        "torque_off": journey.limp,
        "error": journey.error or None,
    }


def _lines(env: RobotEnv, journey: Journey) -> list[str]:
    """What people want to know first."""
    speed = "-" if journey.speed_mps is None else f"{journey.speed_mps:.3f} m/s"
    moved = f"moved for {journey.moving_s:.1f} s, {journey.steps} steps, speed {speed}"
    found = [f"{moved}, falls {journey.falls}, missed ticks {env.overruns}"]
    found += [f"stopped at {one.robot_s:.1f} s: {one.cause} ({one.state})" for one in journey.stops]
    wake = (env.lateness.report() or {}).get("wake")
    if wake is not None and wake["count"]:
        found.append(
            f"ticks began p50 {wake['p50_us'] / 1000:.2f}, p99 {wake['p99_us'] / 1000:.2f}, "
            f"max {wake['max_us'] / 1000:.2f} ms late"
        )
    if journey.error:
        found.append(f"error    {journey.error}")
    if not journey.limp:
        found.append("CUT THE ROBOT'S POWER: it has not confirmed that its torque is off")
    return found
