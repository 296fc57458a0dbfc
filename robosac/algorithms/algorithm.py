"""What the learner knows of an algorithm: updates, every tensor by name, and the policy."""

from __future__ import annotations

import abc
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from robosac.algorithms.schedules import Schedule
from robosac.algorithms.supply import Supply

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

    from robosac.algorithms.adam import Adam
    from robosac.algorithms.config import AlgorithmConfig
    from robosac.algorithms.reward_scale import RewardScale


CPU = torch.device("cpu")


class Sizes(NamedTuple):
    """Numbers that a robot's transitions have."""

    obs: int
    """What the policy sees."""
    extra: int
    """What only the critics see besides."""
    action: int
    """Actions, each in [-1, 1]."""


class Batch(NamedTuple):
    """Rows of replay as tensors of shape (B, …); the critics' views include their extra terms."""

    obs: Tensor
    critic_obs: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    next_obs: Tensor
    next_critic_obs: Tensor
    steps: Tensor | None = None
    """Steps between obs and next_obs, whose rewards are summed; None is one each."""

    def discount(self, gamma: float) -> Tensor:
        """Weight (B,) of the next value: γ to the power of the steps, and 0 where a task ended."""
        if self.steps is None:
            return gamma * (1 - self.terminated)
        return torch.pow(gamma, self.steps) * (1 - self.terminated)


