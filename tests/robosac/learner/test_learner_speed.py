"""The benchmark of the learner counts right, lets all take turns, and sees a ratio fall."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from robosac.algorithms import by_hand
from robosac.algorithms.algorithm import Batch, Sizes
from robosac.algorithms.catalogue import build
from robosac.algorithms.config import SACConfig
from tools.learner_speed import stored
from tools.learner_speed.products import flop_per_update
from tools.learner_speed.shape import Shape
from tools.learner_speed.stored import Move, moves
from tools.learner_speed.timing import Figure, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

WHERE = {"threads": 1, "processor": "abacus"}
SHAPE = Shape(hidden=(32, 16))
ROWS = 8


def rows() -> Batch:
    """Random transitions of the benchmark's shape."""
    obs, action, one = (
        torch.randn(ROWS, SHAPE.obs),
        torch.rand(ROWS, SHAPE.action),
        torch.ones(ROWS),
    )
    return Batch(obs, obs, action, one, 0 * one, obs, obs)


def test_an_update_makes_the_products_it_needs_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the formula counts is what the code does, so no gradient is made that nobody uses."""
    counted = 0.0

    def counting(name: str) -> None:
        function: Callable[..., Tensor] = getattr(by_hand, name)

        def counted_too(x: Tensor, other: Tensor, *args: object, **options: object) -> Tensor:
            nonlocal counted
            outputs = other.shape[0] if name == "product" else other.shape[1]
            counted += 2.0 * x.numel() * outputs
            return function(x, other, *args, **options)

        monkeypatch.setattr(by_hand, name, counted_too)

    counting("product")
    counting("weight_gradient")
    sizes = Sizes(SHAPE.obs, 0, SHAPE.action)
    build(SACConfig(hidden=SHAPE.hidden), sizes, seed=0).update(rows())
    assert counted == flop_per_update(SHAPE, ROWS)


def test_every_candidate_begins_a_block_in_turn() -> None:
    """Whoever comes first after somebody else pays for cold caches; it is not always the same."""
    seen: list[str] = []
    calls = {name: lambda name=name: seen.append(name) for name in "abc"}
    blocks = take_turns(calls, 3, block_s=0)
    assert "".join(seen[-9:]) == "abcbcacab"
    assert all(block.keys() == {*"abc"} for block in blocks)


def test_a_figure_is_the_median_and_half_the_distance_of_the_quartiles() -> None:
    """One block in which the machine did something else changes neither."""
    assert Figure.over([1, 2, 3, 4, 5, 6, 7]) == Figure(4, 2)
    assert Figure.over([1, 2, 3, 4, 5, 6, 700]) == Figure(4, 2)


@pytest.mark.parametrize(
    ("now", "fell"),
    [(2.0, None), (1.85, None), (1.75, True), (2.15, None), (2.25, False)],
)
def test_a_ratio_moves_by_more_than_both_noises(now: float, *, fell: bool | None) -> None:
    """Up or down; within the noise of then and now it has not moved."""
    found = list(moves({"ratio": Figure(now, 0.1)}, {"ratio": Figure(2.0, 0.1)}))
    assert [move.fell for move in found] == ([] if fell is None else [fell])


def test_a_move_says_from_where_to_where() -> None:
    """By name, with the noise that it exceeds."""
    move = Move("ratio_fp32", Figure(2.0, 0.1), Figure(1.0, 0.2))
    assert str(move) == "ratio_fp32 fell from 2 to 1, more than the noise of 0.3"


def test_ratios_are_stored_and_read_back(tmp_path: Path) -> None:
    """Rounded to four digits, and only for the machine and the threads they were measured with."""
    path = tmp_path / "stored.json"
    ratios = {"ratio_fp32": Figure(2.123456, 0.01)}
    path.write_text(json.dumps(WHERE | {"ratios": stored.as_json(ratios)}))
    assert stored.read(path, like=WHERE) == {"ratio_fp32": Figure(2.123, 0.01)}
    assert stored.read(path, like=WHERE | {"threads": 2}) == {}
    assert stored.read(tmp_path / "nothing.json", like=WHERE) == {}


def test_every_processor_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Two virtual processors of the same name may be of different generations."""
    old = {"threads": 1, "processor": "AMD EPYC, cpu family 25, model 17"}
    new = old | {"processor": "AMD EPYC, cpu family 26, model 2"}
    paths = {stored.path(tmp_path, where) for where in (old, new, old | {"threads": 2})}
    assert len(paths) == 3
    name = "bench-learner-amd-epyc-cpu-family-25-model-17-1-threads.json"
    assert stored.path(tmp_path, old) == tmp_path / name
