"""A checkpoint exists whole or not at all, and what is restored is what was saved."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import torch

from robosac.errors import CheckpointError, StorageError
from robosac.learner import checkpoint
from robosac.learner.checkpoint import Frozen, complete, digest, freeze, restore, restore_newest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robosac.learner.learner import Learner
    from robosac.policy import Contract
    from tests.robosac.learner.conftest import DrawRows, MakeLearner

TENSORS, STATE, SUMS = "tensors.safetensors", "state.json", "SHA256SUMS"


def learn(learner: Learner, updates: int) -> None:
    """Make updates."""
    for _ in range(updates):
        learner.update()


def bits(learner: Learner) -> str:
    """Digest of everything that is learned."""
    return digest(learner.sac.state())


@pytest.fixture
def lived(make_learner: MakeLearner, draw_rows: DrawRows) -> Learner:
    """A learner after three updates."""
    learner = make_learner()
    learner.ingest(draw_rows(100))
    learner.snapshot()
    learn(learner, 3)
    return learner


@pytest.fixture
def fresh(make_learner: MakeLearner, draw_rows: DrawRows) -> Learner:
    """A new learner whose replay has been refilled."""
    learner = make_learner()
    learner.ingest(draw_rows(100))
    return learner


@pytest.fixture
def saved(lived: Learner, tmp_path: Path) -> Path:
    """A checkpoint of the learner that has lived."""
    return checkpoint.write(tmp_path / "checkpoint", freeze(lived))


def refusal(path: Path, learner: Learner) -> str:
    """Why a checkpoint is refused; the learner must be untouched."""
    before, state = bits(learner), learner.rng.bit_generator.state
    with pytest.raises(CheckpointError) as caught:
        restore(path, learner)
    assert bits(learner) == before
    assert learner.rng.bit_generator.state == state
    assert (learner.updates, learner.version) == (0, 0)
    reason = str(caught.value)
    assert str(path) in reason
    assert "\n" not in reason
    return reason


def edit_state(path: Path, **fields: object) -> None:
    """Change the state of a checkpoint as its writer would have: with new digests."""
    state = msgspec.json.decode((path / STATE).read_bytes()) | fields
    content = {TENSORS: (path / TENSORS).read_bytes(), STATE: msgspec.json.encode(state)}
    (path / STATE).write_bytes(content[STATE])
    (path / SUMS).write_text(checkpoint._sums(content))  # noqa: SLF001 -- a forger would know it


# -- what is restored -------------------------------------------------------------------------


def test_learning_goes_on_to_the_bit(lived: Learner, fresh: Learner, saved: Path) -> None:
    """Three more updates of both, samples included, give equal digests."""
    state = restore(saved, fresh)
    assert (state.updates, state.env_steps, state.version) == (3, 100, 1)
    assert bits(fresh) == bits(lived)
    assert (fresh.updates, fresh.version) == (3, 1)
    learn(lived, 3)
    assert bits(fresh) != bits(lived)
    learn(fresh, 3)
    assert bits(fresh) == bits(lived)


def test_sampling_goes_on_where_it_was(lived: Learner, fresh: Learner, saved: Path) -> None:
    """The same rows are drawn next, also after half of a 64-bit word has been used."""
    lived.rng.integers(7, dtype=np.uint32)  # leaves a half word in the generator
    again = checkpoint.write(saved.parent, freeze(lived))
    restore(again, fresh)
    for _ in range(3):
        one = lived.rng.integers(1000, size=5, dtype=np.uint32)
        assert np.array_equal(one, fresh.rng.integers(1000, size=5, dtype=np.uint32))


def test_debts_and_episodes_are_restored(
    make_learner: MakeLearner, draw_rows: DrawRows, tmp_path: Path
) -> None:
    """Replay knows the episodes; what is owed is what was, and what came after the checkpoint."""
    learner = make_learner(learner={"learning_starts": 20})
    learner.ingest(draw_rows(100, truncated=1.0))
    learn(learner, 50)
    checkpoint.write(tmp_path, freeze(learner))
    again = make_learner(learner={"learning_starts": 20})
    again.ingest(draw_rows(100, truncated=1.0))
    again.ingest(draw_rows(7, terminated=1.0))
    assert restore_newest(tmp_path, again) is not None
    assert again.owed == learner.owed + 7 == 37
    assert (again.episodes, again.falls) == (107, 7)
    assert (again.env_steps, again.updates, again.updates_here) == (107, 50, 0)


def test_nothing_to_restore(fresh: Learner, tmp_path: Path) -> None:
    """A run that crashed before its first checkpoint owes all that replay has paid for."""
    assert restore_newest(tmp_path / "never made", fresh) is None
    assert fresh.owed == 100


def test_the_newest_is_restored(lived: Learner, fresh: Learner, saved: Path) -> None:
    """By order of writing, not by number of updates."""
    learn(lived, 4)
    checkpoint.write(saved.parent, freeze(lived))
    state = restore_newest(saved.parent, fresh)
    assert state is not None
    assert state.updates == fresh.updates == 7


def test_a_digest_tells_learners_apart() -> None:
    """Name, shape, type and every bit count."""
    ones = {"a": torch.ones(2, 3), "b": torch.zeros(2)}
    others = [
        {"a": torch.ones(2, 3), "c": torch.zeros(2)},
        {"a": torch.ones(3, 2), "b": torch.zeros(2)},
        {"a": torch.ones(2, 3), "b": torch.zeros(2, dtype=torch.int32)},
        {"a": torch.ones(2, 3), "b": torch.tensor([0.0, -0.0])},
    ]
    assert len({digest(one) for one in [ones, *others]}) == 5
    assert digest(ones) == digest({name: ones[name].clone() for name in ("b", "a")})


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [TENSORS, STATE, SUMS])
def test_damage_is_refused(saved: Path, fresh: Learner, name: str) -> None:
    """A missing, an empty, a cut and a flipped file; the advice is to take the one before."""
    path = saved / name
    content = path.read_bytes()
    for place in (0, len(content) // 2, len(content) - 1):
        flipped = bytearray(content)
        flipped[place] ^= 0x40
        path.write_bytes(flipped)
        assert "delete it to resume from the one before" in refusal(saved, fresh)
    path.write_bytes(content[:-1])
    refusal(saved, fresh)
    path.write_bytes(b"")
    refusal(saved, fresh)
    path.unlink()
    refusal(saved, fresh)
    path.write_bytes(content)
    restore(saved, fresh)


def test_another_recipe_is_refused(saved: Path, make_learner: MakeLearner) -> None:
    """The error says which part differs."""
    reason = refusal(saved, make_learner(learner={"utd": 2.0}))
    assert "another recipe (learner differ)" in reason
    assert "another recipe (sac differ)" in refusal(saved, make_learner(sac={"gamma": 0.9}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("env", "other"),
        ("action_upper", (1.0, 2.0)),
        ("task_config", {"weight": 2.0}),
        ("extra", 3),
    ],
)
def test_another_robot_or_task_is_refused(
    saved: Path, make_learner: MakeLearner, toy: Contract, field: str, value: object
) -> None:
    """Reward weights count too: the critics have learned them."""
    other = msgspec.structs.replace(toy, **{field: value})
    reason = refusal(saved, make_learner(contract=other))
    assert f"another robot or task ({field} differ)" in reason


def test_the_seed_and_the_examples_may_differ(
    lived: Learner, saved: Path, make_learner: MakeLearner, toy: Contract
) -> None:
    """A checkpoint replaces what the seed made; golden vectors may differ in their last bit."""
    other = msgspec.structs.replace(toy, golden=toy.golden[:1])
    learner = make_learner(seed=9, contract=other)
    restore(saved, learner)
    assert bits(learner) == bits(lived)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"schema": 2}, "has schema 2, this robosac reads 1"),
        ({"updates": "many"}, "Expected `int`"),
        ({"surprise": 1}, "unknown field `surprise`"),
        ({"rng": {}}, "does not fit this learner"),
        ({"rng": {"bit_generator": "MT19937"}}, "does not fit this learner"),
    ],
)
def test_a_state_of_another_kind_is_refused(
    saved: Path, fresh: Learner, fields: dict[str, Any], reason: str
) -> None:
    """Even with digests that agree."""
    edit_state(saved, **fields)
    assert reason in refusal(saved, fresh)


def test_tensors_of_another_network_are_refused(
    saved: Path, make_learner: MakeLearner, fresh: Learner
) -> None:
    """The error names tensor and shapes."""
    wide = freeze(make_learner(sac={"hidden": (24, 16)}))
    other = checkpoint.write(saved.parent, Frozen(freeze(fresh).state, wide.tensors))
    assert "critics.0.0.weight is (24, 7)" in refusal(other, fresh)
    broken = checkpoint.write(saved.parent, Frozen(freeze(fresh).state, b"no tensors"))
    assert "does not fit" in refusal(broken, fresh)


def test_missing_rows_are_an_error(
    make_learner: MakeLearner, draw_rows: DrawRows, saved: Path
) -> None:
    """A checkpoint that has seen 100 rows does not go on with 99."""
    learner = make_learner()
    learner.ingest(draw_rows(99))
    with pytest.raises(CheckpointError, match="replay has 99 transitions, expected at least 100"):
        restore_newest(saved.parent, learner)


def test_a_diverged_learner_is_not_saved(lived: Learner) -> None:
    """The last good checkpoint stays the newest."""
    with torch.no_grad():
        next(iter(lived.sac.critics.parameters()))[0, 0] = torch.inf
    with pytest.raises(CheckpointError, match=r"critics\.0\.0\.weight is not finite after 3"):
        freeze(lived)


# -- whole or not at all ----------------------------------------------------------------------


def test_the_newest_two_are_kept(lived: Learner, tmp_path: Path) -> None:
    """Also when nothing was learned in between, and whatever else lies there."""
    (tmp_path / "notes").mkdir()
    frozen = freeze(lived)
    names = [checkpoint.write(tmp_path, frozen).name for _ in range(5)]
    assert names == sorted(names)
    assert [path.name for path in complete(tmp_path)] == names[-2:]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names[-2:], "notes"]


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
    assert complete(saved.parent) == [saved]
    restore(saved, fresh)
    checkpoint.write(saved.parent, freeze(lived))
    assert len(list(saved.parent.iterdir())) == 2, "what was left over is gone"


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
    written = checkpoint.write(tmp_path, freeze(lived))
    assert events == [TENSORS, STATE, SUMS, f".{written.name}", *events[4:]]
    assert events[4:] == [f"rename to {written.name}", tmp_path.name]


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
    learn(lived, 1)
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
    """A process that writes one checkpoint after another is killed at 40 random moments."""
    frozen = freeze(lived)
    rng = random.Random(0)  # noqa: S311 -- moments, not secrets
    for _ in range(40):
        child = os.fork()
        if child == 0:
            while True:
                checkpoint.write(tmp_path, frozen)
        time.sleep(rng.uniform(0.001, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for path in complete(tmp_path):
            restore(path, fresh)
    assert complete(tmp_path)
