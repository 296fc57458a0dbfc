"""Attending a robot over the network: the end of the person, which sends the beats."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

import zmq

from robosac.errors import WireError
from robosac.operator.beats import Beat, decode_report, encode
from robosac.wire.monitor import Connection, connect_watched

if TYPE_CHECKING:
    from robosac.operator.beats import Report
    from robosac.wire.keys import RobotKeys

PERIOD_S = 0.1
"""Time between beats."""
_SILENT_S = 1.0
_LINGER_MS = 300
_WHY = {
    Connection.REFUSED: "the robot does not let this key in; add it to the robot's allowed/",
    Connection.ONE_SIDED_KEYS: "keys are used on one side only; give --keys, or leave it away",
    Connection.FOREIGN: "what listens there is no robot, or has another key than the one expected",
}


class Attendant:
    """Holds a robot's dead-man for as long as beat() is called every PERIOD_S.

    For one thread; a program that stops to call it, for whatever reason, has let go.
    """

    def __init__(self, endpoint: str, keys: RobotKeys | None = None) -> None:
        """Call a robot at tcp://HOST:PORT."""
        self.report: Report | None = None
        """The robot's last report."""
        self._heard_at = 0.0
        self._session, self._sequence = uuid.uuid4().hex, 0
        self._stop_since = self._estop_since = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket, self._monitor = connect_watched(self._context, endpoint, keys)

    @property
    def answered(self) -> bool:
        """Whether the robot has reported in the last second."""
        return self.report is not None and time.monotonic() - self._heard_at < _SILENT_S

    def stop(self) -> None:
        """Let the robot sit down; said with every beat until it has heard it."""
        self._stop_since = self._sequence + 1

    def estop(self) -> None:
        """Stop the robot in an emergency; said with every beat until it has heard it."""
        self._estop_since = self._sequence + 1

    def beat(self, *, held: bool = True) -> None:
        """Say that somebody is here, and what they have asked for."""
        self._sequence += 1
        beat = Beat(
            session=self._session,
            sequence=self._sequence,
            echo=0 if self.report is None else self.report.stamp,
            held=held,
            stop=self._stop_since > 0,
            estop=self._estop_since > 0,
        )
        try:
            self.socket.send(encode(beat), zmq.NOBLOCK)
        except zmq.Again:  # no connection, or a line that is stuck: an old beat is of no use
            return

    def listen(self) -> None:
        """Take in the robot's reports; raises WireError when it will never answer."""
        self._monitor.poll()
        if self._monitor.given_up:
            raise WireError(_WHY.get(self._monitor.state, self._monitor.state.value))
        while self.socket.poll(0):
            self.report = decode_report(self.socket.recv_multipart())
            self._heard_at = time.monotonic()
            if self.report.heard >= self._stop_since:
                self._stop_since = 0
            if self.report.heard >= self._estop_since:
                self._estop_since = 0

    def close(self) -> None:
        """Let go, and hang up; may be called any number of times."""
        if not self.socket.closed:
            self.beat(held=False)
            self._monitor.close()
            self.socket.close(linger=_LINGER_MS)
            self._context.term()
