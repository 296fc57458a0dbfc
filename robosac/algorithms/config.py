"""Hyperparameters of the algorithms, without torch, so that recipes can be checked anywhere."""

from __future__ import annotations

import msgspec


class SACConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hyperparameters of soft actor-critic."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of every network."""
    critics: int = 2
    """Number of Q functions; the target is their minimum."""
    layer_norm: bool = True
    """Layer normalisation in the critics."""
    gamma: float = 0.99
    """Discount per step."""
    tau: float = 0.005
    """Share of the critics that flows into their targets at every update."""
    actor_lr: float = 3e-4
    """Learning rate of the policy."""
    critic_lr: float = 3e-4
    """Learning rate of the critics."""
    alpha_lr: float = 3e-4
    """Learning rate of the log temperature."""
    initial_alpha: float = 0.1
    """Temperature at the start."""
    target_entropy_scale: float = 0.5
    """Target entropy is minus this times the number of actions."""
    log_std_min: float = -5.0
    """Lower bound of the policy's log standard deviation."""
    log_std_max: float = 2.0
    """Upper bound of the policy's log standard deviation."""
    initial_std: float = 0.5
    """Standard deviation of the first policy, before tanh."""
    policy_delay: int = 1
    """Critic updates per update of policy and temperature."""
