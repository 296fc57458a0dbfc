"""Keys of a learner and of its robots: CURVE certificates in folders that are copied around.

keys/learner/   learner.key_secret   the learner's own; stays on its machine
                learner.key          its public half
                allowed/pup-1.key    who is let in: public halves, named like the robots
keys/pup-1/     robot.key_secret     the robot's own
                learner.key          the learner that it trusts
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import zmq
import zmq.auth

from robosac.errors import WireError

if TYPE_CHECKING:
    from pathlib import Path

LEARNER_SECRET, LEARNER_PUBLIC = "learner.key_secret", "learner.key"
ROBOT_SECRET = "robot.key_secret"  # noqa: S105 -- the name of a file
ALLOWED = "allowed"
_KEY = re.compile(rb"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_NAME_LINE = re.compile(r"^\s*name = (\S+)\s*$", re.MULTILINE)
_GROUP_AND_OTHERS = 0o077
_MAKE = "make them with `robosac keys NAME`"


@dataclass(frozen=True, slots=True)
class LearnerKeys:
    """What a learner needs to know robots and to be known."""

    public: bytes
    secret: bytes = field(repr=False)
    allowed: Path
    """Folder with the public keys of those it lets in, NAME.key; read again at every call."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a learner's folder; raises WireError."""
        _check_kind(folder, "learner", other="robot")
        public, secret, _ = read_secret(folder / LEARNER_SECRET)
        return cls(public, secret, folder / ALLOWED)


@dataclass(frozen=True, slots=True)
class RobotKeys:
    """What a robot needs to know its learner and to be known."""

    name: str
    """Name that the key was made for; it may speak for NAME and NAME-*."""
    public: bytes
    secret: bytes = field(repr=False)
    learner: bytes
    """The learner's public key."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a robot's folder; raises WireError."""
        _check_kind(folder, "robot", other="learner")
        public, secret, name = read_secret(folder / ROBOT_SECRET)
        return cls(name, public, secret, read_public(folder / LEARNER_PUBLIC))


def may_speak_for(key: str, robot: str) -> bool:
    """Whether the key of this name may speak for a robot: pup-1 for pup-1 and for pup-1-*."""
    return robot == key or robot.startswith(f"{key}-")


def read_public(path: Path) -> bytes:
    """Read the public key of a certificate; raises WireError."""
    public, _ = _load(path)
    return public


def read_secret(path: Path) -> tuple[bytes, bytes, str]:
    """Public key, secret key and name of a secret certificate; raises WireError."""
    public, secret = _load(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _GROUP_AND_OTHERS:
        raise WireError(
            f"{path} has mode {mode:04o}, so that others can use it; expected 0600; "
            f"run chmod 600 {path}"
        )
    if secret is None or not _fits(public, secret):
        raise _damaged(path)
    found = _NAME_LINE.search(path.read_text(encoding="utf-8"))
    return public, secret, found[1] if found else path.parent.name


def _check_kind(folder: Path, kind: str, *, other: str) -> None:
    """Raise WireError when a folder is not of this kind, and say of which it is."""
    if (folder / f"{kind}.key_secret").is_file():
        return
    if (folder / f"{other}.key_secret").is_file():
        raise WireError(f"{folder} has the keys of a {other}; expected those of a {kind}")
    inside = sorted(secret.parent for secret in folder.glob(f"*/{kind}.key_secret"))
    hint = f"name one of its folders, as in {inside[0]}" if inside else _MAKE
    raise WireError(f"{folder} has no {kind}.key_secret; expected the keys of a {kind}; {hint}")


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
    except (ValueError, IndexError):
        raise _damaged(path) from None
    except OSError as error:
        raise WireError(
            f"{path} cannot be read ({error.strerror or 'no such file'}); expected a key; {_MAKE}"
        ) from None
    if not _KEY.fullmatch(public):
        raise _damaged(path)
    return public, secret


def _fits(public: bytes, secret: bytes) -> bool:
    return _KEY.fullmatch(secret) is not None and zmq.curve_public(secret) == public


def _damaged(path: Path) -> WireError:
    return WireError(
        f"{path} is damaged; expected a CURVE certificate; restore it from a copy, or remove it "
        "and make a new one with `robosac keys`"
    )
