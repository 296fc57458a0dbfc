"""A runner process: one simulated robot that serves a learner, here or on another machine."""

from __future__ import annotations

import contextlib
import sys
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from robosac.cli.resolve import make
from robosac.cli.runner_config import RunnerConfig
from robosac.env import RobotEnv
from robosac.errors import RobosacError, StorageError
from robosac.exit_codes import EXIT_DONE, EXIT_USER
from robosac.lifeline import Lifeline, tell
from robosac.run_folder import RunFolder
from robosac.runner.loop import Loop
from robosac.runner.realtime import realtime
from robosac.runner.uplink_link import UplinkLink
from robots import RobotError
from sim.errors import SimError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robosac.cli.resolve import Workplace

_LOOK_S = 0.5


class RunnerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner writes into its folder, first when it starts and again at the end."""

    run: str
    made: int | None = None
    """Transitions recorded; None while it runs, and for ever when it was killed."""
    missed_ticks: int | None = None
    """Control periods that were skipped; None when the environment has no clock."""
    lateness: dict[str, Any] | None = None
    """How late ticks were; None when time is simulated."""
    guards: dict[str, int] = {}
    """How often each guard of the robot has intervened."""
    refused_policies: int = 0
    """Policies that arrived and were not allowed to act."""
    dropped: int = 0
    """Rows given up because the spool was at its limit."""


class Runner:
    """One run of one robot, from the first reset to the last acknowledged row."""

    def __init__(self, config: RunnerConfig, lifeline: Lifeline, place: Workplace) -> None:
        """Start the uplink and prepare the loop."""
        self._config, self._lifeline, self._place = config, lifeline, place
        own = Path(config.folder)
        run = uuid.uuid4().hex
        seed = np.random.SeedSequence([*config.seed, _earlier_runs(own)])
        self._report_path = own / f"report-{run}.json"
        RunFolder.write_json(self._report_path, RunnerReport(run=run))
        self._run = run
        self._link = UplinkLink(
            place.contract,
            endpoint=config.endpoint,
            robot=config.name,
            run=run,
            folder=own,
            paced=not config.emulate,
            keys=None if config.keys is None else Path(config.keys),
            spool_limit=config.spool_mib * 2**20,
            stopped=self._stopped,
        )
        layout = place.contract.row_layout
        self._loop = Loop(
            place.env, self._link, layout, run=run, seed=int(seed.generate_state(1)[0])
        )

    def run(self) -> None:
        """Make steps until it is enough, and wait until they are durable."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._leave)
            stack.callback(self._link.close)
            stack.callback(self._place.env.close)
            stack.enter_context(self._link_state_told())
            if self._config.realtime:
                granted = stack.enter_context(realtime())
                if granted.priority is None:
                    tell(event="notice", text=f"{self._config.name}: {granted}")
            self._loop.play(self._config.steps, stopped=self._stopped)
            self._place.env.close()  # at rest first: what follows may take long
            self._link.finish(self._loop.made)

    def _stopped(self) -> bool:
        return self._lifeline.cut

    @contextlib.contextmanager
    def _link_state_told(self) -> Iterator[None]:
        """Tell the parent how the link is whenever that changes, off the control thread."""
        over = threading.Event()

        def watch() -> None:
            told = ""
            while not over.wait(_LOOK_S):
                state = self._link.link_state
                if state != told:
                    tell(event="link", robot=self._config.name, state=state)
                    told = state

        thread = threading.Thread(target=watch, name="link-state", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _leave(self) -> None:
        RunFolder.write_json(self._report_path, self._report())
        asked = self._config.steps is not None and self._loop.made >= self._config.steps
        complete = self._link.enough or asked
        tell(event="made", steps=self._loop.made, complete=complete)

    def _report(self) -> RunnerReport:
        bare = self._place.env.unwrapped
        env = bare if isinstance(bare, RobotEnv) else None
        return RunnerReport(
            run=self._run,
            made=self._loop.made,
            missed_ticks=None if env is None else env.overruns,
            lateness=None if env is None else env.lateness.report(),
            guards={} if env is None else dict(env.robot.interventions),
            refused_policies=self._link.refused_policies,
            dropped=self._link.dropped,
        )


def _earlier_runs(own: Path) -> int:
    """Make the runner's folder and count the runs it has seen: no two explore alike."""
    try:
        own.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError.from_os(own, error) from None
    return len(list(own.glob("report-*.json")))


def run(config: RunnerConfig) -> None:
    """Serve the learner until it has enough, or somebody asks to stop."""
    lifeline = Lifeline()
    with contextlib.ExitStack() as stack:
        place = _place(config, lifeline, stack)
        if lifeline.cut:
            return  # before anything is touched: somebody else may be going on with the run
        Runner(config, lifeline, place).run()


def _place(config: RunnerConfig, lifeline: Lifeline, stack: contextlib.ExitStack) -> Workplace:
    """The robot, simulated here or emulated in another process."""
    if not config.emulate:
        return make(robot=config.robot, task=config.task, env=config.env, realtime=config.realtime)
    from robosac.cli.emulated import driven, emulated

    robot, task = config.robot or "", config.task or ""
    own = Path(config.folder)
    number = _earlier_runs(own)
    track = own / f"track-{number}.jsonl"
    emulator = stack.enter_context(emulated(robot, seed=config.seed[0] + number, track=track))
    log = own / f"flight-{number}.mcap"
    return stack.enter_context(driven(robot, task, emulator, log=log, stopped=lambda: lifeline.cut))


def main() -> int:
    """Run the process; an error of ours becomes one line for the parent and exit code 2."""
    try:
        run(RunnerConfig.from_argument(sys.argv[1]))
    except (RobosacError, RobotError, SimError) as error:
        tell(event="error", message=str(error), code=EXIT_USER)
        return EXIT_USER
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
