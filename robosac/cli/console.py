"""What the commands print: live progress on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

_LINE_EVERY_S = 5.0


def say(text: str) -> None:
    """Print one line for the user."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Print one line about what went wrong."""
    sys.stderr.write(f"robosac: {text}\n")


class Progress:
    """Shows how a run is doing: redrawn on a terminal, a line every few seconds elsewhere."""

    def __init__(self, steps: int) -> None:
        """Expect this many environment steps in all."""
        self._steps = steps
        self._started = time.monotonic()
        self._next_line = 0.0
        self._live: Any = None

    def __enter__(self) -> Self:
        """Start drawing."""
        if sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last figures standing."""
        if self._live is not None:
            self._live.stop()

    def show(self, figures: dict[str, Any]) -> None:
        """Show the newest figures of the learner."""
        now = time.monotonic()
        if self._live is not None:
            self._live.update(_table(figures, self._steps, now - self._started))
        elif now >= self._next_line:
            self._next_line = now + _LINE_EVERY_S
            say(_line(figures, self._steps, now - self._started))


_SHOWN = (
    ("updates/s", "updates_per_s", "{:.0f}"),
    ("utd", "utd", "{:.2f}"),
    ("return", "return_mean", "{:.1f}"),
    ("speed", "speed_mps", "{:.2f} m/s"),
    ("falls", "falls", "{:d}"),
    ("alpha", "alpha", "{:.3f}"),
    ("lag", "policy_lag_steps_p50", "{:.0f}"),
    ("lost", "lost", "{:d}"),
    ("duplicated", "duplicated", "{:d}"),
)


def _pairs(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Label and text of every figure; a dash where nothing was measured."""
    return [
        (label, "-" if figures.get(name) is None else form.format(figures[name]))
        for label, name, form in _SHOWN
    ]


def _line(figures: dict[str, Any], steps: int, elapsed_s: float) -> str:
    head = f"{elapsed_s:5.0f} s  steps {figures['env_steps']}/{steps}"
    return "  ".join([head, *(f"{label} {text}" for label, text in _pairs(figures))])


def _table(figures: dict[str, Any], steps: int, elapsed_s: float) -> Any:  # noqa: ANN401 -- rich is optional
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_row("steps", f"{figures['env_steps']}/{steps}  {elapsed_s:.0f} s")
    table.add_row("", ProgressBar(total=steps, completed=figures["env_steps"], width=40))
    for label, text in _pairs(figures):
        table.add_row(label, text)
    return table
