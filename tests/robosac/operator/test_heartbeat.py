"""The dead-man over the network: real sockets, real keys, strangers and old news."""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING

import msgspec
import pytest
import zmq

from robosac.errors import WireError
from robosac.operator.attendant import PERIOD_S, Attendant
from robosac.operator.beats import Beat, decode_report, encode
from robosac.operator.heartbeat import OLDEST_S, SILENT_S, Heartbeat
from robosac.wire.keys import RobotKeys
from robosac.wire.keysmith import make_learner, make_robot
from robots.safety import State
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from robosac.operator import Operator
    from robosac.operator.beats import Report
    from tests.robosac.operator.conftest import Told


AGE_S = 60.0
"""How old a beat may be, and how long silence, where neither is the test."""


class Line:
    """A bare connection to a robot: the test writes every beat itself."""

    def __init__(self, endpoint: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.connect(endpoint)
        self.session = uuid.uuid4().hex

    def send(self, beat: Beat) -> None:
        """Send a beat as it is."""
        self.socket.send(encode(beat))

    def beat(self, sequence: int, *, echo: int = 0, held: bool = False) -> Beat:
        """A beat of this line's session."""
        return Beat(session=self.session, sequence=sequence, echo=echo, held=held)

    def answer(self) -> Report:
        """The robot's next report."""
        assert self.socket.poll(int(PATIENCE_S * 1000))
        return decode_report(self.socket.recv_multipart())

    def ask(self, beat: Beat) -> Report:
        """Send a beat, and return what the robot reports."""
        self.send(beat)
        return self.answer()

    def close(self) -> None:
        """Hang up."""
        self.socket.close(linger=0)
        self._context.term()


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is held up for a moment has not let go."""
    monkeypatch.setattr("robosac.operator.heartbeat.OLDEST_S", AGE_S)
    monkeypatch.setattr("robosac.operator.heartbeat.SILENT_S", AGE_S)
    monkeypatch.setattr("robosac.operator.attendant._SILENT_S", AGE_S)


@pytest.fixture
def heartbeat(operator: Operator) -> Iterator[Heartbeat]:
    """A robot that listens on this machine only, without keys."""
    with Heartbeat(operator) as heartbeat:
        yield heartbeat


@pytest.fixture
def line(heartbeat: Heartbeat) -> Iterator[Line]:
    """A connection to it."""
    line = Line(heartbeat.endpoint)
    yield line
    line.close()


@pytest.fixture
def attendant(heartbeat: Heartbeat) -> Iterator[Attendant]:
    """Somebody who calls it."""
    attendant = Attendant(heartbeat.endpoint)
    yield attendant
    attendant.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Keys of a robot and of ann, as `robosac keys ann` makes them."""
    make_learner(tmp_path / "learner")
    make_robot(tmp_path / "ann", tmp_path / "learner")
    return tmp_path


def attend_until(attendant: Attendant, robot: Told, call: str, *, times: int = 1) -> None:
    """Beat until the robot was told this so often."""
    deadline = time.monotonic() + PATIENCE_S
    while robot.count(call) < times:
        assert time.monotonic() < deadline, robot.calls
        attendant.beat()
        attendant.socket.poll(int(PERIOD_S * 1000))
        attendant.listen()


def settle(attendant: Attendant) -> None:
    """Wait until every beat that was sent has been answered."""

    def answered() -> bool:
        attendant.listen()
        report = attendant.report
        return report is not None and report.heard == attendant._sequence  # noqa: SLF001 - the last

    until(answered)


def test_beats_are_signs_of_life(heartbeat: Heartbeat, attendant: Attendant, robot: Told) -> None:
    """While somebody attends, and the robot says how it is."""
    robot.state = State.ACTIVE
    attend_until(attendant, robot, "alive", times=3)
    assert heartbeat.held
    assert attendant.answered
    assert attendant.report is not None
    assert attendant.report.state == "active"
    until(lambda: set(robot.calls) == {"alive"})


def test_silence_is_released(
    heartbeat: Heartbeat,
    attendant: Attendant,
    robot: Told,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody has to say that somebody has gone."""
    monkeypatch.setattr("robosac.operator.heartbeat.SILENT_S", SILENT_S)
    caplog.set_level(logging.INFO)
    attend_until(attendant, robot, "alive")
    until(lambda: not heartbeat.held)
    assert "dead-man released (heartbeat, silent)" in caplog.text
    attend_until(attendant, robot, "alive", times=robot.count("alive") + 1)


def test_leaving_is_released_at_once(
    heartbeat: Heartbeat,
    attendant: Attendant,
    robot: Told,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last beat lets go."""
    monkeypatch.setattr("robosac.operator.attendant._LINGER_MS", int(PATIENCE_S * 1000))
    caplog.set_level(logging.INFO)
    attend_until(attendant, robot, "alive")
    attendant.close()
    attendant.close()
    until(lambda: not heartbeat.held)
    assert "let go by heartbeat" in caplog.text


@pytest.mark.parametrize("call", ["stop", "estop"])
def test_stops_are_said_until_they_are_heard(attendant: Attendant, robot: Told, call: str) -> None:
    """Also before the connection stands, and not for ever."""
    {"stop": attendant.stop, "estop": attendant.estop}[call]()
    attend_until(attendant, robot, call)
    settle(attendant)
    heard = robot.count(call)
    attend_until(attendant, robot, "alive", times=robot.count("alive") + 3)
    assert robot.count(call) == heard


def test_a_beat_that_echoes_no_fresh_report_holds_nothing(line: Line, robot: Told) -> None:
    """Neither the first, nor one from the future, nor one that was held up on the way."""
    report = line.ask(line.beat(1, held=True))
    assert not report.holding
    assert not line.ask(line.beat(2, held=True, echo=report.stamp + 10**12)).holding
    old = time.monotonic_ns() - int(AGE_S * 1e9) - 1
    assert not line.ask(line.beat(3, held=True, echo=old)).holding
    assert robot.calls == []
    assert line.ask(line.beat(4, held=True, echo=report.stamp)).holding
    assert robot.calls == ["alive"]


def test_a_beat_that_comes_again_is_dropped(
    heartbeat: Heartbeat, line: Line, robot: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """The same, or an earlier one: no sign of life, and counted."""
    report = line.ask(line.beat(1))
    beat = line.beat(2, held=True, echo=report.stamp)
    line.ask(beat)
    line.send(beat)
    line.send(line.beat(1, held=True, echo=report.stamp))
    line.ask(line.beat(3))
    assert robot.calls == ["alive"]
    assert heartbeat.dropped == 2
    assert "beat 2 came twice or late" in caplog.text


def test_a_stop_counts_however_old_it_is(line: Line, robot: Told) -> None:
    """It can only be too late, never wrong."""
    line.ask(msgspec.structs.replace(line.beat(1), stop=True, estop=True))
    assert robot.calls == ["estop", "stop"]


def test_only_one_holds_but_everybody_stops(heartbeat: Heartbeat, line: Line, robot: Told) -> None:
    """Two who hold would be one who may leave unseen."""
    second = Line(heartbeat.endpoint)
    stamp = line.ask(line.beat(1)).stamp
    assert line.ask(line.beat(2, held=True, echo=stamp)).holding
    stamp = second.ask(second.beat(1)).stamp
    assert not second.ask(second.beat(2, held=True, echo=stamp)).holding
    assert not second.ask(second.beat(3, held=False)).holding
    assert robot.calls == ["alive"]
    second.ask(msgspec.structs.replace(second.beat(4), stop=True))
    assert robot.calls == ["alive", "stop"]
    assert line.ask(line.beat(3)).holding is False
    assert second.ask(second.beat(5, held=True, echo=stamp)).holding
    second.close()


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"\xc1"],
        [b"\x80"],
        [b"x", b"y"],
        [msgspec.msgpack.encode({"type": "Beat", "session": "no", "sequence": 1})],
        [msgspec.msgpack.encode({"type": "Beat", "session": "0" * 32, "sequence": -1})],
        [msgspec.msgpack.encode({"type": "Beat", "session": "0" * 32, "sequence": 1, "go": True})],
        [msgspec.msgpack.encode({"type": "Beat", "session": "0" * 32, "sequence": 1, "schema": 2})],
    ],
)
def test_what_is_no_beat_is_counted_and_dropped(
    heartbeat: Heartbeat, line: Line, robot: Told, frames: list[bytes]
) -> None:
    """The robot goes on to listen."""
    line.socket.send_multipart(frames)
    line.ask(line.beat(1))
    assert heartbeat.dropped == 1
    assert robot.calls == []


