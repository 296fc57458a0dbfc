"""Checkpoints: folders of safetensors and JSON that exist whole or not at all.

A checkpoint is written and synced under a hidden name, then renamed; no checkpoint is ever changed
or replaced, only removed when newer ones are complete.  SHA256SUMS, as sha256sum writes it, proves
that what is read is what was written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from robosac.errors import CheckpointError, StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from robosac.learner.learner import Learner
    from robosac.policy import Contract

_TENSORS, _STATE, _SUMS = "tensors.safetensors", "state.json", "SHA256SUMS"
_SCHEMA = 1
_KEPT = 2
_UNCHECKED = {"policy_id", "training", "golden"}
"""Fields of a contract that may differ between a checkpoint and the learner that resumes it."""


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything of a learner that is no tensor."""

    schema: int = _SCHEMA
    recipe: dict[str, Any]
    contract: dict[str, Any]
    env_steps: int
    updates: int
    version: int
    owed: float
    rng: dict[str, Any]
    """State of the generator that samples replay; whole numbers as hexadecimal strings."""


class Frozen(msgspec.Struct, frozen=True):
    """A learner's state at one moment, serialised; writing it may happen on another thread."""

    state: State
    tensors: bytes


def freeze(learner: Learner) -> Frozen:
    """Serialise a learner between two updates; raises CheckpointError when it has diverged."""
    tensors = learner.sac.state()
    bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise CheckpointError(
            f"{bad[0]} is not finite after {learner.updates} updates, so no checkpoint is written; "
            "lower the recipe's learning rates, then start a new run"
        )
    state = State(
        recipe=_plain(learner.recipe),
        contract=_checked(learner.contract),
        env_steps=learner.env_steps,
        updates=learner.updates,
        version=learner.version,
        owed=learner.owed,
        rng=_to_json(learner.rng.bit_generator.state),
    )
    return Frozen(state, save({name: value.contiguous() for name, value in tensors.items()}))


def write(folder: Path, frozen: Frozen) -> Path:
    """Write a checkpoint beside those of a folder and keep the newest two.

    Raises StorageError; the checkpoints that were there are still there then.
    """
    found = complete(folder)
    number = 1 + (int(found[-1].name.removeprefix("checkpoint-")) if found else 0)
    final = folder / f"checkpoint-{number:09d}"
    try:
        for leftover in folder.glob(".checkpoint-*"):
            shutil.rmtree(leftover)
        draft = folder / f".{final.name}"
        draft.mkdir(parents=True)
        _write_files(draft, frozen)
        draft.rename(final)
        _sync_folder(folder)
        for old in complete(folder)[:-_KEPT]:
            # Under its own name it must be whole until it is gone.
            shutil.rmtree(old.rename(folder / f".{old.name}"))
    except OSError as error:
        raise StorageError.from_os(folder, error) from None
    return final


def complete(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, oldest first; what a crash left half done is none."""
    return sorted(folder.glob("checkpoint-*"))


def restore(path: Path, learner: Learner) -> State:
    """Load a checkpoint into a learner built from the same recipe and contract.

    Raises CheckpointError when anything is missing, damaged or of another run; the learner is then
    as it was.
    """
    content, document = _read_verified(path)
    state = _decode(path, document)
    _check_same_run(path, state, learner)
    try:
        generator = np.random.PCG64()
        generator.state = _from_json(state.rng)
        learner.sac.load_state(load(content), updates=state.updates)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: does not fit this learner ({error})") from None
    learner.rng = np.random.Generator(generator)
    learner.version = state.version
    return state


def restore_newest(folder: Path, learner: Learner) -> State | None:
    """Load the newest checkpoint, if any, into a learner whose replay is already refilled.

    It then owes what it owed, and the updates that the rows after the checkpoint have paid for.
    Raises CheckpointError, also when rows are missing that the checkpoint was learned from.
    """
    found = complete(folder)
    if not found:
        learner.settle(owed=0.0, env_steps=0)
        return None
    state = restore(found[-1], learner)
    if learner.env_steps < state.env_steps:
        raise CheckpointError(
            f"{found[-1]}: replay has {learner.env_steps} transitions, expected at least "
            f"{state.env_steps}; restore the run's replay folder, or start a new run"
        )
    learner.settle(owed=state.owed, env_steps=state.env_steps)
    return state


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over every tensor, by name: equal digests mean equal learners."""
    hasher = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name].detach().numpy())
        hasher.update(f"{name} {value.dtype} {value.shape} ".encode())
        hasher.update(value.tobytes())
    return hasher.hexdigest()


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
        "recipe": (state.recipe, _plain(learner.recipe)),
        "robot or task": (state.contract, _checked(learner.contract)),
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


def _damaged(path: Path, detail: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: cannot be used ({detail}); delete it to resume from the one before"
    )


def _plain(struct: msgspec.Struct) -> dict[str, Any]:
    """What a struct is after it has been JSON."""
    fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(struct))
    return fields


def _checked(contract: Contract) -> dict[str, Any]:
    fields = _plain(contract)
    return {name: value for name, value in fields.items() if name not in _UNCHECKED}


def _write_files(folder: Path, frozen: Frozen) -> None:
    content = {_TENSORS: frozen.tensors, _STATE: msgspec.json.encode(frozen.state)}
    for name, text in (content | {_SUMS: _sums(content).encode()}).items():
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
