"""How far simulated robots may run ahead of a learner that is slower than they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    Key = tuple[str, str]


class CreditBook:
    """Shares the steps that a learner allows among the runs that are going, by (robot, run).

    Credit is the number of rows a run may make in all.  What was granted is never taken back, and
    what is granted and not yet made counts as made: all runs together stay within what is allowed.
    """

    def __init__(self) -> None:
        """Start with nothing granted."""
        self._granted: dict[Key, int] = {}

    def share(
        self,
        allowed: int,
        *,
        rows: int,
        marks: Mapping[Key, int],
        made: Mapping[Key, int] | None = None,
    ) -> dict[Key, int]:
        """Return the credit of every going run.

        `allowed` is how many rows there may be in all, `rows` how many there are, `marks` how many
        every going run has made durable, `made` how many it is known to have made, with the leave
        of an earlier learner perhaps.  Runs that are not in `marks` are over and forgotten.
        """
        known = marks if made is None else made
        granted = {key: max(known[key], self._granted.get(key, 0)) for key in marks}
        ahead = max(0, allowed - rows)
        free = ahead - sum(granted[key] - mark for key, mark in marks.items())
        fair = max(1, ahead // max(1, len(marks)))
        for key in sorted(marks, key=lambda key: (granted[key] - marks[key], granted[key])):
            more = max(0, min(marks[key] + fair - granted[key], free))
            granted[key] += more
            free -= more
        self._granted = granted
        return granted
