"""The fleet process: runners on the nodes of a Ray cluster, `python -m robosac.cli.fleet JSON`.

Ray places runners and starts those of a dead node elsewhere; their rows go to the learner as those
of any other runner do.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from robosac.cli.extras import how_to_install
from robosac.cli.fleet_config import FleetConfig
from robosac.errors import RobosacError
from robosac.exit_codes import EXIT_DONE, EXIT_USER
from robosac.lifeline import Lifeline, tell

if TYPE_CHECKING:
    from robosac.cli.runner_config import RunnerConfig
    from robosac.fleet.cluster import Cluster, Placement

_TURN_S = 0.25
_LOST_S = 10.0
"""A runner that nobody has heard of for this long is not waited for when the others have ended."""
_STOP_S = 20.0
"""Time that runners have to deliver what they hold when they are asked to stop."""


class Fleet:
    """Runners that have been placed, until the last of them has ended for good."""

    def __init__(self, cluster: Cluster, lifeline: Lifeline, runners: list[RunnerConfig]) -> None:
        """Place the runners."""
        self._lifeline = lifeline
        self._cluster = cluster
        self._going: list[Placement] = [cluster.place(runner) for runner in runners]
        self._code = EXIT_DONE
        self._stopping_since: float | None = None
        self._enough_since: float | None = None

    def run(self) -> int:
        """Pass on what is heard of the runners; returns the exit code when all have ended.

        One that says what is wrong with it ends the fleet: it would say so again elsewhere.
        """
        while self._going:
            for placement in self._cluster.ended(self._going, timeout_s=_TURN_S):
                self._on_end(placement)
            for placement in self._going:
                for text in placement.news():
                    tell(event="notice", text=f"{placement.name} {text}")
            if self._lifeline.cut or self._code != EXIT_DONE:
                self._stop()
            self._give_up_lost()
        return self._code

    def _on_end(self, placement: Placement) -> None:
        """Take in that a runner has ended for good, and why."""
        self._going.remove(placement)
        outcome = placement.outcome()
        tell(
            event="made",
            steps=outcome.steps,
            complete=outcome.complete,
            restarts=placement.restarts,
        )
        if outcome.message is not None and self._code == EXIT_DONE:
            self._code = outcome.code
            tell(event="error", message=outcome.message, code=outcome.code)
        if outcome.complete and placement.open_ended and self._enough_since is None:
            self._enough_since = time.monotonic()

    def _stop(self) -> None:
        """Ask every runner to stop; asked again, those hear it that Ray has just started anew."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
        for placement in self._going:
            placement.stop()

    def _give_up_lost(self) -> None:
        """Do not wait for runners without a node when the learner has enough, or everybody stops.

        Their rows wait in their folders, on the machine where they were made.
        """
        now = time.monotonic()
        ending = self._stopping_since or self._enough_since
        if ending is None:
            return
        late = self._stopping_since is not None and now - self._stopping_since > _STOP_S
        for placement in list(self._going):
            if late or (now - ending > _LOST_S and placement.silent_s > _LOST_S):
                placement.kill()
                self._going.remove(placement)
                tell(event="made", steps=0, complete=False, restarts=placement.restarts)


def run(config: FleetConfig) -> int:
    """Run the fleet to its end; returns the exit code, raises ConfigError."""
    lifeline = Lifeline()
    _prepare(config.address)
    from robosac.fleet.cluster import Cluster

    with Cluster(config.address, runners=len(config.runners)) as cluster:
        if lifeline.cut:
            return EXIT_DONE
        endpoint = cluster.reachable(config.runners[0].endpoint)
        runners = [msgspec.structs.replace(one, endpoint=endpoint) for one in config.runners]
        return Fleet(cluster, lifeline, runners).run()


def _prepare(address: str) -> None:
    """Set what Ray reads when it is imported.

    It tells nobody about its use, and lets nobody else into a cluster of our own.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == "local":
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def main() -> int:
    """Run the process; an error of ours becomes one line for the parent and exit code 2."""
    try:
        return run(FleetConfig.from_argument(sys.argv[1]))
    except ModuleNotFoundError as error:
        tell(event="error", message=how_to_install(error.name or ""), code=EXIT_USER)
    except RobosacError as error:
        tell(event="error", message=str(error), code=EXIT_USER)
    return EXIT_USER


if __name__ == "__main__":
    sys.exit(main())
