"""What every algorithm promises the learner, whatever its paper says."""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch import Tensor

from robosac.algorithms import losses
from robosac.algorithms.algorithm import Algorithm, Batch, Sizes
from robosac.algorithms.catalogue import build
from robosac.algorithms.config import (
    AlgorithmConfig,
    CrossQConfig,
    DDPGConfig,
    FlashConfig,
    SAC2018Config,
    SACConfig,
    TD3Config,
)
from tests.robosac.algorithms.conftest import (
    ROWS,
    SIZES,
    Noted,
    batch,
    changed,
    copied,
    equal,
    part,
)

SMALL = (16, 16)
CONFIGS = {
    "sac": SACConfig(hidden=SMALL),
    "single": SACConfig(hidden=SMALL, critics=1, backup="single", entropy_backup=False),
    "double": SACConfig(hidden=SMALL, backup="double", temperature="fixed"),
    "mean": SACConfig(hidden=SMALL, backup="mean", actor_value="first", temperature="alpha"),
    "redq": SACConfig(hidden=SMALL, critics=4, backup="subset", actor_value="mean"),
    "droq": SACConfig(hidden=SMALL, dropout=0.02, actor_value="mean"),
    "dropout without normalisation": SACConfig(hidden=SMALL, dropout=0.02, layer_norm=False),
    "reinforce": SACConfig(hidden=SMALL, actor_gradient="reinforce", action_samples=3),
    "sac2018": SAC2018Config(hidden=SMALL),
    "td3": TD3Config(hidden=SMALL),
    "crossq": CrossQConfig(hidden=SMALL, critic_hidden=SMALL, warm_up=1),
    "flash": FlashConfig(hidden=SMALL, critic_hidden=SMALL, bins=41),
    "ddpg": DDPGConfig(hidden=SMALL),
    "ddpg of the first layer": DDPGConfig(hidden=(16,), late_action=False, exploration="gaussian"),
}


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> AlgorithmConfig:
    """Return every algorithm in turn, small."""
    return CONFIGS[request.param]


def make(config: AlgorithmConfig, *, seed: int = 0) -> Algorithm:
    """Build it for the sizes of the batches."""
    return build(config, SIZES, seed=seed)


def test_every_recipe_table_is_tried() -> None:
    """An algorithm that nobody tries here would promise nothing."""
    kinds = {type(config) for config in CONFIGS.values()}
    assert kinds == {*AlgorithmConfig.__subclasses__()}


def test_two_updates_change_everything(config: AlgorithmConfig) -> None:
    """No network, optimiser, generator or learned number is forgotten in state() (trap 16).

    Put back by a target whose buffers neither follow nor see a batch, such as running statistics.
    A network that is taken out of `modules` is missed by continuing to the bit, below.
    """
    algorithm = make(config)
    before = copied(algorithm)
    metrics = algorithm.update(batch(0)) | algorithm.update(batch(1))
    unchanged = {
        name for name, value in algorithm.state().items() if torch.equal(value, before[name])
    }
    silent = {"generator"} if isinstance(config, DDPGConfig) else set()  # it draws nothing
    if isinstance(config, SACConfig) and config.temperature == "fixed":
        silent |= {"log_alpha"} | {name for name in before if name.startswith("adam.alpha")}
    assert unchanged == silent
    assert algorithm.updates == 2
    assert {"critic_loss", "actor_loss", "q"} <= metrics.keys()
    assert all(value.dim() == 0 and not value.requires_grad for value in metrics.values())


TARGETS = {
    "targets": "critics",
    "target": "value",
    "target_actor": "actor",
    "target_critic": "critic",
}
"""Networks that follow others, by name."""


def test_targets_begin_as_what_they_follow(config: AlgorithmConfig) -> None:
    """To the bit, so that the first values are bootstrapped from the first critics."""
    algorithm = make(config)
    state = copied(algorithm)
    for name in TARGETS.keys() & algorithm.modules.keys():
        source = part(state, TARGETS[name])
        renamed = {key.replace(TARGETS[name], name, 1): value for key, value in source.items()}
        assert equal(part(state, name), renamed)


def test_targets_follow_what_has_just_moved(config: AlgorithmConfig) -> None:
    """Target ← (1-τ)·target + τ·source, every source after its own step (trap 16).

    Put back by letting targets follow before the step, or another network.
    """
    algorithm = make(config)
    algorithm.update(batch(0))
    before = copied(algorithm)
    algorithm.update(batch(1))
    assert TARGETS.keys() >= {name for name in algorithm.modules if "target" in name}
    for name, source in TARGETS.items():
        if name not in algorithm.modules:
            continue
        tau: float = config.tau  # type: ignore[attr-defined]  # who has targets has it
        pairs = zip(
            algorithm.modules[name].named_parameters(),
            algorithm.modules[source].parameters(),
            strict=True,
        )
        for (key, target), followed in pairs:
            expected = (1 - tau) * before[f"{name}.{key}"] + tau * followed
            assert torch.allclose(target, expected, atol=1e-7)
            assert not torch.equal(before[f"{source}.{key}"], followed)


