"""Ratios of now against those that were stored: which of them moved."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tools.learner_speed.timing import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SAME = ("threads", "processor")
"""What must be the same for ratios to be comparable."""


@dataclass(frozen=True)
class Move:
    """A ratio that is another one now by more than both noises together."""

    name: str
    before: Figure
    now: Figure

    @property
    def fell(self) -> bool:
        """Whether it got worse; of every ratio here more is better."""
        return self.now.value < self.before.value

    def __str__(self) -> str:
        """Say what it was and what it is."""
        verb = "fell" if self.fell else "rose"
        noise = self.before.noise + self.now.noise
        return (
            f"{self.name} {verb} from {self.before.value:.3g} to {self.now.value:.3g}, "
            f"more than the noise of {noise:.2g}"
        )


def moves(now: Mapping[str, Figure], before: Mapping[str, Figure]) -> Iterator[Move]:
    """Every ratio that was measured both times and moved."""
    for name in now.keys() & before.keys():
        move = Move(name, before[name], now[name])
        if abs(move.now.value - move.before.value) > move.now.noise + move.before.noise:
            yield move


def as_json(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """What is stored of ratios, rounded to four digits."""
    return {
        name: {key: float(f"{number:.4g}") for key, number in asdict(figure).items()}
        for name, figure in figures.items()
    }


def path(folder: Path, where: Mapping[str, Any]) -> Path:
    """Name the file for such a processor and so many threads."""
    machine = re.sub(r"[^a-z0-9]+", "-", where["processor"].lower())
    return folder / f"bench-learner-{machine}-{where['threads']}-threads.json"


def read(path: Path, *, like: Mapping[str, Any]) -> dict[str, Figure]:
    """Stored ratios, none where nothing was stored on such a machine in such a way."""
    if not path.exists():
        return {}
    stored = json.loads(path.read_text("utf-8"))
    if any(stored.get(name) != like[name] for name in SAME):
        return {}
    return {name: Figure(**figure) for name, figure in stored.get("ratios", {}).items()}
