"""Hyperparameters of the algorithms, without torch, so that recipes can be checked anywhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class AlgorithmConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every algorithm has: networks, a discount, targets that follow, two learning rates."""

    table: ClassVar[str]
    """Name of the algorithm and of its table in a recipe."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of every network."""
    gamma: float = 0.99
    """Discount per step."""
    actor_lr: float = 3e-4
    """Learning rate of the policy."""
    critic_lr: float = 3e-4
    """Learning rate of the critics."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How every learning rate falls, by the steps that its own optimiser has made."""
    schedule_steps: int = 1_000_000
    """Steps after which learning rates have fallen."""
    final_lr: float = 0.5
    """Share of the learning rates that is left then."""

    def problems(self) -> Iterator[str]:
        """Everything that makes these numbers unusable, one line each."""
        numbers: dict[str, Any] = msgspec.structs.asdict(self)
        for name, value in numbers.items():
            if name.endswith("hidden"):
                yield from _width_problems(f"{self.table}.{name}", value)
            elif name in RULES:
                yield from _problem(f"{self.table}.{name}", value, RULES[name])
        yield from self.conflicts()

    def conflicts(self) -> Iterator[str]:
        """Numbers that do not go together, one line each."""
        yield from ()

    def indivisible(self) -> str:
        """Why several processes cannot each learn from a share of a batch; empty if they can."""
        return ""


