"""What a deployment leaves behind: summary.json with the keys of every run, and a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robosac.exit_codes import EXIT_DONE, EXIT_SAFETY
from robosac.run_folder import RunFolder
from robots import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from robosac.deploy.journey import Journey
    from robosac.env import RobotEnv

LEARNERS = ("updates", "updates_per_s", "utd", "lost", "duplicated", "policy_versions")
"""Figures that the learner has, not the robot."""


def conclude(
    path: Path,
    env: RobotEnv,
    journey: Journey,
    say: Callable[[str], None],
    **more: Any,  # noqa: ANN401
) -> int:
    """Write the summary and say what counts; 3 when the robot ended in a fault."""
    summary = summarise(env, journey) | more
    RunFolder.write_json(path, summary)
    speed = "-" if journey.speed_mps is None else f"{journey.speed_mps:.3f} m/s"
    say(
        f"moved for {journey.moving_s:.1f} s, {journey.steps} steps, speed {speed}, "
        f"falls {journey.falls}, missed ticks {env.overruns}"
    )
    for stop in journey.stops:
        say(f"stopped at {stop.robot_s:.1f} s: {stop.cause} ({stop.state})")
    wake = (env.lateness.report() or {}).get("wake")
    if wake is not None and wake["count"]:
        say(
            f"ticks began p50 {wake['p50_us'] / 1000:.2f}, p99 {wake['p99_us'] / 1000:.2f}, "
            f"max {wake['max_us'] / 1000:.2f} ms late"
        )
    say(f"summary  {path}")
    latched = env.robot.state in (State.FAULT, State.ESTOP)
    return EXIT_SAFETY if latched else EXIT_DONE


def summarise(env: RobotEnv, journey: Journey) -> dict[str, Any]:
    """Figures of a deployment; what only a learner measures is null."""
    return dict.fromkeys(LEARNERS) | {
        "robot": env.robot.spec.name,
        "task": env.task.name,
        "env": None,
        "env_steps": journey.steps,
        "wall_s": journey.moving_s,
        "speed_mps": journey.speed_mps,
        "falls": journey.falls,
        "missed_ticks": env.overruns,
        "lateness": env.lateness.report(),
        "guards": dict(env.robot.interventions),
        "stops": journey.stops,
        "ended_in": env.robot.state.value,
    }
