"""What has to be closed, and is when the block that uses it ends."""

from __future__ import annotations

import abc
from typing import Self


class Closing(abc.ABC):
    """A context manager that closes itself, whatever happened; some open themselves first."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release everything."""

    def __enter__(self) -> Self:
        """Use it as it is."""
        return self

    def __exit__(self, *reason: object) -> None:
        """Close."""
        self.close()
