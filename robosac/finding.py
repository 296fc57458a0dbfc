"""One line of a check: how bad it is, what it is about, what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Finding(NamedTuple):
    """What a check has found."""

    severity: Literal["ok", "warning", "error"]
    what: str
    text: str

    def __str__(self) -> str:
        """Return the line that people read."""
        return f"{self.severity:7} {self.what}: {self.text}"


def show(findings: Iterable[Finding], say: Callable[[str], None]) -> int:
    """Say every finding as soon as it is there; how many are errors."""
    errors = 0
    for finding in findings:
        say(str(finding))
        errors += finding.severity == "error"
    return errors
