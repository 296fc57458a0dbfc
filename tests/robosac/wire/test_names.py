"""Names of robots are accepted wherever a name is checked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robosac.replay.records import check_name
from robosac.wire.names import printable, robot_name

RUN = "0" * 32


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("go2", "go2-0"),
        ("Pendulum-v1", "Pendulum-v1-0"),
        ("dm_control/walker-walk", "dm-control-walker-walk-0"),
        ("ALE/Pong-v5", "ALE-Pong-v5-0"),
        ("/slash/", "slash-0"),
        ("hündchen", "h-ndchen-0"),
        ("", "robot-0"),
        ("犬", "robot-0"),
        ("a" * 200, "a" * 48 + "-0"),
    ],
)
def test_names_stay_readable(name: str, expected: str) -> None:
    """Letters and digits stay, the rest becomes a hyphen."""
    assert robot_name(name, 0) == expected


@given(name=st.text(), index=st.integers(0, 10**6))
def test_every_name_is_accepted(name: str, index: int) -> None:
    """Whatever an environment is called, its runner can be named on the wire and in files."""
    check_name(robot_name(name, index), RUN)


def test_runners_of_one_robot_have_different_names() -> None:
    """Also when the name had to be cut."""
    assert len({robot_name("a" * 200, index) for index in range(12)}) == 12


@given(st.text(), st.integers(0, 30))
def test_what_a_peer_says_becomes_one_printable_line(text: str, most: int) -> None:
    """Of bounded length; what was printable stays as it is."""
    line = printable(text, most)
    assert len(line) == min(len(text), most)
    assert line.isprintable()
    assert all(got in (one, " ") for got, one in zip(line, text, strict=False))
