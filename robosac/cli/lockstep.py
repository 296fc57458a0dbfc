"""`robosac sim --sync`: learner and runner in one process, in lockstep, with the same objects."""

from __future__ import annotations

import signal
import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from robosac.cli.console import say
from robosac.learner import checkpoint, priors
from robosac.learner.device import find as find_device
from robosac.learner.figures import figures_of
from robosac.learner.learner import Learner
from robosac.learner.metrics import MetricsWriter, plain
from robosac.learner.replayed import CudaGraphs
from robosac.learner.trial import let_replay
from robosac.policy import OnnxPolicy
from robosac.policy import contract as contracts
from robosac.replay import Chunk, SegmentLog
from robosac.run_folder import write_atomically
from robosac.runner.link import Acting, LocalLink
from robosac.runner.loop import Loop
from robosac.wire.names import robot_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from numpy.typing import NDArray

    from robosac.cli.resolve import Workplace
    from robosac.run_folder import RunConfig, RunFolder
    from robosac.wire.messages import Episode

    FloatArray = NDArray[np.float32]
    Show: TypeAlias = Callable[[dict[str, Any]], None]

_STATUS_ROWS = 200


class LockstepLink(LocalLink):
    """Every recorded row is learned from before the next tick; same seed, same bits."""

    def __init__(self, learner: Learner, log: SegmentLog, *, robot: str, run: str) -> None:
        """Publish the first policy."""
        self._learner, self._log, self._robot, self._run = learner, log, robot, run
        self.made = 0
        """Rows recorded."""
        self.episodes: list[Episode] = []
        self.updating_s = 0.0
        self._acting = self._publish()

    @property
    def acting(self) -> Acting:
        """The newest policy."""
        return self._acting

    def record(self, row: FloatArray) -> None:
        """Log the row, learn what it pays for, publish when it is time."""
        chunk = Chunk(robot=self._robot, run=self._run, first=self.made, rows=row[None].copy())
        self._log.append(chunk)
        self.made += 1
        self._learner.take(chunk)
        self._update()
        if self._learner.policy_due:
            self._acting = self._publish()

    def report(self, episode: Episode) -> None:
        """Keep the episode for display."""
        self.episodes.append(episode)

    def finish(self, made: int) -> None:
        """Make the updates that are still owed, and everything durable."""
        del made
        self._update()
        self._log.sync()

    def _update(self) -> None:
        before = time.monotonic()
        while self._learner.owed >= 1:
            self._learner.update()
        self.updating_s += time.monotonic() - before

    def _publish(self) -> Acting:
        file = self._learner.policy_file(self._learner.snapshot())
        return Acting(OnnxPolicy(file, here=self._learner.contract), self._learner.version)


class Lockstep:
    """The run of one process: learner, log and loop, and what they leave in the folder."""

    def __init__(
        self, folder: RunFolder, config: RunConfig, place: Workplace, *, device: str
    ) -> None:
        """Begin where the folder is: with its rows, and from its newest checkpoint."""
        import torch

        torch.set_num_threads(1)
        contract = place.contract
        self._folder = folder
        if not folder.contract_path.exists():
            write_atomically(folder.contract_path, contracts.encode(contract))
        self._learner = Learner(
            config.recipe, contract, seed=config.seed, device=find_device(device)
        )
        if self._learner.algorithm.device.type != "cpu":
            reason = let_replay(self._learner, CudaGraphs)
            if reason is not None:
                say(reason)
        priors.take_in(config.prior, self._learner)
        self._log = SegmentLog(folder.replay, contract.row_layout)
        seed = np.random.SeedSequence([config.seed, len(self._log.marks)])
        for chunk in self._log.rows():
            self._learner.take(chunk)
        self._resumed = checkpoint.restore_newest(folder.checkpoint, self._learner)
        if self._resumed is not None:
            say(str(self._resumed))
        run, robot = uuid.uuid4().hex, robot_name(contract.robot or contract.env, 0)
        self._link = LockstepLink(self._learner, self._log, robot=robot, run=run)
        self._loop = Loop(
            place.env,
            self._link,
            contract.row_layout,
            run=run,
            seed=int(seed.generate_state(1)[0]),
        )
        self._metrics = MetricsWriter(folder.path)
        self._checkpoint_s = config.recipe.learner.checkpoint_s
        self._next_checkpoint = time.monotonic() + self._checkpoint_s
        self._shown = 0

    def play(self, steps: int, *, show: Show, stopped: Callable[[], bool]) -> None:
        """Make `steps` steps, or fewer when stopped, and every update they pay for."""

        def between_steps() -> bool:
            if self._loop.made - self._shown >= _STATUS_ROWS:
                self._shown = self._loop.made
                self._metrics.write(self._learner.env_steps, self._figures())
                show(self._figures())
            if time.monotonic() >= self._next_checkpoint:
                self._write_checkpoint()
            return stopped()

        self._loop.run(steps, stopped=between_steps)

    def leave(self) -> dict[str, Any]:
        """Write the last checkpoint and the policy; return the figures a learner would report."""
        self._write_checkpoint()
        file = self._learner.policy_file(self._learner.snapshot(last=True))
        write_atomically(self._folder.final_policy, file)
        audit = self._log.audit(self._log.marks)
        return plain(self._figures()) | {
            "lost": audit.lost,
            "duplicated": audit.duplicated,
            "policy_versions": self._learner.policies,
            "resumed_from": self._resumed,
            "policy_digest": checkpoint.digest(self._learner.algorithm.state()),
        }

    def close(self) -> None:
        """Close log and metrics; raises StorageError."""
        try:
            self._metrics.close()
        finally:
            self._log.close()

    def _figures(self) -> dict[str, Any]:
        link = self._link
        return figures_of(self._learner, link.episodes, updating_s=link.updating_s)

    def _write_checkpoint(self) -> None:
        self._log.sync()
        checkpoint.write(self._folder.checkpoint, checkpoint.freeze(self._learner))
        self._next_checkpoint = time.monotonic() + self._checkpoint_s


def run_lockstep(
    folder: RunFolder,
    config: RunConfig,
    place: Workplace,
    *,
    steps: int,
    show: Show,
    device: str = "cpu",
) -> dict[str, Any]:
    """Make `steps` more steps and return the learner's figures, as the learner process would.

    KeyboardInterrupt passes between two steps, when the folder has been left whole.
    """
    lockstep = Lockstep(folder, config, place, device=device)
    try:
        with _first_interrupt_noted() as interrupted:
            lockstep.play(steps, show=show, stopped=interrupted.is_set)
            report = lockstep.leave()
    finally:
        lockstep.close()
    if interrupted.is_set():
        raise KeyboardInterrupt
    return report


@contextmanager
def _first_interrupt_noted() -> Iterator[threading.Event]:
    """Note the first Ctrl-C or SIGTERM, which is to tear no update apart; a second acts at once."""
    interrupted = threading.Event()

    def note(number: int, frame: object) -> None:
        del number, frame
        interrupted.set()
        restore()

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in usual:
        signal.signal(number, note)
    try:
        yield interrupted
    finally:
        restore()
