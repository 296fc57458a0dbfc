"""Credit: all runs together stay within what is allowed, and none of them starves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from robosac.learner.credit import CreditBook

A, B, C = ("go2-0", "a"), ("go2-1", "b"), ("go2-2", "c")


def test_one_run_may_make_everything_that_is_allowed() -> None:
    """As its rows become durable and the learner allows more, its credit grows."""
    book = CreditBook()
    assert book.share(64, rows=0, marks={A: 0}) == {A: 64}
    assert book.share(64, rows=64, marks={A: 64}) == {A: 64}
    assert book.share(70, rows=64, marks={A: 64}) == {A: 70}


def test_runs_share_alike() -> None:
    """Whatever each has made already."""
    book = CreditBook()
    assert book.share(1064, rows=1000, marks={A: 900, B: 100}) == {A: 932, B: 132}


def test_what_is_granted_and_not_made_counts_as_made() -> None:
    """B's rows are on their way: A's share must not grow by what they will take."""
    book = CreditBook()
    book.share(64, rows=0, marks={A: 0, B: 0})
    assert book.share(64, rows=32, marks={A: 32, B: 0}) == {A: 32, B: 32}


def test_a_run_that_makes_nothing_leaves_the_others_their_share() -> None:
    """It keeps its part of the credit, and gets no more of it."""
    book = CreditBook()
    for rows in range(0, 2000, 10):
        credit = book.share(rows + 64, rows=rows, marks={A: rows, B: 0})
        assert credit == {A: rows + 32, B: 32}


def test_a_run_that_is_over_gives_its_share_back() -> None:
    """Also when it was killed with credit that nobody will use."""
    book = CreditBook()
    book.share(64, rows=0, marks={A: 0, B: 0})
    assert book.share(64, rows=0, marks={A: 0}) == {A: 64}


def test_more_runs_than_steps_take_turns() -> None:
    """Each gets a step when it has used its last one; nobody waits for ever."""
    book, marks = CreditBook(), {A: 0, B: 0, C: 0}
    for rows in range(300):
        credit = book.share(rows + 1, rows=rows, marks=marks)
        mover = next(key for key in marks if credit[key] > marks[key])
        marks[mover] += 1
    assert sorted(marks.values()) == [100, 100, 100]


def test_what_was_made_with_the_leave_of_an_earlier_learner_is_granted() -> None:
    """A's spool has 40 rows that are not here yet: B gets what they leave, A nothing new."""
    book = CreditBook()
    credit = book.share(100, rows=50, marks={A: 50, B: 0}, made={A: 90, B: 0})
    assert credit == {A: 90, B: 10}
    assert book.share(100, rows=90, marks={A: 90, B: 0}) == {A: 90, B: 10}


def test_more_is_in_the_spools_than_was_asked_for() -> None:
    """Nobody gets anything, and nothing is taken back."""
    book = CreditBook()
    credit = book.share(100, rows=50, marks={A: 50, B: 0}, made={A: 120, B: 3})
    assert credit == {A: 120, B: 3}


def test_nobody_is_going() -> None:
    """Before the first robot and after the last."""
    assert CreditBook().share(64, rows=0, marks={}) == {}


@given(
    moves=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(0, 30))),
    slack=st.integers(1, 100),
)
def test_no_more_is_ever_granted_than_allowed(
    moves: list[tuple[int, int, int]], slack: int
) -> None:
    """Whoever makes how much, and however the learner moves; credit is never taken back."""
    book, marks = CreditBook(), {A: 0, B: 0, C: 0}
    allowed, before = slack, dict.fromkeys(marks, 0)
    for runner, made, learned in moves:
        credit = book.share(allowed, rows=sum(marks.values()), marks=marks)
        assert sum(credit.values()) <= allowed
        assert all(credit[key] >= before[key] for key in marks)
        key = list(marks)[runner]
        marks[key] += min(made, credit[key] - marks[key])
        allowed = min(allowed + learned, sum(marks.values()) + slack)
        before = credit
