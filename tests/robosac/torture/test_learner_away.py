"""The learner goes and comes back while a robot walks: ticks are counted, rows compared."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.replay import Chunk
from robosac.replay.records import encode
from tools.exactly_once.network import PYTHON, ROOT
from tools.learner_away import arrived, time_kept

if TYPE_CHECKING:
    from pathlib import Path

RUN = "a" * 32


def test_time_is_told_apart() -> None:
    """Each tick belongs to the moment in which it was over; what was skipped to the next tick."""
    ticks = np.array(
        [[1, 0.001, 0], [9, 0.003, 1], [11, 0.0, 1], [19, 0.002, 1], [21, 0.5, 26], [31, 0.0, 26]]
    )
    found = time_kept(ticks, [10.0, 20.0, 30.0])
    assert [one["ticks"] for one in found.values()] == [2, 2, 1, 1]
    assert [one["missed"] for one in found.values()] == [1, 0, 25, 0]
    assert [one["late_ms_max"] for one in found.values()] == [3.0, 2.0, 500.0, 0.0]
    assert found["before"]["late_ms_p50"] == 2.0


def test_a_moment_without_ticks_has_no_figures() -> None:
    """None, and not 0."""
    found = time_kept(np.array([[1, 0.001, 0]]), [10.0, 20.0, 30.0])
    assert found["away"] == {
        "ticks": 0,
        "missed": 0,
        "late_ms_p50": None,
        "late_ms_p99": None,
        "late_ms_max": None,
    }


@pytest.mark.parametrize(
    ("spans", "found"),
    [
        ([(0, 10)], (0, 0)),
        ([(0, 4), (4, 10)], (0, 0)),
        ([(0, 4), (6, 10)], (2, 0)),
        ([(0, 6), (5, 10)], (0, 1)),
    ],
)
def test_rows_are_compared(
    tmp_path: Path, spans: list[tuple[int, int]], found: tuple[int, int]
) -> None:
    """Lost, doubled and altered ones are counted."""
    rows = np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32)
    chunks = [Chunk(robot="a", run=RUN, first=first, rows=rows[first:end]) for first, end in spans]
    path = tmp_path / "replay-000000.rows"
    path.write_bytes(b"".join(encode(chunk) for chunk in chunks))
    counts = arrived(tmp_path, rows, RUN)
    assert (counts["lost"], counts["duplicated"], counts["altered"]) == (*found, 0)
    rows[3, 5] += 1
    assert arrived(tmp_path, rows, RUN)["altered"] == 1


@pytest.mark.timeout(120)
def test_a_short_absence(tmp_path: Path) -> None:
    """Every row is there once; ticks are not asserted, since a busy machine misses some anyway."""
    command = [*PYTHON, "tools/learner_away.py", "--seconds", "2", "--around", "1"]
    done = subprocess.run(
        [*command, "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1].endswith("lost 0 duplicated 0 away 2 s"), done.stdout
    away = next(line for line in done.stdout.splitlines() if line.startswith("away: "))
    assert int(away.split()[2].rstrip(",")) > 50
