"""Sockets: options that hold, a port that is told, and messages that pass."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import zmq

from robosac.errors import WireError
from robosac.wire.messages import LEARNER_FRAME_MAX, ROBOT_FRAME_MAX, decode_from_robot
from robosac.wire.sockets import bind_learner, connect_robot, receive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robosac.wire.sockets import Context, Socket
    from tests.robosac.wire.conftest import KeyFolders

WAIT_MS = 5000


class Ends:
    """A learner's socket and those of robots, held until the test is over."""

    def __init__(self) -> None:
        self.context: Context = zmq.Context()
        self.learner, self.endpoint = bind_learner(self.context)
        self.robots: list[Socket] = []

    def robot(self, endpoint: str | None = None) -> Socket:
        """Connect another robot, to the learner unless told otherwise."""
        self.robots.append(connect_robot(self.context, endpoint or self.endpoint))
        if endpoint is None:
            assert self.robots[-1].poll(WAIT_MS, zmq.POLLOUT)
        return self.robots[-1]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Close everything afterwards."""
    ends = Ends()
    yield ends
    ends.context.destroy(linger=0)


def test_options_are_set_before_the_connection(ends: Ends) -> None:
    """Read back from the sockets: queues are bounded, nothing waits for ever at the end."""
    learner, robot = ends.learner, ends.robot()
    expected = {
        zmq.SNDHWM: 64,
        zmq.RCVHWM: 64,
        zmq.HANDSHAKE_IVL: 5000,
        zmq.HEARTBEAT_IVL: 0,  # see the note in sockets.py
        zmq.TCP_KEEPALIVE: 1,
        zmq.TCP_KEEPALIVE_IDLE: 10,
        zmq.TCP_KEEPALIVE_INTVL: 5,
        zmq.TCP_KEEPALIVE_CNT: 3,
    }
    for end in (learner, robot):
        assert {option: end.getsockopt(option) for option in expected} == expected
    assert learner.getsockopt(zmq.MAXMSGSIZE) == ROBOT_FRAME_MAX
    assert learner.getsockopt(zmq.LINGER) == 500
    assert robot.getsockopt(zmq.MAXMSGSIZE) == LEARNER_FRAME_MAX
    assert robot.getsockopt(zmq.LINGER) == 0
    assert robot.getsockopt(zmq.IMMEDIATE) == 1
    assert robot.getsockopt(zmq.RECONNECT_IVL) == 100
    assert robot.getsockopt(zmq.RECONNECT_IVL_MAX) == 2000


def test_messages_pass_both_ways(ends: Ends) -> None:
    """Whole, with every frame."""
    learner, robot = ends.learner, ends.robot()
    robot.send_multipart([b"head", b"rows"])
    assert learner.poll(WAIT_MS)
    identity, *frames = learner.recv_multipart()
    assert frames == [b"head", b"rows"]
    learner.send_multipart([identity, b"ack"])
    assert robot.poll(WAIT_MS)
    assert robot.recv_multipart() == [b"ack"]


def test_a_robot_queues_nothing_for_a_learner_that_is_not_there(ends: Ends) -> None:
    """What would wait in a queue would die with the process; the spool does not."""
    robot = ends.robot("tcp://127.0.0.1:1")
    with pytest.raises(zmq.Again):
        robot.send(b"row", zmq.NOBLOCK)


def test_a_learner_hears_that_a_robot_is_gone(ends: Ends) -> None:
    """Instead of sending into nothing."""
    with pytest.raises(zmq.ZMQError) as caught:
        ends.learner.send_multipart([b"stranger", b"ack"], zmq.NOBLOCK)
    assert caught.value.errno == zmq.EHOSTUNREACH


def test_an_oversized_frame_ends_the_connection_not_the_learner(ends: Ends) -> None:
    """A length that would exhaust memory is refused before anything is allocated."""
    learner, robot = ends.learner, ends.robot()
    robot.send(bytes(ROBOT_FRAME_MAX + 1))
    good = ends.robot()
    good.send(b"ping")
    assert learner.poll(WAIT_MS)
    assert learner.recv_multipart()[1:] == [b"ping"]


def test_a_learner_listens_on_loopback_by_default(ends: Ends) -> None:
    """Nobody else on the network may send rows as long as there are no keys."""
    assert ends.endpoint.startswith("tcp://127.0.0.1:")


@pytest.mark.parametrize("host", ["0.0.0.0", "*", "[::]"])  # noqa: S104 -- refused, not bound
def test_without_keys_a_learner_does_not_listen_to_the_network(ends: Ends, host: str) -> None:
    """Unless the user has written that it may."""
    with pytest.raises(WireError, match=r"no keys; expected --keys .*or --insecure"):
        bind_learner(ends.context, f"{host}:0")


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [("0.0.0.0", "tcp://0.0.0.0:"), ("*", "tcp://0.0.0.0:")],  # noqa: S104
)
def test_insecure_is_the_users_word(ends: Ends, host: str, endpoint: str) -> None:
    """Then every address will do."""
    learner, where = bind_learner(ends.context, f"{host}:0", insecure=True)
    assert where.startswith(endpoint)
    learner.close()


def test_with_keys_a_learner_listens_to_the_network(ends: Ends, key_folders: KeyFolders) -> None:
    """The lock and the fence around it are options that are read back."""
    learner, where = bind_learner(ends.context, "*:0", keys=key_folders.learner)
    assert where.startswith("tcp://0.0.0.0:")
    assert learner.getsockopt(zmq.CURVE_SERVER) == 1
    assert learner.getsockopt(zmq.ZAP_DOMAIN) == b"robosac"
    assert learner.getsockopt(zmq.ZAP_ENFORCE_DOMAIN) == 1
    learner.close()


def test_a_robot_with_keys_talks_to_its_learner_only(ends: Ends, key_folders: KeyFolders) -> None:
    """One without keys gets nothing from it."""
    robot = connect_robot(ends.context, ends.endpoint, key_folders.robot("pup-1"))
    assert robot.getsockopt(zmq.MECHANISM) == zmq.CURVE
    assert not robot.poll(50, zmq.POLLOUT)
    robot.close()


def test_ipv6_loopback_passes_messages(ends: Ends) -> None:
    """An address in brackets is reached as any other."""
    try:
        learner, endpoint = bind_learner(ends.context, "[::1]:0")
    except WireError:
        pytest.skip("no IPv6 on this machine")
    robot = connect_robot(ends.context, endpoint)
    assert robot.poll(WAIT_MS, zmq.POLLOUT)
    robot.send(b"ping")
    assert learner.poll(WAIT_MS)
    assert receive(learner)[2] == [b"ping"]
    robot.close()
    learner.close()


def test_receive_does_not_wait(ends: Ends) -> None:
    """The learner has other things to do."""
    with pytest.raises(zmq.Again):
        receive(ends.learner)


def test_receive_tells_who_and_what(ends: Ends) -> None:
    """Without keys nobody has a name."""
    ends.robot().send_multipart([b"head", b"rows"])
    assert ends.learner.poll(WAIT_MS)
    identity, user, frames = receive(ends.learner)
    assert (user, frames) == (None, [b"head", b"rows"])
    ends.learner.send_multipart([identity, b"ack"])
    assert ends.robots[0].poll(WAIT_MS)
    assert ends.robots[0].recv_multipart() == [b"ack"]


def test_receive_keeps_as_much_of_a_message_as_shows_that_it_is_too_long(ends: Ends) -> None:
    """Ten thousand frames take no more memory than three, and the next message is whole."""
    robot = ends.robot()
    robot.send_multipart([b"x"] * 10_000)
    robot.send(b"ping")
    received: list[list[bytes]] = []
    while len(received) < 2:
        assert ends.learner.poll(WAIT_MS)
        received.append(receive(ends.learner)[2])
    assert received == [[b"x"] * 3, [b"ping"]]
    with pytest.raises(WireError, match="message of 3 frames"):
        decode_from_robot(received[0])


def test_a_busy_port_is_told_in_one_line(ends: Ends) -> None:
    """With the port, the reason and the way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WireError, match=rf"port {port} .*in use.*another port, or 0"):
            bind_learner(ends.context, f"127.0.0.1:{port}")
