"""`--sync`: the same bits every time, and a run that can be interrupted and continued."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from robosac.algorithms.config import SACConfig
from robosac.cli import lockstep, resolve
from robosac.cli.lockstep import run_lockstep
from robosac.errors import StorageError
from robosac.learner import checkpoint, trial
from robosac.policy import OnnxPolicy
from robosac.recipe import LearnerConfig, Recipe
from robosac.replay import SegmentLog
from robosac.run_folder import RunConfig, RunFolder
from tests.elsewhere import ELSEWHERE, Elsewhere
from tests.recorded import Incapable, RecordedOperations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECIPE = Recipe(
    name="small",
    learner=LearnerConfig(batch_size=16, learning_starts=50, publish_every=20),
    sac=SACConfig(hidden=(16, 16)),
)
CONFIG = RunConfig(
    robosac="0.1.0",
    env="Pendulum-v1",
    recipe=RECIPE,
    steps=230,
    seed=5,
    runners=1,
    sync=True,
)


def play(
    folder: RunFolder, steps: int, *, show: Callable[[dict[str, Any]], None] = lambda _: None
) -> dict[str, Any]:
    """Make more steps in a folder, which is made when needed."""
    if not folder.path.exists():
        folder.create(CONFIG)
    with resolve.make(robot=None, task=None, env=CONFIG.env) as place:
        return run_lockstep(folder, CONFIG, place, steps=steps, show=show)


def graph(folder: RunFolder) -> bytes:
    """The policy without its contract."""
    return OnnxPolicy.load(folder.final_policy).graph


def rows(folder: RunFolder) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Everything on disk."""
    with resolve.make(robot=None, task=None, env=CONFIG.env) as place:
        layout = place.contract.row_layout
    with SegmentLog(folder.replay, layout) as log:
        assert all(one.contiguous for one in log.sequences().values())
        return np.concatenate([chunk.rows for chunk in log.rows()])


def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    """Transitions, every tensor of the learner, and the policy file."""
    one, other = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "other")
    shown: list[dict[str, Any]] = []
    first, second = play(one, 230, show=shown.append), play(other, 230)
    assert first["policy_digest"] == second["policy_digest"]
    assert graph(one) == graph(other)
    np.testing.assert_array_equal(rows(one), rows(other))
    assert (first["env_steps"], first["updates"]) == (230, 180)
    assert (first["lost"], first["duplicated"]) == (0, 0)
    assert [figures["env_steps"] for figures in shown] == [200]
    assert len(checkpoint.complete(one.checkpoint)) == 1


@pytest.mark.parametrize("device", [RecordedOperations(), Incapable()], ids=["able", "incapable"])
def test_updates_are_replayed_where_a_device_can(
    device: RecordedOperations,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where it cannot it says why; what is learned is the same."""
    monkeypatch.setattr(trial, "_UPDATES", 4)
    monkeypatch.setattr(lockstep, "find_device", lambda _: ELSEWHERE)
    monkeypatch.setattr(lockstep, "CudaGraphs", lambda _: device)
    folder = RunFolder(tmp_path / "run")
    with Elsewhere():
        report = play(folder, 70)
    assert (report["env_steps"], report["updates"]) == (70, 20)
    told = capsys.readouterr().out
    if isinstance(device, Incapable):
        assert told.endswith("which is slower: CUDA error: operation not permitted\n")
    else:
        assert told == ""
        assert device.replayed == 3 + 19, "in the trial and in the run, all but the first"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_whole_and_goes_on(
    number: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C and the end of a service take effect between two steps; the rest goes on as it was."""
    folder = RunFolder(tmp_path / "run")
    usual = signal.signal(number, signal.default_int_handler)

    def interrupt(figures: dict[str, Any]) -> None:
        """At the first status, after 200 steps."""
        os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        play(folder, 100_000, show=interrupt)
    assert signal.signal(number, usual) is signal.default_int_handler
    made = len(rows(folder))
    assert made == 200
    assert folder.final_policy.exists()
    interrupted = graph(folder)
    capsys.readouterr()
    report = play(folder, 50)
    assert (report["env_steps"], report["updates"]) == (250, 200)
    assert capsys.readouterr().out == f"{report['resumed_from']}\n"
    resumed = report["resumed_from"]
    assert (resumed.env_steps, resumed.updates) == (200, 150)
    assert report["policy_versions"] > 1
    assert (report["lost"], report["duplicated"]) == (0, 0)
    assert graph(folder) != interrupted
    after = rows(folder)
    assert not np.array_equal(after[made : made + 50], after[:50]), "explores as if it were new"


def test_an_error_leaves_no_checkpoint_of_half_an_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one that was whole counts; the log is closed."""
    folder = RunFolder(tmp_path / "run")

    def fail(*_: object, **__: object) -> None:
        raise StorageError("here", got="disk full", expected="room", advice="make some")

    monkeypatch.setattr(SegmentLog, "append", fail)
    with pytest.raises(StorageError, match="disk full"):
        play(folder, 10)
    assert checkpoint.complete(folder.checkpoint) == []
    with resolve.make(robot=None, task=None, env=CONFIG.env) as place:
        SegmentLog(folder.replay, place.contract.row_layout).close()