def test_state_continues_to_the_bit(config: AlgorithmConfig) -> None:
    """Three updates, restored elsewhere, three more: the same as six."""
    algorithm, other = make(config), make(config, seed=7)
    for number in range(3):
        algorithm.update(batch(number))
    saved = copied(algorithm)
    other.update(batch(9))
    other.load_state(saved, updates=3)
    for number in range(3, 6):
        algorithm.update(batch(number))
        other.update(batch(number))
    assert equal(copied(algorithm), copied(other))
    assert not equal(copied(algorithm), saved)


def test_same_seed_same_bits(config: AlgorithmConfig) -> None:
    """One seed is all there is: torch's global generator is neither asked nor moved (trap 21).

    Put back by drawing dropout or noise from torch's global generator.
    """
    torch.manual_seed(1)
    one = make(config)
    one.update(batch())
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    other = make(config)
    other.update(batch())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert equal(copied(one), copied(other))
    assert changed(copied(make(config)), copied(make(config, seed=1))) >= {"generator"}


def test_no_gradient_is_left_anywhere(config: AlgorithmConfig) -> None:
    """Targets never want one; the others want theirs again after every update."""
    algorithm = make(config)
    for number in range(2):
        algorithm.update(batch(number))
    for name, module in algorithm.modules.items():
        assert all(one.grad is None for one in module.parameters())
        assert {one.requires_grad for one in module.parameters()} == {"target" not in name}


def test_the_policy_stays_within_its_range(config: AlgorithmConfig) -> None:
    """Actions are in [-1, 1] whatever the noise; without noise they are always the same."""
    policy = make(config).policy
    obs, noise = 10 * torch.randn(64, SIZES.obs), torch.randn(64, SIZES.action)
    with torch.no_grad():
        wild, calm = policy(obs, 100 * noise), policy(obs, torch.zeros_like(noise))
        assert wild.abs().max() <= 1
        assert torch.equal(calm, policy(obs, torch.zeros_like(noise)))
        assert not torch.equal(policy(obs, noise), calm)


