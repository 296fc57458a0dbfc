"""Makes the keys of a learner and its robots: what is missing, never anything twice."""

from __future__ import annotations

import os
import re
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import zmq

from robosac.errors import StorageError, WireError
from robosac.wire.keys import (
    ALLOWED,
    LEARNER_PUBLIC,
    LEARNER_SECRET,
    ROBOT_SECRET,
    read_public,
    read_secret,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEARNER = "learner"
"""Name of the learner's folder, and so of no robot."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}")


def check_key_name(name: str) -> None:
    """Raise WireError unless a robot's key may have this name."""
    if not _NAME.fullmatch(name) or name == LEARNER:
        raise WireError(
            f"key name {name!r}; expected the name of a robot: 1 to 48 letters, digits, - and _, "
            f"as in pup-1, and not {LEARNER!r}"
        )


def make_learner(folder: Path) -> bool:
    """Make what is missing in a learner's folder; returns whether its key is new.

    Raises WireError, StorageError.
    """
    with _reported(folder):
        _private_folder(folder)
        _private_folder(folder / ALLOWED)
        new = _make_secret(folder / LEARNER_SECRET, name=LEARNER)
        public, _, _ = read_secret(folder / LEARNER_SECRET)
        _publish(folder / LEARNER_PUBLIC, public, name=LEARNER)
    return new


def make_robot(folder: Path, learner: Path) -> bool:
    """Make what is missing in the folder named as a robot, and let the robot in.

    Returns whether its key is new.  When the learner knows the name and the secret is not here, the
    key has moved to the robot, and it is kept.  Raises WireError, StorageError.
    """
    check_key_name(folder.name)
    allowed = learner / ALLOWED / f"{folder.name}.key"
    secret = folder / ROBOT_SECRET
    with _reported(folder):
        if allowed.exists() and not secret.exists():
            return False
        _private_folder(folder)
        new = _make_secret(secret, name=folder.name)
        public, _, _ = read_secret(secret)
        trusted = read_public(learner / LEARNER_PUBLIC)
        _publish(folder / LEARNER_PUBLIC, trusted, name=LEARNER)
        _publish(allowed, public, name=folder.name)
    return new


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    """Turn an error of the operating system into a StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError.from_os(error.filename or folder, error) from None


def _private_folder(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def _make_secret(path: Path, *, name: str) -> bool:
    """Make a key pair unless there is one; returns whether there was none."""
    if path.exists():
        return False
    public, secret = zmq.curve_keypair()
    return _write_new(path, _certificate(name, public, secret), mode=0o600)


def _publish(path: Path, public: bytes, *, name: str) -> None:
    """Write a public key, or make sure that it is the one that stands there."""
    if _write_new(path, _certificate(name, public), mode=0o644):
        return
    if read_public(path) != public:
        raise WireError(
            f"{path} is another key than the secret it belongs to; expected a pair; "
            "remove it and run the same command again"
        )


def _certificate(name: str, public: bytes, secret: bytes | None = None) -> str:
    """Text of a certificate as zmq.auth reads it."""
    lines = ["metadata", f"    name = {name}", "curve", f'    public-key = "{public.decode()}"']
    if secret is not None:
        lines = ["# secret: do not give it away", *lines, f'    secret-key = "{secret.decode()}"']
    return "\n".join(lines) + "\n"


def _write_new(path: Path, text: str, *, mode: int) -> bool:
    """Write a file whole, with its mode from the start; False when there is one already."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
