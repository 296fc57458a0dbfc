"""The gamepad, event by event, through a pipe with the bytes that Linux sends."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING

import pytest

from robosac.errors import ConfigError
from robosac.operator import Operator, Request
from robosac.operator.gamepad import Gamepad, GamepadButtons
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.robosac.operator.conftest import Told

A, B, X, Y, R1, BACK, START = 0, 1, 2, 3, 5, 6, 7


def event(number: int, value: int, *, kind: int = 1) -> bytes:
    """One struct js_event, byte by byte."""
    signed = value.to_bytes(2, "little", signed=True)
    return (123_456).to_bytes(4, "little") + signed + bytes([kind, number])


class Device:
    """A named pipe in the device's place; the test is the pad."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._hand = os.open(path, os.O_RDWR)

    def send(self, *events: bytes) -> None:
        """Let the pad speak."""
        os.write(self._hand, b"".join(events))

    def press(self, number: int) -> None:
        """Press a button and let it go."""
        self.send(event(number, 1), event(number, 0))

    def unplug(self) -> None:
        """Go away."""
        self.path.unlink()
        os.close(self._hand)

    def plug_in(self) -> None:
        """Come back."""
        draft = self.path.with_suffix(".new")
        os.mkfifo(draft)
        self._hand = os.open(draft, os.O_RDWR)
        draft.rename(self.path)

    def close(self) -> None:
        """Tidy up."""
        with contextlib.suppress(OSError):
            os.close(self._hand)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device that is plugged in."""
    device = Device(tmp_path / "js0")
    yield device
    device.close()


@pytest.fixture
def gamepad(operator: Operator, device: Device) -> Iterator[Gamepad]:
    """A pad that is read."""
    with Gamepad(operator, device.path) as gamepad:
        yield gamepad


def is_silent(robot: Told, call: str, for_s: float) -> bool:
    """Whether the robot is not told this for so long."""
    before, end = robot.count(call), time.monotonic() + for_s
    while time.monotonic() < end:
        if robot.count(call) != before:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize(("button", "request_"), [(A, Request.GO), (START, Request.CLEAR)])
def test_buttons_that_wait(
    gamepad: Gamepad, device: Device, operator: Operator, button: int, request_: Request
) -> None:
    """Each press is one request; to let go is none."""
    assert not gamepad.held
    device.press(button)
    assert operator.wait(PATIENCE_S)
    assert operator.take() == {request_}
    device.press(button)
    assert operator.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("button", "call"), [(B, "stop"), (X, "estop"), (Y, "estop"), (BACK, "release")]
)
@pytest.mark.usefixtures("gamepad")
def test_buttons_that_act_at_once(device: Device, robot: Told, button: int, call: str) -> None:
    """They reach the robot."""
    device.press(button)
    robot.wait_for(call)
    assert robot.calls == [call]


def test_the_dead_man_speaks_every_100_ms_while_it_is_held(
    gamepad: Gamepad, device: Device, robot: Told
) -> None:
    """At once when pressed, then regularly, and never after it was let go."""
    began = time.monotonic()
    device.send(event(R1, 1))
    robot.wait_for("alive", times=4)
    took = time.monotonic() - began
    assert 0.29 < took < 5.0
    device.send(event(R1, 0))
    until(lambda: not gamepad.held)
    assert is_silent(robot, "alive", 0.25)


@pytest.mark.usefixtures("gamepad")
def test_axes_neither_hold_nor_starve_the_dead_man(device: Device, robot: Told) -> None:
    """A stick sends hundreds of events a second, with the numbers of buttons."""
    device.send(event(R1, 32767, kind=2), event(B, 1, kind=2), event(R1, 1))
    end = time.monotonic() + PATIENCE_S
    while robot.count("alive") < 3:
        assert time.monotonic() < end
        device.send(event(0, -5, kind=2))
        time.sleep(0.002)
    assert set(robot.calls) == {"alive"}


def test_what_was_down_at_the_start_is_no_edge(
    gamepad: Gamepad, device: Device, operator: Operator, robot: Told
) -> None:
    """Neither by the driver's word nor by a second event: it must be let go and pressed anew."""
    device.send(event(R1, 1, kind=0x81), event(A, 1, kind=0x81), event(X, 1, kind=0x81))
    device.send(event(R1, 1), event(A, 1), event(B, 1))
    robot.wait_for("stop")
    assert robot.calls == ["stop"]
    assert not gamepad.held
    assert operator.take() == frozenset()
    device.send(event(R1, 0), event(R1, 1))
    robot.wait_for("alive")


