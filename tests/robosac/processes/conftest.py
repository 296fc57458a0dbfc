"""Runs of `robosac sim` as a user starts them, and the processes they are made of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from robosac.errors import DamagedRecordError
from robosac.replay.records import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_S = 60.0
RECIPE = """
name = "small"

[learner]
batch_size = 16
learning_starts = 50
publish_every = 20
checkpoint_s = 0.5

[sac]
hidden = [16, 16]
"""
MODULES = {
    "robosac.learner": "learner",
    "robosac.cli.runner": "runner",
    "robosac.runner.uplink": "uplink",
    "robosac": "supervisor",
}


class SimRun:
    """One run folder, and the command that works on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "run"
        self._recipe = folder / "small.toml"
        self._recipe.write_text(RECIPE)
        self._process: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> None:
        """Start a new run."""
        self._start("--env", "Pendulum-v1", "--recipe", str(self._recipe), *options)

    def resume(self, *options: str) -> None:
        """Go on with the run."""
        self._start("--resume", *options)

    def _start(self, *options: str) -> None:
        command = [sys.executable, "-m", "robosac", "sim", "--run", str(self.folder), "--no-video"]
        self._process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self) -> tuple[int, str]:
        """Wait for the end; returns the exit code and what was written to standard error."""
        assert self._process is not None
        output, error = self._process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in output + error
        return self._process.returncode, error

    def interrupt(self) -> None:
        """Press Ctrl-C: SIGINT to the terminal's process group."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGINT)

    def processes(self) -> dict[int, str]:
        """Role of every process that works on this folder, by process id."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes().decode().split("\0")
                zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except (OSError, IndexError):
                continue
            if any(str(self.folder) in part for part in command) and not zombie:
                module = command[command.index("-m") + 1] if "-m" in command else ""
                if module in MODULES:
                    found[int(entry.name)] = MODULES[module]
        return found

    def roles(self) -> Counter[str]:
        """How many processes there are of each role."""
        return Counter(self.processes().values())

    def kill(self, role: str) -> None:
        """SIGKILL every process of a role."""
        pids = [pid for pid, found in self.processes().items() if found == role]
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def pid(self, role: str) -> int:
        """Process id of the only process of a role."""
        (pid,) = (pid for pid, found in self.processes().items() if found == role)
        return pid

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for something in the folder or among the processes."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert condition()

    def wait_for_rows(self, count: int) -> None:
        """Wait until there are this many rows on disk."""
        self.wait(lambda: sum(self.rows().values()) >= count)

    def rows(self) -> dict[str, int]:
        """Rows on disk by run; each run's follow one another from 0 on."""
        ends: dict[str, int] = {}
        for path in sorted((self.folder / "replay").glob("*.rows")):
            with path.open("rb") as file:
                try:
                    for chunk, _ in scan(file):
                        assert chunk.first == ends.get(chunk.run, 0), "a row is missing or twice"
                        ends[chunk.run] = chunk.end
                except DamagedRecordError:
                    pass  # being written
        return ends

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder."""
        content: dict[str, Any] = msgspec.json.decode((self.folder / name).read_bytes())
        return content

    def close(self) -> None:
        """End whatever a failed test has left."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[SimRun]:
    """A run that has not been started."""
    run = SimRun(tmp_path)
    yield run
    run.close()
