"""`robosac sim`: a simulated robot learns, from one command."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from robosac import __version__, recipe
from robosac.cli.console import Progress, say
from robosac.cli.supervisor import Supervisor
from robosac.errors import ConfigError
from robosac.run_folder import Pace, RunConfig, RunFolder

_STEPS = 20_000


class Sim(msgspec.Struct, frozen=True, kw_only=True):
    """Train a simulated robot, or any Gymnasium or dm_control environment.

    Starts a learner and its runners, shows how they do, and leaves a run folder with the policy, a
    video, the numbers, and everything needed to go on.
    """

    robot: str = "go2"
    """Robot: a name, or a folder with robot.toml and model.xml."""
    task: str = "walk"
    """What the robot should learn."""
    env: str | None = None
    """Environment instead of a robot: a Gymnasium id (HalfCheetah-v5) or dm_control/walker-walk."""
    recipe: str = "sac"
    """How to learn: a name, or a TOML file."""
    steps: int | None = None
    """Environment steps in all, those of a resumed run included; 20000 for a new run."""
    seed: int = 0
    """Seed of networks, exploration, sampling and resets."""
    run: Path | None = None
    """Run folder; by default a new one under runs/."""
    resume: bool = False
    """Go on with the run in --run, with its own configuration."""
    sync: bool = False
    """Learner and runner in lockstep in one process: slower, and the same bits every time."""
    pace: Pace = "learner"
    """Simulated time: as fast as the learner keeps up, in real time, or as fast as it can."""
    runners: int = 1
    """Simulated robots that learn together."""
    port: int = 0
    """TCP port of the learner on this machine; 0 takes any free one."""
    video: bool = True
    """Record a video of the final policy."""

    def execute(self) -> int:
        """Train, evaluate, sum up; returns the exit code."""
        from robosac.cli import resolve, results
        from robosac.cli.remaining import remaining_steps

        started = time.monotonic()
        folder, config = _open(self)
        with resolve.make(robot=config.robot, task=config.task, env=config.env) as place:
            if not self.resume:
                folder.create(config)
            say(f"run folder {folder.path}")
            steps = remaining_steps(folder, config, place.contract.row_layout)
            if self.resume:
                folder.reopen(config)
            with Progress(config.steps) as progress:
                if config.sync:
                    from robosac.cli.lockstep import run_lockstep

                    report = run_lockstep(folder, config, place, steps=steps, show=progress.show)
                else:
                    report = _run_processes(folder, config, self.port, steps, progress)
            summary = results.summarise(folder, config, report)
            return results.conclude(folder, summary, place, started=started, video=self.video)


def _open(options: Sim) -> tuple[RunFolder, RunConfig]:
    """Check the options and name the folder; nothing is written yet."""
    if options.resume:
        if options.run is None:
            raise ConfigError("--resume needs to know what; name the run folder with --run")
        folder = RunFolder(options.run)
        config = folder.read_config()
        return folder, msgspec.structs.replace(config, steps=options.steps or config.steps)
    _check_combination(options)
    config = RunConfig(
        robosac=__version__,
        robot=options.robot if options.env is None else None,
        task=options.task if options.env is None else None,
        env=options.env,
        recipe=recipe.find(options.recipe),
        steps=_at_least(1, "steps", _STEPS if options.steps is None else options.steps),
        seed=_at_least(0, "seed", options.seed),
        pace=options.pace,
        runners=_at_least(1, "runners", options.runners),
        sync=options.sync,
    )
    stamp = datetime.now(UTC).astimezone().strftime("%Y%m%d-%H%M%S")
    what = (options.env or f"{Path(options.robot).name}-{options.task}").replace("/", "-")
    return RunFolder(options.run or Path("runs") / f"{stamp}-{what}-seed{options.seed}"), config


def _check_combination(options: Sim) -> None:
    """Refuse options that would have to be ignored."""
    if options.pace == "realtime" and options.env is not None:
        raise ConfigError(f"--pace realtime needs a robot; {options.env} has no clock of its own")
    if options.sync and (options.runners > 1 or options.pace != "learner"):
        raise ConfigError("--sync is one process in lockstep; leave out --runners and --pace")


def _at_least(bound: int, name: str, value: int) -> int:
    if value < bound:
        raise ConfigError(f"--{name} is {value}; expected at least {bound}")
    return value


def _run_processes(
    folder: RunFolder, config: RunConfig, port: int, steps: int, progress: Progress
) -> dict[str, Any]:
    """Share the steps among the runners and return the learner's report."""
    base, more = divmod(steps, config.runners)
    shares = [base + (index < more) for index in range(config.runners)]
    supervisor = Supervisor(folder, port=port, shares=shares, show=progress.show)
    supervisor.run()
    return supervisor.report or {}
