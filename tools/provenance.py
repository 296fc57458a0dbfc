"""Where a result comes from: what has to stand beside every number that is kept."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def provenance(command: str, libraries: Iterable[str]) -> dict[str, Any]:
    """Command, versions of these libraries and of the code, machine and Python."""
    return {
        "command": command,
        "versions": {library: version(library) for library in libraries},
        "commit": commit(),
        "machine": f"{os.cpu_count()} cores, {processor()}, {platform.system()}",
        "python": platform.python_version(),
    }


def processor() -> str:
    """Name of the processor, where Linux tells it; virtual ones of several generations share it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    pairs = [line.partition(":") for line in reversed(lines)]
    told = {name.strip(): value.strip() for name, _, value in pairs}
    parts = [told.get("model name", platform.machine())]
    parts += [f"{name} {told[name]}" for name in ("cpu family", "model") if name in told]
    return ", ".join(parts)


def commit() -> str | None:
    """Commit of the code, with -dirty when something was changed; None outside of git.

    Results are no code: every run after the first would have another state than its commit.
    """
    name = git("rev-parse", "--short", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "..", ":!results")
    return f"{name}-dirty" if name and changed else name or None


def git(*arguments: str) -> str:
    """What git says about the place of this file; nothing outside of a checkout."""
    found = subprocess.run(
        ["git", *arguments],  # noqa: S607 -- the user's git
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip()
