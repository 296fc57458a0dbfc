"""Every recipe runs: rows, updates, a policy file that is loaded as a runner loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import torch

from robosac import recipe
from robosac.cli import resolve
from robosac.cli.lockstep import run_lockstep
from robosac.learner.checkpoint import restore_newest
from robosac.learner.learner import Learner
from robosac.policy import OnnxPolicy
from robosac.policy.export import PARITY
from robosac.replay import SegmentLog
from robosac.run_folder import RunConfig, RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from robosac.cli.resolve import Workplace

    FloatArray = NDArray[np.float32]

STEPS, START = 95, 60


def small(name: str) -> recipe.Recipe:
    """Return a recipe whose networks and times are small; its algorithm stays what it is."""
    found = recipe.find(name)
    learner = found.learner
    smaller = msgspec.structs.replace(
        learner,
        batch_size=16,
        learning_starts=START,
        random_steps=min(START, learner.random_steps),
        publish_every=int(10 * learner.utd),
    )
    widths = {
        field: tuple(16 for _ in value)
        for field, value in msgspec.structs.asdict(found.algorithm).items()
        if field.endswith("hidden")
    }
    algorithm = msgspec.structs.replace(found.algorithm, **widths)
    changes: dict[str, Any] = {"learner": smaller, found.algorithm.table: algorithm}
    return msgspec.structs.replace(found, **changes)


@pytest.fixture(scope="module")
def place() -> Iterator[Workplace]:
    """The pendulum."""
    with resolve.make(robot=None, task=None, env="Pendulum-v1") as place:
        yield place


def play(folder: RunFolder, name: str, place: Workplace) -> dict[str, Any]:
    """Run a recipe in lockstep."""
    config = RunConfig(
        robosac="0.1.0",
        env="Pendulum-v1",
        recipe=small(name),
        steps=STEPS,
        seed=5,
        runners=1,
        sync=True,
    )
    folder.create(config)
    assert folder.read_config() == config, "a resolved recipe is read back as it was"
    return run_lockstep(folder, config, place, steps=STEPS, show=lambda _: None)


@pytest.mark.parametrize("name", recipe.names())
def test_it_runs_and_its_policy_is_loaded(
    name: str, tmp_path: Path, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the runner's loop to the file that a runner loads, which acts as torch does."""
    folder = RunFolder(tmp_path / "run")
    figures = play(folder, name, place)
    used = small(name)
    assert figures["updates"] == used.learner.utd * (STEPS - START)
    assert (figures["lost"], figures["duplicated"]) == (0, 0)
    policy = OnnxPolicy.load(folder.final_policy, here=place.contract)
    assert policy.contract.training.recipe == name
    noise = np.full(1, 0.3, np.float32)
    actions = [policy.act(obs, noise) for obs in np.eye(3, dtype=np.float32)]
    assert np.abs(actions).max() <= 2
    assert len(np.unique(actions)) == 3, "the policy acts by what it observes"
    monkeypatch.setattr("robosac.learner.learner.PolicyTemplate", lambda *_: None)
    assert parity(folder, used, place, policy) <= PARITY
    rows = rows_of(folder, place)
    assert set(rows.policy_version.astype(int)) == set(range(1, figures["policy_versions"]))
    if used.learner.random_steps:
        first = rows.action[:START, 0]
        assert np.abs(first).mean() == pytest.approx(0.5, abs=0.1), "uniform, not normal"
        assert set(rows.policy_version[:START]) == {1.0}
        assert rows.policy_version[START] == 2.0, "the policy acts as soon as it may"


def parity(folder: RunFolder, used: recipe.Recipe, place: Workplace, policy: OnnxPolicy) -> float:
    """Largest difference from what the checkpoint's actor does in torch, as a share of the range.

    Random and extreme observations, without noise and with a lot; the actor as it is trained, with
    whatever the file has folded into its weights.
    """
    rng = np.random.default_rng(0)
    sizes = np.array([[1], [30], [1e4]] * 10, np.float32)
    obs = rng.standard_normal((30, 3), np.float32) * sizes
    noise = rng.standard_normal((30, 1), np.float32) * np.array(
        [[0], [1], [0], [5], [1]] * 6, np.float32
    )
    learner = Learner(used, place.contract, seed=5)
    with SegmentLog(folder.replay, place.contract.row_layout) as log:
        for chunk in log.rows():
            learner.take(chunk)
    restore_newest(folder.checkpoint, learner)
    actor = learner.algorithm.modules["actor"]
    pair = torch.from_numpy(obs), torch.from_numpy(noise)
    with torch.no_grad():
        drawn = actor.sample(*pair).action if hasattr(actor, "sample") else actor(*pair)  # type: ignore[operator]
    expected = drawn.numpy()
    assert len(np.unique(expected.round(3))) > 10, "the policy acts by what it gets"
    got = np.array([policy.act(*one) for one in zip(obs, noise, strict=True)])
    return float(np.abs(got / place.contract.action_upper[0] - expected).max())


def rows_of(folder: RunFolder, place: Workplace) -> Any:  # noqa: ANN401 -- a Transition of arrays
    """Every transition of the run."""
    layout = place.contract.row_layout
    with SegmentLog(folder.replay, layout) as log:
        return layout.view(np.concatenate([chunk.rows for chunk in log.rows()]))