class Algorithm(abc.ABC):
    """Networks, optimisers and one update step; every tensor it owns is in `state()`.

    A subclass builds its networks under `seeded()`, brings them to `device`, names them in
    `modules` and `optimisers`, draws all other random numbers by noise() and quarters(), gets
    whatever else changes from one update to the next by `supply`, and writes `update()` as its
    paper does.
    """

    exploration_theta = 1.0
    """Share of the exploring noise that is forgotten at every step; 1 is white noise."""
    exploration_hold = 1
    """Most steps that exploring noise is held for; 1 holds none."""
    reward_scale: RewardScale | None = None
    """Statistics of rewards as they come in, where an algorithm scales them."""

    def __init__(self, config: AlgorithmConfig, *, seed: int, device: torch.device = CPU) -> None:
        """Split one seed into that of the first weights and that of the noise."""
        weights, noise = (int(child) for child in np.random.SeedSequence(seed).generate_state(2))
        self.generator = torch.Generator().manual_seed(noise)
        """Source of every random number after the first weights."""
        self.device = device
        """Where updates are made.  Random numbers are the processor's, wherever that is."""
        self.supply = Supply(device)
        """Brings there what the processor has for an update."""
        self.modules: dict[str, nn.Module] = {}
        """Networks by name, targets among them."""
        self.optimisers: dict[str, Adam] = {}
        """Optimisers by the name of what they move."""
        self.scalars: dict[str, Tensor] = {}
        """Learned numbers that belong to no network, by name."""
        self.updates = 0
        """Updates ever made."""
        self._weights_seed = weights
        self._share, self._shares = 0, 1
        self._mean: Callable[[list[Tensor]], Iterable[Tensor]] = _unshared
        self._schedule = Schedule(config.schedule, config.schedule_steps, config.final_lr)

    @abc.abstractmethod
    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Make one update step and return its metrics; they stay tensors."""

    @property
    def turn(self) -> Hashable | None:
        """What the next update does that others leave out: those of the same turn do the same.

        None is an update that is like no other.
        """
        return ()

    @property
    @abc.abstractmethod
    def policy(self) -> nn.Module:
        """The policy as it is exported: action (B, A) in [-1, 1] of obs (B, O) and noise (B, A)."""

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next update depends on, by name; not copies."""
        tensors = {"generator": self.generator.get_state()}
        tensors |= {name: value.detach() for name, value in self.scalars.items()}
        for name, module in self.modules.items():
            tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            tensors |= {f"adam.{name}.{key}": value for key, value in optimiser.state().items()}
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor], *, updates: int) -> None:
        """Restore what state() returned; all of it or, with ValueError, nothing."""
        ours = self.state()
        problems = _misfits(tensors, ours)
        if problems:
            raise ValueError("; ".join(problems))
        self.generator.set_state(tensors["generator"])
        for name, value in ours.items():
            value.copy_(tensors[name])
        for optimiser in self.optimisers.values():
            optimiser.recount()
        self.updates = updates

    def divide(
        self, share: int, shares: int, mean: Callable[[list[Tensor]], Iterable[Tensor]]
    ) -> None:
        """Let batches be one of so many equal shares, and gradients the mean over all of them.

        Every share draws the noise of the whole batch, so that their generators stay alike.
        """
        self._share, self._shares, self._mean = share, shares, mean

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Draw first weights from our own seed and leave torch's global state as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._weights_seed)
            yield

    def _bring(self, *networks: nn.Module) -> None:
        """Bring networks to where updates are made."""
        for network in networks:
            network.to(self.device)

    def _learned(self, value: float) -> Tensor:
        """A number that is learned, beginning with this value."""
        return torch.tensor(value).to(self.device).requires_grad_()

    def descend(self, name: str, loss: Tensor) -> None:
        """Let an optimiser make one step down the gradient of a loss."""
        self.step(name, torch.autograd.grad(loss, self.optimisers[name].parameters))

    def step(self, name: str, gradients: Iterable[Tensor]) -> None:
        """Let an optimiser make one step down the gradients of its parameters."""
        optimiser = self.optimisers[name]
        falling = partial(self._falling, optimiser)
        lr = self.supply.bring(falling) if self._schedule.falls else None
        optimiser.step(self._mean(list(gradients)), lr=lr)

    def noise(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape of `like`."""
        return self.supply.bring(partial(self._draw_noise, like.shape))

    def quarters(self, count: int) -> Tensor:
        """So many uniform whole numbers of 16 bits: quarters of numbers of 64 bits."""
        return self.supply.bring(partial(self._draw_quarters, count))

    def _falling(self, optimiser: Adam) -> Tensor:
        """Learning rate of the next step of an optimiser."""
        return torch.tensor(self._schedule.share(optimiser.steps) * optimiser.lr)

    def _draw_noise(self, shape: torch.Size) -> Tensor:
        rows, *others = shape
        drawn = torch.randn(rows * self._shares, *others, generator=self.generator)
        return drawn[self._share * rows : (self._share + 1) * rows]

    def _draw_quarters(self, count: int) -> Tensor:
        numbers = torch.empty(-(-count // 4), dtype=torch.int64)
        numbers.random_(-(2**63), None, generator=self.generator)
        return numbers.view(torch.int16)[:count]


def _unshared(gradients: list[Tensor]) -> list[Tensor]:
    """Gradients of a batch that is whole."""
    return gradients


class Follower:
    """A target network's parameters, which follow those of another."""

    def __init__(self, target: nn.Module, source: nn.Module) -> None:
        """Pair the parameters; the target gets no gradients from now on."""
        self._targets: list[Tensor] = list(target.requires_grad_(requires_grad=False).parameters())
        self._sources: list[Tensor] = list(source.parameters())

    @torch.no_grad()
    def follow(self, tau: float) -> None:
        """Target ← (1-τ)·target + τ·source; with τ = 1 it is a copy."""
        torch._foreach_lerp_(self._targets, self._sources, tau)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Build no gradients for a module's parameters; its inputs still get theirs."""
    module.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        module.requires_grad_(requires_grad=True)


def _misfits(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> list[str]:
    """What keeps tensors from being copied onto others of the same names."""
    found = [f"no tensor {name}" for name in sorted(ours.keys() - theirs.keys())]
    found += [f"unknown tensor {name}" for name in sorted(theirs.keys() - ours.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        got, expected = (f"{tuple(one[name].shape)} {one[name].dtype}" for one in (theirs, ours))
        if got != expected:
            found.append(f"tensor {name} is {got}, expected {expected}")
    return found
