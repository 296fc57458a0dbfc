"""How tests wait for what another thread does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 40.0


def eventually(condition: Callable[[], bool]) -> bool:
    """Poll until it holds or patience is over."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.002)
    return False


def until(condition: Callable[[], bool]) -> None:
    """Poll until it holds; fails when patience is over."""
    assert eventually(condition)
