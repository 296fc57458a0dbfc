"""What the guards did: told with the transition it belongs to, and counted."""

from __future__ import annotations

from collections import Counter

from robots.safety.guards import Guard, label


class Account:
    """Guards since the last time somebody asked, and how often each of them intervened."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self.interventions: Counter[str] = Counter()
        self._seen = Guard.NONE

    def mark(self, guards: Guard, *, known: Guard = Guard.NONE) -> None:
        """Report guards for this transition, and count those that were not known before."""
        if not guards:
            return
        self._seen |= guards
        for guard in guards & ~known:
            self.interventions[label(guard)] += 1

    def take(self) -> Guard:
        """Return the guards that fired since the last call, and forget them."""
        seen, self._seen = self._seen, Guard.NONE
        return seen
