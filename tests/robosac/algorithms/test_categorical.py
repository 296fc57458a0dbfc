"""Distributions of values by hand: projection, mean, cross-entropy, the least of several."""

from __future__ import annotations

import math

import pytest
import torch

from robosac.algorithms.categorical import Support, cross_entropy, least


def support() -> Support:
    """Values -2, -1, 0, 1, 2."""
    return Support(bound=2.0, bins=5)


def mass(*at: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """One row of five probabilities, each at a value of its own; those not given are zero."""
    padded = [*at, *[(0.0, 0.0)] * (5 - len(at))]
    probability, values = torch.tensor(padded).T
    return probability[None], values[None]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ([(1.0, 0.0)], [0, 0, 1, 0, 0]),
        ([(1.0, 0.25)], [0, 0, 0.75, 0.25, 0]),
        ([(1.0, -1.6)], [0.6, 0.4, 0, 0, 0]),
        ([(0.5, 0.5), (0.5, 1.5)], [0, 0, 0.25, 0.5, 0.25]),
        ([(0.5, 1.0), (0.5, 1.0)], [0, 0, 0, 1, 0]),
        ([(1.0, 2.0)], [0, 0, 0, 0, 1]),
        ([(1.0, -2.0)], [1, 0, 0, 0, 0]),
        ([(0.25, 7.0), (0.75, -9.0)], [0.75, 0, 0, 0, 0.25]),
    ],
)
def test_projection_by_hand(at: list[tuple[float, float]], expected: list[float]) -> None:
    """Shared by the two nearest; on a value, on an edge and beyond it; algorithm 1."""
    projected = support().project(*mass(*at))
    assert projected[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_projection_keeps_mass_and_mean() -> None:
    """101 values on ±5: both stay for anything inside, mass alone for what is clamped (trap 29).

    Put back by adding to `above` only where the place is no whole number, or by rounding.
    """
    wide = Support(bound=5.0, bins=101)
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand((64, 101), generator=generator).softmax(-1)
    inside = wide.values * torch.linspace(0.1, 1, 64)[:, None]
    edges = torch.where(inside > 0, 5.0, -5.0)
    for at in (inside, wide.values.expand(64, -1), edges, 3 * inside):
        projected = wide.project(probability, at)
        assert torch.allclose(projected.sum(-1), torch.ones(64), atol=1e-5)
        mean = (probability * at.clamp(-5, 5)).sum(-1)
        assert torch.allclose(wide.mean(projected.clamp(min=1e-30).log()), mean, atol=1e-4)
        assert projected.min() >= 0


def test_projection_on_itself_changes_nothing() -> None:
    """Reward 0 and discount 1 leave a distribution as it was, however spacing is rounded."""
    wide = Support(bound=5.0, bins=101)
    probability = torch.rand((8, 101), generator=torch.Generator().manual_seed(1)).softmax(-1)
    projected = wide.project(probability, wide.values.expand(8, -1))
    assert torch.allclose(projected, probability, atol=1e-5)


def test_mean_by_hand() -> None:
    """½·(-2) + ¼·1 + ¼·2 = -¼."""
    probability = torch.tensor([0.5, 1e-30, 1e-30, 0.25, 0.25])
    assert support().mean(probability.log()).item() == pytest.approx(-0.25)


def test_cross_entropy_by_hand() -> None:
    """-½·ln ½ - ½·ln ¼ = 1.5·ln 2 for the first critic, ln 4 for the second: their mean."""
    target = torch.tensor([[0.5, 0.5, 0.0]])
    first, second = torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[0.25, 0.25, 0.5]])
    found = cross_entropy(torch.stack((first, second)).log(), target)
    assert found.item() == pytest.approx((1.5 + 2) / 2 * math.log(2))


@pytest.mark.parametrize("shape", [(4, 5), (1, 3, 5), (3, 4), (5,)])
def test_cross_entropy_of_other_shapes_is_refused(shape: tuple[int, ...]) -> None:
    """One distribution per row for all critics, and no broadcasting (trap 12)."""
    with pytest.raises(ValueError, match=r"expected \(3, 5\), one distribution per row"):
        cross_entropy(torch.zeros(2, 3, 5), torch.zeros(shape))


def test_least_is_chosen_row_by_row() -> None:
    """The whole distribution of the critic with the least mean, never a mixture."""
    two = torch.rand((2, 3, 5), generator=torch.Generator().manual_seed(2)).softmax(-1).log()
    mean = torch.tensor([[1.0, -3.0, 2.0], [0.5, 4.0, 2.5]])
    chosen = least(two, mean)
    assert torch.equal(chosen, torch.stack((two[1, 0], two[0, 1], two[0, 2])))


def test_support_is_no_part_of_the_state() -> None:
    """It is a constant of the recipe, so a checkpoint need not hold it."""
    assert not support().state_dict()
    assert support().values.tolist() == [-2, -1, 0, 1, 2]
