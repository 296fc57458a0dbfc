"""The service on a real socket: durable before acknowledged, and nothing a peer sends ends it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import socket
import time
import uuid
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np
import pytest
import zmq

from robosac.errors import LockedError, RobosacError, StorageError
from robosac.learner import service as service_module
from robosac.learner.inbox import Inbox
from robosac.learner.service import PublishedPolicy, Service
from robosac.policy.contract import encode as encode_contract
from robosac.replay import SegmentLog
from robosac.wire import messages
from robosac.wire.messages import decode_from_learner, encode
from robosac.wire.sockets import bind_learner, connect_robot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from robosac.policy import Contract
    from robosac.replay import AppendResult, Chunk

T = TypeVar("T", bound=messages.FromLearner)

PATIENCE_S = 10.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for the service's thread."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert condition()


def policy(version: int, size: int = 100) -> PublishedPolicy:
    """A file that nobody will run."""
    file = b"%d" % version * size
    return PublishedPolicy(version, hashlib.sha256(file).hexdigest(), file)


class Robot:
    """A DEALER that speaks for one run of one robot."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, contract: Contract
    ) -> None:
        self.socket = connect_robot(context, endpoint)
        assert self.socket.poll(int(1000 * PATIENCE_S), zmq.POLLOUT)
        self.run = uuid.uuid4().hex
        self.name = "small-0"
        self.contract = contract
        self.width = contract.row_layout.width
        self.heard: list[tuple[messages.FromLearner, bytes]] = []

    def say(self, message: messages.FromRobot, payload: bytes | None = None) -> None:
        """Send a message."""
        self.socket.send_multipart(encode(message, payload))

    def hello(self, *runs: str) -> None:
        """Introduce itself, with earlier runs if any."""
        self.say(
            messages.Hello(
                robot=self.name,
                run=self.run,
                runs=dict.fromkeys([*runs, self.run], 0),
                contract=encode_contract(self.contract),
            )
        )

    def join(self) -> messages.Welcome:
        """Introduce itself and wait to be welcomed."""
        self.hello()
        return self.hear(messages.Welcome)

    def rows(self, first: int, count: int) -> bytes:
        """Rows that tell their sequence number."""
        numbers = np.arange(first, first + count, dtype=np.float32)
        return np.repeat(numbers[:, None], self.width, axis=1).tobytes()

    def send_rows(self, first: int, count: int, *, oldest: int = 0, run: str = "") -> None:
        """Send a chunk."""
        message = messages.Rows(run=run or self.run, first=first, oldest=oldest)
        self.say(message, self.rows(first, count))

    def hear(self, kind: type[T]) -> T:
        """Wait for the next message of this kind; others are noted in `heard`."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if not self.socket.poll(100):
                continue
            message, payload = decode_from_learner(self.socket.recv_multipart())
            self.heard.append((message, payload))
            if isinstance(message, kind):
                return message
        pytest.fail(f"no {kind.__name__} within {PATIENCE_S:g} s")

    def acknowledged(self, expected: int) -> None:
        """Wait until rows below this number are durable."""
        while self.hear(messages.Ack).expected < expected:
            pass

    def synchronise(self) -> None:
        """Wait until everything said so far has been read."""
        self.say(messages.Ping())
        self.hear(messages.Pong)


class Place:
    """A service with a policy, and the robots that a test connects."""

    def __init__(self, folder: Path, contract: Contract) -> None:
        self.folder, self.contract = folder, contract
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        bound, self.endpoint = bind_learner(self.context)
        self.inbox = Inbox()
        self.service = Service(bound, folder, self.inbox)
        self.service.policy = policy(1)
        self.robots: list[Robot] = []

    def robot(self, *, contract: Contract | None = None) -> Robot:
        """Connect another robot."""
        self.robots.append(Robot(self.context, self.endpoint, contract or self.contract))
        return self.robots[-1]

    def taken(self) -> NDArray[np.float32]:
        """First column of what the learner has got."""
        return np.concatenate([np.empty(0), *(chunk.rows[:, 0] for chunk in self.inbox.take())])

    def close(self) -> None:
        """End everything, in whatever state it is."""
        with contextlib.suppress(RobosacError):  # some tests provoke it
            self.service.close()
        self.context.destroy(linger=0)


@pytest.fixture
def place(tmp_path: Path, contract: Contract) -> Iterator[Place]:
    """A running service with an empty replay."""
    place = Place(tmp_path / "replay", contract)
    place.service.start()
    yield place
    place.close()


def on_disk(place: Place) -> dict[tuple[str, str], int]:
    """Rows of every run after the service has closed its log; they must be contiguous."""
    with SegmentLog(place.folder, place.contract.row_layout) as log:
        sequences = log.sequences()
    assert all(one.contiguous for one in sequences.values())
    return {key: one.count for key, one in sequences.items()}


def test_a_run_from_hello_to_farewell(place: Place) -> None:
    """Rows come to the learner once and in order, and are on disk when acknowledged."""
    robot = place.robot()
    welcome = robot.join()
    assert (welcome.expected, welcome.version) == ({robot.run: 0}, 1)
    assert robot.heard[-1][1] == policy(1).file
    robot.send_rows(0, 200)
    robot.send_rows(200, 50)
    robot.acknowledged(250)
    np.testing.assert_array_equal(place.taken(), np.arange(250))
    robot.say(messages.Bye(run=robot.run, made=250))
    assert robot.hear(messages.Farewell).run == robot.run
    assert (place.service.ledger.rows, place.service.ledger.ended) == (250, 1)
    place.service.close()
    audit = place.service.audit()
    assert (audit.lost, audit.duplicated) == (0, 0)
    assert on_disk(place) == {("small-0", robot.run): 250}


def test_rows_are_durable_before_they_are_acknowledged_or_learned_from(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order on which everything else rests: append, fsync, then tell."""
    events: list[str] = []
    append, sync, put = SegmentLog.append, SegmentLog.sync, place.inbox.put

    def noted_append(log: SegmentLog, chunk: Chunk, *, oldest: int) -> AppendResult:
        events.append("append")
        return append(log, chunk, oldest=oldest)

    def noted_sync(log: SegmentLog) -> None:
        events.append("sync")
        sync(log)

    def noted_put(chunk: Chunk) -> None:
        events.append("learn")
        put(chunk)

    monkeypatch.setattr(SegmentLog, "append", noted_append)
    monkeypatch.setattr(SegmentLog, "sync", noted_sync)
    monkeypatch.setattr(place.inbox, "put", noted_put)
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 5)
    robot.acknowledged(5)
    assert events == ["append", "sync", "learn"]


