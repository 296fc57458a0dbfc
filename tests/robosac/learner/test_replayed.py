"""Updates that are recorded and replayed are those that Python makes."""

from __future__ import annotations

import itertools
import re
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch

from robosac.algorithms.algorithm import Batch
from robosac.algorithms.catalogue import build
from robosac.algorithms.config import FlashConfig, SACConfig, TD3Config
from robosac.learner import trial
from robosac.learner.learner import Learner
from robosac.learner.replayed import CudaGraphs, Replayed
from robosac.learner.trial import let_replay
from robosac.recipe import Recipe
from tests.elsewhere import ELSEWHERE, Elsewhere
from tests.recorded import Forgetful, Incapable, RecordedOperations
from tests.robosac.algorithms.conftest import SIZES, batch
from tests.robosac.algorithms.test_device import check_alike
from tests.robosac.algorithms.test_every_algorithm import CONFIGS, SMALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from robosac.algorithms.algorithm import Algorithm
    from robosac.algorithms.config import AlgorithmConfig
    from tests.robosac.learner.conftest import DrawRows, MakeLearner

UPDATES = 13
TURNS: dict[str, AlgorithmConfig] = CONFIGS | {
    "four turns": SACConfig(hidden=SMALL, policy_delay=2, target_every=3),
    "bfloat16": SACConfig(hidden=SMALL, precision="bfloat16"),
    "falling rates": FlashConfig(
        hidden=SMALL, critic_hidden=SMALL, bins=41, schedule="linear", schedule_steps=20
    ),
    "third policy": TD3Config(hidden=SMALL, policy_delay=3),
}


@pytest.fixture(autouse=True)
def elsewhere() -> Iterator[Elsewhere]:
    """A device that is not the processor."""
    with Elsewhere() as mode:
        yield mode


def updates_of(algorithm: Algorithm) -> Callable[[], dict[str, Tensor]]:
    """Return an update, by other rows every time, which come the way they come in a learner."""
    numbers = itertools.count()
    rows = batch()

    def column(index: int) -> Tensor:
        nonlocal rows
        if index == 0:
            rows = batch(next(numbers))
        found: Tensor = rows[index]  # type: ignore[assignment]
        return found

    def update() -> dict[str, Tensor]:
        columns = (algorithm.supply.bring(partial(column, index)) for index in range(7))
        return algorithm.update(Batch(*columns))

    return update


def plain_and_replayed(
    config: AlgorithmConfig, device: RecordedOperations
) -> tuple[Algorithm, Algorithm]:
    """The same updates made twice; the metrics are compared on the way."""
    plain, replayed = (build(config, SIZES, seed=0, device=ELSEWHERE) for _ in range(2))
    update, replay = updates_of(plain), Replayed(replayed, updates_of(replayed), device)
    for _ in range(UPDATES):
        expected, found = update(), replay()
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].cpu().equal(value.cpu()), name
    return plain, replayed


@pytest.mark.parametrize("name", TURNS)
def test_replays_are_updates(name: str) -> None:
    """To the bit, metrics and what Python counts included.

    Fails when a number that changes is fixed while an update is recorded (a learning rate, a
    temperature, a scale of rewards), when a turn is taken for another, and when anything is drawn
    or copied on a way that is not the supply's.
    """
    device = RecordedOperations()
    plain, replayed = plain_and_replayed(TURNS[name], device)
    check_alike(replayed, plain, within=0)
    assert replayed.updates == plain.updates == UPDATES
    for key, optimiser in plain.optimisers.items():
        assert replayed.optimisers[key].steps == optimiser.steps
    turns = {"four turns": 4, "third policy": 2, "td3": 2, "crossq": 2, "flash": 2, "redq": 0}
    expected = {"falling rates": 2, **turns}.get(name, 1)
    assert device.recorded == expected
    assert device.replayed == (UPDATES - expected if expected else 0)


@pytest.mark.parametrize(
    "options", [{}, {"n_step": 3}, {"normalise_obs": True}], ids=["plain", "n-step", "normalised"]
)
def test_a_learner_replays_while_rows_come_in(
    options: dict[str, object], make_learner: MakeLearner, draw_rows: DrawRows
) -> None:
    """New rows, and statistics that have moved, are in the very next update."""
    here = make_learner(learner=options)
    plain, replayed = (Learner(here.recipe, here.contract, seed=0, device=ELSEWHERE) for _ in "12")
    device = RecordedOperations()
    replayed.replay_updates(device)
    for number in range(10):
        for learner in (plain, replayed):
            learner.ingest((1 + number) * draw_rows(20, seed=number, policy_version=0.0))
            learner.update()
    check_alike(replayed.algorithm, plain.algorithm, within=0)
    assert (replayed.updates, replayed.owed) == (plain.updates, plain.owed)
    assert device.replayed == 9


def test_scales_of_rewards_are_those_of_now(draw_rows: DrawRows, make_learner: MakeLearner) -> None:
    """FlashSAC's divisor moves with every row that comes in.

    Put back by a divisor that is a number of Python's: the recorded one would stay.
    """
    recipe = Recipe(
        name="small-flash",
        learner=make_learner().recipe.learner,
        flash=FlashConfig(hidden=SMALL, critic_hidden=SMALL, bins=41),
    )
    contract = make_learner().contract
    plain, replayed = (Learner(recipe, contract, seed=0, device=ELSEWHERE) for _ in "12")
    replayed.replay_updates(RecordedOperations())
    for number in range(8):
        for learner in (plain, replayed):
            learner.ingest(draw_rows(20, seed=number, reward=10.0**number))
            learner.update()
    check_alike(replayed.algorithm, plain.algorithm, within=0)


