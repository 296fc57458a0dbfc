"""Metrics of a run, written off the update thread: a JSON line at a time and TensorBoard files."""

from __future__ import annotations

import math
import queue
import threading
from typing import TYPE_CHECKING

import msgspec

from robosac.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

Figures = dict[str, float | int | None]


class MetricsWriter:
    """Writes metrics.jsonl and TensorBoard files on a thread of its own.

    An error of that thread is raised by the next write().
    """

    def __init__(self, folder: Path) -> None:
        """Append to the run folder's files."""
        self._folder = folder
        self._queue: queue.SimpleQueue[tuple[int, Figures] | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def write(self, step: int, figures: Figures) -> None:
        """Record figures at an environment step; a figure that was not measured is None.

        Raises what ended the thread: StorageError when the disk did.
        """
        self._raise_error()
        self._queue.put((step, dict(figures)))

    def close(self) -> None:
        """Write what waits and close the files; raises what went wrong, as write() does."""
        self._queue.put(None)
        self._thread.join()
        self._raise_error()

    def _raise_error(self) -> None:
        if isinstance(self._error, OSError):
            raise StorageError.from_os(self._folder, self._error)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._write_all()
        except Exception as error:  # noqa: BLE001 -- the next write() raises it
            self._error = error

    def _write_all(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        with (
            (self._folder / "metrics.jsonl").open("ab") as lines,
            SummaryWriter(str(self._folder / "tensorboard")) as board,
        ):
            while (item := self._queue.get()) is not None:
                step, figures = item
                lines.write(msgspec.json.encode({"env_steps": step} | plain(figures)) + b"\n")
                lines.flush()
                for name, value in figures.items():
                    if value is not None and math.isfinite(value):
                        board.add_scalar(name, value, step)


def plain(figures: Figures) -> dict[str, float | int | str | None]:
    """Return figures that JSON can hold: non-finite numbers become strings."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }
