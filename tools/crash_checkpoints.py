"""Kill a learner again and again while it writes a checkpoint, and look at what is resumed.

    python tools/crash_checkpoints.py --crashes 100 --seed 0 [--json PATH]

A process resumes a run folder, learns, and writes one checkpoint after another; before each it
tells its parent the digest of what it is about to write and what its policy does.  The parent kills
it with SIGKILL at a random moment of a write, and another process resumes what is left: the digest
must be that of the checkpoint that was being written or of the one before, and the policy that is
published first must act as that checkpoint's did, to the bit.  A resume that is refused is an end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shlex
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

import numpy as np
import torch

from robosac.algorithms.config import SACConfig
from robosac.learner import checkpoint
from robosac.learner.learner import Learner
from robosac.policy import OnnxPolicy
from robosac.policy.contract import Contract, Golden
from robosac.recipe import LearnerConfig, Recipe
from robosac.replay import Chunk, SegmentLog
from robosac.tasks.observation import Term
from tools.provenance import provenance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

LIBRARIES = ("robosac", "torch", "numpy")
OBS, ACTION, HIDDEN = 8, 2, (64, 64)
ROWS = 16
"""Rows, and updates, between two checkpoints."""
ROBOT, RUN = "small", "c" * 32
RECENT = 15
"""Writes whose median duration is how long the next may take; a kill comes within that time."""
AMONG_FILES = 0.8
"""Share of the kills that wait until the first file is there."""


def build() -> Learner:
    """Make a learner that has not learned; it is copied, as exporting its policy takes seconds."""
    contract = Contract(
        env="crash",
        action_lower=(-1.0,) * ACTION,
        action_upper=(1.0,) * ACTION,
        obs=(Term(name="observation", size=OBS, unit="", clip=None),),
        golden=(Golden(sensors={}, obs=[0.0] * OBS),),
    )
    recipe = Recipe(
        name="crash",
        learner=LearnerConfig(batch_size=32, learning_starts=0),
        sac=SACConfig(hidden=HIDDEN),
    )
    return Learner(recipe, contract, seed=0)


def draw(learner: Learner, first: int) -> Chunk:
    """Transitions from a sequence number on; rewards depend on the action, so policies change."""
    layout, rng = learner.layout, np.random.default_rng(first)
    rows = rng.standard_normal((ROWS, layout.width)).astype(np.float32)
    fields = layout.view(rows)
    fields.action[:] = rng.uniform(-1, 1, (ROWS, ACTION))
    fields.reward[:] = fields.action.sum(axis=1)
    for scalar in (fields.terminated, fields.truncated, fields.policy_version):
        scalar[:] = 0
    return Chunk(robot=ROBOT, run=RUN, first=first, rows=rows)


def actions(learner: Learner) -> str:
    """Publish a policy and digest what it does, as a robot would see it."""
    policy = OnnxPolicy(learner.policy_file(learner.snapshot()))
    seen = np.random.default_rng(0).standard_normal((8, OBS)).astype(np.float32)
    return hashlib.sha256(b"".join(policy.act(obs).tobytes() for obs in seen)).hexdigest()


def live(learner: Learner, folder: Path, tell: BinaryIO, *, checkpoints: int) -> None:
    """Resume, say what was resumed, then learn and write checkpoints."""

    def say(**what: object) -> None:
        tell.write(json.dumps(what).encode() + b"\n")
        tell.flush()

    with SegmentLog(folder / "replay", learner.layout) as log:
        for chunk in log.rows():
            learner.take(chunk)
        resumed = checkpoint.restore_newest(folder / "checkpoint", learner)
        digest = None if resumed is None else resumed.digest
        say(event="resumed", digest=digest, actions=actions(learner))
        for _ in range(checkpoints):
            chunk = draw(learner, log.marks.get((ROBOT, RUN), 0))
            log.append(chunk)
            log.sync()
            learner.take(chunk)
            while learner.owed >= 1:
                learner.update()
            act = actions(learner)
            say(event="begin", digest=checkpoint.digest(learner.algorithm.state()), actions=act)
            started = time.perf_counter()
            checkpoint.write(folder / "checkpoint", checkpoint.freeze(learner))
            say(event="written", seconds=time.perf_counter() - started)


def _child(learner: Learner, folder: Path, descriptor: int, checkpoints: int) -> NoReturn:
    code = 1
    try:
        with os.fdopen(descriptor, "wb") as tell:
            live(learner, folder, tell, checkpoints=checkpoints)
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


@contextmanager
def process(learner: Learner, folder: Path, *, checkpoints: int) -> Iterator[tuple[int, BinaryIO]]:
    """Fork a process that lives with a copy of the learner; yields its number and what it says.

    Raises RuntimeError when it ends in another way than by itself or by SIGKILL.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(learner, folder, writing, checkpoints)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        yield child, said
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in {0, -signal.SIGKILL}:
        message = f"the learner ended with {code}, expected 0 or SIGKILL; see its traceback above"
        raise RuntimeError(message)


