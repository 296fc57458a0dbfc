"""`robosac learn` and `robosac sim --learner`: two commands, as on two machines."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.robosac.processes.conftest import RECIPE

pytestmark = pytest.mark.timeout(120)
PATIENCE_S = 60.0

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Command:
    """A command that runs beside the test."""

    def __init__(self, *arguments: str, folder: Path) -> None:
        """Start it; what it prints goes to files, so that it never waits for a reader."""
        self._out = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "robosac", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Everything it has printed."""
        return self._out.read_text()

    def wait_for(self, pattern: str) -> str:
        """Wait until it has printed this; returns the first group."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.output):
                return found[1] if found.groups() else found[0]
            assert self.process.poll() is None, self.output
            time.sleep(0.02)
        pytest.fail(self.output)

    def finish(self) -> int:
        """Wait for the end; returns the exit code."""
        code = self.process.wait(PATIENCE_S)
        assert "Traceback" not in self.output
        return code

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)


class Lab:
    """A learner and robots, each with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "run"
        self._recipe = folder / "small.toml"
        self._recipe.write_text(RECIPE)
        self._commands: list[Command] = []

    def start(self, *arguments: str) -> Command:
        """Start a command."""
        self._commands.append(Command(*arguments, folder=self.folder))
        return self._commands[-1]

    def learn(self, *options: str, bind: str = "127.0.0.1:0") -> tuple[Command, str]:
        """Start a learner; returns its address as well."""
        recipe = [] if "--resume" in options else ["--recipe", str(self._recipe)]
        command = self.start("learn", "--run", str(self.run), "--bind", bind, *recipe, *options)
        return command, command.wait_for(r"listening on tcp://(\S+);")

    def robots(self, address: str, *options: str) -> Command:
        """Start simulated robots."""
        own = ["--run", str(self.folder / "robots"), "--env", "Pendulum-v1", *options]
        return self.start("sim", "--learner", address, *own)

    def wait_for_rows(self) -> None:
        """Wait until the learner has made rows durable."""
        segment = self.run / "replay" / "replay-000000.rows"
        deadline = time.monotonic() + PATIENCE_S
        while not (segment.exists() and segment.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert segment.stat().st_size

    def summary(self) -> dict[str, Any]:
        """What the learner has summed up."""
        content: dict[str, Any] = msgspec.json.decode((self.run / "summary.json").read_bytes())
        return content

    def close(self) -> None:
        """End whatever a failed test has left."""
        for command in self._commands:
            if command.process.poll() is None:
                command.interrupt()
                command.process.wait(PATIENCE_S)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Folders and nothing running."""
    lab = Lab(tmp_path)
    yield lab
    lab.close()


def test_robots_with_keys_teach_a_learner_elsewhere(lab: Lab) -> None:
    """Named after their key; with enough steps both commands end by themselves."""
    keys = lab.folder / "keys"
    assert lab.start("keys", "lab3", "--folder", str(keys)).finish() == 0
    learner, address = lab.learn("--steps", "300", "--keys", str(keys / "learner"))
    stranger = lab.robots(address, "--run", str(lab.folder / "stranger"))
    learner.wait_for("refused at the door|no robot has called")
    robots = lab.robots(address, "--runners", "2", "--keys", str(keys / "lab3"))
    assert robots.finish() == 0, robots.output
    assert learner.finish() == 0, learner.output
    stranger.interrupt()
    assert stranger.finish() == 130
    assert "the learner has all of the 300 steps" in robots.output
    summary = lab.summary()
    assert (summary["env_steps"], summary["lost"], summary["duplicated"]) == (300, 0, 0)
    assert (summary["env"], summary["robot"]) == ("Pendulum-v1", None)
    report = msgspec.json.decode((lab.run / "learner.json").read_bytes())
    assert set(report["robots"]) == {"lab3-0", "lab3-1"}
    assert (lab.run / "policy" / "final.onnx").exists()


def test_robots_outlive_their_learner(lab: Lab) -> None:
    """It is killed, and comes back with --resume on the same port: everything arrives once."""
    learner, address = lab.learn()
    robots = lab.robots(address)
    lab.wait_for_rows()
    os.killpg(learner.process.pid, signal.SIGKILL)
    learner.process.wait()
    assert robots.process.poll() is None
    learner, _ = lab.learn("--resume", "--steps", "1000", bind=address)
    learner.wait_for("resumed: ")
    assert robots.finish() == 0, robots.output
    assert learner.finish() == 0, learner.output
    summary = lab.summary()
    assert (summary["env_steps"], summary["lost"], summary["duplicated"]) == (1000, 0, 0)


def test_robots_that_call_when_there_is_enough_are_sent_home(lab: Lab) -> None:
    """They make no row, and do not wait for ever."""
    learner, address = lab.learn("--steps", "100")
    assert lab.robots(address).finish() == 0
    assert learner.finish() == 0
    learner, address = lab.learn("--resume", bind=address)
    robots = lab.robots(address)
    assert robots.finish() == 0, robots.output
    assert "all of the 0 steps" in robots.output
    assert learner.finish() == 0, learner.output
    assert lab.summary()["env_steps"] == 100


def test_ctrl_c_ends_either_side_in_order(lab: Lab) -> None:
    """The learner leaves a whole folder; the robots' rows wait for it on their disk."""
    learner, address = lab.learn()
    robots = lab.robots(address)
    lab.wait_for_rows()
    learner.interrupt()
    assert learner.finish() == 130
    assert (lab.run / "policy" / "final.onnx").exists()
    assert lab.summary()["env"] == "Pendulum-v1"
    robots.interrupt()
    assert robots.finish() == 130


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["learn", "--bind", "0.0.0.0:0"], "--insecure"),
        (["learn", "--bind", "nonsense"], "HOST:PORT"),
        (["learn", "--keys", "nowhere"], "robosac keys"),
        (["learn", "--resume"], "--run"),
        (["learn", "--steps", "0"], "at least 1"),
        (["sim", "--learner", "nonsense"], "HOST:PORT"),
        (["sim", "--learner", "here:1", "--resume"], "--resume"),
        (["sim", "--learner", "here:1", "--runners", "0"], "at least 1"),
        (["sim", "--name", "pup"], "--learner"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], expected: str, lab: Lab) -> None:
    """Exit code 2, with what was expected."""
    command = lab.start(*arguments)
    assert command.finish() == 2
    *_, line = command.output.splitlines()
    assert line.startswith("robosac: ")
    assert expected in line


def test_a_learner_that_nobody_calls_ends_in_order(lab: Lab) -> None:
    """SIGTERM, which is Ctrl-C of a script, before the first robot: the folder can be resumed."""
    learner, _ = lab.learn()
    learner.process.terminate()
    assert learner.finish() == 130
    assert (lab.run / "config.json").exists()
