"""Recipes with something changed about them, as in `sac+sac.backup=single+learner.utd=2`."""

from __future__ import annotations

import tomllib
from typing import Any

import msgspec

from robosac import recipe as recipes
from robosac.errors import ConfigError
from robosac.recipe import Recipe


def find(name: str) -> Recipe:
    """Return a recipe by name, with every change that follows a plus; raises ConfigError.

    A change is TABLE.KEY=VALUE, the value as in a recipe's file; text needs no quotes.
    """
    base, *changes = name.split("+")
    recipe = recipes.find(base)
    if not changes:
        return recipe
    tables = msgspec.to_builtins(recipe)
    content = {key: value for key, value in tables.items() if value is not None}
    for change in changes:
        _change(content, change)
    try:
        changed = msgspec.convert(content | {"name": name}, Recipe)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: {error}") from None
    for problem in recipes.problems(changed):
        raise ConfigError(f"{name}: {problem}")
    return changed


def _change(content: dict[str, Any], change: str) -> None:
    """Make one change to the tables of a recipe."""
    where, _, text = change.partition("=")
    table, _, key = where.partition(".")
    values = content.get(table)
    if not isinstance(values, dict) or key not in values:
        known = (f"{one}.KEY" for one, value in content.items() if isinstance(value, dict))
        raise ConfigError(f"{change}: there is no {where}; expected {' or '.join(known)} = VALUE")
    values[key] = _value(text)


def _value(text: str) -> object:
    """Read a value as TOML, or as the text it is."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