def test_rows_that_come_again_are_dropped_and_counted(place: Place) -> None:
    """`resent` is traffic; the learner and the disk see every row once."""
    robot = place.robot()
    robot.join()
    for first, count in ((0, 10), (0, 10), (5, 10), (2, 3)):
        robot.send_rows(first, count)
        robot.hear(messages.Ack)
    np.testing.assert_array_equal(place.taken(), np.arange(15))
    assert place.service.ledger.duplicates == 10 + 5 + 3
    assert place.service.ledger.rows == 15
    place.service.close()
    audit = place.service.audit()
    assert (audit.lost, audit.duplicated) == (0, 0)


def test_a_chunk_after_a_gap_is_asked_for_again(place: Place) -> None:
    """It is not taken before what lies between, and the acknowledgement says where to go back."""
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 10)
    robot.acknowledged(10)
    robot.send_rows(20, 10)
    assert robot.hear(messages.Ack).expected == 10
    np.testing.assert_array_equal(place.taken(), np.arange(10))
    robot.say(messages.Bye(run=robot.run, made=30))
    assert robot.hear(messages.Ack).expected == 10
    robot.send_rows(10, 20)
    robot.acknowledged(30)
    assert place.service.ledger.skipped == 0


def test_rows_that_a_robot_had_to_give_up_are_counted_as_lost(place: Place) -> None:
    """Its spool was full: the numbers between are gone for good, and said to be."""
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 10)
    robot.send_rows(30, 10, oldest=30)
    robot.acknowledged(40)
    assert place.service.ledger.skipped == 20
    place.service.close()
    assert place.service.audit().lost == 20


def test_rows_that_were_made_and_never_came_are_lost(place: Place) -> None:
    """A robot that says it has made more than it delivers does not get its farewell."""
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 10)
    robot.say(messages.Bye(run=robot.run, made=12))
    robot.synchronise()
    assert not any(isinstance(one, messages.Farewell) for one, _ in robot.heard)
    assert place.service.ledger.ended == 0


