"""Checkpoints: folders of safetensors and JSON that exist whole or not at all.

A checkpoint is written and synced under a hidden name, then renamed; no checkpoint is ever changed
or replaced, only removed when newer ones are complete.  SHA256SUMS, as sha256sum writes it, proves
that what is read is what was written.  A checkpoint holds everything of a learner but its replay:
of that it knows how far every robot's run had been taken in, and is restored only onto at least so
many rows of the same runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from robosac.errors import CheckpointError, StorageError
from robosac.policy import Contract
from robosac.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from robosac.learner.learner import Learner

_TENSORS, _STATE, _SUMS = "tensors.safetensors", "state.json", "SHA256SUMS"
_SCHEMA = 2
_KEPT = 2
_NAME = re.compile(r"checkpoint-(\d{9})")
_UNCHECKED = {"policy_id", "training", "golden"}
"""Fields of a contract that may differ between a checkpoint and the learner that resumes it."""
_SHOWN = 12
"""Digits of a digest that a person compares."""

_MISFITS = (SafetensorError, KeyError, TypeError, ValueError, OverflowError, RuntimeError)
"""What numpy, torch and safetensors raise when a state is none of theirs."""

Count = Annotated[int, msgspec.Meta(ge=0)]


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything of a learner that is no tensor; how many episodes and falls, its replay tells."""

    schema: int = _SCHEMA
    recipe: dict[str, Any]
    contract: dict[str, Any]
    env_steps: Count
    updates: Count
    version: Count
    policies: Count
    published: dict[int, Count]
    """Transitions taken in when a version was published."""
    owed: float
    marks: dict[str, Count]
    """Next sequence number of every robot/run whose rows were taken in."""
    sampling: dict[str, Any]
    """State of the generator that samples replay; whole numbers as hexadecimal strings."""
    digests: dict[str, str]
    """What digests() says of the tensors."""


class Frozen(msgspec.Struct, frozen=True):
    """A learner at one moment, copied; writing it may happen on another thread."""

    state: State
    tensors: dict[str, Tensor]


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """What a run that was there before goes on from."""

    checkpoint: str | None
    """Path of the checkpoint; None when the run had ended before it wrote one."""
    env_steps: int
    """Transitions in replay."""
    updates: int
    digest: str
    """digest() of the tensors that were restored."""
    digests: dict[str, str]
    """And of each part of them by itself."""

    def __str__(self) -> str:
        """Say it in a line."""
        if self.checkpoint is None:
            return (
                f"resumed: {self.env_steps} transitions, no checkpoint: "
                "learning starts again from them"
            )
        return (
            f"resumed: {self.env_steps} transitions, {self.updates} updates, "
            f"digest {self.digest[:_SHOWN]} of {self.checkpoint}"
        )


def freeze(learner: Learner) -> Frozen:
    """Copy a learner between two updates; well under a millisecond for networks of 2x256."""
    state = State(
        recipe=_plain(learner.recipe),
        contract=_checked(learner.contract),
        env_steps=learner.env_steps,
        updates=learner.updates,
        version=learner.version,
        policies=learner.policies,
        published=learner.published.copy(),
        owed=learner.owed,
        marks={f"{robot}/{run}": mark for (robot, run), mark in learner.marks.items()},
        sampling=_to_json(learner.rng.bit_generator.state),
        digests={},
    )
    tensors = learner.algorithm.state()
    return Frozen(state, {name: value.to("cpu", copy=True) for name, value in tensors.items()})


def write(folder: Path, frozen: Frozen) -> Path:
    """Write a checkpoint beside those of a folder and keep the newest two.

    Raises StorageError, and CheckpointError when the learner had diverged; the checkpoints that
    were there are still there then.
    """
    content = _serialised(frozen)
    found = complete(folder)
    final = folder / f"checkpoint-{1 + _number(found[-1]) if found else 1:09d}"
    draft = folder / f".{final.name}"
    try:
        _prepare(folder)
        try:
            _write_files(draft, content)
            draft.rename(final)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)  # the room may be what the disk lacks
            raise
        _sync_folder(folder)
        for old in complete(folder)[:-_KEPT]:
            # Under its own name it must be whole until it is gone.
            shutil.rmtree(old.rename(folder / f".{old.name}"))
    except OSError as error:
        raise StorageError.from_os(folder, error) from None
    return final


