"""The interface of everything that speaks for the operator."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Source(abc.ABC):
    """Listens on a thread of its own and tells an Operator what it hears; a context manager.

    A source that goes away has let go: it never speaks again, and its dead-man is released.
    """

    name: str
    """What the log calls it."""

    @abc.abstractmethod
    def start(self) -> None:
        """Open it and begin to listen."""

    @abc.abstractmethod
    def close(self) -> None:
        """Stop to listen and give everything back; may be called any number of times."""

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()
