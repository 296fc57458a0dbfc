"""The service on a real socket: durable before acknowledged, nothing lost, nothing twice."""

from __future__ import annotations

import hashlib
import resource
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import zmq

from robosac.errors import LockedError, RobosacError, StorageError
from robosac.learner import service as service_module
from robosac.replay import SegmentLog
from robosac.wire import messages
from robosac.wire.messages import Held

if TYPE_CHECKING:
    from robosac.policy import Contract
    from robosac.replay import AppendResult, Chunk
    from tests.robosac.learner.conftest import MakePlace, Place


def test_a_run_from_hello_to_farewell(place: Place) -> None:
    """Rows come to the learner once and in order, and are on disk when acknowledged."""
    robot = place.robot()
    welcome = robot.join()
    assert (welcome.expected, welcome.version) == ({robot.run: 0}, 1)
    assert hashlib.sha256(robot.heard[-1][1]).hexdigest() == welcome.sha256
    robot.send_rows(0, 200)
    robot.send_rows(200, 50)
    robot.acknowledged(250)
    np.testing.assert_array_equal(place.taken(), np.arange(250))
    robot.part(250)
    assert (place.service.ledger.rows, *place.service.ledger.parted) == (250, "small-0")
    place.service.close()
    audit = place.service.audit()
    assert (audit.lost, audit.duplicated) == (0, 0)
    assert place.on_disk() == {("small-0", robot.run): 250}


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
    assert not robot.told(messages.Farewell)
    assert not place.service.ledger.parted


def test_several_robots_and_runs_are_counted_apart(place: Place) -> None:
    """Two robots, one of them with a run that was left behind; each from zero."""
    one, two, earlier = place.robot(), place.robot("small-1"), uuid.uuid4().hex
    assert one.join({earlier: Held(0, 7)}).expected == {earlier: 0, one.run: 0}
    two.join()
    for robot in (one, two):
        robot.send_rows(0, 20)
    one.send_rows(0, 7, run=earlier)
    one.synchronise()
    two.acknowledged(20)
    one.part(7, run=earlier)
    assert not place.service.ledger.parted, "an earlier run is not the end of the robot"
    accounts = place.service.ledger.robots
    assert {name: one.rows for name, one in accounts.items()} == {"small-0": 27, "small-1": 20}
    place.service.close()
    assert place.on_disk() == {
        ("small-0", one.run): 20,
        ("small-1", two.run): 20,
        ("small-0", earlier): 7,
    }


def test_a_restarted_service_knows_what_it_has(
    place: Place, make_place: MakePlace, contract: Contract
) -> None:
    """Welcome says where to go on; the learner gets every row of the disk once."""
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 30)
    robot.acknowledged(30)
    place.service.close()
    again = make_place()
    again.service.open_log(contract)
    again.service.start()
    late = again.robot()
    late.run = robot.run
    assert late.join().expected == {robot.run: 30}
    late.send_rows(10, 30)
    late.acknowledged(40)
    np.testing.assert_array_equal(again.taken(), np.arange(40))
    assert again.service.ledger.rows == 40


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
        place.until(lambda: place.service.error is not None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(StorageError, match="file size limit reached"):
        place.service.close()
    assert len(place.taken()) == 100
    assert place.on_disk() == {("small-0", robot.run): 100}


def test_a_replay_of_another_layout_ends_the_service_with_its_line(
    place: Place, make_place: MakePlace, contract: Contract
) -> None:
    """A run folder is of one kind of robot."""
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 5)
    robot.acknowledged(5)
    place.service.close()
    again = make_place(contract=msgspec.structs.replace(contract, extra=4))
    with pytest.raises(RobosacError, match="columns"):
        again.service.open_log(again.contract)
    again.service.start()


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


def test_a_service_that_was_never_started_can_be_closed(make_place: MakePlace) -> None:
    """Its replay was in other hands, say: nothing is left that a context would wait for."""
    place = make_place()
    place.service.close()
    place.context.term()


def test_what_was_wrong_with_the_rows_on_disk_is_told(
    place: Place, make_place: MakePlace, contract: Contract
) -> None:
    """A resumed run goes on counting its losses; they are not forgotten with the process."""
    robot = place.robot()
    robot.join()
    robot.send_rows(30, 10, oldest=30)
    robot.acknowledged(40)
    place.service.close()
    again = make_place()
    again.service.open_log(contract)
    assert (again.service.found.lost, again.service.found.duplicated) == (30, 0)
    again.service.start()


