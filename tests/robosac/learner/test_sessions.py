"""Sessions and accounts by themselves: what the wire cannot easily show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robosac.learner import sessions as sessions_module
from robosac.learner.sessions import Ledger, Session, Sessions
from robosac.wire.messages import Held, Hello

if TYPE_CHECKING:
    import pytest

A, B, C = "a" * 32, "b" * 32, "c" * 32


def session(
    identity: bytes,
    *,
    robot: str = "go2-0",
    run: str = A,
    runs: dict[str, Held] | None = None,
    heard: float = 0.0,
) -> Session:
    """What a hello becomes."""
    hello = Hello(robot=robot, run=run, runs=runs or {}, contract=b"", paced=True)
    one = Session.greeted(identity, None, hello)
    one.heard = heard
    return one


def test_a_session_owes_what_the_learner_lacks_of_earlier_runs() -> None:
    """Neither its own run, nor what is durable, nor what was given up, nor what is over."""
    one = session(b"1", runs={A: Held(0, 50), B: Held(10, 30), C: Held(0, 7)})
    assert one.owes({}, made=()) == 20 + 7
    assert one.owes({("go2-0", B): 25}, made=()) == 5 + 7
    assert one.owes({("go2-0", B): 30}, made=()) == 7
    assert one.owes({("go2-1", B): 30}, made={("go2-0", C)}) == 20


def test_a_session_has_made_what_is_durable_or_was_in_its_spool() -> None:
    """Whichever is more."""
    one = session(b"1", runs={A: Held(20, 50), B: Held(0, 90)})
    assert one.has_made({}) == 50
    assert one.has_made({("go2-0", A): 70}) == 70
    assert session(b"1").has_made({}) == 0


def test_of_one_robot_the_longest_silent_give_way() -> None:
    """Its own earlier connection of the same run first; those of other robots never."""
    sessions = Sessions()
    sessions.admit(session(b"other", robot="go2-1"))
    for number in range(8):
        sessions.admit(session(b"%d" % number, run=f"{number:032x}", heard=100.0 - number))
    assert len(sessions) == 9
    sessions.admit(session(b"again", run=f"{3:032x}", heard=101.0))
    assert sessions.get(b"3") is None
    assert len(sessions) == 9
    sessions.admit(session(b"new", run=A, heard=102.0))
    assert sessions.get(b"7") is None
    assert sessions.get(b"6") is not None
    assert sessions.get(b"other") is not None
    assert len(sessions) == 9


def test_where_everything_is_taken_a_robot_has_only_its_own_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its next connection is in the place of its last one, and nobody new comes in."""
    monkeypatch.setattr(sessions_module, "SESSIONS_MAX", 3)
    sessions = Sessions()
    sessions.admit(session(b"other", robot="go2-1"))
    sessions.admit(session(b"1", run=A, heard=1.0))
    sessions.admit(session(b"2", run=B, heard=2.0))
    assert "expected at most 3" in (sessions.objection(None, "go2-2") or "")
    assert sessions.objection(None, "go2-0") is None
    sessions.admit(session(b"3", run=C, heard=3.0))
    assert [one.identity for one in sessions] == [b"other", b"2", b"3"]
    sessions.admit(session(b"4", run=C, heard=4.0))
    assert [one.identity for one in sessions] == [b"other", b"2", b"4"]


def test_the_silent_are_forgotten() -> None:
    """Those who were last heard before the horizon."""
    sessions = Sessions()
    sessions.admit(session(b"1", run=A, heard=5.0))
    sessions.admit(session(b"2", run=B, heard=6.0))
    sessions.forget_silent(5.5)
    assert [one.identity for one in sessions] == [b"2"]


def test_iterating_is_looking_at_one_moment() -> None:
    """Whoever comes or goes meanwhile."""
    sessions = Sessions()
    sessions.admit(session(b"1"))
    seen = []
    for one in sessions:
        seen.append(one.identity)
        sessions.forget(b"1")
        sessions.admit(session(b"2", run=B))
    assert seen == [b"1"]


def test_accounts_may_be_read_while_another_is_opened() -> None:
    """Whoever iterates keeps the accounts there were; the next look shows the new one."""
    ledger = Ledger()
    ledger.account("go2-0").rows = 3
    for _ in ledger.robots:
        ledger.account("go2-1")
    assert [(name, one.rows) for name, one in ledger.robots.items()] == [("go2-0", 3), ("go2-1", 0)]
    assert ledger.account("go2-0") is ledger.robots["go2-0"]


def test_a_robot_that_has_not_called_this_process_is_not_silent() -> None:
    """Its rows came with the disk; nobody waits for it."""
    assert Ledger().account("go2-0").figures()["silent_s"] is None
