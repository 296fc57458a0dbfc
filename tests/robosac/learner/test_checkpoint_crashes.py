"""A checkpoint exists whole or not at all, whenever its writer ends and whatever the disk does."""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from robosac.errors import StorageError
from robosac.learner import checkpoint
from robosac.learner.checkpoint import complete, freeze, restore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robosac.learner.learner import Learner

TENSORS, STATE, SUMS = "tensors.safetensors", "state.json", "SHA256SUMS"
TOOL = Path(__file__).parents[3] / "tools" / "crash_checkpoints.py"


def test_the_newest_two_are_kept(lived: Learner, tmp_path: Path) -> None:
    """Also when nothing was learned in between, and whatever else lies there."""
    for name in ("notes", "checkpoint-000000009.bak", "checkpoint-old"):
        (tmp_path / name).mkdir()
    frozen = freeze(lived)
    names = [checkpoint.write(tmp_path, frozen).name for _ in range(5)]
    assert names == sorted(names)
    assert [path.name for path in complete(tmp_path)] == names[-2:]
    others = {"notes", "checkpoint-000000009.bak", "checkpoint-old"}
    assert {path.name for path in tmp_path.iterdir()} == {*names[-2:], *others}


def test_sha256sum_agrees(saved: Path) -> None:
    """SHA256SUMS can be checked with the tool it is named after: one digest and name a line."""
    lines = (saved / SUMS).read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == [TENSORS, STATE]
    assert all(len(line.split("  ")[0]) == 64 for line in lines)


def test_a_full_disk_is_told_and_harms_nothing(
    lived: Learner, saved: Path, fresh: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is ours, and the old checkpoint is still the newest."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    frozen = freeze(lived)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="disk full"):
            checkpoint.write(saved.parent, frozen)
    assert list(saved.parent.iterdir()) == [saved], "what was written before is gone"
    restore(saved, fresh)
    checkpoint.write(saved.parent, freeze(lived))
    assert len(list(saved.parent.iterdir())) == 2


@pytest.mark.parametrize("size", [0, 1000, 10_000])
def test_a_disk_that_fills_up_in_the_middle(
    lived: Learner, saved: Path, fresh: Learner, size: int
) -> None:
    """A file may grow to some size and no further; the draft makes room again."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    frozen = freeze(lived)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(StorageError, match="file size limit reached"):
            checkpoint.write(saved.parent, frozen)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(saved.parent.iterdir()) == [saved]
    restore(saved, fresh)


def test_every_name_is_durable_before_it_counts(
    lived: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a loss of power: files and their folder are synced, then renamed, then synced again."""
    events: list[str] = []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(descriptor: int) -> None:
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real_sync(descriptor)

    def rename(path: Path, target: Path) -> Path:
        events.append(f"rename to {target.name}")
        return real_rename(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    folder = tmp_path / "checkpoint"
    written = checkpoint.write(folder, freeze(lived))
    whole = [TENSORS, STATE, SUMS, f".{written.name}", f"rename to {written.name}", folder.name]
    assert events == [tmp_path.name, *whole], "the folder was new, so its own name comes first"
    events.clear()
    written = checkpoint.write(folder, freeze(lived))
    assert events == [name.replace("0001", "0002") for name in whole]


class Crash(BaseException):
    """The power fails."""


@pytest.fixture
def crash_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Return what makes the n-th operation on the file system the last one, done or half done."""
    left = [10**9]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- any of os's
            left[0] -= 1
            if left[0] < 0:
                raise Crash
            return real(*arguments, **options)

        return operation

    for owner, name in (
        (os, "fsync"),
        (os, "unlink"),
        (os, "rmdir"),
        (Path, "mkdir"),
        (Path, "rename"),
        (Path, "open"),
    ):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))

    def crash_at(number: int) -> None:
        left[0] = number

    yield crash_at
    left[0] = 10**9


def test_a_crash_at_any_operation_leaves_a_checkpoint(
    lived: Learner, fresh: Learner, tmp_path: Path, crash_at: Callable[[int], None]
) -> None:
    """After each, every checkpoint is whole and the newest is the old or the new one.

    The folder has its two checkpoints already, so the removal of the oldest is crashed into too.
    """
    started, later = tmp_path / "started", freeze(lived)
    checkpoint.write(started, later)
    checkpoint.write(started, later)
    lived.update()
    newer = freeze(lived)
    survived = set()
    for number in range(100):
        folder = tmp_path / f"crash-{number}"
        shutil.copytree(started, folder)
        crash_at(number)
        try:
            checkpoint.write(folder, newer)
        except Crash:
            crash_at(10**9)
        else:
            break
        for path in complete(folder):
            restore(path, fresh)
        survived.add(restore(complete(folder)[-1], fresh).updates)
        checkpoint.write(folder, newer)
        assert len(list(folder.iterdir())) == 2
    assert number > 10, "the test must crash into every operation"
    assert survived == {3, 4}


def test_a_killed_writer_leaves_a_checkpoint(
    lived: Learner, fresh: Learner, tmp_path: Path
) -> None:
    """A process that writes one checkpoint after another is killed at 40 random moments.

    Or at more of them, and later ones, on a machine that is too busy for one in so short a time.
    """
    frozen = freeze(lived)
    rng = random.Random(0)  # noqa: S311 -- moments, not secrets
    for kills in itertools.count():
        if kills >= 40 and complete(tmp_path):
            break
        child = os.fork()
        if child == 0:
            while True:
                checkpoint.write(tmp_path, frozen)
        time.sleep(rng.uniform(0.001, 0.02) * (1 + kills / 20))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for path in complete(tmp_path):
            restore(path, fresh)


def test_what_a_killed_learner_wrote_is_resumed_to_the_bit(tmp_path: Path) -> None:
    """A few crashes of the many that the tool is there for, in a run that really learns."""
    found = tmp_path / "found.json"
    command = [sys.executable, str(TOOL), "--crashes", "5", "--seed", "3", "--json", str(found)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "resumes 5 equal digests 5 random policies 0"
    assert (done.returncode, done.stderr) == (0, "")
    assert sum(json.loads(found.read_text())["kills"].values()) == 5
