"""The line to the learner, over real sockets: it is called again whatever has gone wrong."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import zmq

from robosac.errors import WireError
from robosac.runner import line as line_module
from robosac.runner.line import Line
from robosac.wire.gatekeeper import Gatekeeper
from robosac.wire.keys import LearnerKeys, RobotKeys
from robosac.wire.keysmith import make_learner, make_robot
from robosac.wire.monitor import Connection
from robosac.wire.sockets import bind_learner
from tests.clock import Clock
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from robosac.wire.sockets import Context, Socket


@pytest.fixture
def context() -> Iterator[Context]:
    """The learner's side."""
    context: Context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Line]]:
    """Make lines that lose patience quickly, and hang up in the end."""
    for name, seconds in (("SILENCE_S", 0.2), ("_RETRY_S", 0.05), ("_RETRY_MAX_S", 0.3)):
        monkeypatch.setattr(line_module, name, seconds)
    lines: list[Line] = []

    def call(address: str, keys: RobotKeys | None = None) -> Line:
        lines.append(Line(f"tcp://{address}", keys))
        return lines[-1]

    yield call
    for line in lines:
        line.close()


@pytest.fixture
def address() -> str:
    """Where nobody listens yet."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def bind(context: Context, address: str) -> Iterator[Callable[..., Socket]]:
    """Listen at the address as soon as the port is free, until the test is over."""
    bound: list[Socket] = []

    def bind(keys: LearnerKeys | None = None) -> Socket:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                bound.append(bind_learner(context, address, keys=keys)[0])
            except WireError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            else:
                return bound[-1]

    yield bind
    for learner in bound:
        learner.close(linger=0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The only clock that lines have."""
    clock = Clock()
    monkeypatch.setattr(line_module, "time", clock)
    return clock


def until(line: Line, condition: Callable[[], bool]) -> None:
    """Look after a line until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, line.connection
        line.look_after()
        line.poller.poll(10)


def talk(line: Line, learner: Socket) -> bytes:
    """Say something and get it back; returns who the learner took the robot for."""
    identity = b""

    def heard() -> bool:
        nonlocal identity
        line.send([b"hello"])
        if learner.poll(10):
            identity, *frames = learner.recv_multipart()
            with suppress(zmq.ZMQError):  # a socket that has been replaced
                learner.send_multipart([identity, *frames])
        return line.receive() is not None

    until(line, heard)
    return identity


def test_a_learner_that_comes_later_is_reached(
    call: Callable[..., Line], bind: Callable[..., Socket], address: str
) -> None:
    """Until then nobody takes anything, and the reason is known."""
    line = call(address)
    until(line, lambda: line.connection is Connection.NOBODY)
    assert not line.send([b"hello"])
    assert line.receive() is None
    talk(line, bind())
    assert not line.silent
    until(line, lambda: line.connection is Connection.CONNECTED)


def test_a_silent_learner_is_called_anew(
    call: Callable[..., Line], bind: Callable[..., Socket], address: str
) -> None:
    """Whatever is wrong with the old connection, the new one is another."""
    learner = bind()
    line = call(address)
    before = talk(line, learner)
    until(line, line.look_after)
    assert line.silent
    assert talk(line, learner) != before


def test_a_learner_that_speaks_is_left_alone(
    call: Callable[..., Line], bind: Callable[..., Socket], address: str, clock: Clock
) -> None:
    """The same connection serves as long as something comes."""
    learner = bind()
    line = call(address)
    first = talk(line, learner)
    for _ in range(5):
        clock.now += 0.9 * line_module.SILENCE_S
        assert not line.look_after()
        assert talk(line, learner) == first


def test_garbage_on_the_port_does_not_end_it(
    call: Callable[..., Line], bind: Callable[..., Socket], address: str
) -> None:
    """Something else had the port; ZeroMQ does not try again by itself after that."""
    host, _, port = address.rpartition(":")
    callers = 0
    with socket.create_server((host, int(port))) as server:

        def answer() -> None:
            nonlocal callers
            while callers < 2:
                connection, _ = server.accept()
                connection.sendall(b"HTTP/1.1 400 Bad Request\\r\\n\\r\\n" * 10)
                connection.close()
                callers += 1

        thread = threading.Thread(target=answer)
        thread.start()
        line = call(address)
        until(line, lambda: callers == 2)
        thread.join()
    talk(line, bind())


def test_a_key_that_is_let_in_later_connects(
    *,
    call: Callable[..., Line],
    bind: Callable[..., Socket],
    context: Context,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The robot knocks again and again, without waiting for a silence to end."""
    monkeypatch.setattr(line_module, "SILENCE_S", 60.0)
    monkeypatch.setattr(line_module, "_RETRY_MAX_S", 60.0)
    make_learner(tmp_path / "learner")
    make_robot(tmp_path / "pup-1", tmp_path / "learner")
    allowed = tmp_path / "learner" / "allowed" / "pup-1.key"
    key = allowed.read_bytes()
    allowed.unlink()
    keys = LearnerKeys.load(tmp_path / "learner")
    gatekeeper = Gatekeeper(context, keys)
    learner = bind(keys)
    line = call(address, RobotKeys.load(tmp_path / "pup-1"))
    until(line, lambda: line.connection is Connection.REFUSED)
    until(line, lambda: gatekeeper.refused > 1)
    allowed.write_bytes(key)
    talk(line, learner)
    gatekeeper.close()


def test_patience_grows_and_ends(
    call: Callable[..., Line],
    bind: Callable[..., Socket],
    address: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A learner that is sending a large policy over a slow network is not cut off every time."""
    bind()
    line = call(address)
    monkeypatch.setattr(line_module, "_PATIENCE_MAX_S", 0.8)
    for patience in (0.2, 0.4, 0.8, 0.8):
        until(line, lambda: line.connection is Connection.CONNECTED)
        clock.now += 0.99 * patience
        assert not line.look_after()
        clock.now += 0.02 * patience
        assert line.look_after()
