"""Recipes: every mistake is one line that says where, what and what instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from robosac import recipe
from robosac.algorithms.config import RULES, AlgorithmConfig, SACConfig, TD3Config
from robosac.errors import ConfigError
from robosac.recipe import LearnerConfig, Recipe

if TYPE_CHECKING:
    from pathlib import Path


def error_of(path: Path, text: str) -> str:
    """What a user reads who gives this file."""
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        recipe.find(str(path))
    reason = str(caught.value)
    assert "\n" not in reason
    assert str(path) in reason
    return reason


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a user's recipe lies."""
    return tmp_path / "mine.toml"


@pytest.mark.parametrize("name", recipe.names())
def test_recipes_that_come_along(name: str) -> None:
    """They load, are called what their file is called, and say what they are for."""
    found = recipe.find(name)
    assert found.name == name
    assert found.description.endswith(".")
    assert recipe.problems(found) == []


def test_the_defaults_are_usable() -> None:
    """A recipe that says nothing is one."""
    assert recipe.names() == sorted(recipe.names())
    assert recipe.DEFAULT in recipe.names()
    assert recipe.problems(Recipe(name="none")) == []


def test_returns_of_several_steps_are_asked_for() -> None:
    """They are off-policy and leave out the entropy in between (trap 14).

    Put back by another default; a recipe must say so itself.
    """
    assert LearnerConfig().n_step == 1
    several = [name for name in recipe.names() if recipe.find(name).learner.n_step > 1]
    assert several == [], "a recipe that sums more is named here, with its source"


def test_a_file_is_a_recipe(path: Path) -> None:
    """What is not said is the default; a resolved recipe survives JSON."""
    path.write_text('name = "mine"\n[learner]\nutd = 2\n[sac]\nhidden = [8]\n')
    found = recipe.find(str(path))
    assert (found.learner.utd, found.algorithm.hidden, found.algorithm.gamma) == (2.0, (8,), 0.99)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Recipe) == found


