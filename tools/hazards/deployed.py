"""`robosac deploy` as a process on emulated devices, under a trial's hand."""

from __future__ import annotations

import contextlib
import math
import resource
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
from tools.hazards.registry import Finding, NotBegunError
from tools.hazards.rig import ROBOT
from tools.hazards.trial import VirtualTrial
from tools.hazards.witness import Witness
from tools.patient_pup import changed_pup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tools.hazards.registry import Hazard

ROOT = Path(__file__).parents[2]
_PATIENCE_S = 20.0
_SLACK_S = 0.06
_WALK_S = 0.4
_TRIES = 3
_STAND_UP_S = 6.0
PERIOD_S = 0.02
"""Control period of the pup, s."""
CALM_S = 0.5
"""How long nothing may happen after a stop, s."""
SLOW_ADAPTER = {"baud = 1000000\n": "baud = 1000000\nusb_latency_s = 0.016\n"}
"""As USB adapters are delivered; an emulated bus on a busy machine answers no sooner."""
MISSED_MAX = 2
"""Ticks that a busy machine may miss by itself."""


class Deployed:
    """One process that drives the emulated pup, what it says, and what its servos do."""

    def __init__(
        self,
        made: Devices,
        folder: Path,
        arguments: Sequence[str] = (),
        *,
        robot: str,
        file_limit: int | None = None,
    ) -> None:
        """Start it; nothing moves before go().  No file may get larger than the limit, bytes."""
        self.made = made
        """The devices it drives."""
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
            [sys.executable, "-m", "robosac", "deploy", "--robot", robot, *ports, *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        if file_limit is not None:
            limits = (file_limit, file_limit)
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, limits)
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
        for _ in range(_TRIES):
            told_ns = time.monotonic_ns()
            self.say("go")
            with contextlib.suppress(TimeoutError):  # a busy machine may have kept it from it
                self.wait_for("-> active", since_ns=told_ns, patience_s=_STAND_UP_S)
                return
        self.wait_for("-> active")

    def wait_for(self, words: str, *, since_ns: int = 0, patience_s: float = _PATIENCE_S) -> str:
        """Wait until it has said this; raises TimeoutError with what it said instead."""
        with contextlib.suppress(TimeoutError):
            wait(
                lambda: bool(self.said(words, since_ns=since_ns)) or not self._reader.is_alive(),
                words,
                patience_s,
            )
        found = self.said(words, since_ns=since_ns)
        if not found:
            heard = [text for _, text in self.lines if text.startswith("error")]
            heard += [text for _, text in self.lines[-5:]]
            raise TimeoutError(f"it has not said {words!r}, but: {' / '.join(heard)}")
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
def deployed(
    *arguments: str,
    faults: Iterable[str] = (),
    file_limit: int | None = None,
    changes: dict[str, str] | None = None,
) -> Iterator[Deployed]:
    """A process that has let the pup stand up, on emulated devices.

    Changes of its robot.toml count for the process, not for the devices.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deployed-")))
        made = stack.enter_context(plugged_in(faults))
        robot = str(changed_pup(folder / ROBOT, changes or {}))
        one = _walking(
            lambda: Deployed(made, folder, arguments, robot=robot, file_limit=file_limit)
        )
        stack.callback(one.close)
        time.sleep(_WALK_S)
        yield one


def _walking(start: Callable[[], Deployed]) -> Deployed:
    """A process that walks; another one when the checks of a busy machine found fault with it."""
    for attempt in range(_TRIES):
        one = start()
        try:
            one.walk()
        except BaseException as error:
            one.close()
            if not isinstance(error, TimeoutError):
                raise
            if attempt + 1 == _TRIES:
                raise NotBegunError(str(error)) from None
        else:
            return one
    raise AssertionError  # the last attempt returns or raises


def ticks_to(then_ns: int, since_ns: int) -> int:
    """Control periods between two times, begun ones counted."""
    return max(0, math.ceil((then_ns - since_ns) / (1e9 * PERIOD_S)))


def timed(one: Hazard, robot: Deployed, since_ns: int) -> tuple[int, list[str]]:
    """Ticks until the servos stopped, and whether that is in time."""
    ticks = ticks_to(robot.witness.drove_ns, since_ns)
    problems = list(robot.witness.problems)
    if robot.witness.driving:
        problems.append("servos drive on")
    if one.within is not None and ticks > one.within:
        problems.append(f"servos stopped after {ticks} ticks; expected at most {one.within}")
    return ticks, problems


def judge_latched(one: Hazard, robot: Deployed, since_ns: int, cause: str) -> Finding:
    """The process stops the robot for this cause, and a go does not move it again."""
    logged = robot.wait_for(cause, since_ns=since_ns)
    wait(lambda: not robot.witness.driving, "servos that have stopped")
    robot.wait_for("-> fault", since_ns=since_ns)
    ticks, problems = timed(one, robot, since_ns)
    stopped_ns = time.monotonic_ns()
    robot.say("go")
    time.sleep(CALM_S)
    if robot.witness.drove_ns > stopped_ns:
        problems.append("servos drove again although the stop was latched")
    states = [
        line.split("safety: ")[1].split(" at ")[0]
        for ns, line in robot.lines
        if ns >= since_ns and "safety: " in line and " -> " in line
    ]
    return Finding(", ".join(states), logged, ticks, tuple(problems))


def judge_walking(robot: Deployed, since_ns: int) -> list[str]:
    """Whether the robot walks on, on time, until it is told to end."""
    stops = ("-> sit", "-> damp", "-> fault")
    problems = [
        *robot.witness.problems,
        *filter(None, (robot.said(one, since_ns=since_ns) for one in stops)),
    ]
    robot.say("quit")
    robot.process.wait(_PATIENCE_S)
    robot.wait_for("moved for")
    last = [line for _, line in robot.lines if "missed ticks" in line][-1]
    number = int(last.partition("missed ticks ")[2].split()[0])
    if number > MISSED_MAX:
        problems.append(f"{number} ticks missed; expected at most {MISSED_MAX}")
    return problems
