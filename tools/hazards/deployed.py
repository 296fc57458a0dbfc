"""`robosac deploy` as a process on emulated devices, under a trial's hand."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tools.hazards.live import Devices, plugged_in
from tools.hazards.policies import contract_of, holding_policy
from tools.hazards.trial import VirtualTrial
from tools.hazards.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).parents[2]
_PATIENCE_S = 20.0
_SLACK_S = 0.06


class Deployed:
    """One process that drives the emulated pup, what it says, and what its servos do."""

    def __init__(self, made: Devices, folder: Path, arguments: Sequence[str] = ()) -> None:
        """Start it; nothing moves before go()."""
        self.witness = Witness(made.spec, made.bus.bench.servos, slack_s=_SLACK_S)
        made.watch(self.witness)
        self.folder = folder / "deployed"
        self.lines: list[tuple[int, str]] = []
        """What it has said, with the time, ns."""
        policy = folder / "policy.onnx"
        policy.write_bytes(a_policy())
        ports = ["--port", str(made.servos_path), "--imu", str(made.imu_path)]
        given = ["--policy", str(policy), "--run", str(self.folder), *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "robosac", "deploy", "--robot", "pup", *ports, *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def say(self, word: str) -> None:
        """Say something as its operator."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def walk(self) -> None:
        """Let it stand up, and wait until the policy acts."""
        self.wait_for("go lets it stand up")
        self.say("go")
        self.wait_for("-> active")

    def wait_for(self, words: str, *, since_ns: int = 0) -> str:
        """Wait until it has said this; raises TimeoutError with what it said instead."""
        wait(
            lambda: bool(self.said(words, since_ns=since_ns)) or not self._reader.is_alive(), words
        )
        found = self.said(words, since_ns=since_ns)
        if not found:
            heard = " / ".join(text for _, text in self.lines[-5:])
            raise TimeoutError(f"it ended without {words!r}: {heard}")
        return found

    def said(self, words: str, *, since_ns: int = 0) -> str:
        """The first line with these words; empty without one."""
        return next((line for ns, line in self.lines if ns >= since_ns and words in line), "")

    def close(self) -> None:
        """End it, whatever state it is in."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append((time.monotonic_ns(), line.strip()))


def wait(condition: Callable[[], bool], what: str, patience_s: float = _PATIENCE_S) -> None:
    """Wait for a condition; raises TimeoutError."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} after {patience_s:g} s")
        time.sleep(0.005)


def a_policy() -> bytes:
    """A policy file that keeps the stance."""
    with VirtualTrial() as trial:
        return holding_policy(contract_of(trial.env))


@contextlib.contextmanager
def deployed(*arguments: str) -> Iterator[Deployed]:
    """A process that has let the pup stand up, on emulated devices."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deployed-")))
        made = stack.enter_context(plugged_in())
        one = Deployed(made, folder, arguments)
        stack.callback(one.close)
        one.walk()
        yield one
