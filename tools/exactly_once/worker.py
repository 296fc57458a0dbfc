"""A process that is killed, stopped and started again; a real learner as one."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

from robosac import __version__
from robosac.algorithms.config import SACConfig
from robosac.learner.options import LearnerOptions
from robosac.recipe import LearnerConfig, Recipe
from robosac.run_folder import RunConfig
from tools.exactly_once.network import PYTHON, ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from robosac.run_folder import RunFolder
    from tools.exactly_once.network import Network

RECIPE = Recipe(
    name="torture",
    learner=LearnerConfig(
        utd=0.05, batch_size=16, learning_starts=100, publish_every=50, checkpoint_s=2.0
    ),
    sac=SACConfig(hidden=(16, 16)),
)


class Worker:
    """A process that is started again whenever it has ended."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        """Name a command; everything it says goes to the log."""
        self.name = name
        self.killed = False
        """Whether the present process was killed."""
        self.leaving = False
        """Whether it was killed, or has been asked to leave."""
        self._command, self._log = list(command), log
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process."""
        self._hang_up()
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        self.killed = self.leaving = False

    @property
    def started(self) -> bool:
        """Whether there has been a process."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Process id of the present process, or of the one that has ended."""
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the process has ended; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def has_said(self, words: bytes) -> bool:
        """Whether the present process has written this to its log."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return words in log.read()

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self.killed = self.leaving = True
        self._process.kill()
        self._process.wait()
        self._hang_up()

    def ask_to_finish(self) -> None:
        """Say `finish` on its standard input, unless it is leaving anyway."""
        assert self._process is not None
        assert self._process.stdin is not None
        if not self.leaving:
            self.leaving = True
            with contextlib.suppress(BrokenPipeError):  # it has just ended
                self._process.stdin.write(b"finish\n")
                self._process.stdin.flush()

    def ask_to_leave(self) -> None:
        """End its standard input."""
        self.leaving = True
        self._hang_up()

    def wait(self, timeout_s: float) -> int:
        """Return the exit code; raises subprocess.TimeoutExpired."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def _hang_up(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # what was said has not been read
                self._process.stdin.close()


def make_learner(run: RunFolder, network: Network, *, keys: str | None = None) -> Worker:
    """Make the folder of a run that goes on until it is stopped, and the learner to start in it."""
    run.create(
        RunConfig(
            robosac=__version__,
            env="torture",
            recipe=RECIPE,
            pace="free",
        )
    )
    options = LearnerOptions(folder=str(run.path), bind=network.learner, keys=keys)
    command = [*network.learner_prefix, *PYTHON, "-m", "robosac.learner", options.argument()]
    return Worker("learner", command, run.path.with_name("learner.log"))