def test_a_state_is_restored_under_a_recording() -> None:
    """What was recorded goes on with the tensors that a checkpoint has brought."""
    plain, replayed = (
        build(CONFIGS["droq"], SIZES, seed=seed, device=ELSEWHERE) for seed in (0, 1)
    )
    update, device = updates_of(plain), RecordedOperations()
    replay = Replayed(replayed, updates_of(replayed), device)
    for _ in range(4):
        update()
        replay()
    replayed.load_state(plain.state(), updates=plain.updates)
    for _ in range(3):
        update()
        replay()
    check_alike(replayed, plain, within=0)


def test_what_python_does_not_repeat_cannot_be_recorded() -> None:
    """The device of these tests refuses what a graph would fix or could not do."""
    device, x = RecordedOperations(), torch.ones(3).to(ELSEWHERE)
    with pytest.raises(RuntimeError, match="a random number"):
        device.record(lambda: {"y": torch.randn(3)})
    with pytest.raises(RuntimeError, match="between the processor and a device"):
        device.record(lambda: {"y": x + torch.ones(3).to(ELSEWHERE)})
    with pytest.raises(RuntimeError, match="between the processor and a device"):
        device.record(lambda: {"y": x * x.sum().item()})
    with pytest.raises(RuntimeError, match="wait for how much there is"):
        device.record(lambda: {"y": x[x > 0]})
    replay, results = device.record(lambda: {"y": x.add_(1).clone()})
    assert x.cpu().tolist() == [1, 1, 1]
    replay()
    replay()
    assert x.cpu().tolist() == results["y"].cpu().tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (Forgetful(), "after 12 updates a number was .* from what it should be"),
        (Incapable(), "which is slower: CUDA error: operation not permitted$"),
    ],
    ids=["forgetful", "incapable"],
)
def test_replays_are_tried_before_they_are_trusted(
    device: RecordedOperations,
    words: str,
    make_learner: MakeLearner,
    draw_rows: DrawRows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A device that does something else than it is asked to is not used for replays."""
    monkeypatch.setattr(trial, "_UPDATES", 12)
    here = make_learner()
    learner = Learner(here.recipe, here.contract, seed=0, device=ELSEWHERE)
    reason = let_replay(learner, lambda _: device)
    assert reason is not None
    assert "\n" not in reason
    assert re.search(words, reason)
    learner.ingest(draw_rows(50))
    recorded = device.recorded
    for _ in range(5):
        learner.update()
    assert device.recorded == recorded


@pytest.mark.parametrize(("replayed", "passes"), [(0.05, True), (0.2, False)])
def test_a_device_may_add_up_in_any_order(
    *, replayed: float, passes: bool, make_learner: MakeLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain updates that differ by 0.01 from themselves let replays differ by ten times as much.

    Put back by a fixed limit: FlashSAC's projection would keep a GPU from being used.
    """
    gaps = iter([replayed, 0.01])
    monkeypatch.setattr(trial, "_UPDATES", 1)
    monkeypatch.setattr(trial, "_difference", lambda *_: next(gaps))
    here = make_learner()
    learner = Learner(here.recipe, here.contract, seed=0, device=ELSEWHERE)
    reason = let_replay(learner, lambda _: RecordedOperations())
    assert (reason is None) == passes


def test_what_cannot_be_recorded_is_not_tried(make_learner: MakeLearner) -> None:
    """REDQ draws its targets afresh: updates are made one operation at a time, and it is told."""
    here = make_learner(sac={"critics": 3, "backup": "subset"})
    learner = Learner(here.recipe, here.contract, seed=0, device=ELSEWHERE)
    reason = let_replay(learner, lambda _: pytest.fail("was tried"))
    assert reason is not None
    assert reason.endswith("which is slower: no two of this recipe are the same")


def test_a_device_that_passes_is_used(
    make_learner: MakeLearner, draw_rows: DrawRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was tried has moved nothing of the learner's."""
    monkeypatch.setattr(trial, "_UPDATES", 12)
    here = make_learner()
    learner = Learner(here.recipe, here.contract, seed=0, device=ELSEWHERE)
    before = {name: value.cpu().clone() for name, value in learner.algorithm.state().items()}
    device = RecordedOperations()
    assert let_replay(learner, lambda _: device) is None
    assert all(value.cpu().equal(before[n]) for n, value in learner.algorithm.state().items())
    learner.ingest(draw_rows(50))
    replayed = device.replayed
    for _ in range(5):
        learner.update()
    assert device.replayed == replayed + 4


@pytest.mark.gpu
@pytest.mark.parametrize("name", TURNS)
def test_replays_are_updates_on_a_gpu(name: str) -> None:
    """As here, by graphs of CUDA's and up to what sums in any order differ by."""
    device = torch.device("cuda")
    plain, replayed = (build(TURNS[name], SIZES, seed=0, device=device) for _ in range(2))
    update = updates_of(plain)
    replay = Replayed(replayed, updates_of(replayed), CudaGraphs(device))
    for _ in range(UPDATES):
        update()
        replay()
    check_alike(replayed, plain, within=1e-4)