def test_several_robots_and_runs_are_counted_apart(place: Place) -> None:
    """Two robots, one of them with a run that was left behind; each from zero."""
    one, two, earlier = place.robot(), place.robot(), uuid.uuid4().hex
    two.name = "small-1"
    one.hello(earlier)
    assert one.hear(messages.Welcome).expected == {earlier: 0, one.run: 0}
    two.join()
    for robot in (one, two):
        robot.send_rows(0, 20)
    one.send_rows(0, 7, run=earlier)
    one.synchronise()
    two.acknowledged(20)
    one.say(messages.Bye(run=earlier, made=7))
    one.hear(messages.Farewell)
    assert place.service.ledger.ended == 0, "an earlier run is not the end of the robot"
    place.service.close()
    assert on_disk(place) == {
        ("small-0", one.run): 20,
        ("small-1", two.run): 20,
        ("small-0", earlier): 7,
    }


def test_a_restarted_service_knows_what_it_has(
    place: Place, tmp_path: Path, contract: Contract
) -> None:
    """Welcome says where to go on; the learner gets every row of the disk once."""
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 30)
    robot.acknowledged(30)
    place.service.close()
    again = Place(tmp_path / "replay", contract)
    again.service.open_log(contract)
    again.service.start()
    late = again.robot()
    late.run = robot.run
    assert late.join().expected == {robot.run: 30}
    late.send_rows(10, 30)
    late.acknowledged(40)
    np.testing.assert_array_equal(again.taken(), np.arange(40))
    assert again.service.ledger.rows == 40
    again.close()


def test_the_welcome_waits_for_a_policy(tmp_path: Path, contract: Contract) -> None:
    """A robot never acts on anything but what the learner has given it."""
    place = Place(tmp_path / "replay", contract)
    place.service.policy = None
    place.service.start()
    robot = place.robot()
    robot.hello()
    until(place.service.contract_known.is_set)
    robot.say(messages.Ping())
    robot.hear(messages.Pong)
    assert not any(isinstance(one, messages.Welcome) for one, _ in robot.heard)
    place.service.policy = policy(4)
    assert robot.hear(messages.Welcome).version == 4
    place.close()


def test_only_the_newest_policy_is_sent_to_a_slow_robot(place: Place) -> None:
    """Twenty versions while it is busy with the first: it gets two, and ends on the newest."""
    robot = place.robot()
    robot.join()
    for version in range(2, 21):
        place.service.policy = policy(version)
        robot.say(messages.Ping(policy=0))
        robot.hear(messages.Pong)
    robot.say(messages.Ping(policy=1))
    assert robot.hear(messages.Policy).version == 20
    robot.say(messages.Ping(policy=20))
    place.service.policy = policy(21)
    robot.hear(messages.Policy)
    pushed = [one.version for one, _ in robot.heard if isinstance(one, messages.Policy)]
    assert pushed == [20, 21]


def test_a_policy_comes_with_its_digest(place: Place) -> None:
    """The robot can tell what was damaged on the way."""
    robot = place.robot()
    robot.join()
    robot.say(messages.Ping(policy=1))
    place.service.policy = policy(2)
    push = robot.hear(messages.Policy)
    assert hashlib.sha256(robot.heard[-1][1]).hexdigest() == push.sha256


def test_without_a_pace_there_is_no_bound(place: Place) -> None:
    """--pace free and realtime: the robot never waits for the learner."""
    robot = place.robot()
    robot.join()
    assert robot.hear(messages.Credit).credit is None


def test_credit_follows_what_the_learner_allows(place: Place) -> None:
    """Never more than that, however many rows are on their way."""
    place.service.allowed_steps = 64
    robot = place.robot()
    robot.join()
    assert robot.hear(messages.Credit).credit == 64
    robot.send_rows(0, 64)
    robot.acknowledged(64)
    place.service.allowed_steps = 80
    assert robot.hear(messages.Credit).credit == 80


def test_two_robots_share_the_credit(place: Place) -> None:
    """Together they stay within it, and the end of one leaves its part to the other."""
    place.service.allowed_steps = 64
    one, two = place.robot(), place.robot()
    two.name = "small-1"
    one.join()
    assert one.hear(messages.Credit).credit == 64
    one.send_rows(0, 64)
    one.acknowledged(64)
    two.join()
    place.service.allowed_steps = 128
    assert one.hear(messages.Credit).credit == 64 + 32
    assert two.hear(messages.Credit).credit == 32
    two.say(messages.Bye(run=two.run, made=0))
    two.hear(messages.Farewell)
    assert one.hear(messages.Credit).credit == 64 + 64


