"""A visit to a learner that says what is wrong with the way there, or how good it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import zmq

from robosac.errors import WireError
from robosac.wire.greeting import PATIENCE_S, read_mechanism
from robosac.wire.messages import SCHEMA, Probe, Refused, Status, decode_from_learner, encode
from robosac.wire.monitor import Connection, connect_watched

if TYPE_CHECKING:
    from types import TracebackType

    from robosac.wire.address import Address
    from robosac.wire.keys import RobotKeys
    from robosac.wire.sockets import Context

_POLL_MS = 20
_IN_FLIGHT = 4
_UNSETTLED = (Connection.CONNECTING, Connection.NOBODY)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a learner said to one probe."""

    status: Status
    round_trip_s: float
    ahead_s: float
    """How far the learner's clock is ahead of this machine's, half a round trip uncertain."""


class Visit:
    """A connection to a learner over which it is asked how it is; a context manager."""

    def __init__(self, context: Context, address: Address, keys: RobotKeys | None = None) -> None:
        """Get through to whatever listens there; raises WireError that says what is in the way."""
        self._where = str(address)
        _check_keys(read_mechanism(address), self._where, keys)
        self._socket, self._monitor = connect_watched(context, address.endpoint, keys)
        state = self._settle()
        if state is not Connection.CONNECTED:
            self.close()
            raise WireError(_words(state, self._where, keys))

    def __enter__(self) -> Self:
        """Use the connection."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Hang up; may be called any number of times."""
        self._monitor.close()
        self._socket.close(linger=0)

    def ask(self, ballast: bytes = b"") -> Answer:
        """Send one probe and wait for the answer; raises WireError when there is no good one."""
        started, clock_ns = time.perf_counter(), time.time_ns()
        self._send(ballast)
        status = self._receive(len(ballast))
        took_s = time.perf_counter() - started
        ahead_s = (status.wall_ns - clock_ns) * 1e-9 - took_s / 2
        return Answer(status, took_s, ahead_s)

    def throughput(self, size: int, *, seconds: float) -> float:
        """Bytes per second that arrive in frames of this size; raises WireError.

        The learner says of every frame how much of it has come.
        """
        ballast = bytes(size)
        started, sent, arrived = time.perf_counter(), 0, 0
        while (more := time.perf_counter() - started < seconds) or arrived < sent:
            if more and sent - arrived < _IN_FLIGHT:
                self._send(ballast)
                sent += 1
            else:
                self._receive(size)
                arrived += 1
        return arrived * size / (time.perf_counter() - started)

    def _settle(self) -> Connection:
        """Wait for the end of the handshake, or for patience to end."""
        deadline = time.monotonic() + PATIENCE_S
        while (state := self._monitor.poll(_POLL_MS)) in _UNSETTLED:
            if time.monotonic() > deadline:
                break
        return state

    def _send(self, ballast: bytes) -> None:
        if not self._socket.poll(int(PATIENCE_S * 1000), zmq.POLLOUT):
            raise WireError(f"{self._where} takes nothing in; expected a learner that reads")
        self._socket.send_multipart(encode(Probe(), ballast))

    def _receive(self, ballast: int) -> Status:
        if not self._socket.poll(int(PATIENCE_S * 1000)):
            raise WireError(_silence(self._where, ballast))
        try:
            message, _ = decode_from_learner(self._socket.recv_multipart())
        except WireError as error:
            raise WireError(
                f"{self._where} is no robosac learner of this version: {error}"
            ) from None
        if isinstance(message, Refused):
            raise WireError(f"{self._where} refuses to talk: {message.reason}")
        if not isinstance(message, Status) or message.received != ballast:
            raise WireError(
                f"{self._where} answered a probe of {ballast} bytes with {message}; "
                "expected a status that repeats them; is it a robosac learner?"
            )
        return message


def _check_keys(mechanism: str, where: str, keys: RobotKeys | None) -> None:
    """Raise WireError when only one side uses keys."""
    if mechanism == "CURVE" and keys is None:
        raise WireError(
            f"{where} lets in keys only; expected --keys with this robot's folder, which "
            "`robosac keys` has made on the learner's machine"
        )
    if mechanism != "CURVE" and keys is not None:
        raise WireError(
            f"{where} uses no keys; expected a learner with them; start it with --keys, or leave "
            "--keys out here"
        )


def _words(state: Connection, where: str, keys: RobotKeys | None) -> str:
    """What to tell about a handshake that came to nothing."""
    if state is Connection.REFUSED:
        name = keys.name if keys else "this robot"
        return (
            f"{where} refuses the key of {name}; expected {name}.key among the learner's allowed "
            f"keys; run `robosac keys {name}` there, and copy the robot's folder again if it is new"
        )
    if keys is not None:
        return (
            f"{where} has not the key in learner.key; expected the learner that the folder of "
            f"{keys.name} was made for; copy the folder again from the learner's machine"
        )
    return f"{where} speaks ZeroMQ and is no robosac learner; expected one; is the port right?"


def _silence(where: str, ballast: int) -> str:
    """What to tell when a probe is not answered."""
    if ballast:
        return (
            f"{where} answers small messages, and none of {ballast} bytes within {PATIENCE_S:g} s; "
            "expected a network that carries them; check its MTU and its rate"
        )
    return (
        f"{where} speaks ZeroMQ and does not answer a probe; expected a robosac learner of wire "
        f"schema {SCHEMA}; is it another program, an older learner, or one that hangs?"
    )
