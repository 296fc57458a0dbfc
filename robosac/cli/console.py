"""What the commands print: live progress on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

_LINE_EVERY_S = 5.0
_SILENT_S = 3.0


def say(text: str) -> None:
    """Print one line for the user."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Print one line about what went wrong."""
    sys.stderr.write(f"robosac: {text}\n")


class Progress:
    """Shows how a run is doing: redrawn on a terminal, a line every few seconds elsewhere."""

    def __init__(self, steps: int | None) -> None:
        """Expect this many environment steps in all; None is nobody knows."""
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


def _made(figures: dict[str, Any], steps: int | None) -> str:
    return f"{figures['env_steps']}" + ("" if steps is None else f"/{steps}")


def _prior(figures: dict[str, Any]) -> list[str]:
    """What the run learns from besides, if anything."""
    rows = figures.get("prior_rows")
    return [prior_words(rows, figures["prior_runs"])] if rows else []


def prior_words(rows: int, runs: int) -> str:
    """Say in a few words how much there is of earlier runs."""
    return f"prior {rows} rows from {runs} run{'' if runs == 1 else 's'}"


def _line(figures: dict[str, Any], steps: int | None, elapsed_s: float) -> str:
    head = f"{elapsed_s:5.0f} s  steps {_made(figures, steps)}"
    pairs = [f"{label} {text}" for label, text in _pairs(figures)]
    return "  ".join([head, *_prior(figures), *pairs, *_troubles(figures)])


def _table(figures: dict[str, Any], steps: int | None, elapsed_s: float) -> Any:  # noqa: ANN401 -- rich is optional
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_row("steps", f"{_made(figures, steps)}  {elapsed_s:.0f} s")
    if steps is not None:
        table.add_row("", ProgressBar(total=steps, completed=figures["env_steps"], width=40))
    for text in _prior(figures):
        table.add_row("", text)
    for label, text in _pairs(figures):
        table.add_row(label, text)
    for name, robot in figures.get("robots", {}).items():
        table.add_row(name, _robot(robot))
    for trouble in _troubles(figures):
        table.add_row("", trouble)
    return table


def _robot(robot: dict[str, Any]) -> str:
    """How one robot is, in a few words."""
    silent_s = robot["silent_s"]
    words = [f"{robot['rows']} rows"]
    if robot["pending"]:
        words.append(f"{robot['pending']} waiting")
    if robot["dropped"]:
        words.append(f"{robot['dropped']} dropped")
    if robot["parted"]:
        words.append("has said goodbye")
    elif silent_s is None or silent_s > _SILENT_S:
        words.append("not heard of" if silent_s is None else f"silent for {silent_s:.0f} s")
    return ", ".join(words)


def _troubles(figures: dict[str, Any]) -> list[str]:
    """What a user should see at once, and normally does not see at all."""
    found = [
        f"{figures[name]} {text}"
        for name, text in (
            ("strangers", "refused at the door"),
            ("malformed", "malformed messages"),
            ("declined", "policies declined"),
        )
        if figures.get(name)
    ]
    found += [
        f"{name}: {_robot(robot)}"
        for name, robot in figures.get("robots", {}).items()
        if robot["dropped"] or ((robot["silent_s"] or 0.0) > _SILENT_S and not robot["parted"])
    ]
    return found
