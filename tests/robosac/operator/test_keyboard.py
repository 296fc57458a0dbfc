"""The keyboard on a real pseudo-terminal, and words through a real pipe."""

from __future__ import annotations

import contextlib
import os
import pty
import sys
from typing import TYPE_CHECKING

import pytest

from robosac.operator import Operator, Request
from robosac.operator.keyboard import HELP, Keyboard, Words, standard_input
from robots.safety import State
from tests.patience import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.robosac.operator.conftest import Told


class Desk:
    """A keyboard whose keys the test presses, and what it answers."""

    def __init__(self, operator: Operator) -> None:
        self.hand, self.screen = pty.openpty()
        self.answers: list[str] = []
        self.keyboard = Keyboard(operator, self.screen, tell=self.answers.append)

    def press(self, keys: bytes) -> None:
        """Press keys at once."""
        os.write(self.hand, keys)

    def hang_up(self) -> None:
        """Close the far end, as a lost connection does."""
        with contextlib.suppress(OSError):
            os.close(self.hand)


@pytest.fixture
def desk(operator: Operator) -> Iterator[Desk]:
    """A listening keyboard."""
    desk = Desk(operator)
    with desk.keyboard:
        yield desk
    desk.hang_up()
    os.close(desk.screen)


@pytest.fixture
def pipe(operator: Operator) -> Iterator[tuple[int, list[str]]]:
    """The writing end of a pipe that is listened to, and what is answered."""
    end, hand = os.pipe()
    answers: list[str] = []
    with Words(operator, end, tell=answers.append):
        yield hand, answers
    with contextlib.suppress(OSError):
        os.close(hand)
    os.close(end)


@pytest.mark.parametrize(
    ("key", "request_"),
    [
        (b"\n", Request.GO),
        (b"\r", Request.GO),
        (b"g", Request.GO),
        (b"G", Request.GO),
        (b"c", Request.CLEAR),
        (b"q", Request.QUIT),
    ],
)
def test_keys_that_wait(desk: Desk, operator: Operator, key: bytes, request_: Request) -> None:
    """Each is one request, with and without caps lock."""
    desk.press(key)
    assert operator.wait(10.0)
    assert operator.take() == {request_}


@pytest.mark.parametrize(
    ("key", "call"),
    [
        (b"s", "stop"),
        (b"S", "stop"),
        (b"\x1a", "stop"),
        (b" ", "estop"),
        (b"\x1c", "estop"),
        (b"r", "release"),
    ],
)
def test_keys_that_act_at_once(desk: Desk, robot: Told, key: bytes, call: str) -> None:
    """They reach the robot; Ctrl-Z and Ctrl-backslash are no way to leave it alone."""
    desk.press(key)
    robot.wait_for(call)
    assert robot.calls == [call]


def test_a_question_mark_and_unknown_keys_are_answered(desk: Desk) -> None:
    """Who does not know the keys is told."""
    desk.press(b"?")
    until(lambda: desk.answers == [HELP])
    desk.press(b"x")
    until(lambda: desk.answers == [HELP, HELP])


