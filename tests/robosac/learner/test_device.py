"""A learner whose updates are made elsewhere: rows go there, policies and checkpoints come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from robosac.errors import ConfigError
from robosac.learner import checkpoint, device
from robosac.learner.learner import Learner
from robosac.policy import OnnxPolicy
from tests.elsewhere import ELSEWHERE, Elsewhere

if TYPE_CHECKING:
    from pathlib import Path

    from tests.robosac.learner.conftest import DrawRows, MakeLearner


def learn(learner: Learner, rows: DrawRows) -> None:
    """Take in rows and make what they pay for."""
    learner.ingest(rows(200))
    for _ in range(20):
        learner.update()


@pytest.mark.parametrize(
    "options", [{}, {"n_step": 3}, {"normalise_obs": True}], ids=["plain", "n-step", "normalised"]
)
def test_a_run_moves_from_one_device_to_another(
    options: dict[str, object], make_learner: MakeLearner, draw_rows: DrawRows, tmp_path: Path
) -> None:
    """The same policy to 1e-5, and a checkpoint with which the processor goes on to the bit."""
    here = make_learner(learner=options)
    learn(here, draw_rows)
    with Elsewhere() as elsewhere:
        there = Learner(here.recipe, here.contract, seed=0, device=ELSEWHERE)
        learn(there, draw_rows)
        assert elsewhere.asked == 0
        file = there.policy_file(there.snapshot())
        path = checkpoint.write(tmp_path, checkpoint.freeze(there))
        digest = checkpoint.digest(there.algorithm.state())
    expected = OnnxPolicy(here.policy_file(here.snapshot()))
    obs = here.layout.view(draw_rows(1)).obs[0]
    assert OnnxPolicy(file).act(obs) == pytest.approx(expected.act(obs), abs=1e-5)
    resumed = make_learner(learner=options)
    resumed.ingest(draw_rows(200))
    checkpoint.restore(path, resumed)
    assert checkpoint.digest(resumed.algorithm.state()) == digest


def test_the_processor_is_always_there() -> None:
    """By its name."""
    assert device.find("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["abacus", "meta", "cuda:x", ""])
def test_what_is_no_device_is_refused(name: str) -> None:
    """With those that would be one."""
    with pytest.raises(ConfigError, match="expected cpu, cuda or cuda:NUMBER"):
        device.find(name)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With how many there are, and what to do."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert device.find("cuda") == torch.device("cuda")
    assert device.find("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ConfigError, match="finds 1 CUDA devices here; install"):
        device.find("cuda:1")
