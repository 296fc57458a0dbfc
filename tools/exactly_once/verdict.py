"""Compares the replay on disk with what was recorded, row by row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from robosac.replay.records import scan
from tools.exactly_once.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from robosac.replay import Chunk

    Key = tuple[str, str]

_SHOWN = 20


@dataclass
class Verdict:
    """What is wrong with a replay; `good` when nothing is."""

    rows: int = 0
    """Rows on disk."""
    lost: int = 0
    """Rows that were recorded and are not on disk."""
    duplicated: int = 0
    """Rows on disk beyond the first of their sequence number."""
    altered: int = 0
    """Rows on disk with other contents than were recorded."""
    unordered: int = 0
    """Chunks that do not begin where the chunk before them in their run has ended."""
    invented: int = 0
    """Rows on disk that nobody has recorded."""
    problems: list[str] = field(default_factory=list)
    """What and where, in words."""

    @property
    def good(self) -> bool:
        """Whether every row is there once, as it was, and in order."""
        return not self.problems

    def note(self, problem: str) -> None:
        """Add a problem; of very many only the first are kept."""
        if len(self.problems) < _SHOWN:
            self.problems.append(problem)


def judge(replay: Path, recorded: Mapping[Key, int]) -> Verdict:
    """Read every row on disk; raises DamagedRecordError when one cannot be read.

    A runner that is killed between handing a row over and counting it has recorded one row more
    than its counter says: that one may be there or not.
    """
    verdict, present = Verdict(), dict[tuple[str, str], set[int]]()
    ends: dict[Key, int] = {}
    for chunk in _chunks(replay):
        verdict.rows += len(chunk.rows)
        if chunk.first != ends.get(chunk.key, 0):
            verdict.unordered += 1
            verdict.note(f"{_name(chunk)} follows row {ends.get(chunk.key, 0)} of its run")
        ends[chunk.key] = chunk.end
        _count(verdict, chunk, present.setdefault(chunk.key, set()), recorded)
        _compare(verdict, chunk)
    for key, count in recorded.items():
        missing = sorted(set(range(count)) - present.get(key, set()))
        if missing:
            verdict.lost += len(missing)
            verdict.note(
                f"{key[0]} run {key[1]}: {len(missing)} of {count} rows are missing, the first "
                f"{missing[0]}, the last {missing[-1]}"
            )
    return verdict


def _chunks(replay: Path) -> Iterator[Chunk]:
    for path in sorted(replay.glob("*.rows")):
        with path.open("rb") as file:
            for chunk, _ in scan(file):
                yield chunk


def _name(chunk: Chunk) -> str:
    return f"{chunk.robot} run {chunk.run}: rows {chunk.first} to {chunk.end - 1}"


def _count(verdict: Verdict, chunk: Chunk, present: set[int], recorded: Mapping[Key, int]) -> None:
    sequences = set(range(chunk.first, chunk.end))
    if twice := sequences & present:
        verdict.duplicated += len(twice)
        verdict.note(f"{_name(chunk)}: {len(twice)} are there already")
    bound = recorded[chunk.key] + 1 if chunk.key in recorded else 0
    if chunk.end > bound:
        verdict.invented += chunk.end - max(bound, chunk.first)
        verdict.note(f"{_name(chunk)}: only {bound} can have been recorded")
    present |= sequences


def _compare(verdict: Verdict, chunk: Chunk) -> None:
    expected = rows_of(chunk.robot, chunk.run, chunk.first, len(chunk.rows))
    wrong = np.flatnonzero((chunk.rows != expected).any(axis=1))
    if len(wrong):
        verdict.altered += len(wrong)
        verdict.note(f"{_name(chunk)}: {len(wrong)} differ, the first {chunk.first + wrong[0]}")
