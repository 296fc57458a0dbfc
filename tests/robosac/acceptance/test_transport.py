"""From robot to learner: what a transport must withstand, one test for each way it could fail.

Real uplink processes, real sockets, real files; whoever is killed is killed by a signal.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from robosac.errors import WireError
from robosac.learner.service import Service
from robosac.wire import messages
from robosac.wire.sockets import connect_robot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.robosac.acceptance.conftest import Place

HERTZ = 50
READY_S = 8.0
"""A robot that starts is ready to move within this, on a machine with other things to do."""
NOTICED_S = 8.0
"""A learner that does not answer is noticed within this."""


def test_a_robot_that_is_restarted_delivers_everything_it_makes(place: Place) -> None:
    """2,000 rows, then a new process whose numbers begin at zero again, and 2,500 more: 4,500."""
    service = place.serve()
    for count in (2000, 2500):
        robot = place.robot()
        robot.make(count)
        robot.leave()
    place.stop_serving()
    assert service.ledger.rows == 4500
    assert [len(numbers) for numbers in place.learned().values()] == [2000, 2500]
    assert list(place.on_disk().values()) == [list(range(2000)), list(range(2500))]


def test_a_learner_that_is_restarted_has_its_rows_once(place: Place) -> None:
    """3,000 rows are saved; after the restart there are 3,000, and the robot sends none again."""
    place.serve()
    robot = place.robot()
    robot.make(3000)
    robot.until(lambda: place.served.ledger.rows == 3000)
    place.stop_serving()
    service = place.serve()
    robot.until(lambda: service.present == 1)
    robot.leave()
    assert (service.ledger.rows, service.ledger.duplicates) == (3000, 0)
    assert place.learned() == {(robot.name, robot.run): list(range(3000))}
    place.stop_serving()
    audit = service.audit()
    assert (audit.lost, audit.duplicated) == (0, 0)


def test_two_robots_are_counted_apart(place: Place) -> None:
    """2,000 rows each, at the same time; none of them is taken for one of the other."""
    service = place.serve()
    robots = [place.robot("small-0"), place.robot("small-1")]
    for _ in range(20):
        for robot in robots:
            robot.make(100)
    for robot in robots:
        robot.leave()
    counts = {name: account.rows for name, account in service.ledger.robots.items()}
    assert counts == {"small-0": 2000, "small-1": 2000}
    assert place.learned() == {(one.name, one.run): list(range(2000)) for one in robots}


def test_a_malformed_item_is_rejected_and_the_rest_arrives(place: Place) -> None:
    """One of twenty chunks is none: it is counted, and nobody notices otherwise."""
    service = place.serve()
    robot = place.call()
    robot.join()
    for number in range(20):
        if number == 10:
            robot.say(messages.Rows(run=robot.run, first=100, oldest=0), b"no rows")
        robot.send_rows(10 * number, 10)
    while robot.hear(messages.Ack).expected < 200:
        pass
    assert service.ledger.malformed == 1
    assert place.learned() == {(robot.name, robot.run): list(range(200))}


def test_a_slow_robot_gets_the_newest_policy_only(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty versions while its uplink stands still: no queue of old ones is worked off."""
    pushed: list[int] = []
    send = Service._send  # noqa: SLF001 -- what is on the wire is the point

    def noted(self: Service, identity: bytes, message: messages.FromLearner, *rest: Any) -> bool:  # noqa: ANN401
        if isinstance(message, messages.Policy):
            pushed.append(message.version)
        return send(self, identity, message, *rest)

    monkeypatch.setattr(Service, "_send", noted)
    place.serve()
    robot = place.robot()
    robot.link.wait_until_ready()
    os.kill(robot.uplink(), signal.SIGSTOP)
    try:
        for version in range(2, 22):
            place.publish(version)
    finally:
        os.kill(robot.uplink(), signal.SIGCONT)
    robot.until(lambda: robot.link.acting.version == 21)
    assert len(pushed) <= 2
    assert pushed[-1] == 21


def test_a_robot_that_starts_between_two_publishes_has_the_current_policy(place: Place) -> None:
    """It comes with the welcome; nothing is published after the robot has called."""
    place.serve()
    for version in range(2, 8):
        place.publish(version)
    for _ in range(2):  # the first start and a restart
        robot = place.robot()
        robot.link.wait_until_ready()
        assert robot.link.acting.version == 7
        robot.leave()


def test_a_robot_at_50_hz_does_not_notice_that_its_learner_is_killed(place: Place) -> None:
    """Ticks go on while it is away, of which nearly all would wait for a link that waits."""
    learner = place.serve_apart()
    robot = place.robot()
    robot.link.wait_until_ready()
    ticks, held_up = 3 * HERTZ, 0
    started = time.monotonic()
    for tick in range(ticks):
        if tick == ticks // 3:
            learner.kill()
            learner.wait()
        begun = time.monotonic()
        robot.make(1)
        held_up += time.monotonic() - begun > 1 / HERTZ
        time.sleep(max(0.0, started + (tick + 1) / HERTZ - time.monotonic()))
    assert held_up < ticks // 10
    place.serve_apart()
    robot.leave()
    place.stop_serving()
    assert place.on_disk() == {(robot.name, robot.run): list(range(ticks))}


