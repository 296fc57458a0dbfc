"""What an attack has come to."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(slots=True)
class Outcome:
    """What an attack has come to."""

    side: str
    messages: int = 0
    seconds: float = 0.0
    grown_mb: float = 0.0
    rows: int = 0
    """Rows that the good robot made and that arrived."""
    faults: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def note(self, condition: bool, fault: str) -> None:  # noqa: FBT001 -- reads as an assertion
        """Add a fault unless a condition holds."""
        if not condition:
            self.faults.append(fault)

    def line(self) -> str:
        """Say it in a line."""
        figures = ", ".join(f"{name} {value}" for name, value in self.figures.items())
        verdict = "; ".join(self.faults) or "no fault"
        return (
            f"{self.side}: {self.messages} messages in {self.seconds:.0f} s, memory "
            f"{self.grown_mb:+.1f} MB, {self.rows} good rows, {figures}: {verdict}"
        )


def rss_mb(pid: int) -> float:
    """Memory of a process that is resident, MB; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1000
    return 0.0


def percentiles(values: list[float]) -> dict[str, float | None]:
    """Median and 99th percentile in ms."""
    if not values:
        return {"p50_ms": None, "p99_ms": None}
    p50, p99 = np.percentile(np.array(values) * 1000, (50, 99))
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}
