"""Batches to learn from, and what an update has changed."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING

import torch

from robosac.algorithms import losses
from robosac.algorithms.algorithm import Batch, Sizes

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from torch import Tensor

    from robosac.algorithms.algorithm import Algorithm

SIZES = Sizes(obs=4, extra=2, action=3)
ROWS = 32


def batch(seed: int = 0, *, extra: float = 1.0, rows: int = ROWS) -> Batch:
    """Draw rows; `extra` scales what only the critics see."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    obs, next_obs = draw(rows, SIZES.obs), draw(rows, SIZES.obs)
    more, next_more = extra * draw(rows, SIZES.extra), extra * draw(rows, SIZES.extra)
    return Batch(
        obs=obs,
        critic_obs=torch.cat((obs, more), -1),
        action=draw(rows, SIZES.action).tanh(),
        reward=draw(rows),
        terminated=(draw(rows) > 1).float(),
        next_obs=next_obs,
        next_critic_obs=torch.cat((next_obs, next_more), -1),
    )


class Noted:
    """Calls of a loss while an algorithm learns: what it was given, by name or position."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.calls: list[dict[str, Tensor]] = []
        function: Callable[..., Tensor] = getattr(losses, name)
        names = list(inspect.signature(function).parameters)

        @functools.wraps(function)
        def noted(*args: Tensor, **kwargs: Tensor) -> Tensor:
            given = dict(zip(names, args, strict=False)) | kwargs
            self.calls.append({key: torch.as_tensor(one).detach() for key, one in given.items()})
            return function(*args, **kwargs)

        monkeypatch.setattr(losses, name, noted)


def same_noise(algorithm: Algorithm) -> torch.Generator:
    """Return a generator that will draw what the algorithm will draw."""
    generator = torch.Generator()
    generator.set_state(algorithm.generator.get_state())
    return generator


def copied(algorithm: Algorithm) -> dict[str, Tensor]:
    """Copy everything an algorithm owns."""
    return {name: tensor.clone() for name, tensor in algorithm.state().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """First parts of the names of tensors that differ to the bit."""
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def check_temperature(make: Callable[..., Algorithm], *, beta1: float) -> None:
    """The temperature's gradient is that of the loss on α; the policy sees the one of before."""
    slow, fast = make(initial_alpha=0.2, alpha_lr=1e-6), make(initial_alpha=0.2, alpha_lr=10.0)
    entropy = slow.update(batch())["entropy"]
    fast.update(batch())
    target: float = slow.target_entropy  # type: ignore[attr-defined]  # who has a temperature has it
    gradient = slow.state()["adam.alpha.mean.0"] / (1 - beta1)
    assert torch.allclose(gradient, -0.2 * (target - entropy), rtol=1e-4)
    assert changed(copied(slow), copied(fast)) >= {"log_alpha"}
    assert not changed(part(copied(slow), "actor"), part(copied(fast), "actor"))


def part(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Tensors of one network."""
    return {key: tensor for key, tensor in state.items() if key.split(".")[0] == name}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states agree to the bit."""
    return one.keys() == other.keys() and not changed(one, other)
