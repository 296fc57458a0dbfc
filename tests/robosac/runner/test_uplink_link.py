"""The control loop's side, with a real uplink process and a real service behind it."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import zmq

from robosac.errors import PolicyError, WireError
from robosac.learner.inbox import Inbox
from robosac.learner.service import PublishedPolicy, Service
from robosac.policy.contract import encode as encode_contract
from robosac.replay import SegmentLog
from robosac.runner import uplink_link as uplink_link_module
from robosac.runner.pipe import FramePipe, PipeConfig
from robosac.runner.spool import Spool
from robosac.runner.uplink_link import UplinkLink
from robosac.wire import messages
from tests.patience import PATIENCE_S
from tests.robosac.runner.conftest import bind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from robosac.policy import Contract
    from tests.robosac.conftest import PolicyMaker

RUN = "a" * 32
ROBOT = "small-0"


class Place:
    """A service, and the links that a test makes to it."""

    def __init__(self, folder: Path, contract: Contract) -> None:
        self.folder = self.robot_folder = folder
        self.contract = contract
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.links: list[UplinkLink] = []
        self.stopped = False
        self.serve(0)

    def serve(self, port: int, contract: Contract | None = None) -> None:
        """Begin to serve, on the same port again after stop_serving()."""
        bound, self.endpoint = bind(self.context, port)
        self.service = Service(bound, self.folder / "replay", Inbox())
        if contract is not None:
            self.service.open_log(contract)
        self.service.start()

    def stop_serving(self) -> int:
        """End the service and return its port."""
        self.service.close()
        return int(self.endpoint.rpartition(":")[2])

    def publish(self, version: int, file: bytes) -> None:
        """Let the service send a policy."""
        sha256 = hashlib.sha256(file).hexdigest()
        self.service.policy = PublishedPolicy(version, sha256, file)

    def link(
        self, *, contract: Contract | None = None, run: str = RUN, paced: bool = True
    ) -> UplinkLink:
        """Start an uplink process."""
        self.links.append(
            UplinkLink(
                contract or self.contract,
                endpoint=self.endpoint,
                robot=ROBOT,
                run=run,
                folder=self.robot_folder,
                paced=paced,
                stopped=lambda: self.stopped,
            )
        )
        return self.links[-1]

    def rows(self) -> list[float]:
        """First column of everything on disk, in order."""
        with SegmentLog(self.folder / "replay", self.contract.row_layout) as log:
            return [number for chunk in log.rows() for number in chunk.rows[:, 0].tolist()]

    def close(self) -> None:
        """End everything, in whatever state it is."""
        self.stopped = True
        for link in self.links:
            link.close()
        self.service.close()
        self.context.destroy(linger=0)


@pytest.fixture
def place(tmp_path: Path, contract: Contract, make_policy: PolicyMaker) -> Iterator[Place]:
    """A service with a good policy."""
    place = Place(tmp_path, contract)
    place.publish(1, make_policy())
    yield place
    place.close()


def record(link: UplinkLink, contract: Contract, first: int, count: int) -> None:
    """Record rows that tell their sequence number, as a loop does: a row, a poll."""
    for number in range(first, first + count):
        link.record(np.full(contract.row_layout.width, number, np.float32))
        link.poll()


def until(link: UplinkLink, condition: Callable[[], bool]) -> None:
    """Let the loop wait for something."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        link.pause()
    assert condition(), link.link_state


def uplink_pid(link: UplinkLink) -> int:
    """The present uplink process."""
    return link._process.pid  # noqa: SLF001 -- faults are injected from outside


def test_a_run_is_delivered_whole(place: Place, contract: Contract) -> None:
    """From the first policy to the farewell; nothing is left on the robot."""
    link = place.link()
    link.wait_until_ready()
    assert (link.acting.version, link.credit) == (1, None)
    record(link, contract, 0, 1000)
    link.report(messages.Episode(run=RUN, end=1000, return_=2.0, length=1000))
    link.finish(1000)
    link.close()
    assert place.service.ledger.made == {(ROBOT, RUN): 1000}
    assert [episode.return_ for episode in place.service.episodes] == [2.0]
    place.service.close()
    assert place.rows() == list(range(1000))
    assert list((place.folder / "spool").iterdir()) == []


