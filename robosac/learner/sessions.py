"""Who is connected to the learner, and what it counts of every robot."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from robosac.errors import WireError
from robosac.wire.names import printable

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from robosac.wire.messages import Declined, Held, Hello, Ping

Key = tuple[str, str]
SESSIONS_MAX = 256
"""Connections that are served at the same time."""
ROBOTS_MAX = 1000
"""Robots whose rows are counted apart, in the whole run."""
RUNS_MAX = 20_000
"""Runs of all robots together: what is known of each stays in memory and in every checkpoint."""
_OF_ONE_ROBOT = 8
"""Connections of one robot: its present run, and earlier ones that are still delivering."""


@dataclass(slots=True)
class Session:
    """One connected robot."""

    identity: bytes
    user: str | None
    """Public key that it was let in with; None without keys."""
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
    told_farewell: bool = False
    """Whether it waits no more for that of its own run: it was sent, or it had it at hello."""
    gone: bool = False
    """Whether its connection is.  Until its silence is long it may call again, and go on with the
    credit that it has."""

    @classmethod
    def greeted(cls, identity: bytes, user: str | None, hello: Hello) -> Session:
        """Begin with what a robot says of itself."""
        runs = dict(hello.runs)
        told = hello.run not in runs
        return cls(
            identity, user, hello.robot, hello.run, runs, paced=hello.paced, told_farewell=told
        )

    @property
    def key(self) -> Key:
        """What the sequence numbers of its own run are counted in."""
        return self.robot, self.run

    def has_made(self, marks: Mapping[Key, int]) -> int:
        """Rows of its own run that it is known to have made: durable, or in its spool at hello."""
        held = self.runs.get(self.run)
        return max(marks.get(self.key, 0), 0 if held is None else held.end)

    def owes(self, marks: Mapping[Key, int], made: Container[Key]) -> int:
        """Rows of earlier runs, not yet `made` known, that it has and the learner has not."""
        return sum(
            max(0, held.end - max(held.oldest, marks.get((self.robot, run), 0)))
            for run, held in self.runs.items()
            if run != self.run and (self.robot, run) not in made
        )


class Sessions:
    """Everybody who is connected, as many as there may be; iterated by other threads as well."""

    def __init__(self) -> None:
        """Start with nobody."""
        self._known: dict[bytes, Session] = {}

    def __iter__(self) -> Iterator[Session]:
        """Iterate over those who are connected now, whoever comes or goes meanwhile."""
        return iter(list(self._known.values()))

    def __len__(self) -> int:
        """Count those that have a connection."""
        return sum(not one.gone for one in self)

    def get(self, identity: bytes) -> Session | None:
        """Return the session of a connection; None when it has to say hello first."""
        return self._known.get(identity)

    def objection(self, user: str | None, robot: str) -> str | None:
        """Why nobody with this key may speak for a robot now; None is no objection."""
        same = [one for one in self if one.robot == robot and not one.gone]
        if any(one.user != user for one in same):
            return (
                f"robot {robot} is connected with another key; expected one robot of that name; "
                "give one of them another name, or wait until the other has gone"
            )
        if not same and len(self) >= SESSIONS_MAX:
            return f"{len(self)} robots are connected; expected at most {SESSIONS_MAX}; end some"
        return None

    def admit(self, session: Session) -> None:
        """Let a robot in, in the place of its own earlier connections.

        One that has reconnected has another identity, and its old one will never speak again; who
        is forgotten by mistake is told to say hello.
        """
        same = sorted(
            (one for one in self if one.robot == session.robot), key=lambda one: one.heard
        )
        for one in same:
            if one.run == session.run or one.gone:
                self.forget(one.identity)
        others = [one for one in same if one.identity in self._known]
        room = min(_OF_ONE_ROBOT - len(others), SESSIONS_MAX - len(self))
        for one in others[: max(0, 1 - room)]:
            self.forget(one.identity)
        self._known[session.identity] = session

    def forget(self, identity: bytes) -> None:
        """Let go of a connection, if it is known."""
        self._known.pop(identity, None)

    def forget_silent(self, horizon: float) -> None:
        """Let go of those who were last heard before this moment, monotonic, s."""
        for session in self:
            if session.heard < horizon:
                self.forget(session.identity)


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

    def note_refusal(self, declined: Declined) -> None:
        """Count a policy that it does not run; the reason is for a terminal, on one line."""
        self.declined += 1
        self.reason = printable(declined.reason)

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


def make_room(key: Key, known: Mapping[Key, int]) -> None:
    """Raise WireError when there are too many runs to keep account of another one."""
    if key not in known and len(known) >= RUNS_MAX:
        raise WireError(f"run {key[1]} of {key[0]}; expected at most {RUNS_MAX} runs")


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

    def awaits(self, since: float, *, opened: float) -> bool:
        """Whether somebody who has not said goodbye was heard of after a moment, monotonic, s.

        Who has not called this process yet counts as heard when it was `opened`.
        """
        return any(
            (opened if account.heard is None else account.heard) > since
            for name, account in self.robots.items()
            if name not in self.parted
        )

    def objection(self, robot: str, run: str, *, marks: Mapping[Key, int]) -> str | None:
        """Why there is no room for a run of a robot; `marks` has the runs with rows."""
        if robot not in self.robots and len(self.robots) >= ROBOTS_MAX:
            return f"this run has {len(self.robots)} robots; expected at most {ROBOTS_MAX}"
        full = max(len(marks), len(self.made)) >= RUNS_MAX
        if full and (robot, run) not in self.made and (robot, run) not in marks:
            return f"robots have been started {RUNS_MAX} times in this run; start a new one"
        return None