def test_a_held_key_is_one_press(
    desk: Desk, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A go that is held while a motion ends must not begin the next one."""
    monkeypatch.setattr("robosac.operator.keyboard._REPEAT_S", 600.0)
    desk.press(b"g")
    assert operator.wait(10.0)
    assert operator.take() == {Request.GO}
    for _ in range(10):
        desk.press(b"g")
        assert not operator.wait(0.03)


def test_a_key_counts_again_after_another(desk: Desk, operator: Operator, robot: Told) -> None:
    """It was let go in between."""
    desk.press(b"g")
    assert operator.wait(10.0)
    desk.press(b"s")
    robot.wait_for("stop")
    operator.take()
    desk.press(b"g")
    assert operator.wait(10.0)
    assert operator.take() == {Request.GO}


def test_a_held_stop_counts_every_time(desk: Desk, robot: Told) -> None:
    """No stop is ever swallowed."""
    for times in range(1, 4):
        desk.press(b" ")
        robot.wait_for("estop", times=times)


@pytest.mark.parametrize("keys", [b"\x1bg", b"\x1b[1;5Q", b"going", "gö".encode()])
def test_what_is_pasted_starts_nothing(
    desk: Desk, operator: Operator, robot: Told, keys: bytes
) -> None:
    """Nor do function keys, which send several bytes; of such only stops count."""
    desk.press(keys)
    desk.press(b" ")
    robot.wait_for("estop")
    assert operator.take() == frozenset()
    assert robot.calls == ["estop"]


def test_a_go_while_the_robot_moves_is_ignored(desk: Desk, operator: Operator, robot: Told) -> None:
    """From the key to the edge that never was."""
    robot.state = State.ACTIVE
    desk.press(b"g")
    desk.press(b"s")
    robot.wait_for("stop")
    robot.state = State.STANDBY
    assert operator.take() == frozenset()


def test_a_terminal_that_hangs_up_is_an_operator_who_has_gone(
    desk: Desk, operator: Operator, robot: Told
) -> None:
    """The robot sits down, and the program ends."""
    desk.hang_up()
    robot.wait_for("stop")
    assert operator.wait(10.0)
    assert operator.take() == {Request.QUIT}


def test_closing_is_no_request(operator: Operator, robot: Told) -> None:
    """Who closes the keyboard has other plans; twice is as good as once."""
    desk = Desk(operator)
    desk.keyboard.start()
    desk.keyboard.close()
    desk.keyboard.close()
    desk.hang_up()
    os.close(desk.screen)
    assert robot.calls == []
    assert not operator.quitting


def test_an_answer_that_cannot_be_given_stops_the_robot(
    operator: Operator, robot: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """A source that breaks has let go, and says why."""

    def fail(text: str) -> None:
        raise OSError(text)

    end, hand = os.pipe()
    with Words(operator, end, tell=fail):
        os.write(hand, b"jump\n")
        robot.wait_for("stop")
    os.close(hand)
    os.close(end)
    assert "keyboard is broken" in caplog.text


def test_words_through_a_pipe(pipe: tuple[int, list[str]], operator: Operator, robot: Told) -> None:
    """One a line, in any case, also when a line comes in pieces."""
    hand, _ = pipe
    for piece in (b"st", b"op\nESTOP \nrelease\n", b"clear\ngo\n"):
        os.write(hand, piece)
    robot.wait_for("release")
    until(lambda: operator.wait(0))
    assert robot.calls == ["stop", "estop", "release"]
    os.write(hand, b"quit\n")
    robot.wait_for("stop", times=2)
    until(lambda: operator.quitting)


def test_go_and_clear_through_a_pipe(pipe: tuple[int, list[str]], operator: Operator) -> None:
    """Each word is one edge."""
    hand, _ = pipe
    os.write(hand, b"clear\n")
    assert operator.wait(10.0)
    assert operator.take() == {Request.CLEAR}
    os.write(hand, b"go\n")
    assert operator.wait(10.0)
    assert operator.take() == {Request.GO}


def test_an_unknown_word_is_answered_with_the_known_ones(
    pipe: tuple[int, list[str]], operator: Operator
) -> None:
    """Nothing else happens, and empty lines are nothing at all."""
    hand, answers = pipe
    os.write(hand, b"\n" + b"x" * 1000 + b"jump\nwalk\xff\n")
    until(lambda: len(answers) == 2)
    assert answers[1] == "got 'walk\ufffd'; expected one of go, stop, estop, release, clear, quit"
    assert len(answers[0]) < 200
    assert operator.take() == frozenset()


def test_a_closed_pipe_is_an_operator_who_has_gone(
    pipe: tuple[int, list[str]], operator: Operator, robot: Told
) -> None:
    """The robot sits down, and the program ends; an unfinished line is no word."""
    os.write(pipe[0], b"go")
    os.close(pipe[0])
    robot.wait_for("stop")
    assert operator.wait(10.0)
    assert operator.take() == {Request.QUIT}


def test_standard_input_decides_what_it_is(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys on a terminal, words through anything else."""
    hand, screen = pty.openpty()
    end, far = os.pipe()
    with open(screen) as terminal, open(end) as pipe:  # noqa: PTH123 - descriptors, no paths
        monkeypatch.setattr(sys, "stdin", terminal)
        assert isinstance(standard_input(operator), Keyboard)
        monkeypatch.setattr(sys, "stdin", pipe)
        assert isinstance(standard_input(operator), Words)
    os.close(hand)
    os.close(far)