def test_a_killed_uplink_is_replaced_and_no_row_is_lost(place: Place, contract: Contract) -> None:
    """SIGKILL again and again while rows are made; the loop only ever sees it in its log."""
    link = place.link()
    link.wait_until_ready()
    made = 0
    for _ in range(3):
        record(link, contract, made, 500)
        os.kill(uplink_pid(link), signal.SIGKILL)
        record(link, contract, made + 500, 500)
        made += 1000
        until(link, lambda: not link.unspooled)
    link.finish(made)
    link.close()
    place.service.close()
    assert place.rows() == list(range(made))
    assert place.service.audit().duplicated == 0


def test_a_robot_goes_on_while_no_other_uplink_can_be_started(
    place: Place, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without memory for another process: nothing is raised, and nothing is lost."""
    link = place.link()
    link.wait_until_ready()
    record(link, contract, 0, 100)
    to_process, failures = FramePipe.to_process, [OSError(12, "Cannot allocate memory")] * 2

    def scarce(module: str, config: PipeConfig) -> object:
        if failures:
            raise failures.pop()
        return to_process(module, config)

    monkeypatch.setattr(uplink_link_module, "_RESTART_MAX_S", 0.05)
    monkeypatch.setattr(FramePipe, "to_process", scarce)
    os.kill(uplink_pid(link), signal.SIGKILL)
    until(link, lambda: "Cannot allocate memory; it is tried again" in link.link_state)
    record(link, contract, 100, 100)
    until(link, lambda: not (failures or link.unspooled))
    link.finish(200)
    link.close()
    place.service.close()
    assert place.rows() == list(range(200))


def test_an_uplink_killed_in_the_last_moment_is_replaced(place: Place, contract: Contract) -> None:
    """The loop is waiting for the farewell, and says again that it has finished."""
    link = place.link()
    link.wait_until_ready()
    record(link, contract, 0, 100)
    os.kill(uplink_pid(link), signal.SIGKILL)
    link.finish(100)
    assert place.service.ledger.made == {(ROBOT, RUN): 100}


def test_an_uplink_that_never_gets_to_work_ends_a_run_that_has_not_begun(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its exit code, after a few tries."""
    monkeypatch.setattr(uplink_link_module, "_RESTART_S", 0.01)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    link = place.link()
    with pytest.raises(WireError, match=r"died 5 times before it got to work, .* code 1"):
        link.wait_until_ready()


def test_uplinks_that_cannot_start_do_not_stop_a_robot_in_motion(
    place: Place, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as that lasts rows wait in memory; the first that lives delivers all of them."""
    monkeypatch.setattr(uplink_link_module, "_RESTART_S", 0.01)
    link = place.link()
    link.wait_until_ready()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        os.kill(uplink_pid(link), signal.SIGKILL)
        record(link, contract, 0, 10)
        until(link, lambda: link._mute_deaths > 5)  # noqa: SLF001 -- more than are put up with
        record(link, contract, 10, 10)
    link.finish(20)
    place.service.close()
    assert place.rows() == list(range(20))


def test_an_uplink_that_hangs_holds_up_nothing(place: Place, contract: Contract) -> None:
    """Stopped while rows are recorded: a wait for it would be one for ever; all arrive later."""
    link = place.link()
    link.wait_until_ready()
    os.kill(uplink_pid(link), signal.SIGSTOP)
    record(link, contract, 0, 3000)
    os.kill(uplink_pid(link), signal.SIGCONT)
    link.finish(3000)
    place.service.close()
    assert place.rows() == list(range(3000))


def test_memory_is_bounded_when_an_uplink_hangs_for_long(
    place: Place, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest rows that it has not been sent go, are counted, and the rest arrives in order."""
    monkeypatch.setattr(uplink_link_module, "_OUTBOX_BYTES", 100_000)
    monkeypatch.setattr(uplink_link_module, "_STUCK_S", 0.1)
    link = place.link()
    link.wait_until_ready()
    record(link, contract, 0, 50)
    until(link, lambda: not link.unspooled)
    os.kill(uplink_pid(link), signal.SIGSTOP)
    record(link, contract, 50, 20_000)
    lost = link.dropped
    assert lost > 5000
    until(link, lambda: link.link_state.startswith("the uplink takes no rows for"))
    os.kill(uplink_pid(link), signal.SIGCONT)
    link.finish(20_050)
    assert link.dropped == lost
    place.service.close()
    rows = place.rows()
    assert rows[:50] == list(range(50))
    assert rows == sorted(set(rows))
    assert len(rows) == 20_050 - lost
    assert rows[-1] == 20_049


def test_rows_that_a_hanging_uplink_never_wrote_are_told_at_the_end(
    place: Place, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing does not wait for ever, and does not end in silence either."""
    monkeypatch.setattr(uplink_link_module, "_CLOSE_S", 0.3)
    link = place.link()
    link.wait_until_ready()
    os.kill(uplink_pid(link), signal.SIGSTOP)
    record(link, contract, 0, 10)
    with pytest.raises(WireError, match=r"written nothing for 0.3 s \(10 rows wait in memory"):
        link.close()
    os.kill(uplink_pid(link), signal.SIGCONT)


def test_the_end_of_the_service_asks_nothing_of_the_uplink(
    place: Place, contract: Contract
) -> None:
    """SIGTERM to the whole group, as at shutdown: what was recorded is still delivered."""
    link = place.link()
    link.wait_until_ready()
    uplink = uplink_pid(link)
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(uplink, number)
    record(link, contract, 0, 100)
    link.finish(100)
    assert uplink_pid(link) == uplink
    assert place.service.ledger.made == {(ROBOT, RUN): 100}


def test_without_a_learner_rows_wait_on_disk(place: Place, contract: Contract) -> None:
    """It goes away in the middle of a run; the loop goes on, and stops when it is told to."""
    link = place.link()
    link.wait_until_ready()
    record(link, contract, 0, 100)
    until(link, lambda: place.service.ledger.rows == 100)
    port = place.stop_serving()
    record(link, contract, 100, 100)
    until(link, lambda: not link.unspooled)
    place.stopped = True
    link.finish(200)
    link.close()
    with Spool(place.folder / "spool", contract.row_layout, robot=ROBOT, run=RUN) as spool:
        assert spool.end == 200
    place.stopped = False
    place.serve(port)


def test_the_next_run_delivers_what_the_last_one_left(
    place: Place, contract: Contract, make_policy: PolicyMaker
) -> None:
    """A learner that died comes back; both runs are on disk, each once and in order."""
    first = place.link()
    first.wait_until_ready()
    place.stop_serving()
    record(first, contract, 0, 300)
    place.stopped = True
    first.close()
    place.stopped = False
    place.serve(0)
    place.publish(1, make_policy())
    second = place.link(run="b" * 32)
    second.wait_until_ready()
    record(second, contract, 1000, 200)
    second.finish(200)
    place.service.close()
    assert sorted(place.rows()) == [*range(300), *range(1000, 1200)]
    audit = place.service.audit()
    assert (audit.lost, audit.duplicated) == (0, 0)


def test_a_restarted_learner_is_found_again(
    place: Place, contract: Contract, make_policy: PolicyMaker
) -> None:
    """Within a run: the loop does not even notice, and acts on the new learner's policy."""
    link = place.link()
    link.wait_until_ready()
    record(link, contract, 0, 100)
    port = place.stop_serving()
    record(link, contract, 100, 100)
    place.serve(port)
    place.publish(1, make_policy(gain=3.0))
    record(link, contract, 200, 100)
    link.finish(300)
    place.service.close()
    assert place.rows() == list(range(300))


def test_newer_policies_act_and_bad_ones_do_not(
    place: Place, contract: Contract, make_policy: PolicyMaker
) -> None:
    """A policy of NaNs, one of another robot, and one damaged on the way: three are counted."""
    link = place.link()
    link.wait_until_ready()
    other = msgspec.structs.replace(contract, env="Other-v0")
    for version, file in ((2, make_policy(gain=np.nan)), (3, make_policy(contract=other))):
        place.publish(version, file)
        until(link, lambda version=version: link.refused_policies == version - 1)  # type: ignore[misc]
    place.service.policy = PublishedPolicy(4, "0" * 64, make_policy())
    until(link, lambda: link.refused_policies == 3)
    assert link.acting.version == 1
    place.publish(5, make_policy(gain=2.0))
    until(link, lambda: link.acting.version == 5)
    assert link.refused_policies == 3


def test_policies_of_a_resumed_learner_are_taken_although_their_numbers_are_lower(
    place: Place, make_policy: PolicyMaker
) -> None:
    """It lost its newest checkpoint in a crash; files of higher versions are still around."""
    for version in (97, 98, 99):
        name = f"{'c' * 32}-{version:09d}.onnx"
        (place.folder / "policy").mkdir(exist_ok=True)
        (place.folder / "policy" / name).write_bytes(make_policy())
    link = place.link()
    link.wait_until_ready()
    assert link.acting.version == 1


def test_a_bad_first_policy_ends_the_run(place: Place, make_policy: PolicyMaker) -> None:
    """There is none to fall back on, and waiting would be for ever."""
    place.publish(1, make_policy(gain=np.nan))
    link = place.link()
    with pytest.raises(PolicyError, match=r"first policy refused: version 1.*not finite"):
        link.wait_until_ready()


def test_a_refusal_is_told(place: Place, contract: Contract) -> None:
    """With the learner's words."""
    place.service.open_log(msgspec.structs.replace(contract, env="Other-v0"))
    link = place.link()
    with pytest.raises(WireError, match=r"learner refuses this robot: .*Other-v0"):
        link.wait_until_ready()


def test_waiting_ends_when_the_run_is_to_stop(place: Place) -> None:
    """No policy ever comes; nothing is recorded, and closing does not hang."""
    place.service.policy = None
    link = place.link()
    place.stopped = True
    link.wait_until_ready()
    link.finish(0)
    link.close()


def test_a_paced_run_is_ready_when_it_may_move(place: Place) -> None:
    """Not before: a robot that stands and waits for leave would miss its ticks."""
    place.service.allowed_steps = 0
    link = place.link()
    for _ in range(4):
        link.pause()
    assert link.credit == 0
    place.service.allowed_steps = 64
    link.wait_until_ready()
    assert link.credit == 64


def limit_file_size(link: UplinkLink, limit: int) -> None:
    """Let the uplink write no larger files, or any again."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.prlimit(uplink_pid(link), resource.RLIMIT_FSIZE, (limit, hard))


def test_a_full_disk_on_the_robot_holds_up_nothing(place: Place, contract: Contract) -> None:
    """The loop goes on, says what is wrong, and every row still reaches the learner."""
    link = place.link()
    link.wait_until_ready()
    limit_file_size(link, 20_000)
    made = 0
    while "file size limit reached" not in link.link_state:
        record(link, contract, made, 10)
        made += 10
        time.sleep(0.002)
    assert "rows only in memory" in link.link_state
    link.finish(made)
    assert link.dropped == 0
    place.service.close()
    assert place.rows() == list(range(made))


def test_rows_that_are_only_in_memory_survive_their_uplink(
    place: Place, contract: Contract, make_policy: PolicyMaker
) -> None:
    """Its disk is full, the learner away, and then it is killed: the loop still has them."""
    link = place.link()
    link.wait_until_ready()
    port = place.stop_serving()
    limit_file_size(link, 20_000)
    record(link, contract, 0, 3000)
    until(link, lambda: "rows only in memory" in link.link_state)
    os.kill(uplink_pid(link), signal.SIGKILL)
    record(link, contract, 3000, 100)
    place.serve(port)
    place.publish(1, make_policy())
    link.finish(3100)
    place.service.close()
    assert place.rows() == list(range(3100))


def test_an_uplink_that_cannot_start_again_holds_up_nothing(
    tmp_path: Path, place: Place, contract: Contract
) -> None:
    """What would end a run that has not begun is only told while the robot moves."""
    link = place.link()
    link.wait_until_ready()
    policies = tmp_path / "policy"
    policies.rename(tmp_path / "elsewhere")
    policies.write_text("in the way")
    os.kill(uplink_pid(link), signal.SIGKILL)
    record(link, contract, 0, 10)
    until(link, lambda: "the uplink has failed" in link.link_state)
    policies.unlink()
    link.finish(10)
    assert place.service.ledger.made == {(ROBOT, RUN): 10}


def test_closing_twice_is_harmless(place: Place) -> None:
    """Once by the loop's end, once by whoever made the link."""
    link = place.link()
    link.wait_until_ready()
    link.finish(0)
    link.close()
    link.close()


def test_handing_over_a_row_costs_the_control_thread_little(
    place: Place, contract: Contract
) -> None:
    """A row and a poll, median over 2,000 ticks: far below a tick of 20 ms."""
    link = place.link()
    link.wait_until_ready()
    row = np.zeros(contract.row_layout.width, np.float32)
    costs = []
    for _ in range(2000):
        started = time.perf_counter()
        link.record(row)
        link.poll()
        costs.append(time.perf_counter() - started)
    assert np.median(costs) < 1e-3
    link.finish(2000)


def test_an_uplink_says_in_one_line_what_it_cannot_do(tmp_path: Path, place: Place) -> None:
    """The place for policies is taken by a file: no traceback for the loop."""
    (tmp_path / "policy").write_text("in the way")
    link = place.link()
    with pytest.raises(WireError, match=r"policy: got .*expected a place"):
        link.wait_until_ready()


def test_a_slow_disk_at_the_learner_costs_time_and_nothing_else(
    place: Place, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An fsync of seconds holds up what is acknowledged; rows that come again count once."""
    sync, delays = SegmentLog.sync, [2.2]

    def slowly(log: SegmentLog) -> None:
        if delays:
            time.sleep(delays.pop())
        sync(log)

    link = place.link()
    link.wait_until_ready()
    monkeypatch.setattr(SegmentLog, "sync", slowly)
    record(link, contract, 0, 600)
    link.finish(600)
    place.service.close()
    assert place.rows() == list(range(600))
    audit = place.service.audit()
    assert (audit.lost, audit.duplicated) == (0, 0)


def test_a_real_robot_never_waits_for_credit(place: Place, contract: Contract) -> None:
    """Whatever the learner allows its simulated ones."""
    place.service.allowed_steps = 0
    link = place.link(paced=False)
    link.wait_until_ready()
    until(link, lambda: len(place.service._sessions) == 1)  # noqa: SLF001 -- greeted
    assert link.credit is None


DYING_LOOP = """
import os, signal, sys
from pathlib import Path
import numpy as np
from robosac.policy.contract import decode
from robosac.runner.uplink_link import UplinkLink
contract, where = decode(sys.argv[1].encode()), dict(robot=sys.argv[2], endpoint=sys.argv[3])
link = UplinkLink(contract, **where, run="b" * 32, folder=Path(sys.argv[4]), paced=True,
                  stopped=lambda: False)
link.wait_until_ready()
rows = [np.full(contract.row_layout.width, number, np.float32) for number in range(3050)]
for row in rows[:50]:
    link.record(row)
while link.unspooled:
    link.pause()
os.kill(link._process.pid, signal.SIGSTOP)
for row in rows[50:]:
    link.record(row)
os.kill(link._process.pid, signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_loop_and_uplink_may_die_together(place: Place, contract: Contract) -> None:
    """Rows that no uplink has read are in memory; the next run of the robot delivers them first."""
    told = encode_contract(contract).decode()
    command = [sys.executable, "-c", DYING_LOOP, told, ROBOT, place.endpoint, str(place.folder)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    link = place.link()
    link.wait_until_ready()
    record(link, contract, 5000, 10)
    link.finish(10)
    link.close()
    place.service.close()
    assert place.rows() == [*range(3050), *range(5000, 5010)]


def test_an_uplink_may_be_killed_any_number_of_times(place: Place, contract: Contract) -> None:
    """As long as each one has got to work."""
    link = place.link()
    link.wait_until_ready()
    for number in range(6):
        record(link, contract, 10 * number, 10)
        until(link, lambda: not link.unspooled)
        os.kill(uplink_pid(link), signal.SIGKILL)
    link.finish(60)
    link.close()
    place.service.close()
    assert place.rows() == list(range(60))


def test_a_refusal_does_not_stop_a_robot_in_motion(
    place: Place, contract: Contract, make_policy: PolicyMaker
) -> None:
    """It goes on with the policy it has, says so, and knocks until a learner takes its rows."""
    link = place.link()
    link.wait_until_ready()
    port = place.stop_serving()
    record(link, contract, 0, 10)
    shutil.rmtree(place.folder / "replay")
    place.serve(port, msgspec.structs.replace(contract, env="Other-v0"))
    until(link, lambda: link.refusals > 0)
    assert re.match("the learner refuses this robot: .*Other-v0", link.link_state)
    record(link, contract, 10, 10)
    assert link.acting.version == 1
    place.stop_serving()
    shutil.rmtree(place.folder / "replay")
    place.serve(port)
    place.publish(1, make_policy())
    until(link, lambda: link.link_state == "connected")
    link.finish(20)
    place.service.close()
    assert place.rows() == list(range(20))


def test_a_robot_moves_on_while_its_uplinks_are_killed_as_fast_as_they_come(
    place: Place, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some before they have said a word; no tick waits for any of it, and every row arrives."""
    link = place.link()
    link.wait_until_ready()
    made = kills = waits = 0

    def count_waits(_: UplinkLink) -> None:
        nonlocal waits
        waits += 1

    monkeypatch.setattr(UplinkLink, "pause", count_waits)
    while kills < 4:
        record(link, contract, made, 1)
        made += 1
        if made % 20 == 0 and link._process.poll() is None:  # noqa: SLF001 -- as uplink_pid()
            os.kill(uplink_pid(link), signal.SIGKILL)
            kills += 1
        time.sleep(0.005)
    assert waits == 0
    monkeypatch.undo()
    link.finish(made)
    place.service.close()
    assert place.rows() == list(range(made))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with little room."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system takes a right that this user has not")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_without_room_costs_neither_rows_nor_policies(
    place: Place, small_disk: Path, contract: Contract, make_policy: PolicyMaker
) -> None:
    """Somebody else has filled it; what waits for room gets it when there is some again."""
    place.robot_folder = small_disk
    link = place.link()
    link.wait_until_ready()
    port = place.stop_serving()
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(2**20))
    record(link, contract, 0, 3000)
    until(link, lambda: "disk full: No space left on device" in link.link_state)
    assert link.unspooled > 1000
    place.serve(port)
    place.publish(2, make_policy(gain=2.0))
    until(link, lambda: link.unspooled == 0)
    record(link, contract, 3000, 100)
    assert link.acting.version == 1
    ballast.unlink()
    until(link, lambda: link.acting.version == 2)
    until(link, lambda: link.link_state == "connected")
    link.finish(3100)
    link.close()
    assert link.dropped == 0
    place.service.close()
    assert place.rows() == list(range(3100))
