"""Every algorithm by its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robosac.algorithms.algorithm import CPU
from robosac.algorithms.config import (
    CrossQConfig,
    DDPGConfig,
    FlashConfig,
    SAC2018Config,
    SACConfig,
    TD3Config,
)
from robosac.algorithms.crossq import CrossQ
from robosac.algorithms.ddpg import DDPG
from robosac.algorithms.flash import FlashSAC
from robosac.algorithms.sac import SAC
from robosac.algorithms.sac2018 import SAC2018
from robosac.algorithms.sac_by_hand import SACByHand
from robosac.algorithms.td3 import TD3

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from robosac.algorithms.algorithm import Algorithm, Sizes
    from robosac.algorithms.config import AlgorithmConfig


def _sac(config: SACConfig, sizes: Sizes, *, seed: int, device: torch.device) -> SAC:
    """Build the faster of two that compute the same."""
    kind = SACByHand if SACByHand.suits(config) else SAC
    return kind(config, sizes, seed=seed, device=device)


_ALGORITHMS: dict[type[AlgorithmConfig], Callable[..., Algorithm]] = {
    SACConfig: _sac,
    SAC2018Config: SAC2018,
    TD3Config: TD3,
    DDPGConfig: DDPG,
    CrossQConfig: CrossQ,
    FlashConfig: FlashSAC,
}


def build(
    config: AlgorithmConfig, sizes: Sizes, *, seed: int, device: torch.device = CPU
) -> Algorithm:
    """Build the algorithm that a configuration is of, everything from one seed."""
    return _ALGORITHMS[type(config)](config, sizes, seed=seed, device=device)