class SACConfig(AlgorithmConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Soft actor-critic, and what DroQ, REDQ and teaching variants change about it."""

    table: ClassVar[str] = "sac"

    critics: int = 2
    """Number of Q functions."""
    layer_norm: bool = True
    """Layer normalisation in the critics."""
    dropout: float = 0.0
    """Share of the critics' units that are dropped at every evaluation while learning."""
    backup: Literal["clipped", "single", "double", "subset", "mean"] = "clipped"
    """Which targets bootstrap a critic: the least of all, its own, the other one of two, the least
    of a random subset, or the mean of all."""
    subset: int = 2
    """How many targets a subset has."""
    entropy_backup: bool = True
    """Whether the value of a state includes the entropy of the policy there."""
    tau: float = 0.005
    """Share of the critics that flows into their targets at every update of the targets."""
    target_every: int = 1
    """Updates of the critics per update of the targets; with tau 1 it is a hard copy."""
    actor_gradient: Literal["reparametrised", "reinforce"] = "reparametrised"
    """Gradient of the policy: through the action into the critics, or by the score function."""
    action_samples: int = 1
    """Actions per state of the reinforce gradient."""
    actor_value: Literal["min", "mean", "first"] = "min"
    """What the policy climbs: the least critic, their mean, or the first one."""
    temperature: Literal["log_alpha", "alpha", "fixed"] = "log_alpha"
    """What the temperature's loss is written on, or that initial_alpha stays."""
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
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of what hidden layers multiply, observations included; all else is float32.

    Where observations are large, normalise_obs keeps their digits.
    """

    def conflicts(self) -> Iterator[str]:
        """Backups that lack critics, and a spread that its bounds exclude."""
        yield from _spread_conflicts(self)
        needed = {"double": 2, "subset": self.subset}.get(self.backup, self.critics)
        if self.critics < needed or (self.backup == "double" and self.critics != needed):
            yield f"sac.critics is {self.critics}; expected {needed} for backup {self.backup!r}"
        if self.precision != "float32" and self.actor_gradient == "reinforce":
            yield f"sac.precision is {self.precision!r}; expected 'float32' with 'reinforce'"
        if self.action_samples > 1 and self.actor_gradient != "reinforce":
            yield (
                f"sac.action_samples is {self.action_samples}; expected 1, or actor_gradient "
                "'reinforce': a reparametrised gradient needs no more"
            )

    def indivisible(self) -> str:
        """Every process would drop the same units, in rows that are others."""
        return "drops units of a whole batch" if self.dropout else ""


class SAC2018Config(AlgorithmConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first soft actor-critic, with a state value of its own; arXiv 1801.01290."""

    table: ClassVar[str] = "sac2018"

    tau: float = 0.005
    """Share of the state value that flows into its target at every update."""
    value_lr: float = 3e-4
    """Learning rate of the state value."""
    reward_scale: float = 5.0
    """Factor of the rewards; the temperature is 1, so this is its inverse."""
    regularisation: float = 1e-3
    """Weight of the squared mean and log standard deviation in the policy's loss."""
    log_std_min: float = -20.0
    """Lower bound of the policy's log standard deviation."""
    log_std_max: float = 2.0
    """Upper bound of the policy's log standard deviation."""
    initial_std: float = 1.0
    """Standard deviation of the first policy, before tanh."""

    def conflicts(self) -> Iterator[str]:
        """Find a spread that its bounds exclude."""
        yield from _spread_conflicts(self)


class TD3Config(AlgorithmConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Twin delayed deep deterministic policy gradient; arXiv 1802.09477."""

    table: ClassVar[str] = "td3"

    tau: float = 0.005
    """Share of the networks that flows into their targets whenever the policy is updated."""
    exploration_std: float = 0.1
    """Standard deviation of the noise that explores, in units of [-1, 1]."""
    target_noise: float = 0.2
    """Standard deviation of the noise on the target policy's actions."""
    target_noise_clip: float = 0.5
    """Largest noise on the target policy's actions."""
    policy_delay: int = 2
    """Critic updates per update of policy and targets."""


class DDPGConfig(AlgorithmConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deep deterministic policy gradient; arXiv 1509.02971."""

    table: ClassVar[str] = "ddpg"

    hidden: tuple[int, ...] = (400, 300)
    """Widths of the hidden layers of every network."""
    actor_lr: float = 1e-4
    """Learning rate of the policy."""
    critic_lr: float = 1e-3
    """Learning rate of the critic."""
    tau: float = 0.001
    """Share of the networks that flows into their targets at every update."""
    late_action: bool = True
    """Whether the action enters the critic at its second layer instead of the first."""
    weight_decay: float = 1e-2
    """Share of the critic's weights that is added to their gradient."""
    exploration: Literal["ornstein_uhlenbeck", "gaussian"] = "ornstein_uhlenbeck"
    """Noise that explores: correlated in time, or fresh at every step."""
    exploration_std: float = 0.2
    """Standard deviation of what drives the noise at every step, in units of [-1, 1]."""
    theta: float = 0.15
    """Share of the correlated noise that is forgotten at every step."""
    final_bound: float = 3e-3
    """First weights and biases of the output layers are uniform between plus and minus this."""

    def conflicts(self) -> Iterator[str]:
        """A second layer must exist for the action to enter it."""
        if self.late_action and len(self.hidden) == 1:
            yield "ddpg.hidden has 1 layer; expected at least 2, or late_action = false"


class CrossQConfig(AlgorithmConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Soft actor-critic with batch renormalisation and without target networks."""

    table: ClassVar[str] = "crossq"

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of the policy."""
    critic_hidden: tuple[int, ...] = (2048, 2048)
    """Widths of the hidden layers of the critics."""
    critics: int = 2
    """Number of Q functions; the target is their minimum."""
    actor_lr: float = 1e-3
    """Learning rate of the policy."""
    critic_lr: float = 1e-3
    """Learning rate of the critics."""
    alpha_lr: float = 1e-3
    """Learning rate of the log temperature."""
    beta1: float = 0.5
    """Adam's memory of the gradient."""
    momentum: float = 0.99
    """Share of the running statistics that one batch leaves."""
    warm_up: int = 100_000
    """Updates during which batches are normalised by their own statistics alone."""
    initial_alpha: float = 1.0
    """Temperature at the start."""
    target_entropy_scale: float = 1.0
    """Target entropy is minus this times the number of actions."""
    log_std_min: float = -20.0
    """Lower bound of the policy's log standard deviation."""
    log_std_max: float = 2.0
    """Upper bound of the policy's log standard deviation."""
    initial_std: float = 1.0
    """Standard deviation of the first policy, before tanh."""
    policy_delay: int = 3
    """Critic updates per update of policy and temperature."""

    def conflicts(self) -> Iterator[str]:
        """Find a spread that its bounds exclude."""
        yield from _spread_conflicts(self)

    def indivisible(self) -> str:
        """A share of a batch has other statistics."""
        return "normalises by the statistics of a whole batch"


class FlashConfig(AlgorithmConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Soft actor-critic with deep normalised networks and categorical critics."""

    table: ClassVar[str] = "flash"

    hidden: tuple[int, ...] = (128, 128)
    """Width of every block of the policy; all the same."""
    critic_hidden: tuple[int, ...] = (256, 256)
    """Width of every block of the critics; all the same."""
    expansion: int = 4
    """How many times wider a block is inside."""
    critics: int = 2
    """Number of Q functions; the target is the distribution of the least."""
    bins: int = 101
    """Values that a critic has probabilities of."""
    value_bound: float = 5.0
    """Largest of these values; rewards are scaled so that returns stay within."""
    momentum: float = 0.99
    """Share of the running statistics that one batch leaves."""
    tau: float = 0.01
    """Share of the critics' weights that flows into their targets at every update."""
    alpha_lr: float = 3e-4
    """Learning rate of the log temperature."""
    initial_alpha: float = 0.01
    """Temperature at the start."""
    target_std: float = 0.15
    """Target entropy is that of a normal distribution of this deviation in every action."""
    log_std_min: float = -10.0
    """Lower bound of the policy's log standard deviation."""
    log_std_max: float = 2.0
    """Upper bound of the policy's log standard deviation."""
    policy_delay: int = 2
    """Critic updates per update of policy and temperature."""
    noise_hold: int = 16
    """Most steps for which exploring noise is held; 1 holds none."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How every learning rate falls, by the steps that its own optimiser has made."""

    def conflicts(self) -> Iterator[str]:
        """Blocks that cannot be added to each other, and bounds in the wrong order."""
        yield from _bound_conflicts(self)
        for name in ("hidden", "critic_hidden"):
            widths = getattr(self, name)
            if len(set(widths)) > 1:
                yield f"flash.{name} is {list(widths)}; expected the same width for every block"
        if self.bins == 1:
            yield "flash.bins is 1; expected at least 2"

    def indivisible(self) -> str:
        """A share of a batch has other statistics."""
        return "normalises by the statistics of a whole batch"


def _bound_conflicts(
    config: SACConfig | SAC2018Config | CrossQConfig | FlashConfig,
) -> Iterator[str]:
    """Bounds of the log standard deviation must be in order."""
    if config.log_std_min >= config.log_std_max:
        yield (
            f"{config.table}.log_std_min is {config.log_std_min}, "
            f"not below log_std_max {config.log_std_max}"
        )


def _spread_conflicts(config: SACConfig | SAC2018Config | CrossQConfig) -> Iterator[str]:
    """Bounds of the log standard deviation must lie around that of the first policy."""
    table, low, high = config.table, config.log_std_min, config.log_std_max
    yield from _bound_conflicts(config)
    if not low < math.log(max(config.initial_std, 1e-30)) < high:
        yield (
            f"{table}.initial_std is {config.initial_std}; its logarithm must lie between "
            f"log_std_min {low} and log_std_max {high}"
        )


class Rule(NamedTuple):
    """What a number must be."""

    words: str
    holds: Callable[[float], bool]


_FINITE = Rule("a finite number", math.isfinite)
_POSITIVE = Rule("a positive number", lambda value: math.isfinite(value) and value > 0)
_NOT_NEGATIVE = Rule("zero or a positive number", lambda value: math.isfinite(value) and value >= 0)
_SHARE = Rule("a number in (0, 1]", lambda value: 0 < value <= 1)
_LOSS = Rule("a number in [0, 1)", lambda value: 0 <= value < 1)

RULES: dict[str, Rule] = {
    **dict.fromkeys(("actor_lr", "critic_lr", "alpha_lr", "value_lr"), _POSITIVE),
    **dict.fromkeys(("critics", "subset", "action_samples", "bins", "expansion"), _POSITIVE),
    **dict.fromkeys(("policy_delay", "target_every", "schedule_steps"), _POSITIVE),
    **dict.fromkeys(("initial_alpha", "reward_scale", "final_bound"), _POSITIVE),
    **dict.fromkeys(("value_bound", "target_std"), _POSITIVE),
    "noise_hold": Rule("a number from 1 to 1000", lambda value: 1 <= value <= 1000),  # noqa: PLR2004
    **dict.fromkeys(("gamma", "tau", "theta"), _SHARE),
    **dict.fromkeys(("dropout", "beta1", "momentum"), _LOSS),
    "final_lr": Rule("a number in [0, 1]", lambda value: 0 <= value <= 1),
    **dict.fromkeys(("exploration_std", "target_noise", "target_noise_clip"), _NOT_NEGATIVE),
    **dict.fromkeys(("weight_decay", "regularisation", "warm_up"), _NOT_NEGATIVE),
    **dict.fromkeys(("target_entropy_scale", "log_std_min", "log_std_max"), _FINITE),
}
"""What the numbers of every algorithm must be, by name; initial_std depends on its bounds."""


def _problem(name: str, value: float, rule: Rule) -> Iterator[str]:
    if not rule.holds(value):
        yield f"{name} is {value}; expected {rule.words}"


def _width_problems(name: str, widths: tuple[int, ...]) -> Iterator[str]:
    if not widths:
        yield f"{name} is empty; expected at least one layer"
    for index, width in enumerate(widths):
        yield from _problem(f"{name}[{index}]", width, _POSITIVE)
