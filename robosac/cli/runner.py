"""A runner process of `robosac sim`: `python -m robosac.cli.runner FOLDER INDEX ENDPOINT STEPS`."""

from __future__ import annotations

import contextlib
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from robosac.cli.resolve import make
from robosac.env import RobotEnv
from robosac.errors import RobosacError, StorageError
from robosac.lifeline import Lifeline, tell
from robosac.run_folder import RunFolder
from robosac.runner.loop import Loop
from robosac.runner.uplink_link import UplinkLink
from robosac.wire.names import robot_name
from robots import RobotError
from sim.errors import SimError

if TYPE_CHECKING:
    from robosac.cli.resolve import Workplace


class RunnerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner writes into its folder, first when it starts and again at the end."""

    run: str
    made: int | None = None
    """Transitions recorded; None while it runs, and for ever when it was killed."""
    missed_ticks: int | None = None
    """Control periods that were skipped; None when the environment has no clock."""
    guards: dict[str, int] = {}
    """How often each guard of the robot has intervened."""
    refused_policies: int = 0
    """Policies that arrived and were not allowed to act."""


def run(folder: RunFolder, index: int, endpoint: str, steps: int) -> None:
    """Make this runner's share of the steps and wait until they are durable."""
    lifeline = Lifeline()
    config = folder.read_config()
    place = make(
        robot=config.robot, task=config.task, env=config.env, realtime=config.pace == "realtime"
    )
    if lifeline.cut:
        return  # before anything is touched: somebody else may be going on with the run
    contract, run_id, own = place.contract, uuid.uuid4().hex, folder.runner(index)
    seed = np.random.SeedSequence([config.seed, index, _earlier_runs(own)])
    report = own / f"report-{run_id}.json"
    folder.write_json(report, RunnerReport(run=run_id))
    link = UplinkLink(
        contract,
        endpoint=endpoint,
        robot=robot_name(contract.robot or contract.env, index),
        run=run_id,
        folder=own,
        stopped=lambda: lifeline.cut,
    )
    loop = Loop(
        place.env, link, contract.row_layout, run=run_id, seed=int(seed.generate_state(1)[0])
    )
    with contextlib.ExitStack() as stack:

        def leave() -> None:
            folder.write_json(report, _report(place, link, loop, run_id))
            tell(event="made", steps=loop.made)

        stack.callback(leave)
        stack.callback(link.close)
        stack.callback(place.env.close)
        loop.run(steps, stopped=lambda: lifeline.cut)


def _earlier_runs(own: Path) -> int:
    """Make the runner's folder and count the runs it has seen: no two explore alike."""
    try:
        own.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError.from_os(own, error) from None
    return len(list(own.glob("report-*.json")))


def _report(place: Workplace, link: UplinkLink, loop: Loop, run_id: str) -> RunnerReport:
    robot = place.env if isinstance(place.env, RobotEnv) else None
    return RunnerReport(
        run=run_id,
        made=loop.made,
        missed_ticks=None if robot is None else robot.overruns,
        guards={} if robot is None else dict(robot.robot.interventions),
        refused_policies=link.refused_policies,
    )


def main() -> int:
    """Run the process; an error of ours becomes one line for the parent and exit code 2."""
    folder, index, endpoint, steps = sys.argv[1:]
    try:
        run(RunFolder(Path(folder)), int(index), endpoint, int(steps))
    except (RobosacError, RobotError, SimError) as error:
        tell(event="error", message=str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