def test_a_goodbye_tells_what_the_spool_has_given_up(place: Place) -> None:
    """The last rows of a run may be among them: they are lost, once, and the robot may go."""
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 10)
    for _ in range(2):  # the first farewell may have been lost on the way
        robot.part(25, oldest=25)
    assert place.service.ledger.skipped == 15
    place.service.close()
    assert place.service.audit().lost == 15


def test_a_goodbye_in_the_turn_of_the_last_rows_is_answered_after_their_sync(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A farewell lets the robot delete its spool; one sync serves however many goodbyes."""
    syncs = 0
    sync = SegmentLog.sync

    def counted(log: SegmentLog) -> None:
        nonlocal syncs
        syncs += 1
        sync(log)

    robot = place.robot()
    robot.join()
    monkeypatch.setattr(SegmentLog, "sync", counted)
    monkeypatch.setattr(service_module, "_POLL_MS", 500)
    robot.synchronise()  # the service waits for half a second, and then for what comes first
    runs = [uuid.uuid4().hex for _ in range(20)]
    for run in runs:
        robot.send_rows(0, 3, run=run)
        robot.say(messages.Bye(run=run, made=3))
    gone = {robot.hear(messages.Farewell).run for _ in runs}
    assert gone == set(runs)
    assert syncs < len(runs)
    assert place.service.ledger.rows == 60


def test_a_run_that_goes_on_after_its_goodbye_is_kept(place: Place) -> None:
    """Nobody should do so, and yet a row that has arrived is a row; the audit counts it."""
    robot = place.robot()
    robot.join()
    robot.send_rows(0, 10)
    robot.part(10)
    robot.send_rows(12, 3, oldest=12)
    robot.acknowledged(15)
    place.service.close()
    audit = place.service.audit()
    assert (audit.lost, audit.duplicated) == (2, 0)


def test_a_goodbye_for_the_run_of_another_robot_is_none(place: Place) -> None:
    """Runs are known by robot and run: the other's is untouched."""
    one, two = place.robot(), place.robot("small-1")
    one.join()
    two.join()
    one.send_rows(0, 10)
    one.acknowledged(10)
    two.say(messages.Bye(run=one.run, made=10))
    assert two.hear(messages.Ack).expected == 0
    assert place.service.ledger.made == {}
    assert place.service.present == 2


def test_nobody_is_told_of_rows_whose_sync_has_failed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No acknowledgement, no welcome with their number, nothing to learn from; the thread ends."""
    robot = place.robot()
    robot.join()
    robot.synchronise()

    def fail(log: SegmentLog) -> None:
        del log
        raise StorageError("replay", got="disk full", expected="room", advice="make some")

    monkeypatch.setattr(SegmentLog, "sync", fail)
    robot.send_rows(0, 5)
    robot.socket.sndtimeo = 100
    with suppress(zmq.Again):  # it may have ended before it could hear more
        robot.hello()
    place.until(lambda: place.service.error is not None)
    assert not robot.socket.poll(200)
    assert len(place.taken()) == 0
    assert place.service.ledger.rows == 0
    monkeypatch.undo()
    with pytest.raises(StorageError, match="disk full"):
        place.service.close()


def test_a_service_goes_on_in_a_new_segment(
    place: Place, make_place: MakePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever file the rows lie in; a restart in between knows all of them."""
    monkeypatch.setattr(SegmentLog.__init__, "__kwdefaults__", {"segment_bytes": 2000})
    robot = place.robot()
    robot.join()
    for first in range(0, 100, 10):
        robot.send_rows(first, 10)
        robot.acknowledged(first + 10)
    place.service.close()
    assert len(list(place.folder.glob("*.rows"))) > 2
    again = make_place()
    again.service.start()
    late = again.robot()
    late.run = robot.run
    assert late.join().expected == {robot.run: 100}
    late.send_rows(95, 20)
    late.acknowledged(115)
    again.service.close()
    assert again.on_disk() == {("small-0", robot.run): 115}
    np.testing.assert_array_equal(again.taken(), np.arange(115))
