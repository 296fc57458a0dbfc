"""A run of robosac: the learner and the control loop that ship, in one process and in lockstep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robosac.learner.learner import Learner
from robosac.policy import OnnxPolicy
from robosac.runner.link import Acting, LocalLink
from robosac.runner.loop import Loop
from tools.learning_curves import variants
from tools.learning_curves.overestimation import estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robosac.cli.resolve import Workplace
    from tools.learning_curves.runs import Run
    from tools.learning_curves.watch import Watch

    FloatArray = NDArray[np.float32]


class WatchedLink(LocalLink):
    """Every step is learned from before the next one; nothing is kept on disk."""

    def __init__(self, learner: Learner, watch: Watch, *, seed: int) -> None:
        """Publish the first policy."""
        self._learner, self._watch, self._seed = learner, watch, seed
        self._made = 0
        self._acting = self._publish()

    @property
    def acting(self) -> Acting:
        """The newest policy."""
        return self._acting

    def record(self, row: FloatArray) -> None:
        """Take a step in, make the updates it pays for, publish and evaluate when it is time."""
        learner = self._learner
        learner.ingest(row[None], first=self._made)
        self._made += 1
        while learner.owed >= 1:
            learner.update()
        if learner.policy_due:
            self._acting = self._publish()
        if self._watch.due(self._made):
            self._show()

    def _publish(self, *, last: bool = False) -> Acting:
        file = self._learner.policy_file(self._learner.snapshot(last=last))
        return Acting(OnnxPolicy(file, here=self._learner.contract), self._learner.version)

    def _show(self) -> None:
        """Let the policy be evaluated that a run would leave if it ended here."""
        learner = self._learner
        with self._watch.stopwatch.stopped():
            policy = self._publish(last=True).policy
        self._watch.look(
            self._made,
            updates=learner.updates,
            act=policy.act,
            estimate=lambda: estimate(learner, policy, self._watch.env, seed=self._seed),
        )


def train(run: Run, place: Workplace, *, steps: int, watch: Watch) -> None:
    """Learn from nothing for so many steps."""
    learner = Learner(variants.find(run.recipe), place.contract, seed=run.seed)
    seed = int(np.random.SeedSequence([run.seed, 0]).generate_state(1)[0])
    link = WatchedLink(learner, watch, seed=run.seed)
    loop = Loop(place.env, link, place.contract.row_layout, run=run.name, seed=seed)
    watch.start()
    loop.play(steps, stopped=lambda: watch.over)
