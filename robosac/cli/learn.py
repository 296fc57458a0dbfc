"""`robosac learn`: the learner alone, for robots on other machines."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from robosac import __version__, recipe
from robosac.cli import prior
from robosac.cli.checks import at_least, check_device, check_door, check_ranks
from robosac.cli.console import Progress, say
from robosac.cli.supervisor import Supervisor
from robosac.errors import ConfigError
from robosac.exit_codes import EXIT_DONE, EXIT_INCOMPLETE
from robosac.learner.options import LearnerOptions
from robosac.run_folder import RunConfig, RunFolder, new_name


class Learn(msgspec.Struct, frozen=True, kw_only=True):
    """Learn from robots that call from elsewhere, real ones or simulated ones.

    What they are like is decided by the first that calls; the others must be of the same kind.
    Robots keep moving, and keep what they record, while the learner is away.
    """

    recipe: str = recipe.DEFAULT
    """How to learn: a name, or a TOML file."""
    steps: int | None = None
    """Environment steps in all, after which robots are sent home; by default until Ctrl-C."""
    prior: tuple[Path, ...] = ()
    """Earlier runs, folders or flight logs, of the same robot and task: half of every batch."""
    seed: int = 0
    """Seed of networks and sampling."""
    run: Path | None = None
    """Run folder; by default a new one under runs/."""
    resume: bool = False
    """Go on with the run in --run, with its own configuration."""
    bind: str = "127.0.0.1:5555"
    """Address to listen on; * as host is every address of this machine."""
    keys: Path | None = None
    """Folder of the learner made by `robosac keys`: only robots on its list are let in."""
    ranks: int = 1
    """Processes that share every update; the numbers are those of one, up to rounding."""
    device: str = "cpu"
    """Where updates are made: cpu, cuda or cuda:NUMBER."""
    insecure: bool = False
    """Listen beyond this machine without keys: whoever can reach the port is let in."""

    def execute(self) -> int:
        """Learn until there are enough steps, or until Ctrl-C; returns the exit code."""
        started = time.monotonic()
        folder, config = self._open()
        say(f"run folder {folder.path}")
        with Progress(config.steps) as progress:

            def listen(endpoint: str) -> dict[str, list[str]]:
                say(f"listening on {endpoint}; no robot has called yet")
                say("is the way there open? ask on the robot: robosac doctor --learner HOST:PORT")
                return {}

            learner = LearnerOptions(
                folder=str(folder.path),
                bind=self.bind,
                keys=None if self.keys is None else str(self.keys),
                insecure=self.insecure,
                ranks=self.ranks,
                device=self.device,
            )
            supervisor = Supervisor(folder.path, learner=learner, crew=listen, show=progress.show)
            try:
                supervisor.run()
            finally:  # Ctrl-C is how a run without --steps ends
                if supervisor.report is not None:
                    _sum_up(folder, config, supervisor.report, time.monotonic() - started)
        if supervisor.report is None:
            say("no robot has called; the run folder is kept, go on with --resume")
            return EXIT_INCOMPLETE
        say(f"policy   {folder.final_policy}")
        say(f"summary  {folder.summary_path}")
        return EXIT_DONE

    def _open(self) -> tuple[RunFolder, RunConfig]:
        """Check the options, and make the run's folder or open it again."""
        check_door(self.bind, self.keys, insecure=self.insecure)
        if self.resume:
            if self.run is None:
                raise ConfigError("--resume needs to know what; name the run folder with --run")
            folder = RunFolder(self.run)
            config = folder.read_config()
            if config.runners:
                raise ConfigError(
                    f"run {self.run} brought its own robots; resume it with `robosac sim`"
                )
            prior.go_on(self.prior, config)
            check_ranks(self.ranks, config, device=self.device)
            check_device(self.device)
            config = msgspec.structs.replace(config, steps=self._steps() or config.steps)
            folder.reopen(config)
            return folder, config
        config = RunConfig(
            robosac=__version__,
            recipe=recipe.find(self.recipe),
            steps=self._steps(),
            seed=at_least(0, "seed", self.seed),
            prior=prior.begin(self.prior),
        )
        check_ranks(self.ranks, config, device=self.device)
        check_device(self.device)
        folder = RunFolder(self.run or new_name(f"learn-seed{self.seed}"))
        folder.create(config)
        return folder, config

    def _steps(self) -> int | None:
        return None if self.steps is None else at_least(1, "steps", self.steps)


def _sum_up(folder: RunFolder, config: RunConfig, report: dict[str, Any], wall_s: float) -> None:
    """Write summary.json; nobody evaluates, since the robots are elsewhere."""
    from robosac.cli import results

    summary = results.summarise(folder, config, report) | results.identify(folder)
    folder.write_json(folder.summary_path, summary | {"wall_s": wall_s})