def test_a_robot_that_reconnects_takes_its_own_place(place: Place) -> None:
    """Its old connection does not keep a share of the credit."""
    place.service.allowed_steps = 64
    robot = place.robot()
    robot.join()
    assert robot.hear(messages.Credit).credit == 64
    again = place.robot()
    again.run = robot.run
    again.join()
    assert again.hear(messages.Credit).credit == 64
    robot.say(messages.Ping())
    robot.hear(messages.Unknown)


def test_a_robot_that_has_gone_silent_is_forgotten(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its share goes to the others; when it speaks again it is asked to introduce itself."""
    place.service.allowed_steps = 64
    silent, alive = place.robot(), place.robot()
    alive.name = "small-1"
    silent.join()
    assert silent.hear(messages.Credit).credit == 64
    monkeypatch.setattr(service_module, "SILENCE_S", 0.2)
    alive.hello()
    while not any(isinstance(one, messages.Credit) for one, _ in alive.heard):
        alive.say(messages.Ping())
        alive.hear(messages.Pong)
    credit = [one.credit for one, _ in alive.heard if isinstance(one, messages.Credit)]
    assert credit == [64]
    silent.say(messages.Ping())
    silent.hear(messages.Unknown)


def test_a_robot_whose_connection_is_gone_is_forgotten_at_once(place: Place) -> None:
    """The first word that finds no connection tells; its share of the credit is free."""
    robot = place.robot()
    robot.join()
    robot.say(messages.Ping(policy=1))
    robot.hear(messages.Pong)
    robot.socket.close()
    steps = 100

    def forgotten() -> bool:
        nonlocal steps
        steps += 1
        place.service.allowed_steps = steps  # told at once, over and over, unlike a policy
        return not place.service._sessions  # noqa: SLF001 -- memory has no public face

    until(forgotten)


def test_another_contract_is_refused_with_its_fields(place: Place, contract: Contract) -> None:
    """The first one counts for the run; the others are told what differs."""
    place.robot().join()
    other = place.robot(
        contract=msgspec.structs.replace(
            contract, task="other", action_upper=(3.0,), control_hz=50.0
        )
    )
    other.hello()
    reason = other.hear(messages.Refused).reason
    assert "task: policy has '', expected 'other'" in reason
    assert "action_upper" in reason
    assert "control_hz" in reason
    other.send_rows(0, 5)
    other.hear(messages.Unknown)
    assert place.service.ledger.rows == 0


def test_rows_of_another_layout_are_refused_at_the_door(place: Place, contract: Contract) -> None:
    """What only the critics see is no part of the policy, and yet every row would be malformed."""
    place.robot().join()
    other = place.robot(contract=msgspec.structs.replace(contract, extra=4))
    other.hello()
    reason = other.hear(messages.Refused).reason
    assert "extra=4" in reason
    assert "extra=0" in reason


def test_a_name_that_cannot_be_a_file_is_refused(place: Place) -> None:
    """With what a name may be, instead of dropping every row."""
    robot = place.robot()
    robot.name = "../robot"
    robot.hello()
    assert "expected 1 to 64 letters" in robot.hear(messages.Refused).reason
    assert place.service.contract is None


def test_another_wire_schema_is_refused_with_both_numbers(place: Place) -> None:
    """Although the rest of its greeting cannot be read."""
    robot = place.robot()
    robot.socket.send(msgspec.msgpack.encode({"type": "Hello", "schema": 7, "x": [1, 2]}))
    reason = robot.hear(messages.Refused).reason
    assert "schema 7" in reason
    assert f"learner {messages.SCHEMA}" in reason


def test_a_contract_that_cannot_be_read_is_refused(place: Place) -> None:
    """As a policy's would be."""
    robot = place.robot()
    robot.say(messages.Hello(robot="small-0", run=robot.run, runs={}, contract=b"{}"))
    assert "contract" in robot.hear(messages.Refused).reason


def test_garbage_is_counted_and_the_service_lives(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """From strangers, and from a robot between its good chunks; few lines in the log."""
    stranger = place.robot()
    rng = np.random.default_rng(0)
    for size in range(1, 101):
        frames = [rng.bytes(size) for _ in range(1 + size % 4)]
        while not stranger.socket.poll(10, zmq.POLLOUT):
            pass
        stranger.socket.send_multipart(frames)
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 10)
    robot.say(messages.Rows(run=robot.run, first=10, oldest=0), b"seven b")
    robot.say(messages.Rows(run=robot.run, first=10, oldest=0), b"")
    robot.send_rows(10, 10)
    robot.acknowledged(20)
    until(lambda: place.service.ledger.malformed == 101)
    np.testing.assert_array_equal(place.taken(), np.arange(20))
    assert 1 <= caplog.text.count("message dropped") <= 8


def test_a_peer_that_is_no_zeromq_at_all_is_ignored(place: Place) -> None:
    """A browser, a port scanner, a megabyte of noise."""
    port = int(place.endpoint.rpartition(":")[2])
    for noise in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(1_000_000), b""):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            try:
                stranger.sendall(noise)
            except OSError:
                continue  # the other end has already had enough
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 3)
    robot.acknowledged(3)