def test_lost_events_can_release_and_never_hold(
    gamepad: Gamepad, device: Device, robot: Told
) -> None:
    """After an overflow the driver tells the state: a dead-man that is up has been let go."""
    device.send(event(R1, 1))
    robot.wait_for("alive")
    device.send(event(R1, 1, kind=0x81))
    robot.wait_for("alive", times=robot.count("alive") + 2)
    device.send(event(R1, 0, kind=0x81))
    until(lambda: not gamepad.held)
    device.send(event(R1, 1, kind=0x81), event(B, 1))
    robot.wait_for("stop")
    assert not gamepad.held


@pytest.mark.usefixtures("gamepad")
def test_an_event_may_come_in_pieces(device: Device, robot: Told) -> None:
    """Bytes are put together again."""
    told = event(B, 1)
    device.send(told[:3])
    device.send(told[3:])
    robot.wait_for("stop")


def test_unplugged_is_released_and_buttons_must_be_pressed_anew(
    gamepad: Gamepad, device: Device, robot: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """It is looked for in silence; what is down when it comes back counts for nothing."""
    caplog.set_level(logging.INFO)
    device.send(event(R1, 1))
    robot.wait_for("alive")
    device.unplug()
    until(lambda: not gamepad.held)
    assert is_silent(robot, "alive", 0.25)
    device.plug_in()
    device.send(event(R1, 1))
    until(lambda: "is back" in caplog.text)
    device.press(B)
    robot.wait_for("stop")
    assert not gamepad.held
    device.send(event(R1, 0), event(R1, 1))
    until(lambda: gamepad.held)
    assert [line for line in caplog.messages if " lost " in line] == [
        f"operator: gamepad {device.path} lost (end of file), so it is released"
    ]


def test_garbage_is_released(
    gamepad: Gamepad, device: Device, robot: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no event of a pad is not understood any further, until it was opened anew."""
    device.send(event(R1, 1))
    robot.wait_for("alive")
    device.send(event(B, 1, kind=0x33), event(B, 1))
    until(lambda: not gamepad.held)
    assert robot.count("stop") == 0
    assert "type 0x33" in caplog.text


def test_closed_is_released(operator: Operator, device: Device, robot: Told) -> None:
    """Once closed it does not speak, and closing twice is fine."""
    gamepad = Gamepad(operator, device.path)
    with gamepad:
        device.send(event(R1, 1))
        robot.wait_for("alive")
    assert not gamepad.held
    assert is_silent(robot, "alive", 0.25)
    gamepad.close()


def test_other_pads_have_other_buttons(operator: Operator, device: Device, robot: Told) -> None:
    """The table is the user's."""
    buttons = GamepadButtons(hold=9, stop=11, estop=(12,))
    with Gamepad(operator, device.path, buttons=buttons):
        device.press(B)
        device.press(X)
        device.press(12)
        robot.wait_for("estop")
        device.send(event(9, 1))
        robot.wait_for("alive")
    assert robot.count("stop") == 0


@pytest.mark.parametrize(
    "buttons", [{"hold": 0}, {"estop": ()}, {"estop": (1,)}, {"go": -1}, {"clear": 256}]
)
def test_impossible_tables_are_refused(buttons: dict[str, int]) -> None:
    """No button does two things, and one always stops."""
    with pytest.raises(ConfigError, match="emergency stop"):
        GamepadButtons(**buttons)  # type: ignore[arg-type]  # that is the point


def test_a_device_that_is_not_there(operator: Operator, tmp_path: Path) -> None:
    """One line, before anything starts."""
    with pytest.raises(ConfigError, match=r"no such device.*plug it in"):
        Gamepad(operator, tmp_path / "js7").start()


def test_a_device_that_may_not_be_read(
    operator: Operator, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual cause is named; root may read everything, so that the refusal is made up."""

    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path, flags)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError, match=r"not permitted.*group input"):
        Gamepad(operator, device.path).start()