def hear(said: BinaryIO) -> dict[str, Any] | None:
    """Return the next word of a process; None after its last whole one."""
    line = said.readline()
    return json.loads(line) if line.endswith(b"\n") else None


def stage(folder: Path) -> str:
    """Where in a write the kill fell, from what it left."""
    complete = [path.name for path in checkpoint.complete(folder)]
    hidden = list(folder.glob(".checkpoint-*"))
    if any(path.name[1:] < complete[0] for path in hidden):
        return "removing the oldest"
    if hidden:
        written = len(list(hidden[0].iterdir()))
        return f"draft with {written} files"
    return "renamed" if len(complete) > 2 else "no trace of the write"  # noqa: PLR2004 -- two are kept


@dataclass
class Torture:
    """A run folder, what may be resumed from it, and what was."""

    learner: Learner
    folder: Path
    rng: random.Random
    policies: dict[str, str] = field(default_factory=dict)
    """What the policy does, by digest of the learner."""
    expected: set[str] = field(default_factory=set)
    """Digests of which one must be resumed next; the newest complete one and the one begun."""
    begun: str = ""
    """Digest of the checkpoint that was begun last."""
    seconds: list[float] = field(default_factory=list)
    """How long every write took that was not killed, s."""
    resumes: int = 0
    equal: int = 0
    newest: int = 0
    """Resumes from the checkpoint that was being written."""
    strangers: int = 0
    """First policies that were not those of the checkpoint: random ones."""
    stages: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        """Write the first checkpoints undisturbed, to learn how long that takes."""
        with process(self.learner, self.folder, checkpoints=RECENT) as (_, said):
            while word := hear(said):
                self._note(word)

    def crash(self) -> None:
        """Go on, and be killed in one of the first three writes."""
        with process(self.learner, self.folder, checkpoints=10) as (child, said):
            writes = self.rng.randint(1, 3)
            while writes and (word := hear(said)):
                self._note(word)
                writes -= word["event"] == "begin"
            self._let_write()
            os.kill(child, signal.SIGKILL)
            while word := hear(said):
                self._note(word)
        written = self.expected == {self.begun}
        self.stages["after the write" if written else stage(self.folder / "checkpoint")] += 1

    def resume(self) -> None:
        """Compare what a process resumes with what it must."""
        with process(self.learner, self.folder, checkpoints=0) as (_, said):
            got = hear(said)
        assert got is not None  # it would have ended with another code
        self.resumes += 1
        self.equal += got["digest"] in self.expected
        self.newest += got["digest"] == self.begun
        self.strangers += got["actions"] != self.policies.get(got["digest"])
        self.expected = {got["digest"]}

    def _let_write(self) -> None:
        """Wait for a random moment of the write that has begun."""
        typical_s = median(self.seconds[-RECENT:])
        if self.rng.random() < AMONG_FILES:
            until = time.monotonic() + typical_s
            while time.monotonic() < until and not any(self.folder.glob("checkpoint/.check*")):
                pass
            typical_s /= 3
        time.sleep(self.rng.uniform(0, typical_s))

    def _note(self, word: dict[str, Any]) -> None:
        if word["event"] == "begin":
            self.begun = word["digest"]
            self.policies[self.begun] = word["actions"]
            self.expected.add(self.begun)
        elif word["event"] == "written":
            self.expected = {self.begun}
            self.seconds.append(word["seconds"])

    def result(self) -> dict[str, Any]:
        """Return all that was counted."""
        return {
            "resumes": self.resumes,
            "equal_digests": self.equal,
            "random_policies": self.strangers,
            "resumed_from_the_one_being_written": self.newest,
            "kills": dict(sorted(self.stages.items())),
            "write_ms": round(1e3 * median(self.seconds), 2),
        }


def torture(crashes: int, seed: int, folder: Path) -> dict[str, Any]:
    """Crash that often and return what was counted; the folder must be empty."""
    rng = random.Random(seed)  # noqa: S311 -- moments, not secrets
    run = Torture(build(), folder, rng)
    run.begin()
    for _ in range(crashes):
        run.crash()
        run.resume()
    return run.result()


def main() -> int:
    """Crash, print and keep the numbers; exit code 1 when any resume was not what it must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--crashes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a fork has only the thread that made it
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        result = torture(options.crashes, options.seed, Path(folder))
    for name, count in result["kills"].items():
        print(f"{count:5d} kills, {name}")
    print(
        f"resumes {result['resumes']} equal digests {result['equal_digests']} "
        f"random policies {result['random_policies']}"
    )
    if options.json:
        content = {
            **provenance(f"python {shlex.join(sys.argv)}", LIBRARIES),
            "wall_s": round(time.monotonic() - started, 1),
            **result,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    good = result["equal_digests"] == result["resumes"] and not result["random_policies"]
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