def complete(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, oldest first; what a crash left half done is none."""
    return sorted(path for path in folder.glob("checkpoint-*") if _NAME.fullmatch(path.name))


def restore(path: Path, learner: Learner) -> State:
    """Load a checkpoint into a learner of the same recipe and contract whose replay is refilled.

    Raises CheckpointError when anything is missing, damaged or of another run, or when the replay
    lacks rows that were learned from; the learner is then as it was.
    """
    content, document = _read_verified(path)
    state = _decode(path, document)
    _check_same_run(path, state, learner)
    _check_rows(path, state, learner)
    try:
        generator = np.random.PCG64()
        generator.state = _from_json(state.sampling)
        tensors = load(content)
        if digests(tensors) != state.digests:
            raise _damaged(path, f"the tensors are not those that {_STATE} tells of")
        learner.algorithm.load_state(tensors, updates=state.updates)
    except _MISFITS as error:
        raise CheckpointError(
            f"{path}: does not fit this learner ({error}); "
            "resume with the version of robosac that wrote it, or start a new run"
        ) from None
    learner.rng = np.random.Generator(generator)
    learner.version, learner.policies = state.version, state.policies
    learner.published = state.published.copy()
    return state


def restore_newest(folder: Path, learner: Learner) -> Resumed | None:
    """Load the newest checkpoint, if any, into a learner whose replay is already refilled.

    It then owes what it owed, and the updates that the rows after the checkpoint have paid for.
    Returns None when nothing was there before: neither a checkpoint nor a row.  Raises
    CheckpointError as restore() does.
    """
    found = complete(folder)
    if found:
        state = restore(found[-1], learner)
        learner.settle(owed=state.owed, env_steps=state.env_steps)
    else:
        learner.settle(owed=0.0, env_steps=0)
        if not learner.env_steps:
            return None
    tensors = learner.algorithm.state()
    return Resumed(
        checkpoint=str(found[-1]) if found else None,
        env_steps=learner.env_steps,
        updates=learner.updates,
        digest=digest(tensors),
        digests=digests(tensors),
    )


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over every tensor, by name: equal digests mean equal learners."""
    hasher = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name].detach().cpu().numpy())
        hasher.update(f"{name} {value.dtype} {value.shape} ".encode())
        hasher.update(value.tobytes())
    return hasher.hexdigest()


def digests(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the digest of every part: actor, critics, targets, optimisers, generator, ..."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        parts.setdefault(name.partition(".")[0], {})[name] = value
    return {part: digest(members) for part, members in sorted(parts.items())}


def _number(path: Path) -> int:
    return int(path.name.removeprefix("checkpoint-"))


def _read_verified(path: Path) -> tuple[bytes, bytes]:
    """Read tensors and state; refuse what is not what was written."""
    try:
        content = {name: (path / name).read_bytes() for name in (_TENSORS, _STATE)}
        sums = (path / _SUMS).read_text("ascii")
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    if sums != _sums(content):
        raise _damaged(path, f"files do not match {_SUMS}")
    return content[_TENSORS], content[_STATE]


def _decode(path: Path, document: bytes) -> State:
    try:
        schema = msgspec.json.decode(document, type=_Versioned).schema
        if schema == _SCHEMA:
            return msgspec.json.decode(document, type=State)
    except msgspec.MsgspecError as error:
        raise _damaged(path, str(error)) from None
    raise CheckpointError(
        f"{path}: has schema {schema}, this robosac reads {_SCHEMA}; "
        "resume with the version that wrote it"
    )


class _Versioned(msgspec.Struct):
    schema: int


def _check_same_run(path: Path, state: State, learner: Learner) -> None:
    """Refuse a checkpoint of another recipe, robot or task."""
    pairs = {
        "recipe": (_completed(state.recipe, Recipe), _plain(learner.recipe)),
        "robot or task": (_completed(state.contract, Contract), _checked(learner.contract)),
    }
    for what, (theirs, ours) in pairs.items():
        differing = sorted(
            name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)
        )
        if differing:
            raise CheckpointError(
                f"{path}: is of another {what} ({', '.join(differing)} differ); "
                "resume with the same one, or start a new run"
            )


