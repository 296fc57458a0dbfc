"""The uplink between a pipe and a learner's socket, both held by the test."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np
import pytest
import zmq

from robosac.replay import RowLayout
from robosac.runner import line as line_module
from robosac.runner import stream as stream_module
from robosac.runner import uplink as uplink_module
from robosac.runner.frames import NUMBER, FromUplink, Kept, ToUplink, UplinkConfig
from robosac.runner.link_state import STALLED
from robosac.runner.pipe import FramePipe
from robosac.runner.policy_store import PolicyFile, declined
from robosac.runner.spool import Spool
from robosac.runner.uplink import Uplink
from robosac.wire import messages
from robosac.wire.messages import Held, decode_from_robot, encode
from tests.patience import PATIENCE_S
from tests.robosac.runner.conftest import bind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

T = TypeVar("T", bound=messages.FromRobot)

LAYOUT = RowLayout(obs=2, extra=1, action=1)
RUN, EARLIER = "a" * 32, "b" * 32
FILE = b"a policy"
SHA256 = hashlib.sha256(FILE).hexdigest()


class FakeLearner:
    """A ROUTER that hears one robot and says what the test wants."""

    def __init__(self, port: int = 0) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket, self.endpoint = bind(self.context, port)
        self.identity = b""
        self.rows: list[float] = []
        """First column of every row that came, in order."""

    def hear(self, kind: type[T]) -> T:
        """Wait for a message of this kind; rows on the way are noted, all else is skipped."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if not self.socket.poll(100):
                continue
            self.identity, *frames = self.socket.recv_multipart()
            message, payload = decode_from_robot(frames)
            if isinstance(message, messages.Rows):
                rows = np.frombuffer(payload, np.float32).reshape(-1, LAYOUT.width)
                self.rows += rows[:, 0].tolist()
            if isinstance(message, kind):
                return message
        pytest.fail(f"no {kind.__name__} within {PATIENCE_S:g} s")

    def say(self, message: messages.FromLearner, payload: bytes | None = None) -> None:
        """Send to the robot that spoke last."""
        self.socket.send_multipart([self.identity, *encode(message, payload)])

    def welcome(self, expected: dict[str, int] | None = None, *, version: int = 1) -> None:
        """Answer a hello; one that names this run alone, unless another answer is given."""
        expected = {RUN: 0} if expected is None else expected
        welcome = messages.Welcome(expected=expected, version=version, sha256=SHA256)
        self.say(welcome, FILE)

    def take(self, count: int) -> None:
        """Wait until this many rows have come."""
        while len(self.rows) < count:
            self.hear(messages.Rows)

    def close(self) -> None:
        """Go without a word."""
        self.socket.close(linger=0)
        self.context.term()


class Robot:
    """An uplink on a thread, and the control loop's end of its pipe."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.pipe, theirs = FramePipe.pair()
        config = UplinkConfig(
            pipe=-1,
            endpoint=endpoint,
            robot="go2-0",
            run=RUN,
            folder=str(folder),
            contract='{"schema": 1}',
            layout=LAYOUT,
            paced=True,
        )
        self._theirs = FramePipe(theirs)
        self._thread = threading.Thread(target=self._work, args=(config,), daemon=True)
        self._thread.start()
        self.made = 0
        self.frames: list[tuple[int, bytes]] = []

    def _work(self, config: UplinkConfig) -> None:
        try:
            Uplink(config, self._theirs).run()
        finally:
            self._theirs.close()

    def record(self, count: int, *, first: int | None = None) -> None:
        """Send rows that tell their sequence number."""
        first = self.made if first is None else first
        for number in range(first, first + count):
            row = np.full(LAYOUT.width, number, np.float32)
            self.pipe.send(ToUplink.ROW, NUMBER.pack(number) + row.tobytes())
        self.made = first + count

    def finish(self) -> None:
        """Say that this was all."""
        self.pipe.send(ToUplink.FINISH, NUMBER.pack(self.made))

    def wait_for(self, kind: FromUplink) -> bytes:
        """Wait for a frame of this kind, which is not met again."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            self.frames += self.pipe.receive()
            for number, (got, payload) in enumerate(self.frames):
                if got == kind:
                    del self.frames[: number + 1]
                    return payload
            self.pipe.wait(0.1)
        pytest.fail(f"no {kind.name} within {PATIENCE_S:g} s")

    def wait_until_spooled(self, end: int) -> None:
        """Wait until rows below this number are on disk."""
        while self.kept().below < end:
            pass

    def kept(self) -> Kept:
        """Wait for the uplink to say how far it is."""
        return msgspec.msgpack.decode(self.wait_for(FromUplink.KEPT), type=Kept)

    def ended(self) -> bool:
        """Whether the uplink has ended within a while."""
        self._thread.join(PATIENCE_S)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Go, finished or not."""
        self.pipe.close()
        assert self.ended()


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is said again, and no line replaced, because this machine was busy for a while."""
    monkeypatch.setattr(stream_module, "STALL_S", 600.0)
    monkeypatch.setattr(line_module, "SILENCE_S", 600.0)


