"""Checks of options that more than one command has."""

from __future__ import annotations

from robosac.errors import ConfigError


def at_least(bound: int, name: str, value: int) -> int:
    """Return an option's value; raises ConfigError when it is below the bound."""
    if value < bound:
        raise ConfigError(f"--{name} is {value}; expected at least {bound}")
    return value
