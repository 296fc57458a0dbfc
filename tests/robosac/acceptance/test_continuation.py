"""From replay to weights and back: what a learner must still be after whatever has happened to it.

Checkpoints are killed by the hundred elsewhere; here is one of each kind.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.algorithms import losses
from robosac.algorithms.config import SACConfig
from robosac.learner import checkpoint
from robosac.learner import learner as learner_module
from robosac.learner import process as process_module
from robosac.learner import service as service_module
from robosac.learner.learner import Learner
from robosac.learner.options import LearnerOptions
from robosac.learner.process import LearnerProcess
from robosac.policy import contract as contracts
from robosac.recipe import LearnerConfig, Recipe
from robosac.replay import Chunk
from robosac.replay.layout import Transition
from robosac.run_folder import RunConfig, RunFolder
from robosac.wire import messages

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from robosac.policy import Contract
    from tests.robosac.acceptance.conftest import Caller, Place

NOTICED_S = 5.0
GAMMA = 0.9
RECIPE = Recipe(
    name="small",
    learner=LearnerConfig(batch_size=16, learning_starts=0, capacity=1000),
    sac=SACConfig(hidden=(8, 8), gamma=GAMMA),
)
WRITER = """
import sys
from pathlib import Path
from robosac.learner import checkpoint, learner as learner_module
from robosac.policy.contract import decode
learner_module.PolicyTemplate = lambda actor, contract: None
sys.path.insert(0, str(Path(sys.argv[3]).parent))
learner = __import__(Path(sys.argv[3]).stem).make(decode(sys.argv[2]))
while True:
    learner.update()
    print(checkpoint.write(Path(sys.argv[1]), checkpoint.freeze(learner)), flush=True)
"""


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learners whose policies nobody wants are made at once."""
    monkeypatch.setattr(learner_module, "PolicyTemplate", lambda actor, contract: None)


def make(contract: Contract, *, seed: int = 0) -> Learner:
    """A learner that has taken in fifty rows, always the same."""
    learner = Learner(RECIPE, contract, seed=seed)
    rows = np.random.default_rng(0).standard_normal((50, learner.layout.width))
    for name in ("terminated", "truncated", "policy_version"):
        rows[:, learner.layout.slice(name)] = 0
    chunk = Chunk(robot="small-0", run="a" * 32, first=0, rows=rows.astype(np.float32))
    learner.take(chunk)
    return learner


@pytest.mark.usefixtures("no_export")
def test_a_resumed_learner_is_the_same_to_the_bit(tmp_path: Path, contract: Contract) -> None:
    """Digests of all tensors are equal, and those of what both become after another update."""
    lived, resumed = make(contract), make(contract, seed=1)
    for _ in range(10):
        lived.update()
    checkpoint.write(tmp_path, checkpoint.freeze(lived))
    assert checkpoint.digests(resumed.algorithm.state()) != checkpoint.digests(
        lived.algorithm.state()
    )
    checkpoint.restore_newest(tmp_path, resumed)
    assert checkpoint.digests(resumed.algorithm.state()) == checkpoint.digests(
        lived.algorithm.state()
    )
    for learner in (lived, resumed):
        learner.update()
    assert checkpoint.digests(resumed.algorithm.state()) == checkpoint.digests(
        lived.algorithm.state()
    )


