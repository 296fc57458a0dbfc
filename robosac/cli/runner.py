"""The runner process of `robosac sim`: `python -m robosac.cli.runner RUN_FOLDER INDEX ENDPOINT`."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import msgspec
import numpy as np

from robosac.cli.resolve import make
from robosac.env import RobotEnv
from robosac.errors import RobosacError
from robosac.lifeline import Lifeline
from robosac.run_folder import RunFolder
from robosac.runner.loop import Loop
from robosac.runner.uplink_link import StoppedError, UplinkLink
from robots import RobotError
from sim.errors import SimError


class RunnerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner writes into its folder at the end."""

    run: str
    made: int
    missed_ticks: int | None
    guards: dict[str, int]


def run(folder: RunFolder, index: int, endpoint: str, steps: int) -> None:
    """Make this runner's share of the steps and wait until they are durable."""
    lifeline = Lifeline()
    config = folder.read_config()
    place = make(
        robot=config.robot, task=config.task, env=config.env, realtime=config.pace == "realtime"
    )
    run_id = uuid.uuid4().hex
    own = folder.runner(index)
    own.mkdir(exist_ok=True)
    link = UplinkLink(
        place.contract,
        endpoint=endpoint,
        robot=f"{_file_name(place.contract.robot or place.contract.env)}-{index}",
        run=run_id,
        folder=own,
        stopped=lambda: lifeline.cut,
    )
    seed = np.random.SeedSequence([config.seed, index, len(list(own.glob("report-*.json")))])
    loop = Loop(
        place.env, link, place.contract.row_layout, run=run_id, seed=int(seed.generate_state(1)[0])
    )
    try:
        loop.run(steps, stopped=lambda: lifeline.cut)
    except StoppedError:
        pass
    finally:
        place.env.close()
        link.close()
        report = RunnerReport(
            run=run_id,
            made=loop.made,
            missed_ticks=place.env.overruns if isinstance(place.env, RobotEnv) else None,
            guards=dict(place.env.robot.interventions) if isinstance(place.env, RobotEnv) else {},
        )
        folder.write_json(own / f"report-{run_id}.json", report)


def _file_name(name: str) -> str:
    """A name that may stand in a path and on the wire."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)[:48]


def main() -> int:
    """Run the process; an error of ours becomes one line for the parent and exit code 2."""
    folder, index, endpoint, steps = sys.argv[1:]
    try:
        run(RunFolder(Path(folder)), int(index), endpoint, int(steps))
    except (RobosacError, RobotError, SimError) as error:
        sys.stdout.write(
            msgspec.json.encode({"event": "error", "message": str(error)}).decode() + "\n"
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
