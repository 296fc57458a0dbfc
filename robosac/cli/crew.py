"""The processes that runners are: one each, or one fleet that places them over machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robosac.cli.runner_config import RunnerConfig


def processes(runners: list[RunnerConfig], fleet: str | None) -> dict[str, list[str]]:
    """Return what `python -m` is called with, by the name of the process.

    `fleet` is the address of a Ray cluster, or local, or None for this machine alone.
    """
    if fleet is None:
        return {f"runner-{one.seed[1]}": one.arguments() for one in runners}
    from robosac.cli.fleet_config import FleetConfig

    return {"fleet": FleetConfig(address=fleet, runners=runners).arguments()}
