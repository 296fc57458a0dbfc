"""`robosac sim`: a simulated robot learns, from one command."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from robosac import __version__, recipe
from robosac.cli import join, prior
from robosac.cli.checks import at_least, check_device, check_door, check_ranks
from robosac.cli.console import Progress, say
from robosac.cli.crew import processes
from robosac.cli.runner_config import SPOOL_MIB, RunnerConfig
from robosac.cli.supervisor import Supervisor
from robosac.errors import ConfigError
from robosac.learner import priors
from robosac.learner.options import LearnerOptions
from robosac.replay.records import check_name
from robosac.run_folder import Pace, RunConfig, RunFolder, new_name
from robosac.wire.names import robot_name

_STEPS = 20_000
_STEP_BACK = 10
"""How far a learner steps back for robots in real time on the same machine, as in nice(1)."""


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
    recipe: str | None = None
    """How to learn: a name, or a TOML file; layernorm, with --emulate realtime, unless given."""
    steps: int | None = None
    """Environment steps in all, those of a resumed run included; 20000 for a new run."""
    prior: tuple[Path, ...] = ()
    """Earlier runs, folders or flight logs, of the same robot and task: half of every batch."""
    seed: int = 0
    """Seed of networks, exploration, sampling and resets."""
    run: Path | None = None
    """Run folder; by default a new one under runs/."""
    resume: bool = False
    """Go on with the run in --run, with its own configuration."""
    sync: bool = False
    """Learner and runner in lockstep in one process: slower, and the same bits every time."""
    emulate: bool = False
    """Drive emulated servos and IMU over serial ports, in real time, as on a machine."""
    pace: Pace = "learner"
    """Simulated time: as fast as the learner keeps up, in real time, or as fast as it can."""
    runners: int = 1
    """Simulated robots that learn together."""
    ranks: int = 1
    """Processes that share every update; the numbers are those of one, up to rounding."""
    device: str = "cpu"
    """Where updates are made: cpu, cuda or cuda:NUMBER."""
    fleet: str | None = None
    """Spread the runners over a Ray cluster: local, or the address of one (host:port, auto)."""
    learner: str | None = None
    """Start no learner: serve the one of `robosac learn` at HOST:PORT."""
    name: str | None = None
    """With --learner: name of this machine's robots there; by default its key's or the host's."""
    bind: str = "127.0.0.1:0"
    """Address the learner listens on; port 0 takes any free one."""
    keys: Path | None = None
    """Folder made by `robosac keys`: the learner's, or with --learner the robot's."""
    insecure: bool = False
    """Let the learner listen beyond this machine without keys."""
    runner_keys: Path | None = None
    """Folder of the robots' keys, when the run's own learner has keys; on every machine."""
    spool_limit: int = SPOOL_MIB
    """Disk that the spool of one robot may take, MiB; what it has to give up is counted."""
    video: bool = True
    """Record a video of the final policy."""

    def execute(self) -> int:
        """Train, evaluate, sum up; returns the exit code."""
        if self.learner is not None:
            return join.join(self.learner, _guest(self), runners=self.runners, fleet=self.fleet)
        from robosac.cli import resolve, results
        from robosac.cli.remaining import remaining_steps

        started = time.monotonic()
        folder, config = _open(self)
        check_ranks(self.ranks, config, device=self.device)
        check_device(self.device)
        with resolve.make(robot=config.robot, task=config.task, env=config.env) as place:
            priors.check(config.prior, place.contract)
            if not self.resume:
                folder.create(config)
            say(f"run folder {folder.path}")
            steps = remaining_steps(folder, config, place.contract.row_layout)
            if self.resume:
                folder.reopen(config)
            with Progress(config.steps) as progress:
                if config.sync:
                    from robosac.cli.lockstep import run_lockstep

                    report = run_lockstep(
                        folder, config, place, steps=steps, show=progress.show, device=self.device
                    )
                else:
                    report = _run_processes(self, folder, config, progress)
            summary = results.summarise(folder, config, report)
            return results.conclude(folder, summary, place, started=started, video=self.video)


_USUAL = Sim()
"""What every option is unless it is given."""


def _open(options: Sim) -> tuple[RunFolder, RunConfig]:
    """Check the options and name the folder; nothing is written yet."""
    _check_keys(options)
    check_door(options.bind, options.keys, insecure=options.insecure)
    at_least(1, "spool-limit", options.spool_limit)
    if options.resume:
        if options.run is None:
            raise ConfigError("--resume needs to know what; name the run folder with --run")
        folder = RunFolder(options.run)
        config = folder.read_config()
        if not config.runners:
            raise ConfigError(f"run {options.run} has no robots of its own; use `robosac learn`")
        _check_resumed(options, config)
        prior.go_on(options.prior, config)
        steps = config.steps if options.steps is None else at_least(1, "steps", options.steps)
        return folder, msgspec.structs.replace(config, steps=steps)
    _check_combination(options)
    config = RunConfig(
        robosac=__version__,
        robot=options.robot if options.env is None else None,
        task=options.task if options.env is None else None,
        env=options.env,
        recipe=recipe.find(options.recipe or ("realtime" if options.emulate else recipe.DEFAULT)),
        steps=at_least(1, "steps", _STEPS if options.steps is None else options.steps),
        seed=at_least(0, "seed", options.seed),
        pace="realtime" if options.emulate else options.pace,
        runners=at_least(1, "runners", options.runners),
        sync=options.sync,
        emulate=options.emulate,
        prior=prior.begin(options.prior),
    )
    what = (options.env or f"{Path(options.robot).name}-{options.task}").replace("/", "-")
    return RunFolder(options.run or new_name(f"{what}-seed{options.seed}")), config