def _check_rows(path: Path, state: State, learner: Learner) -> None:
    """Refuse a replay that is not, or no longer, the one the checkpoint was learned from."""
    marks = {f"{robot}/{run}": mark for (robot, run), mark in learner.marks.items()}
    lacking = sorted(name for name, mark in state.marks.items() if marks.get(name, 0) < mark)
    advice = "put back this run's own replay folder, or start a new run"
    if lacking:
        robot, _, run = lacking[0].partition("/")
        more = f", and of {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise CheckpointError(
            f"{path}: replay has {marks.get(lacking[0], 0)} rows of robot {robot}, run {run}, "
            f"expected at least {state.marks[lacking[0]]}{more}; {advice}"
        )
    if learner.env_steps < state.env_steps:
        raise CheckpointError(
            f"{path}: replay has {learner.env_steps} transitions, "
            f"expected at least {state.env_steps}; {advice}"
        )


def _damaged(path: Path, detail: str) -> CheckpointError:
    older = [other.name for other in complete(path.parent) if other.name < path.name]
    advice = f"resume from {older[-1]}" if older else "learn again from the rows of the replay"
    return CheckpointError(f"{path}: cannot be used ({detail}); delete it to {advice}")


def _plain(struct: msgspec.Struct) -> dict[str, Any]:
    """What a struct is after it has been JSON."""
    fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(struct))
    return fields


def _completed(fields: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Add what fields that an earlier robosac wrote do not say yet: defaults of ours."""
    try:
        whole = _plain(msgspec.convert(fields, kind))
    except msgspec.ValidationError:
        return fields  # they will differ
    return {name: value for name, value in whole.items() if name not in _UNCHECKED}


def _checked(contract: Contract) -> dict[str, Any]:
    fields = _plain(contract)
    return {name: value for name, value in fields.items() if name not in _UNCHECKED}


def _serialised(frozen: Frozen) -> dict[str, bytes]:
    """Return the files of a checkpoint; raises CheckpointError when a tensor is not finite."""
    tensors, updates = frozen.tensors, frozen.state.updates
    bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise CheckpointError(
            f"{bad[0]} is not finite after {updates} updates, so no checkpoint is written; "
            "lower the recipe's learning rates, then start a new run"
        )
    state = msgspec.structs.replace(frozen.state, digests=digests(tensors))
    content = {
        _TENSORS: save({name: value.contiguous() for name, value in tensors.items()}),
        _STATE: msgspec.json.encode(state),
    }
    return content | {_SUMS: _sums(content).encode()}


def _prepare(folder: Path) -> None:
    """Make the folder where there is none, durably, and remove what crashes left in it."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        _sync_folder(folder.parent)
    for leftover in folder.glob(".checkpoint-*"):
        shutil.rmtree(leftover)


def _write_files(folder: Path, content: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, text in content.items():
        with (folder / name).open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    _sync_folder(folder)


def _sums(content: Mapping[str, bytes]) -> str:
    """Digests in the format of sha256sum."""
    lines = [f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in content.items()]
    return "".join(lines)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _to_json(value: Any) -> Any:  # noqa: ANN401 -- numpy documents the state as a nested dict
    """PCG64's state has integers of 128 bits, which JSON readers do not agree on."""
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    return hex(value) if isinstance(value, int) else value


def _from_json(value: Any) -> Any:  # noqa: ANN401 -- as _to_json
    if isinstance(value, dict):
        return {key: _from_json(item) for key, item in value.items()}
    return int(value, 16) if isinstance(value, str) and value.startswith("0x") else value