@pytest.fixture
def learner() -> Iterator[FakeLearner]:
    """A learner that says nothing by itself."""
    learner = FakeLearner()
    yield learner
    learner.close()


@pytest.fixture
def robot(learner: FakeLearner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Robot]:
    """A robot whose uplink has just started; it gives up quickly when nobody is there."""
    monkeypatch.setattr(uplink_module, "_GRACE_S", 0.2)
    robot = Robot(tmp_path, learner.endpoint)
    yield robot
    robot.close()


def leave_behind(folder: Path, count: int) -> None:
    """Make the spool of an earlier run whose runner was killed."""
    with Spool(folder / "spool", LAYOUT, robot="go2-0", run=EARLIER) as spool:
        for number in range(1000, 1000 + count):
            spool.append(np.full((1, LAYOUT.width), number, np.float32))


def pending(folder: Path, run: str = RUN) -> int:
    """Rows that lie in a run's spool."""
    with Spool(folder / "spool", LAYOUT, robot="go2-0", run=run) as spool:
        return spool.pending


def test_a_run_from_hello_to_farewell(learner: FakeLearner, robot: Robot, tmp_path: Path) -> None:
    """Rows arrive in order, acknowledged ones leave the disk, and at the end nothing is left."""
    hello = learner.hear(messages.Hello)
    assert (hello.robot, hello.run, hello.runs) == ("go2-0", RUN, {RUN: Held(0, 0)})
    assert hello.contract == b'{"schema": 1}'
    learner.welcome({RUN: 0})
    robot.record(300)
    learner.take(300)
    assert learner.rows == list(range(300))
    learner.say(messages.Ack(run=RUN, expected=300))
    robot.finish()
    assert learner.hear(messages.Bye).made == 300
    learner.say(messages.Farewell(run=RUN))
    robot.wait_for(FromUplink.FAREWELL)
    robot.pipe.close()
    assert robot.ended()
    assert list((tmp_path / "spool").iterdir()) == []


def test_rows_are_on_disk_before_any_learner_is_there(
    learner: FakeLearner, robot: Robot, tmp_path: Path
) -> None:
    """The loop is told how far; what was recorded meanwhile follows after the welcome."""
    robot.record(50)
    robot.wait_until_spooled(50)
    learner.hear(messages.Hello)
    learner.welcome({RUN: 0})
    learner.take(50)
    assert learner.rows == list(range(50))


def test_nothing_is_sent_before_the_welcome(learner: FakeLearner, robot: Robot) -> None:
    """A learner first checks whether the robot fits."""
    learner.hear(messages.Hello)
    robot.record(5)
    robot.pipe.send(ToUplink.EPISODE, b"an episode")
    robot.wait_until_spooled(5)
    learner.hear(messages.Hello)
    assert learner.rows == []


def test_a_restarted_learner_gets_what_it_lacks(learner: FakeLearner, robot: Robot) -> None:
    """It had made 20 of 60 rows durable when it died, and goes on from there."""
    learner.hear(messages.Hello)
    learner.welcome({RUN: 0})
    robot.record(60)
    learner.take(60)
    learner.say(messages.Ack(run=RUN, expected=20))
    port = int(learner.endpoint.rpartition(":")[2])
    learner.close()
    robot.record(5)
    learner.__init__(port)  # type: ignore[misc]
    learner.hear(messages.Ping)
    learner.say(messages.Unknown())
    hello = learner.hear(messages.Hello)
    assert hello.runs[RUN].oldest <= 20
    learner.rows.clear()
    learner.welcome({RUN: 20})
    learner.take(45)
    assert learner.rows == list(range(20, 65))


