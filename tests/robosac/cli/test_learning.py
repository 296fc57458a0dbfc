"""`robosac sim --sync` really learns: the whole path, from options to an evaluated policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from robosac.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

SMALL = """
name = "small"

[learner]
batch_size = 128
learning_starts = 300
publish_every = 25

[sac]
hidden = [64, 64]
layer_norm = false
actor_lr = 2e-3
critic_lr = 2e-3
alpha_lr = 2e-3
initial_alpha = 1.0
target_entropy_scale = 1.0
tau = 0.01
"""
UNTRAINED = -800.0
"""Above what a policy that does nothing useful reaches on Pendulum-v1 (-1,000 to -1,500)."""


@pytest.mark.timeout(120)
def test_a_pendulum_learns_to_stand_up_in_lockstep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """3,000 steps from scratch; the evaluated ONNX file swings up and stays there."""
    recipe, run = tmp_path / "small.toml", tmp_path / "run"
    recipe.write_text(SMALL)
    names = ["--env", "Pendulum-v1", "--recipe", str(recipe), "--run", str(run)]
    assert main(["sim", "--sync", "--no-video", "--steps", "3000", *names]) == 0
    summary = msgspec.json.decode((run / "summary.json").read_bytes())
    assert summary["return_mean"] > UNTRAINED + 500
    assert (summary["lost"], summary["duplicated"]) == (0, 0)
    assert summary["updates"] == summary["env_steps"] - 300 == 2700
    capsys.readouterr()
    assert main(["eval", str(run), "--json"]) == 0
    evaluation = msgspec.json.decode(capsys.readouterr().out)
    assert evaluation["return_mean"] == summary["return_mean"]
