"""The judge finds every way in which a replay can be wrong, and nothing wrong with a right one."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.replay import Chunk
from robosac.replay.layout import Transition
from robosac.replay.records import encode
from tools.exactly_once.counter import Counter, read_counters
from tools.exactly_once.rows import LAYOUT, rows_of
from tools.exactly_once.verdict import Verdict, judge

if TYPE_CHECKING:
    from pathlib import Path

RUN, OTHER = uuid.UUID(int=1).hex, uuid.UUID(int=2).hex


def chunk(first: int, count: int, *, robot: str = "a", run: str = RUN) -> Chunk:
    """Rows as they were recorded."""
    return Chunk(robot=robot, run=run, first=first, rows=rows_of(robot, run, first, count))


def find(folder: Path, *chunks: Chunk, recorded: int = 10) -> Verdict:
    """Judge a replay with these records, 10 rows of one run having been recorded."""
    half = len(chunks) // 2
    for number, part in enumerate((chunks[:half], chunks[half:])):
        path = folder / f"replay-{number:06}.rows"
        path.write_bytes(b"".join(encode(one) for one in part))
    return judge(folder, {("a", RUN): recorded})


def test_a_whole_replay_is_good(tmp_path: Path) -> None:
    """Whatever the records are like, also with the one row that a killed runner did not count."""
    assert find(tmp_path, chunk(0, 4), chunk(4, 6)) == Verdict(rows=10)
    assert find(tmp_path, chunk(0, 11)).good


@pytest.mark.parametrize(
    ("chunks", "found"),
    [
        ([chunk(0, 9)], {"lost": 1, "rows": 9}),
        ([], {"lost": 10, "rows": 0}),
        ([chunk(0, 3), chunk(5, 5)], {"lost": 2, "rows": 8, "unordered": 1}),
        ([chunk(0, 6), chunk(4, 6)], {"duplicated": 2, "rows": 12, "unordered": 1}),
        ([chunk(4, 6), chunk(0, 4)], {"rows": 10, "unordered": 2}),
        ([chunk(0, 12)], {"invented": 1, "rows": 12}),
        ([chunk(0, 10), chunk(0, 3, run=OTHER)], {"invented": 3, "rows": 13}),
        ([chunk(0, 10), chunk(0, 3, robot="b")], {"invented": 3, "rows": 13}),
    ],
)
def test_what_is_wrong_is_counted(
    tmp_path: Path, chunks: list[Chunk], found: dict[str, int]
) -> None:
    """Each kind by itself, and said in words."""
    verdict = find(tmp_path, *chunks)
    assert not verdict.good
    counts = {name: getattr(verdict, name) for name in Verdict.__annotations__}
    del counts["problems"]
    assert counts == dict.fromkeys(counts, 0) | found


def test_one_changed_number_is_seen(tmp_path: Path) -> None:
    """Contents are compared, not counted."""
    rows = rows_of("a", RUN, 0, 10)
    rows[7, 3] = np.nextafter(rows[7, 3], np.float32(2))
    verdict = find(tmp_path, Chunk(robot="a", run=RUN, first=0, rows=rows))
    assert (verdict.altered, verdict.lost, verdict.duplicated) == (1, 0, 0)
    assert "differ, the first 7" in verdict.problems[0]


def test_rows_of_another_place_are_not_mistaken(tmp_path: Path) -> None:
    """A row under the wrong robot, run or number has other contents."""
    mine = rows_of("a", RUN, 5, 3)
    assert not (mine == rows_of("b", RUN, 5, 3)).all(axis=1).any()
    assert not (mine == rows_of("a", OTHER, 5, 3)).all(axis=1).any()
    assert not (mine == rows_of("a", RUN, 6, 3)).all(axis=1).any()
    assert (mine == rows_of("a", RUN, 0, 8)[5:]).all()


def test_rows_are_transitions() -> None:
    """Finite, actions in range, and every field such that a learner takes it."""
    rows = rows_of("a", RUN, 0, 1000)
    fields = LAYOUT.view(rows)
    assert np.isfinite(rows).all()
    assert np.abs(fields.action).max() <= 1
    assert fields.truncated.sum() == 10
    assert (LAYOUT.pack(Transition(*(field[3] for field in fields))) == rows[3]).all()


def test_counters_are_read_by_others(tmp_path: Path) -> None:
    """Whoever reads the file sees every step; one that is not made yet counts nothing."""
    counter = Counter(tmp_path, robot="robot-1_x", run=RUN)
    assert read_counters(tmp_path) == {("robot-1_x", RUN): 0}
    counter.set(2**40)
    (tmp_path / f"robot-2.{OTHER}").touch()
    assert read_counters(tmp_path) == {("robot-1_x", RUN): 2**40, ("robot-2", OTHER): 0}
