"""Who is connected to the learner, and what it counts of every robot."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from robosac.wire.messages import Held, Hello, Ping

Key = tuple[str, str]


@dataclass(slots=True)
class Session:
    """One connected robot."""

    identity: bytes
    robot: str
    run: str
    """The run it makes."""
    runs: dict[str, Held]
    """What it had of every run when it said hello."""
    paced: bool
    """Whether it waits for credit."""
    heard: float = field(default_factory=time.monotonic)
    """When, monotonic, s."""
    welcomed: bool = False
    sent: int = 0
    """Version of the newest policy that was sent."""
    arrived: int = 0
    """Version of the newest policy that has arrived there."""
    credit: int | None = 0
    """What it was last told it may make."""
    told_enough: bool = False

    @classmethod
    def greeted(cls, identity: bytes, hello: Hello) -> Session:
        """Begin with what a robot says of itself."""
        return cls(identity, hello.robot, hello.run, dict(hello.runs), paced=hello.paced)

    @property
    def key(self) -> Key:
        """What the sequence numbers of its own run are counted in."""
        return self.robot, self.run

    def owes(self, marks: Mapping[Key, int], made: Container[Key]) -> int:
        """Rows of earlier runs, not yet `made` known, that it has and the learner has not."""
        return sum(
            max(0, held.end - max(held.oldest, marks.get((self.robot, run), 0)))
            for run, held in self.runs.items()
            if run != self.run and (self.robot, run) not in made
        )


@dataclass(slots=True)
class RobotAccount:
    """What is known of one robot, by its name."""

    rows: int = 0
    """Rows on disk."""
    pending: int = 0
    """Rows in its spool that are not on disk here, as it last said."""
    dropped: int = 0
    """Rows that its present run had to give up because its spool was full."""
    declined: int = 0
    """Policies that it did not want to run."""
    reason: str = ""
    """Why it did not want the last of them."""
    policy: int = 0
    """Version of the newest policy that has arrived there."""
    heard: float | None = None
    """When, monotonic, s; None before it has called this process."""

    def note(self, ping: Ping) -> None:
        """Take in what it says of itself."""
        self.pending, self.dropped, self.policy = ping.pending, ping.dropped, ping.policy

    def figures(self) -> dict[str, int | float | str | None]:
        """What the display and the report show."""
        silent_s = None if self.heard is None else round(time.monotonic() - self.heard, 1)
        return {
            "rows": self.rows,
            "pending": self.pending,
            "dropped": self.dropped,
            "declined": self.declined,
            "reason": self.reason,
            "policy": self.policy,
            "silent_s": silent_s,
        }


@dataclass(slots=True)
class Ledger:
    """What the service counts; read by other threads."""

    rows: int = 0
    """Rows on disk, those of earlier processes included."""
    duplicates: int = 0
    """Rows that came again and were dropped."""
    skipped: int = 0
    """Rows that a robot had to give up before they arrived."""
    malformed: int = 0
    """Messages that were none of ours."""
    made: dict[Key, int] = field(default_factory=dict)
    """Rows every finished run has made, by (robot, run)."""
    parted: frozenset[str] = frozenset()
    """Robots whose present run is over."""
    robots: dict[str, RobotAccount] = field(default_factory=dict)
    """By name; only ever grows."""

    def account(self, robot: str) -> RobotAccount:
        """Return the account of a robot, a new one at its first word."""
        if robot not in self.robots:
            self.robots = {**self.robots, robot: RobotAccount()}  # others may be iterating
        return self.robots[robot]
