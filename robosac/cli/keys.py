"""`robosac keys`: make the keys of a learner and of its robots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import tyro

from robosac.cli.console import say
from robosac.exit_codes import EXIT_DONE
from robosac.wire.keys import ALLOWED, may_speak_for
from robosac.wire.keysmith import LEARNER, check_key_name, make_learner, make_robot


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """Make keys, so that a learner and its robots know each other.

    Makes what is missing and keeps what is there: run it again with the name of another robot to
    let that one in too, while the learner runs.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Names of the robots; the key pup-1 may speak for the robots pup-1 and pup-1-*."""
    folder: Path = Path("keys")
    """Folder with one folder for the learner and one for every robot."""

    def execute(self) -> int:
        """Make the keys and say what to do with them; returns the exit code."""
        for name in self.names:
            check_key_name(name)
        learner = self.folder / LEARNER
        new = make_learner(learner)
        say(f"{learner}: {'new key' if new else 'kept'}")
        for name in self.names:
            folder = self.folder / name
            new = make_robot(folder, learner)
            here = "kept" if folder.exists() else "kept; the key itself is no longer here"
            say(f"{folder}: {'new key' if new else here}")
        for line in [*_overlaps(learner), *_next_steps(self.folder, self.names)]:
            say(line)
        return EXIT_DONE


def _overlaps(learner: Path) -> list[str]:
    """Keys that may speak for the robots of other keys."""
    names = sorted(path.stem for path in (learner / ALLOWED).glob("*.key"))
    return [
        f"mind that the key {one} may speak for {other} as well; other names would keep them apart"
        for one in names
        for other in names
        if one != other and may_speak_for(one, other)
    ]


def _next_steps(folder: Path, names: tuple[str, ...]) -> list[str]:
    """What the user does with the folders."""
    learner, first = folder / LEARNER, names[0] if names else "NAME"
    return [
        f"learner, here:   robosac learn --bind '*:5555' --keys {learner}",
        f"robot {first}:   copy {folder / first} there and remove it here, then",
        f"                 robosac doctor --learner THIS-MACHINE:5555 --keys {first}",
        f"lock {first} out at its next call: remove {learner / ALLOWED / first}.key",
    ]
