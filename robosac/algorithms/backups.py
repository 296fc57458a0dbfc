"""What bootstraps a critic: how the targets' values of the next state become one, or one each.

Every function takes values (N, B) of N targets and returns (B,), the same for all critics, or
(N, B), one row for every critic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def single(next_q: Tensor) -> Tensor:
    """Every critic by its own target (N, B); Mnih et al. 2015, equation 1, for N = 1."""
    return next_q


def double(next_q: Tensor) -> Tensor:
    """Each of two critics by the other's target (2, B); van Hasselt 2010, algorithm 1."""
    return next_q.flip(0)


def clipped(next_q: Tensor) -> Tensor:
    """All by the least target (B,); Fujimoto et al. 2018, arXiv 1802.09477, equation 10."""
    return next_q.amin(0)


def mean(next_q: Tensor) -> Tensor:
    """All by the mean of the targets (B,)."""
    return next_q.mean(0)


def first(next_q: Tensor) -> Tensor:
    """The first alone (B,)."""
    return next_q[0]


BACKUPS: dict[str, Callable[[Tensor], Tensor]] = {
    "single": single,
    "double": double,
    "clipped": clipped,
    "subset": clipped,  # of the targets that were drawn; Chen et al. 2021, arXiv 2101.05982, eq. 1
    "mean": mean,
}
"""By the name that a recipe gives them."""

ACTOR_VALUES: dict[str, Callable[[Tensor], Tensor]] = {"min": clipped, "mean": mean, "first": first}
"""What the policy climbs, by the name that a recipe gives it."""
