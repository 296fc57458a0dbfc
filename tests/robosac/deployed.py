"""An emulated pup for `robosac deploy`: a patient folder, a policy that stands, the command."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

import robots
from robosac.cli.deploy import Deploy, Place
from robosac.policy.file import assemble
from sim.emulator.emulation import Emulation, EmulationOptions
from tests.patience import PATIENCE_S
from tests.robosac.cli.conftest import still_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from robosac.policy import Contract

_PAUSE_S = 0.25


def emulate(links: Path, **options: Any) -> Emulation:  # noqa: ANN401 -- those of EmulationOptions
    """The devices of a pup, at `servos` and `imu` in this folder."""
    folder = robots.find("pup")
    imu = folder.spec.imu_device
    return Emulation(folder, EmulationOptions(**options), imu=imu, links=links)


def contract_of(robot: Path) -> Contract:
    """What a policy for this folder must fulfil."""
    return Place(Deploy(robot=str(robot), port="none", imu="none")).contract


def standing_policy(path: Path, contract: Contract) -> Path:
    """Write a policy that keeps the stance."""
    golden = tuple(
        msgspec.structs.replace(one, action=[0.0] * contract.action_size) for one in contract.golden
    )
    contract = msgspec.structs.replace(contract, golden=golden)
    path.write_bytes(assemble(still_graph(contract), contract))
    return path


class Deployed:
    """`robosac deploy` as a user runs it: what it says, and what it is told."""

    def __init__(self, folder: Path, arguments: Sequence[str], **options: Any) -> None:  # noqa: ANN401
        self._out, self._err = folder / "stdout", folder / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            usual: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": out, "stderr": err}
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                start_new_session=True,
                **(usual | options),
            )

    @property
    def output(self) -> str:
        """What it has said to people."""
        return self._out.read_text("utf-8")

    @property
    def errors(self) -> str:
        """What it has said on standard error."""
        return self._err.read_text("utf-8")

    def say(self, word: str) -> None:
        """Say something as its operator."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()

    def hang_up(self) -> None:
        """Say nothing any more."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait_for(self, words: str) -> None:
        """Wait until it has said this, on either output."""
        wait(
            lambda: words in self.output + self.errors or self.process.poll() is not None,
            lambda: f"{words!r} in\n{self.output}\n{self.errors}",
        )
        assert words in self.output + self.errors, self.output + self.errors

    def pause(self) -> None:
        """Let as much time pass as people need to press a key again."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_PAUSE_S)

    def walk(self) -> None:
        """Let it stand up, and wait until the policy acts."""
        self.wait_for("go lets it stand up")
        self.say("go")
        self.wait_for("ramp -> active")

    def finish(self) -> int:
        """Wait for its end; returns the exit code."""
        code: int = self.process.wait(PATIENCE_S)
        assert "Traceback" not in self.errors, self.errors
        return code

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()


def wait(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"there is no {what()}"
        time.sleep(0.01)
