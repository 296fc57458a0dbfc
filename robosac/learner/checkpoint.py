"""Checkpoints: safetensors and JSON in a folder that is renamed into place when complete."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load, save

from robosac.errors import CheckpointError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from robosac.learner.learner import Learner

_TENSORS, _STATE = "tensors.safetensors", "state.json"
_KEPT = 2


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything of a learner that is no tensor."""

    schema: int = 1
    tensors_sha256: str
    recipe: dict[str, Any]
    contract_sha256: str
    env_steps: int
    updates: int
    version: int
    owed: float
    rng: dict[str, Any]


class Frozen(msgspec.Struct, frozen=True):
    """A learner's state at one moment, serialised; writing it may happen on another thread."""

    state: State
    tensors: bytes


def freeze(learner: Learner) -> Frozen:
    """Serialise a learner between two updates."""
    tensors = save({name: value.contiguous() for name, value in learner.sac.state().items()})
    state = State(
        tensors_sha256=hashlib.sha256(tensors).hexdigest(),
        recipe=msgspec.to_builtins(learner.recipe),
        contract_sha256=_contract_digest(learner),
        env_steps=learner.env_steps,
        updates=learner.updates,
        version=learner.version,
        owed=learner.owed,
        rng=_to_json(learner.rng.bit_generator.state),
    )
    return Frozen(state, tensors)


def write(folder: Path, frozen: Frozen) -> Path:
    """Write a checkpoint; it exists whole or not at all.  Raises StorageError."""
    name = f"updates-{frozen.state.updates:09d}"
    final, draft = folder / name, folder / f".{name}.draft"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        _write_file(draft / _TENSORS, frozen.tensors)
        _write_file(draft / _STATE, msgspec.json.encode(frozen.state))
        if final.exists():
            shutil.rmtree(final)
        draft.rename(final)
        _sync_folder(folder)
        for old in complete(folder)[:-_KEPT]:
            shutil.rmtree(old)
    except OSError as error:
        raise StorageError.from_os(folder, error) from None
    return final


def complete(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, oldest first; drafts of a crash do not count."""
    return sorted(folder.glob("updates-*"))


def restore(path: Path, learner: Learner) -> State:
    """Load a checkpoint into a learner built from the same recipe and contract.

    Raises CheckpointError when anything is missing, damaged or of another run: there is no partial
    load.
    """
    try:
        state = msgspec.json.decode((path / _STATE).read_bytes(), type=State)
        content = (path / _TENSORS).read_bytes()
    except (OSError, msgspec.MsgspecError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); resume from another") from None
    if hashlib.sha256(content).hexdigest() != state.tensors_sha256:
        raise CheckpointError(f"{path}: tensors do not match their digest; resume from another")
    if state.contract_sha256 != _contract_digest(learner):
        raise CheckpointError(f"{path}: is of another robot or task; resume with the same ones")
    if state.recipe != msgspec.to_builtins(learner.recipe):
        raise CheckpointError(f"{path}: is of another recipe; resume with the same one")
    try:
        learner.sac.load_state(load(content), updates=state.updates)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: tensors do not fit ({error})") from None
    learner.rng.bit_generator.state = _from_json(state.rng)
    learner.version = state.version
    return state


def restore_newest(folder: Path, learner: Learner) -> State | None:
    """Load the newest checkpoint, if any, into a learner whose replay is already refilled.

    It then owes the updates that the rows after the checkpoint have paid for.
    """
    found = complete(folder)
    state = restore(found[-1], learner) if found else None
    learner.settle()
    return state


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over every tensor, by name: equal digests mean equal learners."""
    hasher = hashlib.sha256()
    for name in sorted(tensors):
        hasher.update(name.encode())
        hasher.update(np.ascontiguousarray(tensors[name].detach().numpy()).tobytes())
    return hasher.hexdigest()


def _contract_digest(learner: Learner) -> str:
    """Digest of the contract without its golden actions and training figures."""
    return hashlib.sha256(msgspec.json.encode(learner.contract)).hexdigest()


def _write_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


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
