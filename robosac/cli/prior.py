"""`--prior`: earlier runs that a run learns from as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robosac.cli.console import prior_words, say
from robosac.errors import ConfigError
from robosac.learner import priors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from robosac.replay.prior import PriorSource
    from robosac.run_folder import RunConfig


def begin(given: Sequence[Path]) -> tuple[PriorSource, ...]:
    """Return what a new run is to have; raises ConfigError, StorageError, PolicyError."""
    found = priors.find(given, say)
    announce(found)
    return found


def go_on(given: Sequence[Path], config: RunConfig) -> None:
    """Check what a resumed run has had from the start; raises ConfigError, StorageError."""
    if given:
        raise ConfigError("a run keeps the prior it began with; leave out --prior with --resume")
    priors.verify(config.prior)
    announce(config.prior)


def announce(sources: Sequence[PriorSource]) -> None:
    """Say how much there is, if anything."""
    if sources:
        say(prior_words(sum(source.rows for source in sources), len(sources)))
