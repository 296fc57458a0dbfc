"""Checks of options that more than one command has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robosac.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from robosac.run_folder import RunConfig


def at_least(bound: int, name: str, value: int) -> int:
    """Return an option's value; raises ConfigError when it is below the bound."""
    if value < bound:
        raise ConfigError(f"--{name} is {value}; expected at least {bound}")
    return value


def check_target(option: str, path: Path) -> None:
    """Raise ConfigError when no file can be written where an option wants one."""
    wrong = ""
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir():
        wrong = f"{path} is a folder"
    elif not above.is_dir():
        wrong = f"{above} is a file, not a folder"
    if wrong:
        raise ConfigError(f"{option} is {path}, and {wrong}; expected a file's name")


def check_door(bind: str, keys: Path | None, *, insecure: bool) -> None:
    """Raise WireError when a learner could not listen there, before anything is made for it."""
    from robosac.wire.keys import LearnerKeys
    from robosac.wire.sockets import safe_bind_address

    safe_bind_address(
        bind, keys=None if keys is None else LearnerKeys.load(keys), insecure=insecure
    )


def check_device(name: str) -> None:
    """Raise ConfigError when --device is none on which this machine could learn."""
    if name != "cpu":
        from robosac.learner import device

        device.find(name)


def check_ranks(value: int, config: RunConfig, *, device: str) -> None:
    """Raise ConfigError when --ranks is no number of shares for batches of this run."""
    if at_least(1, "ranks", value) == 1:
        return
    if device != "cpu":
        raise ConfigError(f"--ranks is {value}; expected 1: several processes share a cpu's cores")
    if config.sync:
        raise ConfigError(f"--ranks is {value}; expected 1: --sync is one process in lockstep")
    recipe = config.recipe
    reason = recipe.algorithm.indivisible()
    if reason:
        raise ConfigError(f"--ranks is {value}; expected 1: recipe {recipe.name} {reason}")
    batch = recipe.learner.batch_size
    if batch % value:
        raise ConfigError(
            f"--ranks is {value}; expected a divisor of the batch size {batch} of recipe "
            f"{recipe.name}"
        )
