"""What a run shows: figures, and at once whatever is not as it should be."""

from __future__ import annotations

from typing import Any

import pytest

from robosac.cli import console
from robosac.cli.console import Progress

FIGURES: dict[str, Any] = {"env_steps": 40, "lost": 0, "duplicated": 0, "utd": 0.5, "falls": 2}
ROBOT: dict[str, Any] = {
    "rows": 40,
    "pending": 0,
    "dropped": 0,
    "silent_s": 0.4,
    "parted": False,
}


def robot(**changes: object) -> dict[str, Any]:
    """A robot that is well, but for some figures."""
    return {"pup-0": ROBOT | changes}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is printed where there is no terminal."""
    printed: list[str] = []
    monkeypatch.setattr(console, "say", printed.append)
    return printed


def shown(figures: dict[str, Any], lines: list[str], *, steps: int | None = 100) -> str:
    """The line of these figures."""
    with Progress(steps) as progress:
        progress.show(FIGURES | figures)
    return lines[-1]


def test_a_line_has_the_figures_and_a_dash_for_what_was_not_measured(lines: list[str]) -> None:
    """Steps with how many there shall be, if anybody knows."""
    line = shown({"robots": robot()}, lines)
    assert "steps 40/100" in line
    assert "utd 0.50" in line
    assert "speed -" in line
    assert "pup-0" not in line, "a robot that is well needs no words"
    assert "steps 40  " in shown({}, lines, steps=None)


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"robots": robot(silent_s=7.3)}, "pup-0: 40 rows, silent for 7 s"),
        ({"robots": robot(dropped=12)}, "pup-0: 40 rows, 12 dropped"),
        ({"robots": robot(silent_s=9.0, pending=5)}, "pup-0: 40 rows, 5 waiting, silent for 9 s"),
        ({"strangers": 3}, "3 refused at the door"),
        ({"malformed": 1}, "1 malformed messages"),
        ({"declined": 2}, "2 policies declined"),
    ],
)
def test_trouble_is_shown(figures: dict[str, Any], expected: str, lines: list[str]) -> None:
    """Robots that are not heard of, rows given up, strangers, refused policies."""
    assert shown(figures, lines).endswith(expected)


def test_a_robot_that_has_said_goodbye_is_no_trouble(lines: list[str]) -> None:
    """It may be silent for as long as it likes."""
    assert "pup-0" not in shown({"robots": robot(silent_s=60.0, parted=True)}, lines)


def test_lines_come_every_few_seconds_only(lines: list[str]) -> None:
    """However often the learner reports."""
    with Progress(100) as progress:
        for _ in range(10):
            progress.show(FIGURES)
    assert len(lines) == 1