def test_it_remembers_a_bounded_number_of_sessions(heartbeat: Heartbeat, line: Line) -> None:
    """Who calls again and again fills no memory."""
    for _ in range(40):
        line.session = uuid.uuid4().hex
        line.ask(line.beat(1))
    assert len(heartbeat._sequences) == 16  # noqa: SLF001 - memory has no other side


def test_who_has_a_key_attends_under_its_name(
    operator: Operator, robot: Told, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says who it was."""
    caplog.set_level(logging.INFO)
    with Heartbeat(operator, keys=folder / "learner") as heartbeat:
        attendant = Attendant(heartbeat.endpoint, RobotKeys.load(folder / "ann"))
        attend_until(attendant, robot, "alive")
        attendant.stop()
        attend_until(attendant, robot, "stop")
        attendant.close()
    assert "operator: dead-man held (heartbeat of ann)" in caplog.text
    assert "operator: stop (heartbeat of ann)" in caplog.text


def test_a_stranger_is_refused(operator: Operator, robot: Told, folder: Path) -> None:
    """Who is not on the list, and who has no key at all; they are told, if they listen."""
    known = RobotKeys.load(folder / "ann")
    public, secret = zmq.curve_keypair()
    stranger = RobotKeys("ann", public, secret, known.learner)
    with Heartbeat(operator, keys=folder / "learner") as heartbeat:
        for keys, why in ((stranger, "does not let this key in"), (None, "one side only")):
            attendant = Attendant(heartbeat.endpoint, keys)
            attendant.estop()
            with pytest.raises(WireError, match=why):
                attend_until(attendant, robot, "estop")
            attendant.close()
    assert robot.calls == []


@pytest.mark.parametrize("address", ["0.0.0.0:0", "*:0"])
def test_without_keys_it_listens_on_this_machine_only(operator: Operator, address: str) -> None:
    """Anybody could hold, otherwise; there is no way around it."""
    heartbeat = Heartbeat(operator, address)
    with pytest.raises(WireError, match="there are no keys"):
        heartbeat.start()
    heartbeat.close()


def test_with_keys_it_listens_where_others_reach_it(operator: Operator, folder: Path) -> None:
    """That is what the keys are for."""
    with Heartbeat(operator, "0.0.0.0:0", keys=folder / "learner") as heartbeat:
        assert heartbeat.endpoint.startswith("tcp://0.0.0.0:")


def test_it_can_be_opened_again_after_it_could_not(operator: Operator, folder: Path) -> None:
    """A failed start leaves nothing behind, and a closed one neither."""
    with Heartbeat(operator, keys=folder / "learner") as first:
        second = Heartbeat(operator, first.endpoint.removeprefix("tcp://"), keys=folder / "learner")
        with pytest.raises(WireError, match="cannot be used"):
            second.start()
    with second:
        assert second.endpoint == first.endpoint


def test_closing_lets_go(operator: Operator, robot: Told, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is heard any more, so nobody holds."""
    caplog.set_level(logging.INFO)
    with Heartbeat(operator) as heartbeat:
        attendant = Attendant(heartbeat.endpoint)
        attend_until(attendant, robot, "alive")
    assert not heartbeat.held
    assert "released (heartbeat, closed)" in caplog.text
    attendant.close()
    heartbeat.close()


def test_the_times_fit_together() -> None:
    """A beat or two may be lost before a robot sits down; an old beat never buys much time."""
    assert 2 * PERIOD_S < OLDEST_S < SILENT_S
