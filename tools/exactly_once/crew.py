"""The processes of a run, as something that is killed, stopped and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from robosac.run_folder import RunFolder
from robosac.runner import journal
from robosac.wire.keysmith import LEARNER
from robosac.wire.keysmith import make_learner as make_learner_keys
from robosac.wire.keysmith import make_robot as make_robot_keys
from tools.exactly_once.counter import read_counters
from tools.exactly_once.network import PYTHON
from tools.exactly_once.runner import RunnerConfig
from tools.exactly_once.worker import Worker, make_learner

if TYPE_CHECKING:
    from tools.exactly_once.network import Network

_UPLINK = "robosac.runner.uplink"


class Crew:
    """One learner, its runners, and the uplinks that these start."""

    def __init__(self, folder: Path, network: Network, *, runners: int, rate_hz: float) -> None:
        """Lay out the folder; nothing is started."""
        self.folder = folder
        self.run = RunFolder(folder / "run")
        self.counters = folder / "recorded"
        self.counters.mkdir(parents=True)
        self._keys = folder / "keys" if network.separate else None
        if self._keys is not None:
            make_learner_keys(self._keys / LEARNER)
            for index in range(runners):
                make_robot_keys(self._keys / f"robot-{index}", self._keys / LEARNER)
        self.learner = make_learner(self.run, network, keys=self._key(LEARNER))
        self.runners = [
            Worker(
                f"robot-{index}",
                self._runner_command(network, index, rate_hz),
                folder / f"robot-{index}.log",
            )
            for index in range(runners)
        ]

    def start(self) -> None:
        """Start everybody."""
        for worker in (self.learner, *self.runners):
            worker.start()

    def tend(self) -> list[str]:
        """Start again who has ended; returns what is strange about how some ended."""
        strange = []
        for worker in (self.learner, *self.runners):
            code = worker.exit_code
            if code is not None:
                if code and not (worker.killed or self._may_fail(worker)):
                    strange.append(f"{worker.name} has ended with exit code {code}; see its log")
                worker.start()
        return strange

    def _may_fail(self, worker: Worker) -> bool:
        """A runner that is to leave says so when its uplink, being stopped, has not taken all."""
        return worker is not self.learner and worker.leaving

    def at_work(self) -> bool:
        """Whether the learner has come so far that it learns."""
        return self.learner.has_said(b'"status"')

    def all_at_work(self) -> bool:
        """Whether nobody has ended or is about to, and the learner learns."""
        workers = (self.learner, *self.runners)
        return self.at_work() and not any(
            one.leaving or one.exit_code is not None for one in workers
        )

    def streaming(self) -> bool:
        """Whether every runner has recorded something."""
        counts = read_counters(self.counters)
        return {robot for (robot, _), count in counts.items() if count} == {
            runner.name for runner in self.runners
        }

    def uplinks(self) -> dict[int, str]:
        """Process ids of the uplinks at work, those of dead runners included, with their robots."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes().decode().split("\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except (OSError, UnicodeDecodeError):
                continue
            if _UPLINK in command and state != "Z":
                config = msgspec.json.decode(command[command.index(_UPLINK) + 1])
                if config["folder"].startswith(str(self.folder)):
                    found[int(entry.name)] = str(config["robot"])
        return found

    def spools(self) -> list[Path]:
        """Spools that are not empty, or have not been deleted yet."""
        return sorted(self.folder.glob("robot-*/spool/*"))

    def finish(self, patience_s: float) -> list[str]:
        """Let the runners say goodbye, wait for their uplinks, and stop the learner.

        Returns what was not as it should be.
        """
        deadline = time.monotonic() + patience_s
        strange = []
        for runner in self.runners:
            runner.ask_to_finish()
        for worker in (*self.runners, self.learner):
            if worker is self.learner:
                strange += self._wait_for_uplinks(deadline)
                worker.ask_to_leave()
            try:
                code = worker.wait(max(1.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                strange.append(f"{worker.name} has not ended after {patience_s:g} s")
                continue
            if code:
                strange.append(f"{worker.name} has ended with exit code {code}; see its log")
        return strange + [f"{path} is left" for path in self.spools()]

    def close(self) -> None:
        """Kill whatever is left, also in shared memory."""
        for worker in (self.learner, *self.runners):
            if worker.started:
                worker.kill()
        for pid in self.uplinks():
            os.kill(pid, signal.SIGKILL)
        for spool in self.spools():
            journal.remove(spool)

    def _wait_for_uplinks(self, deadline: float) -> list[str]:
        while self.uplinks() and time.monotonic() < deadline:
            time.sleep(0.1)
        return [f"uplink {pid} of {robot} has not ended" for pid, robot in self.uplinks().items()]

    def _key(self, name: str) -> str | None:
        return None if self._keys is None else str(self._keys / name)

    def _runner_command(self, network: Network, index: int, rate_hz: float) -> list[str]:
        config = RunnerConfig(
            robot=f"robot-{index}",
            endpoint=network.endpoint(index),
            folder=str(self.folder / f"robot-{index}"),
            counters=str(self.counters),
            keys=self._key(f"robot-{index}"),
            rate_hz=rate_hz,
        )
        module = [*PYTHON, "-m", "tools.exactly_once.runner"]
        return [*network.runner_prefix(index), *module, msgspec.json.encode(config).decode()]
