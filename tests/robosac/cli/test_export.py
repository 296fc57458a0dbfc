"""`robosac export`: what may leave a run as a policy; and a film that cannot be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from robosac import recipe
from robosac.cli import resolve, results
from robosac.cli.main import main
from robosac.exit_codes import EXIT_DONE, EXIT_USER
from robosac.learner.learner import Learner
from robosac.learner.rehearsal import random_rows
from robosac.policy import OnnxPolicy
from robosac.run_folder import RunConfig, RunFolder

if TYPE_CHECKING:
    from pathlib import Path

RANDOM = 100


@pytest.fixture
def small() -> recipe.Recipe:
    """SAC with small networks, and some steps at random."""
    found = recipe.find("sac")
    numbers = msgspec.structs.replace(found.learner, random_steps=RANDOM, batch_size=8)
    sac = msgspec.structs.replace(found.algorithm, hidden=(8, 8))
    return msgspec.structs.replace(found, learner=numbers, sac=sac)


@pytest.mark.parametrize(("steps", "code"), [(RANDOM - 1, EXIT_USER), (RANDOM, EXIT_DONE)])
def test_a_policy_that_acts_at_random_does_not_leave_its_run(
    steps: int, code: int, small: recipe.Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that was killed within its random steps has one that ignores what it sees."""
    run, out = RunFolder(tmp_path / "run"), tmp_path / "policy.onnx"
    run.create(RunConfig(robosac="0", env="Pendulum-v1", recipe=small, steps=1000, seed=0))
    with resolve.make(robot=None, task=None, env="Pendulum-v1") as place:
        learner = Learner(small, place.contract, seed=0)
    learner.ingest(random_rows(learner.layout, steps))
    run.latest_policy.parent.mkdir(exist_ok=True)
    run.latest_policy.write_bytes(learner.policy_file(learner.snapshot()))
    assert main(["export", str(run.path), "--out", str(out)]) == code
    if code == EXIT_USER:
        (line,) = capsys.readouterr().err.splitlines()
        assert f"is of step {steps}, and the first {RANDOM} are random" in line
        assert not out.exists()
    else:
        assert OnnxPolicy.load(out).contract.training.env_steps == steps


def test_a_film_that_cannot_be_made_is_not_told_among_results(
    small: recipe.Recipe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What `robosac eval --json` prints is JSON."""
    with resolve.make(robot=None, task=None, env="Pendulum-v1") as place:
        learner = Learner(small, place.contract, seed=0)
        policy = OnnxPolicy(learner.policy_file(learner.snapshot()))

        def render() -> None:
            raise RuntimeError("no screen")

        monkeypatch.setattr(place.env, "render", render)
        assert results.film(policy, tmp_path / "film.mp4", place) is None
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("robosac: no video: cannot render here (no screen); ")