def test_what_a_killed_learner_had_accepted_is_sent_again(place: Place) -> None:
    """5,000 rows, of which it made some durable: a new one on the same port gets all others."""
    learner = place.serve_apart()
    robot = place.robot()
    robot.make(100)
    replay = place.folder / "replay" / "replay-000000.rows"
    robot.until(lambda: replay.stat().st_size > 0)
    learner.send_signal(signal.SIGSTOP)
    robot.make(4900)  # ZeroMQ takes many of them: to whom sends, they are gone
    robot.until(lambda: place.spooled(robot) >= 4900)
    learner.kill()
    learner.wait()
    (before,) = place.on_disk().values()
    assert before == list(range(len(before)))
    assert 0 < len(before) < 5000
    place.serve_apart()
    robot.leave()
    place.stop_serving()
    assert place.on_disk() == {(robot.name, robot.run): list(range(5000))}


def test_a_second_socket_of_a_run_takes_over(place: Place) -> None:
    """The first one is told so, and what it had sent is not asked for again."""
    service = place.serve()
    first = place.call()
    first.join()
    first.send_rows(0, 10)
    assert first.hear(messages.Ack).expected == 10
    second = place.call(run=first.run)
    assert second.join().expected == {first.run: 10}
    first.send_rows(10, 10)
    first.hear(messages.Unknown)
    second.send_rows(10, 5)
    assert second.hear(messages.Ack).expected == 15
    assert service.ledger.rows == 15


def test_robots_choose_no_identity(place: Place) -> None:
    """Two sockets with one would mean that the second is never heard, and never told."""
    place.serve()
    socket = connect_robot(place.context, place.endpoint)
    assert socket.getsockopt(zmq.ROUTING_ID) == b""
    socket.close()


def test_a_second_robot_on_the_spool_of_the_first_is_told_why_not(place: Place) -> None:
    """Both would number their rows alike."""
    place.serve()
    robot = place.robot(run="a" * 32)
    robot.link.wait_until_ready()
    other = place.robot(run="a" * 32)
    with pytest.raises(WireError, match="a folder that another writer holds"):
        other.until(lambda: False)
    robot.make(10)
    robot.leave()


def test_a_learner_that_stands_still_is_noticed(place: Place) -> None:
    """Its process lives and its connection is open; the robot says hello until it is answered."""
    socket, place.endpoint = place.bind()
    robot = place.robot()
    robot.make(3)
    assert socket.poll(int(1000 * NOTICED_S))
    identity, hello = socket.recv_multipart()
    assert isinstance(messages.decode_from_robot([hello])[0], messages.Hello)
    welcome = messages.Welcome(expected={robot.run: 0}, version=1, sha256="0" * 64)
    socket.send_multipart([identity, *messages.encode(welcome, b"")])
    begun = time.monotonic()
    greeted = False
    while not greeted and time.monotonic() - begun < 2 * NOTICED_S:
        if socket.poll(100):
            _, *frames = socket.recv_multipart()
            greeted = isinstance(messages.decode_from_robot(frames)[0], messages.Hello)
    assert greeted
    assert time.monotonic() - begun < NOTICED_S
    socket.close()


def test_a_stopped_learner_goes_on_where_it_was(place: Place) -> None:
    """SIGSTOP, long enough to be noticed, and SIGCONT: nothing is lost and nothing comes twice."""
    learner = place.serve_apart()
    robot = place.robot()
    robot.make(100)
    robot.link.wait_until_ready()
    learner.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    while time.monotonic() - stopped < 4.0:
        robot.make(1)
        robot.link.pause()
    learner.send_signal(signal.SIGCONT)
    robot.leave()
    place.stop_serving()
    assert place.on_disk() == {(robot.name, robot.run): list(range(robot.made))}


def test_a_replacement_robot_works_at_once(place: Place) -> None:
    """Uplink and control loop are gone without a word; the learner is not touched."""
    service = place.serve()
    crashed = place.robot()
    crashed.link.wait_until_ready()
    crashed.make(500)
    crashed.until(lambda: service.ledger.rows == 500)
    crashed.link.poll()
    os.kill(crashed.uplink(), signal.SIGKILL)
    begun = time.monotonic()
    robot = place.robot()
    robot.link.wait_until_ready()
    robot.make(50)
    robot.until(lambda: service.ledger.rows == 550)
    assert time.monotonic() - begun < READY_S
    robot.leave()


def test_rows_arrive_once_and_in_order_whatever_happens_to_messages(place: Place) -> None:
    """Chunks are dropped, delayed, swapped and doubled, and the connection is cut."""
    dice = random.Random(1)  # noqa: S311 -- no secret
    service = place.serve()
    robot = place.call()
    robot.join()
    expected, total = 0, 600
    while expected < total:
        window = [(first, dice.randint(1, 30)) for first in range(expected, total, 20)][:8]
        chaos = [one for one in window for _ in range(dice.choice((0, 1, 1, 2)))]
        dice.shuffle(chaos)
        for first, count in chaos:
            robot.send_rows(first, min(count, total - first))
        if dice.random() < 0.2:
            robot.socket.close()
            robot = place.call(run=robot.run)
            expected = robot.join().expected[robot.run]
        robot.say(messages.Bye(run=robot.run, made=total))
        while (answer := robot.receive(timeout_ms=30)) is not None:
            if isinstance(answer, messages.Ack):
                expected = answer.expected
    assert place.learned() == {(robot.name, robot.run): list(range(total))}
    assert service.ledger.skipped == 0
    place.stop_serving()
    assert place.on_disk() == {(robot.name, robot.run): list(range(total))}


def test_a_robot_needs_no_torch(tmp_path: Path) -> None:
    """Loop, uplink, spool and policy run on the base installation alone."""
    program = (
        "import sys\n"
        "import robosac.runner.loop, robosac.runner.uplink, robosac.runner.uplink_link\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "robosac.runner.uplink" in loaded
    assert not loaded & {"torch", "mujoco", "dm_control", "ray", "tensorboard"}