def test_strangers_are_not_remembered(place: Place) -> None:
    """However many come: what the service keeps is bounded by the robots it has welcomed."""
    place.robot().join()
    for _ in range(50):
        stranger = place.robot()
        stranger.say(messages.Ping())
        stranger.hear(messages.Unknown)
    assert len(place.service._sessions) == 1  # noqa: SLF001 -- memory has no public face


def test_a_full_disk_ends_the_service_with_its_line(place: Place) -> None:
    """Rows that cannot be written are not acknowledged; the update thread gets the error."""
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 100)
    robot.acknowledged(100)
    written = sum(path.stat().st_size for path in place.folder.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (written + 1000, hard))
    try:
        robot.send_rows(100, 100)
        until(lambda: place.service.error is not None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(StorageError, match="file size limit reached"):
        place.service.close()
    assert len(place.taken()) == 100
    assert on_disk(place) == {("small-0", robot.run): 100}


def test_a_replay_of_another_layout_ends_the_service_with_its_line(
    place: Place, contract: Contract
) -> None:
    """A run folder is of one kind of robot."""
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 5)
    robot.acknowledged(5)
    place.service.close()
    again = Place(place.folder, msgspec.structs.replace(contract, extra=4))
    with pytest.raises(RobosacError, match="columns"):
        again.service.open_log(again.contract)
    again.service.start()
    again.close()


def test_an_error_while_closing_is_not_swallowed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last fsync may be the one that fails."""
    place.robot().join()

    def fail(log: SegmentLog) -> None:
        del log
        raise StorageError("replay", got="disk full", expected="room", advice="make some")

    with monkeypatch.context() as patch:
        patch.setattr(SegmentLog, "close", fail)
        with pytest.raises(StorageError, match="disk full"):
            place.service.close()


def test_the_folder_stays_locked_until_everything_is_written(
    place: Place, contract: Contract
) -> None:
    """A stopped service still owns its replay: nobody else goes on with the run before close()."""
    place.robot().join()
    place.service.stop()
    with pytest.raises(LockedError):
        SegmentLog(place.folder, contract.row_layout)
    place.service.close()
    SegmentLog(place.folder, contract.row_layout).close()


def test_a_service_that_was_never_started_can_be_closed(tmp_path: Path, contract: Contract) -> None:
    """Its replay was in other hands, say: nothing is left that a context would wait for."""
    place = Place(tmp_path / "replay", contract)
    place.service.close()
    place.context.term()


def test_what_was_wrong_with_the_rows_on_disk_is_told(
    place: Place, tmp_path: Path, contract: Contract
) -> None:
    """A resumed run goes on counting its losses; they are not forgotten with the process."""
    robot = place.robot()
    robot.join()
    robot.send_rows(30, 10, oldest=30)
    robot.acknowledged(40)
    place.service.close()
    again = Place(tmp_path / "replay", contract)
    again.service.open_log(contract)
    assert (again.service.found.lost, again.service.found.duplicated) == (30, 0)
    again.service.start()
    again.close()


def test_episodes_are_kept_for_display(place: Place) -> None:
    """The newest hundred."""
    robot = place.robot()
    robot.join()
    for number in range(120):
        robot.say(messages.Episode(run=robot.run, end=number, return_=1.0 * number, length=1))
    robot.synchronise()
    assert [episode.end for episode in place.service.episodes] == list(range(20, 120))
