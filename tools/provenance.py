"""Where a result comes from: what has to stand beside every number that is kept."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def provenance(command: str, libraries: Iterable[str]) -> dict[str, Any]:
    """Command, versions of these libraries, machine and Python."""
    return {
        "command": command,
        "versions": {library: version(library) for library in libraries},
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
    }