def test_a_built_in_name_wins_over_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder or file named sac in the working directory changes nothing."""
    (tmp_path / "sac").mkdir()
    monkeypatch.chdir(tmp_path)
    assert recipe.find("sac").name == "sac"


@pytest.mark.parametrize("wrong", ["sacc", "SAC", "sac.tml", "", ".", "missing/sac.toml"])
def test_an_unknown_recipe(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was got, and the nearest name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"expected .*sac.*, or a TOML file") as caught:
        recipe.find(wrong)
    assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('nmae = "x"', "unknown key nmae; expected name"),
        ('name = "x"\n[lerner]\nutd = 1.0', "unknown key lerner; expected learner"),
        (
            'name = "x"\n[learner]\nbatchsize = 1',
            "unknown key learner.batchsize; expected learner.batch_size",
        ),
        (
            'name = "x"\n[sac]\ncritic_rate = 1',
            "unknown key sac.critic_rate; expected sac.critic_lr",
        ),
        (
            'name = "x"\n[sac]\nzz = 1',
            "unknown key sac.zz; expected one of sac.action_samples, ",
        ),
    ],
)
def test_a_misspelt_key(path: Path, text: str, reason: str) -> None:
    """The nearest name is offered, with its table."""
    assert reason in error_of(path, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "missing required field `name`"),
        ("name = 3", "Expected `str`, got `int` - at `$.name`"),
        ('name = "x"\nlearner = 3', "Expected `object`, got `int` - at `$.learner`"),
        ('name = "x"\n[learner]\nbatch_size = 2.5', "at `$.learner.batch_size`"),
        ('name = "x"\n[learner]\nbatch_size = "256"', "Expected `int`, got `str`"),
        ('name = "x"\n[sac]\nlayer_norm = 1', "Expected `bool`, got `int`"),
        ('name = "x"\n[sac]\nhidden = 256', "Expected `array`, got `int`"),
        ('name = "x"\n[sac.hidden]\nwidth = 256', "Expected `array`, got `object`"),
        ('name = "x"\n[sac.gamma]\nvalue = 1', "Expected `float`, got `object`"),
        ("name = ", "Invalid value"),
        ("[learner", "Expected ']'"),
    ],
)
def test_what_is_no_recipe(path: Path, text: str, reason: str) -> None:
    """No cast loses anything, and the place is named."""
    assert reason in error_of(path, text)


def test_a_file_that_is_no_text(path: Path) -> None:
    """Neither bytes nor a folder end in a traceback."""
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="utf-8"):
        recipe.find(str(path))


POSITIVE = [
    *(f"learner.{name}" for name in ("utd", "batch_size", "capacity", "catch_up", "slack")),
    *("learner.publish_every", "learner.checkpoint_s"),
    *(f"sac.{name}" for name in ("actor_lr", "critic_lr", "alpha_lr", "initial_alpha")),
    *("sac.critics", "sac.policy_delay"),
]


@pytest.mark.parametrize("key", POSITIVE)
@pytest.mark.parametrize("value", ["0", "-1"])
def test_numbers_that_must_be_positive(path: Path, key: str, value: str) -> None:
    """Zero and less are told by key and value."""
    table, name = key.split(".")
    reason = error_of(path, f'name = "x"\n[{table}]\n{name} = {value}')
    assert reason.endswith(f"{key} is {float(value):g}; expected a positive number") or (
        f"{key} is {float(value)}" in reason
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[sac]\ngamma = 1.1", "sac.gamma is 1.1; expected a number in (0, 1]"),
        ("[sac]\ngamma = nan", "sac.gamma is nan; expected a number in (0, 1]"),
        ("[sac]\ntau = 0.0", "sac.tau is 0.0; expected a number in (0, 1]"),
        ("[sac]\nactor_lr = inf", "sac.actor_lr is inf; expected a positive number"),
        ("[sac]\nhidden = []", "sac.hidden is empty; expected at least one layer"),
        ("[sac]\nhidden = [8, 0]", "sac.hidden[1] is 0; expected a positive number"),
        ("[sac]\ntarget_entropy_scale = inf", "sac.target_entropy_scale is inf"),
        ("[sac]\nlog_std_min = -inf", "sac.log_std_min is -inf; expected a finite number"),
        ("[sac]\nlog_std_min = 3.0", "sac.log_std_min is 3.0, not below log_std_max 2.0"),
        ("[sac]\ninitial_std = 9.0", "sac.initial_std is 9.0; its logarithm must lie between"),
        ("[sac]\ninitial_std = 0.0", "sac.initial_std is 0.0; its logarithm must lie between"),
        ("[sac]\ninitial_std = -1.0", "sac.initial_std is -1.0; its logarithm must lie between"),
        ("[learner]\nlearning_starts = -1", "learner.learning_starts is -1; expected zero or more"),
        ("[learner]\nutd = 20.0\ncatch_up = 10", "learner.catch_up is 10; expected at least utd"),
    ],
)
def test_numbers_that_make_no_sense(path: Path, text: str, reason: str) -> None:
    """Each in its own words."""
    assert reason in error_of(path, f'name = "x"\n{text}')


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[sac]\n[td3]", "there are tables [sac] and [td3]; expected one algorithm"),
        ("[td3]\ngama = 1.0", "unknown key td3.gama; expected td3.gamma"),
        ("[sac]\nbackup = 'least'", "Invalid enum value 'least' - at `$.sac.backup`"),
        ("[sac]\nbackup = 'double'\ncritics = 3", "critics is 3; expected 2 for backup 'double'"),
        ("[sac]\nbackup = 'subset'\nsubset = 4", "critics is 2; expected 4 for backup 'subset'"),
        ("[sac]\naction_samples = 4", "sac.action_samples is 4; expected 1, or actor_gradient"),
        ("[sac]\ndropout = 1.0", "sac.dropout is 1.0; expected a number in [0, 1)"),
        ("[sac2018]\nreward_scale = 0.0", "sac2018.reward_scale is 0.0; expected a positive"),
        ("[sac2018]\ninitial_std = 9.0", "sac2018.initial_std is 9.0; its logarithm must lie"),
        ("[td3]\ntarget_noise = -0.1", "td3.target_noise is -0.1; expected zero or a positive"),
        ("[td3]\nhidden = [8, -1]", "td3.hidden[1] is -1; expected a positive number"),
        ("[ddpg]\ntheta = 1.5", "ddpg.theta is 1.5; expected a number in (0, 1]"),
        ("[ddpg]\nhidden = [400]", "ddpg.hidden has 1 layer; expected at least 2, or late_action"),
        ("[learner]\nrandom_steps = -1", "learner.random_steps is -1; expected zero or more"),
    ],
)
def test_other_algorithms(path: Path, text: str, reason: str) -> None:
    """Their tables are as strict, and there is one algorithm at a time."""
    assert reason in error_of(path, f'name = "x"\n{text}')


def test_every_number_of_an_algorithm_has_a_rule() -> None:
    """A number that anything may be is forgotten in RULES; initial_std is checked by itself."""
    for kind in AlgorithmConfig.__subclasses__():
        numbers = {
            field.name
            for field in msgspec.structs.fields(kind)
            if isinstance(field.default, int | float) and not isinstance(field.default, bool)
        }
        assert numbers - {"initial_std"} <= RULES.keys()


def test_a_recipe_without_a_table_is_soft_actor_critic() -> None:
    """And says so when it is written down."""
    assert Recipe(name="x").algorithm == SACConfig()
    assert msgspec.to_builtins(Recipe(name="x"))["sac"]["gamma"] == 0.99
    other = Recipe(name="x", td3=TD3Config(gamma=0.9))
    assert (other.sac, other.algorithm.gamma) == (None, 0.9)


def test_all_problems_are_found() -> None:
    """A caller that shows them all can."""
    bad = Recipe(name="x", learner=LearnerConfig(utd=0), sac=SACConfig(gamma=0, hidden=()))
    assert len(recipe.problems(bad)) == 3