def test_first_actions_are_centred(config: AlgorithmConfig) -> None:
    """Over 1,000 observations the mean action is near zero (trap 24).

    Put back by leaving the output layer as torch draws it.
    """
    if isinstance(config, FlashConfig):
        pytest.skip("a head whose rows have norm 1 cannot start small")
    obs = torch.randn((1000, SIZES.obs), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        action = make(config).policy(obs, torch.zeros(1000, SIZES.action))
    assert 0 < action.abs().max() < 0.1


def test_evaluating_changes_nothing(config: AlgorithmConfig) -> None:
    """Asking the policy and the critics twice gives the same bits (trap 17).

    Put back by dropping units whenever a critic is asked.
    """
    algorithm = make(config)
    algorithm.update(batch())
    before = copied(algorithm)
    rows = batch(1)
    for name, module in algorithm.modules.items():
        if "critic" in name:
            one, other = (module(rows.critic_obs, rows.action) for _ in range(2))
            assert torch.equal(one, other)
    assert equal(copied(algorithm), before)


def test_only_critics_see_the_extra_terms(config: AlgorithmConfig) -> None:
    """They change what is learned, and the policy has no inputs for them."""
    one, other = make(config), make(config)
    one.update(batch(extra=1.0))
    other.update(batch(extra=5.0))
    shapes = [
        tuple(value.shape) for name, value in one.state().items() if name.startswith("actor.")
    ]
    assert shapes[0] == (16, SIZES.obs)
    assert changed(copied(one), copied(other))


@pytest.mark.parametrize("shape", [(ROWS, 1), (1,)])
def test_columns_of_the_wrong_rank_are_refused(
    config: AlgorithmConfig, shape: tuple[int, ...]
) -> None:
    """(B, 1) instead of (B,) is an error, not a loss over B·B pairs (trap 12)."""
    wrong = batch()._replace(reward=torch.zeros(shape))
    with pytest.raises(ValueError, match="has shape"):
        make(config).update(wrong)


def test_the_target_of_an_end_is_its_reward(
    config: AlgorithmConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, whatever the temperature and however many steps led there (trap 11).

    Put back by masking the value and not the entropy: the temperature of a million shows.
    """
    if isinstance(config, FlashConfig):
        pytest.skip("its targets are distributions; test_flash.py looks at them")
    if isinstance(config, SACConfig | CrossQConfig):
        config = msgspec.structs.replace(config, initial_alpha=1e6)
    scale = config.reward_scale if isinstance(config, SAC2018Config) else 1.0
    rows = batch()._replace(terminated=torch.ones(ROWS), steps=torch.full((ROWS,), 3.0))
    noted = [Noted(monkeypatch, name) for name in ("critic_loss", "squared_error")]
    make(config).update(rows)
    (target, *_) = [call["target"] for one in noted for call in one.calls]
    assert torch.equal(target, (scale * rows.reward).expand_as(target))


@pytest.mark.parametrize("steps", [1, 3])
def test_targets_are_exact_under_half_precision(
    config: AlgorithmConfig, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Targets r + γᵏ·V' to 1e-6 in float32, while networks compute in bfloat16 (trap 19).

    Put back by weighing with γ in bfloat16, 0.9883 instead of 0.99, or by a loss in bfloat16.
    """
    seen: list[tuple[dict[str, Tensor], Tensor]] = []
    bellman_target = losses.bellman_target

    def noted(**given: Tensor) -> Tensor:
        seen.append((given, bellman_target(**given)))
        return seen[-1][1]

    monkeypatch.setattr(losses, "bellman_target", noted)
    several = None if steps == 1 else torch.full((ROWS,), float(steps))
    rows = batch()._replace(terminated=torch.zeros(ROWS), steps=several)
    algorithm = make(config)
    with torch.autocast("cpu", torch.bfloat16):
        metrics = algorithm.update(rows)
    given, target = seen[0]
    exact = given["reward"].double() + config.gamma**steps * given["next_value"].double()
    assert (target - exact).abs().max() < 1e-6 * max(1.0, float(exact.abs().max()))
    assert target.dtype == metrics["critic_loss"].dtype == torch.float32


def test_everything_learned_is_float32(config: AlgorithmConfig) -> None:
    """Rows, weights, moments, statistics and metrics (trap 23).

    Put back by a float64 constant: a temperature or a discount from numpy, say.
    """
    algorithm = make(config)
    metrics = algorithm.update(batch())
    counts = {name for name in algorithm.state() if name.endswith("batches")} | {"generator"}
    others = algorithm.state().keys() - counts
    assert {algorithm.state()[name].dtype for name in others} == {torch.float32}
    assert {value.dtype for value in metrics.values()} == {torch.float32}


def one_state(terminated: float) -> Batch:
    """Reward 1 for ever from a single state; a share of the steps ends the task."""
    rows = 64
    obs = torch.ones(rows, 2)
    return Batch(
        obs=obs,
        critic_obs=obs,
        action=torch.linspace(-0.8, 0.8, rows // 4).repeat_interleave(4)[:, None],
        reward=torch.ones(rows),
        terminated=(torch.arange(rows) % 4 < 4 * terminated).float(),
        next_obs=obs,
        next_critic_obs=obs,
    )


@pytest.mark.parametrize("terminated", [0.0, 0.5])
def test_values_of_a_world_of_one_state(config: AlgorithmConfig, terminated: float) -> None:
    """Q = 1/(1 - γ·(1 - share that ends)), γ = 0.5; with a temperature of next to nothing.

    Put back by any backup that drops the mask (trap 1).
    """
    changes: dict[str, object] = {"gamma": 0.5, "critic_lr": 1e-2, "tau": 0.2}
    if isinstance(config, SACConfig):
        changes |= {"temperature": "fixed", "initial_alpha": 1e-6}
    if isinstance(config, DDPGConfig):
        changes |= {"weight_decay": 0.0}
    if isinstance(config, FlashConfig):
        changes |= {"initial_alpha": 1e-6, "alpha_lr": 1e-12, "momentum": 0.9}
    if isinstance(config, CrossQConfig):
        changes = {"gamma": 0.5, "critic_lr": 1e-2, "momentum": 0.9}
        changes |= {"initial_alpha": 1e-6, "alpha_lr": 1e-12}
    scale = 1.0
    if isinstance(config, SAC2018Config):  # Q/scale = ... + γ·entropy/(scale·(1-γ)), under 0.02
        scale = 200.0
        changes |= {"reward_scale": scale, "value_lr": 0.1, "critic_lr": 0.1}
    algorithm = build(msgspec.structs.replace(config, **changes), Sizes(2, 0, 1), seed=0)
    rows = one_state(terminated)
    for _ in range(150):
        algorithm.update(rows)
    with torch.no_grad():
        critics = algorithm.modules.get("critics") or algorithm.modules["critic"]
        value = critics(rows.critic_obs, rows.action).mean() / scale
    assert value.item() == pytest.approx(1 / (1 - 0.5 * (1 - terminated)), rel=0.06)
