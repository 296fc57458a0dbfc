"""Backups against numbers worked by hand."""

from __future__ import annotations

import pytest
import torch

from robosac.algorithms.backups import ACTOR_VALUES, BACKUPS
from robosac.algorithms.config import SACConfig
from robosac.algorithms.sac import SAC
from tests.robosac.algorithms.conftest import SIZES, Noted, batch

NEXT_Q = torch.tensor([[3.0, 5.0], [4.0, 1.0]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("single", [[3, 5], [4, 1]]),
        ("double", [[4, 1], [3, 5]]),
        ("clipped", [3, 1]),
        ("subset", [3, 1]),
        ("mean", [3.5, 3]),
    ],
)
def test_backups_by_hand(name: str, expected: list[object]) -> None:
    """Two targets (3, 5) and (4, 1) of two rows: the equation that each backup cites.

    single: Mnih et al. 2015, equation 1, a critic's own.  double: van Hasselt 2010, algorithm 1,
    that of the other.  clipped: arXiv 1802.09477, equation 10, the least.  subset: arXiv
    2101.05982, equation 1, the least of those that were drawn.  mean: (3 + 4)/2 and (5 + 1)/2.
    """
    assert torch.equal(BACKUPS[name](NEXT_Q), torch.tensor(expected, dtype=torch.float32))


def test_what_the_policy_climbs_by_hand() -> None:
    """The least (arXiv 1812.05905, equation 9), the mean, or the first (1801.01290, eq. 12)."""
    found = {name: value(NEXT_Q).tolist() for name, value in ACTOR_VALUES.items()}
    assert found == {"min": [3, 1], "mean": [3.5, 3], "first": [3, 5]}


class Constant(torch.nn.Module):
    """Targets whose values are known."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = torch.tensor(values)
        self.asked: list[list[int] | None] = []

    def forward(
        self, obs: torch.Tensor, action: torch.Tensor, *, members: list[int] | None, **_: object
    ) -> torch.Tensor:
        """Every member has one value for all rows."""
        del action
        self.asked.append(members)
        chosen = self.values if members is None else self.values[members]
        return chosen[:, None].expand(-1, len(obs))


def targets_of(monkeypatch: pytest.MonkeyPatch, config: SACConfig, *values: float) -> torch.Tensor:
    """Bellman targets of reward 0 without an end, without entropy, with γ = 0.5."""
    sac = SAC(config, SIZES, seed=0)
    sac.targets = Constant(*values)  # type: ignore[assignment]
    noted = Noted(monkeypatch, "critic_loss")
    rows = batch()
    zero = torch.zeros_like(rows.reward)
    sac.update(rows._replace(reward=zero, terminated=zero))
    return noted.calls[0]["target"]


def test_double_q_swaps_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets that are constant 2 and 6 give the critics 0.5·6 and 0.5·2 (trap 26).

    Put back by applying the backup twice: each critic then has its own target.
    """
    config = SACConfig(hidden=(8,), backup="double", gamma=0.5, entropy_backup=False)
    target = targets_of(monkeypatch, config, 2.0, 6.0)
    assert target.shape == (2, 32)
    assert set(target[0].tolist()) == {3.0}
    assert set(target[1].tolist()) == {1.0}


def test_redq_asks_a_random_subset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of five distinct targets, drawn anew at every update, all equally often."""
    config = SACConfig(
        hidden=(8,), critics=5, backup="subset", subset=2, gamma=0.5, entropy_backup=False
    )
    sac = SAC(config, SIZES, seed=0)
    sac.targets = targets = Constant(*range(5))  # type: ignore[assignment]
    noted = Noted(monkeypatch, "critic_loss")
    zero = torch.zeros(32)
    rows = batch()._replace(reward=zero, terminated=zero)
    for _ in range(100):
        sac.update(rows)
    assert all(members is not None and len({*members}) == 2 for members in targets.asked)
    counts = [sum(number in (members or ()) for members in targets.asked) for number in range(5)]
    assert min(counts) > 20, "each is in 40 of 100 subsets on average"
    least = [0.5 * min(members or ()) for members in targets.asked]
    assert [call["target"][0].item() for call in noted.calls] == least


def test_entropy_in_the_backup_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it constant targets stay constant; with it they follow the policy's density."""
    plain = SACConfig(hidden=(8,), gamma=0.5, entropy_backup=False)
    assert len(set(targets_of(monkeypatch, plain, 2.0, 6.0).tolist())) == 1
    soft = SACConfig(hidden=(8,), gamma=0.5, initial_alpha=1.0)
    assert len(set(targets_of(monkeypatch, soft, 2.0, 6.0).tolist())) == 32
