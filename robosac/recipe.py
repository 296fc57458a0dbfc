"""Recipes: every number of learning, in one TOML file each."""

from __future__ import annotations

import difflib
import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from robosac.algorithms.config import (
    AlgorithmConfig,
    CrossQConfig,
    DDPGConfig,
    FlashConfig,
    SAC2018Config,
    SACConfig,
    TD3Config,
)
from robosac.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BUILT_IN = Path(__file__).parent / "recipes"
DEFAULT = "layernorm"
"""What robots learn by unless somebody chooses."""


class LearnerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How experience turns into updates and updates into policies."""

    utd: float = 1.0
    """Updates per environment step."""
    batch_size: int = 256
    """Transitions per update."""
    n_step: int = 1
    """Most rewards that are summed before a value is bootstrapped; more than 1 is off-policy."""
    learning_starts: int = 500
    """Environment steps before the first update."""
    random_steps: int = 0
    """Environment steps before the policy acts; until then actions are uniform."""
    normalise_obs: bool = False
    """Whether observations are centred and scaled by running statistics, also in the policy."""
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
    sac: SACConfig | None = None
    """Soft actor-critic, with what DroQ and REDQ change about it; this one if none is named."""
    sac2018: SAC2018Config | None = None
    """The first soft actor-critic."""
    td3: TD3Config | None = None
    """Twin delayed deep deterministic policy gradient."""
    ddpg: DDPGConfig | None = None
    """Deep deterministic policy gradient."""
    crossq: CrossQConfig | None = None
    """Soft actor-critic with batch renormalisation and without target networks."""
    flash: FlashConfig | None = None
    """Soft actor-critic with deep normalised networks and categorical critics."""

    def __post_init__(self) -> None:
        """Let a recipe that names no algorithm be soft actor-critic with every default."""
        if not self.algorithms:
            msgspec.structs.force_setattr(self, "sac", SACConfig())

    @property
    def algorithms(self) -> list[AlgorithmConfig]:
        """Every algorithm there is a table of; one, if the recipe is usable."""
        values = (getattr(self, name) for name in self.__struct_fields__)
        return [value for value in values if isinstance(value, AlgorithmConfig)]

    @property
    def algorithm(self) -> AlgorithmConfig:
        """Numbers of the algorithm."""
        return self.algorithms[0]


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
        elif isinstance(value, dict) and (inner := _struct_of(fields[key])):
            yield from _unknown_keys(value, inner, f"{path}{key}.")


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:  # noqa: ANN401 -- any annotation
    """Struct that a field holds, if it holds one."""
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            return one
    return None


def problems(recipe: Recipe) -> list[str]:
    """Everything that makes a recipe unusable, one line each."""
    found = [*_learner_problems(recipe.learner)]
    for algorithm in recipe.algorithms:
        found += algorithm.problems()
    if len(recipe.algorithms) > 1:
        tables = " and ".join(f"[{algorithm.table}]" for algorithm in recipe.algorithms)
        found.append(f"there are tables {tables}; expected one algorithm")
    return found


def _learner_problems(learner: LearnerConfig) -> Iterator[str]:
    positive = (
        *("utd", "batch_size", "n_step", "capacity", "catch_up", "slack"),
        *("publish_every", "checkpoint_s"),
    )
    for name in positive:
        value = getattr(learner, name)
        if not (math.isfinite(value) and value > 0):
            yield f"learner.{name} is {value}; expected a positive number"
    for name in ("learning_starts", "random_steps"):
        if getattr(learner, name) < 0:
            yield f"learner.{name} is {getattr(learner, name)}; expected zero or more"
    if learner.catch_up < learner.utd:
        yield f"learner.catch_up is {learner.catch_up}; expected at least utd {learner.utd}"