def test_a_stranger_to_the_learner_says_hello_at_once(
    learner: FakeLearner, robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when it is time for the next ping."""
    learner.hear(messages.Hello)
    monkeypatch.setattr(uplink_module, "_TOUCH_S", 600.0)
    learner.welcome({RUN: 0})
    while learner.hear(messages.Ping).policy != 1:
        pass
    for _ in range(2):
        learner.say(messages.Unknown())
        learner.hear(messages.Hello)
        learner.welcome({RUN: 0})
        learner.hear(messages.Ping)


def test_an_earlier_run_is_delivered_before_this_one_ends(
    learner: FakeLearner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learner that is told goodbye goes; by then it must have everything."""
    monkeypatch.setattr(uplink_module, "_GRACE_S", 0.2)
    leave_behind(tmp_path, 3)
    robot = Robot(tmp_path, learner.endpoint)
    hello = learner.hear(messages.Hello)
    assert hello.runs == {EARLIER: Held(0, 3), RUN: Held(0, 0)}
    robot.record(2)
    robot.finish()
    robot.wait_until_spooled(2)
    learner.welcome({EARLIER: 0, RUN: 0})
    learner.take(5)
    assert learner.rows == [1000, 1001, 1002, 0, 1]
    learner.say(messages.Ack(run=RUN, expected=2))
    learner.say(messages.Ack(run=EARLIER, expected=3))
    assert learner.hear(messages.Bye).run == EARLIER
    assert learner.hear(messages.Bye).run == EARLIER, "this run waits for the earlier one"
    learner.say(messages.Farewell(run=EARLIER))
    assert hear_bye(learner, RUN) == messages.Bye(run=RUN, made=2, oldest=2)
    learner.say(messages.Farewell(run=RUN))
    robot.wait_for(FromUplink.FAREWELL)
    robot.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_an_earlier_run_in_other_hands_is_waited_for(
    learner: FakeLearner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The uplink of a killed runner may still be at work; what it leaves is then delivered here.

    And announced before: what a learner allows depends on what a hello has named.
    """
    monkeypatch.setattr(uplink_module, "_GRACE_S", 0.2)
    monkeypatch.setattr(uplink_module, "_TOUCH_S", 0.1)
    leave_behind(tmp_path, 3)
    with Spool(tmp_path / "spool", LAYOUT, robot="go2-0", run=EARLIER):
        robot = Robot(tmp_path, learner.endpoint)
        assert learner.hear(messages.Hello).runs == {RUN: Held(0, 0)}
        learner.welcome({RUN: 0})
        robot.finish()
        learner.hear(messages.Ping)
        learner.hear(messages.Ping)
    assert hear_of_earlier(learner).runs == {EARLIER: Held(0, 3), RUN: Held(0, 0)}
    learner.welcome({EARLIER: 0, RUN: 0})
    learner.take(3)
    assert learner.rows == [1000, 1001, 1002]
    learner.say(messages.Ack(run=EARLIER, expected=3))
    assert learner.hear(messages.Bye).run == EARLIER
    learner.say(messages.Farewell(run=EARLIER))
    hear_bye(learner, RUN)
    robot.close()


def hear_bye(learner: FakeLearner, run: str) -> messages.Bye:
    """Wait for the goodbye of a run; another may have been said once more."""
    while (bye := learner.hear(messages.Bye)).run != run:
        pass
    return bye


def hear_of_earlier(learner: FakeLearner) -> messages.Hello:
    """Wait for a hello that names the earlier run; others may have been on their way."""
    while EARLIER not in (hello := learner.hear(messages.Hello)).runs:
        pass
    return hello


def test_a_welcome_to_an_earlier_hello_sends_nothing_unannounced(
    learner: FakeLearner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers what this robot was before it took over an earlier run; its policy is good."""
    monkeypatch.setattr(uplink_module, "_GRACE_S", 0.2)
    monkeypatch.setattr(uplink_module, "_TOUCH_S", 0.1)
    leave_behind(tmp_path, 3)
    with Spool(tmp_path / "spool", LAYOUT, robot="go2-0", run=EARLIER):
        robot = Robot(tmp_path, learner.endpoint)
        learner.hear(messages.Hello)
    hear_of_earlier(learner)
    learner.welcome({RUN: 0})
    robot.wait_for(FromUplink.POLICY)
    for _ in range(3):
        assert EARLIER in learner.hear(messages.Hello).runs
    assert learner.rows == []
    learner.welcome({EARLIER: 0, RUN: 0})
    learner.take(3)
    assert learner.rows == [1000, 1001, 1002]
    robot.close()


def test_a_loop_that_dies_has_finished_its_run(
    learner: FakeLearner, robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it handed over is delivered, and the learner is told how much that was."""
    monkeypatch.setattr(uplink_module, "_GRACE_S", 600.0)
    learner.hear(messages.Hello)
    learner.welcome({RUN: 0})
    robot.record(7)
    robot.pipe.close()
    learner.take(7)
    learner.say(messages.Ack(run=RUN, expected=7))
    assert learner.hear(messages.Bye).made == 7
    learner.say(messages.Farewell(run=RUN))
    assert robot.ended()


def test_rows_that_an_earlier_uplink_delivered_from_memory_end_the_run(
    learner: FakeLearner, robot: Robot
) -> None:
    """The disk was full and it was killed: nobody has them here, and nobody needs them."""
    robot.made = 5
    robot.finish()
    learner.hear(messages.Hello)
    learner.welcome({RUN: 5})
    assert learner.hear(messages.Bye) == messages.Bye(run=RUN, made=5, oldest=5)
    learner.say(messages.Farewell(run=RUN))
    robot.wait_for(FromUplink.FAREWELL)


def test_without_a_learner_the_spool_keeps_everything(
    learner: FakeLearner, robot: Robot, tmp_path: Path
) -> None:
    """The process does not stay for ever when its loop is gone and nothing moves."""
    learner.hear(messages.Hello)
    robot.record(7)
    robot.pipe.close()
    assert robot.ended()
    assert pending(tmp_path) == 7


def test_rows_that_the_loop_sends_again_are_spooled_once(
    learner: FakeLearner, robot: Robot
) -> None:
    """As it does to an uplink that takes over from a dead one."""
    robot.record(10)
    robot.wait_until_spooled(10)
    robot.record(10, first=4)
    robot.wait_until_spooled(14)
    learner.hear(messages.Hello)
    learner.welcome({RUN: 0})
    learner.take(14)
    assert learner.rows == list(range(14))


def test_a_run_goes_on_in_the_spool_of_the_uplink_that_died(
    learner: FakeLearner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own spool is no leftover of another run."""
    monkeypatch.setattr(uplink_module, "_GRACE_S", 0.2)
    with Spool(tmp_path / "spool", LAYOUT, robot="go2-0", run=RUN) as spool:
        spool.append(np.zeros((3, LAYOUT.width), np.float32))
    robot = Robot(tmp_path, learner.endpoint)
    robot.wait_until_spooled(3)
    assert learner.hear(messages.Hello).runs == {RUN: Held(0, 3)}
    robot.close()


def test_policies_reach_the_loop_by_file(learner: FakeLearner, robot: Robot) -> None:
    """And the learner hears which one has arrived, before it sends another."""
    learner.hear(messages.Hello)
    learner.welcome(version=3)
    file = msgspec.msgpack.decode(robot.wait_for(FromUplink.POLICY), type=PolicyFile)
    assert file.version == 3
    while learner.hear(messages.Ping).policy != 3:
        pass
    learner.say(messages.Policy(version=4, sha256=SHA256), FILE)
    while learner.hear(messages.Ping).policy != 4:
        pass


def test_a_policy_with_a_wrong_digest_does_not_reach_the_loop(
    learner: FakeLearner, robot: Robot
) -> None:
    """The loop is told; the learner may send the next one."""
    learner.hear(messages.Hello)
    learner.welcome(version=3)
    robot.wait_for(FromUplink.POLICY)
    learner.say(messages.Policy(version=4, sha256="0" * 64), FILE)
    assert b"version 4: SHA-256 is" in robot.wait_for(FromUplink.BAD_POLICY)
    while learner.hear(messages.Ping).policy != 4:
        pass


def test_credit_of_this_run_reaches_the_loop(learner: FakeLearner, robot: Robot) -> None:
    """That of another run does not; none is no bound."""
    learner.hear(messages.Hello)
    learner.welcome()
    for run, credit in ((EARLIER, 1), (RUN, 64), (RUN, None)):
        learner.say(messages.Credit(run=run, credit=credit))
    assert msgspec.msgpack.decode(robot.wait_for(FromUplink.CREDIT)) == 64
    assert msgspec.msgpack.decode(robot.wait_for(FromUplink.CREDIT)) is None


def test_a_refusal_reaches_the_loop(learner: FakeLearner, robot: Robot) -> None:
    """And leaves nothing to do for an uplink without rows."""
    learner.hear(messages.Hello)
    learner.say(messages.Refused(reason="another robot"))
    assert robot.wait_for(FromUplink.REFUSED) == b"another robot"
    robot.pipe.close()
    assert robot.ended()


def test_episodes_are_passed_on(learner: FakeLearner, robot: Robot) -> None:
    """As the loop has encoded them."""
    learner.hear(messages.Hello)
    learner.welcome()
    robot.wait_for(FromUplink.POLICY)
    episode = messages.Episode(run=RUN, end=9, return_=1.0, length=9)
    robot.pipe.send(ToUplink.EPISODE, encode(episode)[0])
    assert learner.hear(messages.Episode) == episode


def test_what_nobody_understands_is_dropped(
    learner: FakeLearner, robot: Robot, caplog: pytest.LogCaptureFixture
) -> None:
    """Garbage, and messages about runs that are not ours; the uplink goes on."""
    learner.hear(messages.Hello)
    learner.welcome({EARLIER: 9, RUN: 0})
    learner.socket.send_multipart([learner.identity, b"garbage", b"more"])
    learner.say(messages.Ack(run=EARLIER, expected=3))
    learner.say(messages.Farewell(run=EARLIER))
    learner.say(messages.Farewell(run=RUN))
    robot.record(4)
    learner.take(4)
    assert learner.rows == list(range(4))
    assert "message dropped" in caplog.text, "it came before the rows were sent"


def test_a_silent_learner_is_greeted_again(
    learner: FakeLearner, robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection may live while the process behind it hangs or has been replaced."""
    learner.hear(messages.Hello)
    learner.welcome({RUN: 0})
    while learner.hear(messages.Ping).policy != 1:
        pass
    monkeypatch.setattr(line_module, "SILENCE_S", 0.5)
    learner.hear(messages.Hello)


def test_enough_reaches_the_loop(learner: FakeLearner, robot: Robot) -> None:
    """The learner has all the rows it wants."""
    learner.hear(messages.Hello)
    learner.welcome()
    learner.say(messages.Enough())
    assert robot.wait_for(FromUplink.ENOUGH) == b""


def test_the_learner_hears_which_policy_is_not_run(learner: FakeLearner, robot: Robot) -> None:
    """One that was damaged on the way, and one that the control loop's process has refused."""
    learner.hear(messages.Hello)
    learner.welcome(version=3)
    learner.say(messages.Policy(version=4, sha256="0" * 64), FILE)
    refused = learner.hear(messages.Declined)
    assert (refused.version, "SHA-256" in refused.reason) == (4, True)
    robot.pipe.send(ToUplink.DECLINED, declined(5, "x" * 2000))
    assert learner.hear(messages.Declined) == messages.Declined(version=5, reason="x" * 1000)


def test_a_refusal_waits_for_the_learner(learner: FakeLearner, robot: Robot) -> None:
    """It is told when the learner can hear it."""
    learner.hear(messages.Hello)
    robot.pipe.send(ToUplink.DECLINED, declined(5, "not finite"))
    learner.hear(messages.Hello)
    learner.welcome()
    assert learner.hear(messages.Declined).version == 5


def test_a_ping_tells_how_many_rows_wait(
    learner: FakeLearner, robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until they are acknowledged."""
    monkeypatch.setattr(uplink_module, "_TOUCH_S", 0.05)
    learner.hear(messages.Hello)
    learner.welcome({RUN: 0})
    robot.record(9)
    robot.wait_until_spooled(9)
    while learner.hear(messages.Ping).pending != 9:
        pass
    learner.say(messages.Ack(run=RUN, expected=7))
    while learner.hear(messages.Ping).pending != 2:
        pass


def test_a_learner_that_no_longer_learns_is_told(learner: FakeLearner, robot: Robot) -> None:
    """It answers and takes rows in, and still something is wrong there; until it is not."""
    learner.hear(messages.Hello)
    learner.welcome()
    for learning, state in ((True, "connected"), (False, STALLED), (True, "connected")):
        learner.hear(messages.Ping)
        learner.say(messages.Pong(learning=learning))
        while robot.wait_for(FromUplink.STATE).decode() != state:
            pass
