"""`robosac sim --sync`: learner and runner in one process, in lockstep, with the same objects."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from robosac.learner import checkpoint
from robosac.learner.figures import figures_of
from robosac.learner.learner import Learner
from robosac.learner.metrics import MetricsWriter
from robosac.policy import OnnxPolicy
from robosac.replay import Chunk, SegmentLog
from robosac.run_folder import write_atomically
from robosac.runner.link import Acting, Link
from robosac.runner.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from robosac.cli.resolve import Workplace
    from robosac.run_folder import RunConfig, RunFolder
    from robosac.wire.messages import Episode

    FloatArray = NDArray[np.float32]

_STATUS_ROWS = 200


class LockstepLink(Link):
    """Every recorded row is learned from before the next tick; same seed, same bits."""

    credit = None

    def __init__(self, learner: Learner, log: SegmentLog, *, robot: str, run: str) -> None:
        """Publish the first policy."""
        self._learner, self._log, self._robot, self._run = learner, log, robot, run
        self._made = 0
        self._published_at = learner.updates
        self.episodes: list[Episode] = []
        self.updating_s = 0.0
        self._acting = self._publish()

    @property
    def acting(self) -> Acting:
        """The newest policy."""
        return self._acting

    def record(self, row: FloatArray) -> None:
        """Log the row, learn what it pays for, publish when it is time."""
        rows = row[None].copy()
        self._log.append(Chunk(robot=self._robot, run=self._run, first=self._made, rows=rows))
        self._made += 1
        self._learner.ingest(rows)
        before = time.monotonic()
        while self._learner.owed >= 1:
            self._learner.update()
        self.updating_s += time.monotonic() - before
        if self._learner.updates - self._published_at >= self._learner.recipe.learner.publish_every:
            self._published_at = self._learner.updates
            self._acting = self._publish()

    def report(self, episode: Episode) -> None:
        """Keep the episode for display."""
        self.episodes.append(episode)

    def poll(self) -> None:
        """Nothing arrives by itself."""

    def pause(self) -> None:
        """Never called: there is no bound on credit."""

    def finish(self, made: int) -> None:
        """Make everything durable."""
        del made
        self._log.sync()

    def _publish(self) -> Acting:
        file = self._learner.policy_file(self._learner.snapshot())
        return Acting(OnnxPolicy(file, here=self._learner.contract), self._learner.version)


def run_lockstep(
    folder: RunFolder,
    config: RunConfig,
    place: Workplace,
    *,
    steps: int,
    show: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Make `steps` more steps and return the learner's figures, as the learner process would."""
    import torch

    torch.set_num_threads(1)
    learner = Learner(config.recipe, place.contract, seed=config.seed)
    log = SegmentLog(folder.replay, place.contract.row_layout)
    for chunk in log.rows():
        learner.ingest(chunk.rows)
    checkpoint.restore_newest(folder.checkpoint, learner)
    run_id = uuid.uuid4().hex
    link = LockstepLink(learner, log, robot=place.contract.robot or "env", run=run_id)
    loop = Loop(
        place.env,
        link,
        place.contract.row_layout,
        run=run_id,
        seed=int(np.random.SeedSequence([config.seed, len(log.marks)]).generate_state(1)[0]),
    )
    metrics = MetricsWriter(folder.path)
    shown = 0

    def stopped() -> bool:
        nonlocal shown
        if loop.made - shown >= _STATUS_ROWS:
            shown = loop.made
            figures = figures_of(learner, link.episodes, updating_s=link.updating_s)
            figures |= {"lost": 0, "duplicated": 0}
            metrics.write(learner.env_steps, figures)
            show(figures)
        return False

    try:
        loop.run(steps, stopped=stopped)
    finally:
        place.env.close()
        log.sync()
        checkpoint.write(folder.checkpoint, checkpoint.freeze(learner))
        write_atomically(folder.final_policy, learner.policy_file(learner.snapshot()))
        metrics.close()
        audit = log.audit(log.marks)
        log.close()
    return figures_of(learner, link.episodes, updating_s=link.updating_s) | {
        "lost": audit.lost,
        "duplicated": audit.duplicated,
        "policy_versions": learner.version,
        "policy_digest": checkpoint.digest(learner.sac.state()),
    }
