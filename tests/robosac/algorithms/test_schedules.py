"""Learning rates that fall: by hand, by every optimiser's own steps, and refused nonsense."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from robosac.algorithms.adam import Adam
from robosac.algorithms.config import SACConfig
from robosac.algorithms.sac import SAC
from robosac.algorithms.schedules import Schedule
from tests.robosac.algorithms.conftest import SIZES, batch

if TYPE_CHECKING:
    from torch import Tensor


@pytest.mark.parametrize(
    ("kind", "shares"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [1.0, 0.875, 0.75, 0.5, 0.5]),
        ("cosine", [1.0, 0.5 + 0.5 * (1 + 0.5**0.5) / 2, 0.75, 0.5, 0.5]),
    ],
)
def test_shares_by_hand(kind: str, shares: list[float]) -> None:
    """After 0, 1/4, 1/2, all and more of 8 steps, down to a half."""
    schedule = Schedule(kind, 8, 0.5)
    assert [schedule.share(made) for made in (0, 2, 4, 8, 80)] == pytest.approx(shares)
    assert schedule.falls == (kind != "constant")


@pytest.mark.parametrize("lr", [0.125, torch.tensor(0.125)], ids=["number", "tensor"])
def test_a_rate_of_its_own(lr: float | Tensor) -> None:
    """The first step of Adam is its learning rate, here not the usual 0.5; a step is counted."""
    parameter = torch.tensor([1.0])
    optimiser = Adam([parameter], 0.5)
    optimiser.step([torch.tensor([3.0])], lr=lr)
    assert parameter.item() == pytest.approx(0.875)
    assert optimiser.steps == 1


def test_every_optimiser_is_on_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a policy of every second update, critics fall twice as fast (trap 28).

    Put back by counting updates: both would have the same shares.
    """
    config = SACConfig(
        hidden=(8,), policy_delay=2, schedule="linear", schedule_steps=4, final_lr=0.0
    )
    sac = SAC(config, SIZES, seed=0)
    seen: dict[str, list[float]] = {}
    step = Adam.step

    def noted(self: Adam, gradients: object, *, lr: float | Tensor | None = None) -> None:
        name = next(name for name, one in sac.optimisers.items() if one is self)
        assert lr is not None
        seen.setdefault(name, []).append(float(lr / self.lr))
        step(self, gradients, lr=lr)  # type: ignore[arg-type]

    monkeypatch.setattr(Adam, "step", noted)
    for number in range(6):
        sac.update(batch(number))
    assert seen["critics"] == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0, 0.0])
    assert seen["actor"] == seen["alpha"] == pytest.approx([1.0, 0.75, 0.5])


def test_numbers_that_make_no_sense() -> None:
    """Each in its own words."""
    wrong = SACConfig(schedule="cosine", schedule_steps=0, final_lr=1.5)
    assert list(wrong.problems()) == [
        "sac.schedule_steps is 0; expected a positive number",
        "sac.final_lr is 1.5; expected a number in [0, 1]",
    ]
