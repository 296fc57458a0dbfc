"""Recipes: every number of learning, in one TOML file each."""

from __future__ import annotations

import difflib
import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from robosac.algorithms.config import SACConfig
from robosac.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BUILT_IN = Path(__file__).parent / "recipes"


class LearnerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How experience turns into updates and updates into policies."""

    utd: float = 1.0
    """Updates per environment step."""
    batch_size: int = 256
    """Transitions per update."""
    learning_starts: int = 500
    """Environment steps before the first update."""
    capacity: int = 1_000_000
    """Transitions kept in memory."""
    catch_up: int = 1000
    """Most updates that may be owed; what is owed beyond it is forgiven."""
    slack: int = 64
    """Steps that simulated robots may run ahead of the updates."""
    publish_every: int = 50
    """Updates between two policies."""
    checkpoint_s: float = 30.0
    """Time between two checkpoints, s."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One TOML file of robosac/recipes, or of the user's own."""

    name: str
    """Name of the recipe."""
    description: str = ""
    """What it is for, in one sentence."""
    learner: LearnerConfig = LearnerConfig()
    """Replay, ratios and intervals."""
    sac: SACConfig = SACConfig()
    """The algorithm."""


def names() -> list[str]:
    """Names of the recipes that come with the package, sorted."""
    return sorted(path.stem for path in BUILT_IN.glob("*.toml"))


def find(name_or_path: str) -> Recipe:
    """Return a recipe by name or from a TOML file; raises ConfigError."""
    path = BUILT_IN / f"{name_or_path}.toml"
    if name_or_path not in names():
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            near = difflib.get_close_matches(name_or_path, names(), cutoff=0.3) or names()
            raise ConfigError(
                f"unknown recipe {name_or_path!r}; expected {' or '.join(near)}, or a TOML file"
            )
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        for key in _unknown_keys(content, Recipe):
            raise ConfigError(f"{path}: unknown key {key}")
        recipe = msgspec.convert(content, Recipe)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from None
    for problem in problems(recipe):
        raise ConfigError(f"{path}: {problem}")
    return recipe


def _unknown_keys(
    table: Mapping[str, object], kind: type[msgspec.Struct], path: str = ""
) -> Iterator[str]:
    """Keys that a table must not have, each with what may have been meant."""
    fields: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in table.items():
        if key not in fields:
            near = [f"{path}{name}" for name in difflib.get_close_matches(key, fields)]
            listed = f"one of {', '.join(path + name for name in sorted(fields))}"
            yield f"{path}{key}; expected {' or '.join(near) or listed}"
        elif isinstance(value, dict) and fields[key] in {LearnerConfig, SACConfig}:
            yield from _unknown_keys(value, fields[key], f"{path}{key}.")


def problems(recipe: Recipe) -> list[str]:
    """Everything that makes a recipe unusable, one line each."""
    learner, sac = recipe.learner, recipe.sac
    positive = {
        "learner.utd": learner.utd,
        "learner.batch_size": learner.batch_size,
        "learner.capacity": learner.capacity,
        "learner.catch_up": learner.catch_up,
        "learner.slack": learner.slack,
        "learner.publish_every": learner.publish_every,
        "learner.checkpoint_s": learner.checkpoint_s,
        "sac.actor_lr": sac.actor_lr,
        "sac.critic_lr": sac.critic_lr,
        "sac.alpha_lr": sac.alpha_lr,
        "sac.initial_alpha": sac.initial_alpha,
        "sac.critics": sac.critics,
        "sac.policy_delay": sac.policy_delay,
        **{f"sac.hidden[{index}]": width for index, width in enumerate(sac.hidden)},
    }
    found = [
        f"{name} is {value}; expected a positive number"
        for name, value in positive.items()
        if not (math.isfinite(value) and value > 0)
    ]
    found += [
        f"{name} is {value}; expected a number in (0, 1]"
        for name, value in (("sac.gamma", sac.gamma), ("sac.tau", sac.tau))
        if not 0 < value <= 1
    ]
    found += [
        f"sac.{name} is {value}; expected a finite number"
        for name in ("target_entropy_scale", "log_std_min", "log_std_max")
        if not math.isfinite(value := getattr(sac, name))
    ]
    if learner.learning_starts < 0:
        found.append(f"learner.learning_starts is {learner.learning_starts}; expected zero or more")
    if learner.catch_up < learner.utd:
        found.append(f"learner.catch_up is {learner.catch_up}; expected at least utd {learner.utd}")
    if not sac.hidden:
        found.append("sac.hidden is empty; expected at least one layer")
    if sac.log_std_min >= sac.log_std_max:
        found.append(
            f"sac.log_std_min is {sac.log_std_min}, not below log_std_max {sac.log_std_max}"
        )
    if not sac.log_std_min < math.log(max(sac.initial_std, 1e-30)) < sac.log_std_max:
        found.append(
            f"sac.initial_std is {sac.initial_std}; its logarithm must lie between "
            f"log_std_min {sac.log_std_min} and log_std_max {sac.log_std_max}"
        )
    return found
