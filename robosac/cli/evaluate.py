"""`robosac eval`: measure an exported policy, and film it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import tyro

from robosac.cli.checks import at_least, check_target
from robosac.cli.console import say
from robosac.errors import ConfigError
from robosac.exit_codes import EXIT_DONE


class Eval(msgspec.Struct, frozen=True, kw_only=True):
    """Evaluate a policy file: deterministic actions, whole episodes, fixed seeds.

    Robot, task or environment come from the policy's contract unless they are given.
    """

    policy: Annotated[Path, tyro.conf.Positional]
    """Policy file, or a run folder, whose final policy is taken."""
    robot: str | None = None
    """Robot: a name, or a folder with robot.toml and model.xml."""
    task: str | None = None
    """Task to measure on."""
    episodes: int | None = None
    """Episodes; by default as many as at export."""
    seed: int | None = None
    """Seed of the first episode; by default that of the export, so that figures repeat."""
    video: Path | None = None
    """Record the first episode as this .mp4 file."""
    json: bool = False
    """Print one line of JSON."""

    def execute(self) -> int:
        """Evaluate and print; returns the exit code."""
        from robosac.cli import resolve, results
        from robosac.evaluation import evaluate
        from robosac.policy import OnnxPolicy
        from robosac.run_folder import RunFolder

        if self.video is not None:
            check_target("--video", self.video)
        path = RunFolder(self.policy).newest_policy() if self.policy.is_dir() else self.policy
        if path is None:
            raise ConfigError(f"{self.policy} has no policy yet; expected a run that has learned")
        contract = OnnxPolicy.load(path).contract
        place = resolve.make(
            robot=self.robot or contract.robot,
            task=self.task or contract.task,
            env=contract.env if self.robot is None and contract.env else None,
        )
        policy = OnnxPolicy.load(path, here=place.contract)
        resolve.check_sensors(place, policy.contract)
        exported = contract.training.evaluation
        episodes = self.episodes
        if episodes is None:
            episodes = exported.episodes if exported else results.EPISODES
        at_least(1, "episodes", episodes)
        seed = results.EVALUATION_SEED if self.seed is None else at_least(0, "seed", self.seed)
        with place:
            found = evaluate(place.env, policy, episodes=episodes, seed=seed)
            say(msgspec.json.encode(found).decode() if self.json else results.describe(found))
            if exported is not None and not self.json:
                say(f"at export  {results.describe(exported)}")
            if self.video is not None:
                results.film(policy, self.video, place)
        return EXIT_DONE
