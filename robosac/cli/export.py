"""`robosac export`: write a run's policy as one file that carries everything it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import tyro

from robosac.cli.checks import check_target
from robosac.cli.console import say
from robosac.errors import ConfigError
from robosac.exit_codes import EXIT_DONE


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """Evaluate the newest policy of a run and write it, with the result in its contract."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder."""
    out: Path = Path("policy.onnx")
    """File to write."""

    def execute(self) -> int:
        """Export and print what was written; returns the exit code."""
        from robosac.cli import resolve, results
        from robosac.policy import OnnxPolicy
        from robosac.run_folder import RunFolder

        check_target("--out", self.out)
        folder = RunFolder(self.run)
        config = folder.read_config()
        source = folder.newest_policy()
        if source is None:
            raise ConfigError(f"{folder.path} has no policy yet; go on with sim --resume")
        made = OnnxPolicy.load(source).contract.training.env_steps
        random = config.recipe.learner.random_steps
        if source != folder.final_policy and made < random:
            raise ConfigError(
                f"the newest policy of {folder.path} is of step {made:,}, and the first {random:,} "
                "are random, whatever it sees; go on with sim --resume"
            )
        with resolve.make(robot=config.robot, task=config.task, env=config.env) as place:
            evaluation = results.export(source, self.out, place)
        say(results.describe(evaluation))
        say(f"policy   {self.out}  ({self.out.stat().st_size / 1e3:.0f} kB)")
        return EXIT_DONE