@pytest.mark.usefixtures("no_export")
def test_a_learner_killed_in_a_checkpoint_leaves_a_whole_one(
    tmp_path: Path, contract: Contract
) -> None:
    """The one before or the new one; what the kill has cut off is none."""
    document = contracts.encode(contract).decode()
    command = [sys.executable, "-c", WRITER, str(tmp_path), document, __file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        written = [writer.stdout.readline() for _ in range(3)]
        time.sleep(random.uniform(0.0, 0.02))  # noqa: S311 -- any moment will do
        writer.send_signal(signal.SIGKILL)
        written += writer.stdout.readlines()
    assert all(written[:3])
    learner = make(contract)
    resumed = checkpoint.restore_newest(tmp_path, learner)
    assert resumed is not None
    assert resumed.updates >= len(written)
    assert checkpoint.digests(learner.algorithm.state()) == resumed.digests


@pytest.mark.usefixtures("no_export")
def test_an_episode_cut_by_time_goes_on_in_its_own_last_state(
    place: Place, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Q'(s) = s[0] and no entropy the target is r + γ s'[0], and r where the task ended.

    The rows come over the wire; those of the next episode begin at 1000.
    """
    place.serve()
    robot = place.call()
    robot.join()
    rows = episode_rows(contract)
    robot.say(messages.Rows(run=robot.run, first=0, oldest=0), rows.tobytes())
    robot.hear(messages.Ack)
    learner = Learner(RECIPE, contract, seed=0)
    for chunk in place.inbox.take():
        learner.take(chunk)
    targets: dict[float, float] = {}

    def noted(q: Tensor, target: Tensor) -> Tensor:
        rewards = learner._rows[:, learner.layout.slice("reward")][:, 0]  # noqa: SLF001 -- the batch
        targets.update(zip(rewards.tolist(), target.tolist(), strict=True))
        return q.sum()

    monkeypatch.setattr(losses, "critic_loss", noted)
    monkeypatch.setattr(learner.algorithm, "_target_values", lambda obs, _: obs[:, 0].expand(2, -1))
    learner.algorithm.scalars["log_alpha"].data.fill_(-100.0)
    for _ in range(10):
        learner.update()
    assert targets == pytest.approx({1.0: 1 + GAMMA * 3, 2.0: 2 + GAMMA * 7, 4.0: 4.0, 8.0: 908.0})


def episode_rows(contract: Contract) -> NDArray[np.float32]:
    """An episode that is cut after two steps, one that ends after one, and a third."""
    layout = contract.row_layout

    def row(obs: float, reward: float, next_obs: float, **ends: float) -> NDArray[np.float32]:
        return layout.pack(
            Transition(
                obs=np.full(layout.obs, obs),
                extra=np.zeros(layout.extra),
                action=np.zeros(layout.action),
                reward=reward,
                terminated=ends.get("terminated", 0),
                truncated=ends.get("truncated", 0),
                next_obs=np.full(layout.obs, next_obs),
                next_extra=np.zeros(layout.extra),
                executed=np.zeros(layout.action),
                guards=0,
                dt=0.02,
                policy_version=1,
            )
        )

    return np.stack(
        [
            row(0, 1, 3),
            row(3, 2, 7, truncated=1),
            row(1000, 4, 1001, terminated=1),
            row(1000, 8, 1000),
        ]
    )


def run_folder(path: Path) -> RunFolder:
    """A run of two steps."""
    folder = RunFolder(path / "run")
    folder.create(
        RunConfig(
            robosac="0.1.0",
            env="Small-v0",
            recipe=RECIPE,
            steps=2,
            pace="free",
            runners=1,
        )
    )
    return folder


def outcome(process: LearnerProcess, failures: list[Exception]) -> None:
    """Run a learner to its end on a thread."""
    try:
        process.run()
    except Exception as error:  # noqa: BLE001 -- for the test to look at
        failures.append(error)


def learning(robot: Caller) -> bool:
    """Whether the learner says that it learns."""
    robot.say(messages.Ping(policy=1))
    return robot.hear(messages.Pong).learning


class FakeLifeline:
    """Nobody pulls it."""

    cut = False

    def __init__(self, wake: object) -> None:
        """Do nothing with it."""


def test_an_update_loop_that_hangs_is_told_to_the_robots(
    place: Place, contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process lives, its connections are open and rows are taken; only learning has stopped."""
    monkeypatch.setattr(service_module, "STALLED_S", 1.0)
    monkeypatch.setattr(process_module, "Lifeline", FakeLifeline)
    monkeypatch.setattr(process_module, "tell", lambda **figures: None)
    go_on = threading.Event()
    update = Learner.update

    def hanging(self: Learner) -> None:
        go_on.wait()
        update(self)

    monkeypatch.setattr(Learner, "update", hanging)
    process = LearnerProcess(LearnerOptions(folder=str(run_folder(tmp_path).path)))
    place.endpoint = process._door.endpoint  # noqa: SLF001 -- the parent would be told
    failures: list[Exception] = []
    thread = threading.Thread(target=outcome, args=(process, failures))
    thread.start()
    try:
        robot = place.call()
        robot.join()
        robot.send_rows(0, 1)
        begun = time.monotonic()
        while learning(robot) and time.monotonic() - begun < 2 * NOTICED_S:
            time.sleep(0.05)
        assert time.monotonic() - begun < NOTICED_S
        robot.send_rows(1, 1)
        while robot.hear(messages.Ack).expected < 2:
            pass
        go_on.set()
        while not learning(robot):
            time.sleep(0.05)
        robot.say(messages.Bye(run=robot.run, made=2))
    finally:
        go_on.set()
        thread.join()
    assert failures == []
