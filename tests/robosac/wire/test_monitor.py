"""The monitor: what became of a connection, which ZeroMQ keeps to itself."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
import zmq

from robosac.wire.monitor import Connection, ConnectionMonitor, connect_watched
from robosac.wire.sockets import bind_learner, connect, open_robot
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robosac.wire.gatekeeper import Gatekeeper
    from robosac.wire.keys import RobotKeys
    from robosac.wire.sockets import Context, Socket
    from tests.robosac.wire.conftest import KeyFolders

NOBODY = "tcp://127.0.0.1:1"


class Robot:
    """A watched socket of a robot."""

    def __init__(self, context: Context, endpoint: str, keys: RobotKeys | None) -> None:
        self.socket, self.monitor = connect_watched(context, endpoint, keys)

    def becomes(self, state: Connection, *, given_up: bool) -> None:
        """Wait until it has this state; fail when it never has."""
        deadline = time.monotonic() + PATIENCE_S
        while (self.monitor.poll(10), self.monitor.given_up) != (state, given_up):
            assert time.monotonic() < deadline, self.monitor.state

    def close(self) -> None:
        """In the order that the monitor asks for."""
        self.monitor.close()
        self.socket.close()


@pytest.fixture
def call(context: Context) -> Iterator[Callable[..., Robot]]:
    """Connect robots, and close them afterwards."""
    robots: list[Robot] = []

    def connect_one(endpoint: str, keys: RobotKeys | None = None) -> Robot:
        robots.append(Robot(context, endpoint, keys))
        return robots[-1]

    yield connect_one
    for robot in robots:
        robot.close()


@pytest.fixture
def learner(context: Context) -> Iterator[tuple[Socket, str]]:
    """Listen without keys."""
    bound, endpoint = bind_learner(context)
    yield bound, endpoint
    bound.close(linger=0)


@pytest.fixture
def locked(context: Context, gatekeeper: Gatekeeper, key_folders: KeyFolders) -> Iterator[str]:
    """Listen with keys."""
    bound, endpoint = bind_learner(context, keys=key_folders.learner)
    yield endpoint
    bound.close(linger=0)


def test_a_learner_without_keys_is_reached(
    call: Callable[..., Robot], learner: tuple[Socket, str]
) -> None:
    """From the first event on, however quick it was."""
    for _ in range(20):
        call(learner[1]).becomes(Connection.CONNECTED, given_up=False)


def test_nobody_listens_until_somebody_does(call: Callable[..., Robot], context: Context) -> None:
    """ZeroMQ goes on trying; so does the monitor."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    robot = call(f"tcp://{address}")
    robot.becomes(Connection.NOBODY, given_up=False)
    learner, _ = bind_learner(context, address)
    robot.becomes(Connection.CONNECTED, given_up=False)
    learner.close(linger=0)
    robot.becomes(Connection.NOBODY, given_up=False)


def test_an_allowed_key_connects(
    call: Callable[..., Robot], locked: str, key_folders: KeyFolders
) -> None:
    """As a robot without keys does at a learner without."""
    call(locked, key_folders.robot("pup-1")).becomes(Connection.CONNECTED, given_up=False)


def test_a_refused_key_is_told_and_never_tried_again(
    call: Callable[..., Robot], locked: str, key_folders: KeyFolders, gatekeeper: Gatekeeper
) -> None:
    """Only a new socket calls again, and is let in once its key is on the list."""
    pup = key_folders.robot("pup-1")
    (key_folders.allowed / "pup-1.key").unlink()
    robot = call(locked, pup)
    robot.becomes(Connection.REFUSED, given_up=True)
    key_folders.robot("pup-1")
    assert not robot.socket.poll(300, zmq.POLLOUT)
    assert robot.monitor.poll() is Connection.REFUSED
    assert gatekeeper.refused == 1
    call(locked, pup).becomes(Connection.CONNECTED, given_up=False)


def test_a_learner_with_another_key_is_foreign(
    call: Callable[..., Robot], locked: str, key_folders: KeyFolders
) -> None:
    """A robot does not talk to whoever has taken its learner's place."""
    pup = key_folders.robot("pup-1")
    deceived = type(pup)(pup.name, pup.public, pup.secret, zmq.curve_keypair()[0])
    call(locked, deceived).becomes(Connection.FOREIGN, given_up=False)


def test_keys_on_one_side_are_told(
    call: Callable[..., Robot], locked: str, learner: tuple[Socket, str], key_folders: KeyFolders
) -> None:
    """Whichever side it is."""
    call(locked).becomes(Connection.ONE_SIDED_KEYS, given_up=True)
    call(learner[1], key_folders.robot("pup-1")).becomes(Connection.ONE_SIDED_KEYS, given_up=True)


def test_a_socket_of_another_kind_is_foreign(call: Callable[..., Robot], context: Context) -> None:
    """It speaks ZeroMQ, and is no learner."""
    publisher = context.socket(zmq.PUB)
    publisher.bind("tcp://127.0.0.1:*")
    robot = call(publisher.getsockopt_string(zmq.LAST_ENDPOINT))
    robot.becomes(Connection.FOREIGN, given_up=True)
    publisher.close()


def test_another_program_is_foreign(call: Callable[..., Robot]) -> None:
    """It hangs up, or says what is no ZeroMQ; ZeroMQ keeps trying."""

    def greet(server: socket.socket) -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with peer:
                peer.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=greet, args=(server,))
        thread.start()
        robot = call(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        robot.becomes(Connection.FOREIGN, given_up=False)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_silent_listener_is_no_answer_yet(call: Callable[..., Robot]) -> None:
    """TCP alone is no connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        robot = call(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        peer, _ = server.accept()
        with peer:
            assert peer.recv(1) == b"\xff"
            assert robot.monitor.poll(100) is Connection.CONNECTING


def test_polling_waits_for_the_first_event_only(context: Context) -> None:
    """And not at all unless it is told to."""
    robot = open_robot(context)
    monitor = ConnectionMonitor(robot)
    started = time.monotonic()
    monitor.poll()
    assert time.monotonic() - started < 1.0
    connect(robot, NOBODY)
    monitor.poll(1000)
    assert time.monotonic() - started < 1.0
    monitor.close()
    robot.close()


def test_closing_leaves_nothing_behind(context: Context) -> None:
    """Fifty times, in either state of the connection; the context ends at once."""
    for _ in range(50):
        robot = Robot(context, NOBODY, None)
        robot.monitor.poll(1)
        robot.close()
        robot.monitor.close()
        assert robot.monitor.poll(1000) in (Connection.CONNECTING, Connection.NOBODY)