def _check_keys(options: Sim) -> None:
    """Refuse keys of one side only: neither would ever hear of the other."""
    if (options.keys is None) != (options.runner_keys is None):
        given, missing = ("--keys", "--runner-keys")
        if options.keys is None:
            given, missing = missing, given
        raise ConfigError(
            f"{given} without {missing}; expected both, for the run's learner and its robots, or "
            "neither"
        )


def _check_resumed(options: Sim, config: RunConfig) -> None:
    """Refuse what is other than the run's own, which it goes on with; what agrees may be said."""
    if options.recipe is not None and recipe.find(options.recipe) != config.recipe:
        raise _contradiction(f"--recipe {options.recipe}", config.recipe.name, options.run)
    for field in ("robot", "task", "env", "seed", "sync", "emulate", "pace", "runners"):
        asked, own = getattr(options, field), getattr(config, field)
        if asked not in (own, getattr(_USUAL, field)):
            given = f"--{field}" if asked is True else f"--{field} {asked}"
            raise _contradiction(given, own, options.run)


def _contradiction(given: str, own: object, run: Path | None) -> ConfigError:
    begun = "without" if own is None or own is False else f"with {own}"
    return ConfigError(
        f"{given}: the run in {run} was begun {begun} and goes on so; leave the option out, or "
        "begin another run"
    )


def _check_combination(options: Sim) -> None:
    """Refuse options that would have to be ignored."""
    if options.env is not None and (options.robot, options.task) != (_USUAL.robot, _USUAL.task):
        raise ConfigError(
            "--env takes the place of a robot; leave out --robot and --task, or --env"
        )
    if options.pace == "realtime" and options.env is not None:
        raise ConfigError(f"--pace realtime needs a robot; {options.env} has no clock of its own")
    if options.sync and (options.runners > 1 or options.pace != "learner"):
        raise ConfigError("--sync is one process in lockstep; leave out --runners and --pace")
    if options.emulate and (options.env is not None or options.sync or options.pace == "free"):
        raise ConfigError("--emulate is a robot in real time; leave out --env, --sync and --pace")
    if options.emulate:
        from robosac.cli.emulated import check_devices

        check_devices(options.robot)
    if options.sync and options.fleet is not None:
        raise ConfigError("--sync is one process in lockstep; leave out --fleet")
    if options.name is not None:
        raise ConfigError("--name is for --learner; the robots of a run of its own have theirs")


def _run_processes(
    options: Sim, folder: RunFolder, config: RunConfig, progress: Progress
) -> dict[str, Any]:
    """Run the learner and its runners and return the learner's report."""

    def crew(endpoint: str) -> dict[str, list[str]]:
        indices = range(config.runners)
        runners = [_runner(options, folder, config, endpoint, index) for index in indices]
        return processes(runners, options.fleet)

    learner = LearnerOptions(
        folder=str(folder.path),
        bind=options.bind,
        keys=None if options.keys is None else str(options.keys),
        insecure=options.insecure,
        ranks=options.ranks,
        device=options.device,
        nice=_STEP_BACK if config.pace == "realtime" else 0,
    )
    supervisor = Supervisor(folder.path, learner=learner, crew=crew, show=progress.show)
    supervisor.run()
    supervisor.check_rows(config.steps or 0)
    return supervisor.report or {}


def _runner(
    options: Sim, folder: RunFolder, config: RunConfig, endpoint: str, index: int
) -> RunnerConfig:
    """One of the run's own runners."""
    what = config.env or Path(config.robot or "").name
    return RunnerConfig(
        name=robot_name(what, index),
        robot=config.robot,
        task=config.task,
        env=config.env,
        endpoint=endpoint,
        keys=None if options.runner_keys is None else str(options.runner_keys),
        folder=str(folder.runner(index)),
        seed=(config.seed, index),
        realtime=config.pace == "realtime",
        emulate=config.emulate,
        spool_mib=options.spool_limit,
    )


def _guest(options: Sim) -> RunnerConfig:
    """What robots that serve a learner elsewhere are like; raises ConfigError for its affairs."""
    for given, name in (
        (options.resume, "--resume"),
        (options.sync, "--sync"),
        (options.insecure, "--insecure"),
        (options.recipe is not None, "--recipe"),
        (bool(options.prior), "--prior"),
        (options.runner_keys is not None, "--runner-keys"),
        (options.bind != _USUAL.bind, "--bind"),
        (options.ranks != _USUAL.ranks, "--ranks"),
        (options.device != _USUAL.device, "--device"),
    ):
        if given:
            raise ConfigError(f"{name} is the learner's affair; leave it out with --learner")
    at_least(1, "runners", options.runners)
    name = options.name or join.machine_name(options.keys)
    try:
        check_name(f"{name}-{options.runners - 1}", run="0" * 32)
    except ValueError as error:
        raise ConfigError(f"--name: {error}") from None
    return RunnerConfig(
        name=name,
        robot=options.robot if options.env is None else None,
        task=options.task if options.env is None else None,
        env=options.env,
        endpoint="",
        keys=None if options.keys is None else str(options.keys),
        folder=str(options.run or Path("runs") / f"robots-{name}"),
        seed=(at_least(0, "seed", options.seed), 0),
        realtime=options.emulate or options.pace == "realtime",
        emulate=options.emulate,
        steps=None if options.steps is None else at_least(1, "steps", options.steps),
        spool_mib=at_least(1, "spool-limit", options.spool_limit),
    )
