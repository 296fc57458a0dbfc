"""The learner process in this process: threads that fail are heard, and the folder is whole."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import zmq

from robosac.errors import LockedError, StorageError, WireError
from robosac.learner import priors, trial
from robosac.learner import process as process_module
from robosac.learner.options import LearnerOptions
from robosac.learner.process import LearnerProcess
from robosac.learner.service import Service
from robosac.policy import OnnxPolicy
from robosac.policy.contract import encode as encode_contract
from robosac.replay import Chunk, SegmentLog
from robosac.run_folder import RunConfig, RunFolder
from robosac.wire import messages
from robosac.wire.messages import decode_from_learner, encode
from robosac.wire.sockets import connect_robot
from tests.elsewhere import ELSEWHERE, Elsewhere
from tests.patience import PATIENCE_S
from tests.recorded import Incapable, RecordedOperations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from robosac.policy import Contract
    from tests.robosac.learner.conftest import DrawRows, MakeLearner


class FakeLifeline:
    """Cut by the test; the parent's words go into a list."""

    def __init__(self) -> None:
        self.cut = False
        self.cut_at = ""
        """What the process tells when it is cut: the event's name."""
        self.told: list[dict[str, Any]] = []
        self.wake: Callable[[], None] = lambda: None

    def __call__(self, wake: Callable[[], None]) -> FakeLifeline:
        """Stand in for the class."""
        self.wake = wake
        return self

    def tell(self, **figures: object) -> None:
        """What would go to standard output."""
        self.told.append(msgspec.json.decode(msgspec.json.encode(figures)))
        if self.told[-1]["event"] == self.cut_at:
            self.stop()

    def stop(self) -> None:
        """Cut it."""
        self.cut = True
        self.wake()

    def heard(self, event: str) -> list[dict[str, Any]]:
        """Everything that was told of one kind."""
        return [one for one in self.told if one["event"] == event]


@pytest.fixture
def lifeline(monkeypatch: pytest.MonkeyPatch) -> FakeLifeline:
    """The parent's end of things."""
    lifeline = FakeLifeline()
    monkeypatch.setattr(process_module, "Lifeline", lifeline)
    monkeypatch.setattr(process_module, "tell", lifeline.tell)
    return lifeline


@pytest.fixture
def folder(tmp_path: Path, make_learner: MakeLearner) -> RunFolder:
    """A run of the toy environment; policies are exported once for all tests."""
    recipe = make_learner(learner={"learning_starts": 10, "checkpoint_s": 0.1}).recipe
    folder = RunFolder(tmp_path / "run")
    folder.create(
        RunConfig(
            robosac="0.1.0",
            env="toy",
            recipe=recipe,
            steps=100,
            runners=1,
        )
    )
    return folder


@pytest.fixture
def known(folder: RunFolder, toy: Contract) -> RunFolder:
    """The same run, resumed: its contract is known, so that no robot is waited for."""
    folder.contract_path.write_bytes(encode_contract(toy))
    return folder


def ask_for(folder: RunFolder, steps: int, *, runners: int = 1) -> None:
    """Change how many steps the run is to make, and with how many robots of its own."""
    folder.reopen(msgspec.structs.replace(folder.read_config(), steps=steps, runners=runners))


def options(folder: RunFolder, port: int = 0) -> LearnerOptions:
    """How the process is started."""
    return LearnerOptions(folder=str(folder.path), bind=f"127.0.0.1:{port}")


def make_rows(endpoint: str, toy: Contract, rows: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    """Be a robot: deliver these rows as one run, as credit allows, and say goodbye."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket, run = connect_robot(context, endpoint), uuid.uuid4().hex
    assert socket.poll(int(1000 * PATIENCE_S), zmq.POLLOUT)
    hello = messages.Hello(
        robot="toy-0",
        run=run,
        runs={run: messages.Held(0, 0)},
        contract=encode_contract(toy),
        paced=True,
    )
    socket.send_multipart(encode(hello))
    sent, durable = 0, 0
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and socket.poll(int(1000 * PATIENCE_S)):
        message, _ = decode_from_learner(socket.recv_multipart())
        match message:
            case messages.Credit():
                end = min(message.credit or 0, len(rows))
                chunk = rows[sent:end].tobytes()
                socket.send_multipart(
                    encode(messages.Rows(run=run, first=sent, oldest=durable), chunk)
                )
                sent = end
            case messages.Ack():
                durable = message.expected
                if durable == len(rows):
                    socket.send_multipart(encode(messages.Bye(run=run, made=durable)))
            case messages.Farewell():
                break
    socket.close()
    context.term()


def test_a_run_and_its_continuation(
    folder: RunFolder, lifeline: FakeLifeline, toy: Contract, draw_rows: DrawRows
) -> None:
    """A robot's rows are learned from and reported; a second process goes on from the first."""
    for run, count in enumerate((60, 40)):
        ask_for(folder, 60 + 40 * run)
        process = LearnerProcess(options(folder))
        endpoint = lifeline.heard("listening")[-1]["endpoint"]
        robot = threading.Thread(target=make_rows, args=(endpoint, toy, draw_rows(count, seed=run)))
        robot.start()
        process.run()
        robot.join()
    first, second = lifeline.heard("report")
    assert (first["rows"], first["env_steps"], first["updates"]) == (60, 60, 50)
    assert (first["lost"], first["duplicated"], first["malformed"]) == (0, 0, 0)
    assert first["resumed_from"] is None
    assert (second["rows"], second["env_steps"], second["updates"]) == (100, 100, 90)
    assert second["resumed_from"]["updates"] == 50
    assert second["resumed_from"]["env_steps"] == 60
    assert second["policy_versions"] > first["policy_versions"]
    assert lifeline.heard("status")
    assert msgspec.json.decode(folder.report_path.read_bytes())["updates"] == 90
    for path in (folder.final_policy, folder.latest_policy):
        assert OnnxPolicy.load(path, here=toy).contract.training.env_steps == 100
    SegmentLog(folder.replay, toy.row_layout).close()


@pytest.mark.parametrize("device", [RecordedOperations(), Incapable()], ids=["able", "incapable"])
def test_updates_are_replayed_where_a_device_can(
    *,
    device: RecordedOperations,
    folder: RunFolder,
    lifeline: FakeLifeline,
    toy: Contract,
    draw_rows: DrawRows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where it cannot, the parent hears why, and all updates are made all the same."""
    monkeypatch.setattr(trial, "_UPDATES", 4)
    monkeypatch.setattr("robosac.learner.device.find", lambda _: ELSEWHERE)
    monkeypatch.setattr(process_module, "CudaGraphs", lambda _: device)
    ask_for(folder, 30)
    with Elsewhere():
        process = LearnerProcess(options(folder))
        endpoint = lifeline.heard("listening")[-1]["endpoint"]
        robot = threading.Thread(target=make_rows, args=(endpoint, toy, draw_rows(30)))
        robot.start()
        process.run()
        robot.join()
    (report,) = lifeline.heard("report")
    assert (report["updates"], report["device"], report["lost"]) == (20, "meta", 0)
    assert OnnxPolicy.load(folder.final_policy, here=toy).contract.training.updates == 20
    notices = [one["text"] for one in lifeline.heard("notice")]
    if isinstance(device, Incapable):
        assert len(notices) == 1
        assert notices[0].endswith("which is slower: CUDA error: operation not permitted")
    else:
        assert notices == []
        assert device.replayed == 3 + 19, "in the trial and in the run, all but the first"


@pytest.mark.parametrize("runners", [0, 1])
def test_a_robot_that_leaves_early_is_not_the_end_of_the_run(
    folder: RunFolder, lifeline: FakeLifeline, toy: Contract, draw_rows: DrawRows, runners: int
) -> None:
    """One from elsewhere may; one of the run's own was killed, and is started again."""
    ask_for(folder, 100, runners=runners)
    process = LearnerProcess(options(folder))
    endpoint = lifeline.heard("listening")[-1]["endpoint"]

    def robots() -> None:
        make_rows(endpoint, toy, draw_rows(60))
        make_rows(endpoint, toy, draw_rows(40, seed=1))

    others = threading.Thread(target=robots)
    others.start()
    process.run()
    others.join()
    (report,) = lifeline.heard("report")
    assert (report["rows"], report["updates"]) == (100, 90)
    assert report["robots"]["toy-0"]["rows"] == 100
    assert report["robots"]["toy-0"]["pending"] == 0


@pytest.fixture
def earlier(tmp_path: Path, toy: Contract, draw_rows: DrawRows) -> Path:
    """Another run's folder, with 30 rows."""
    other = RunFolder(tmp_path / "earlier")
    with SegmentLog(other.replay, toy.row_layout) as log:
        log.append(Chunk(robot="toy-9", run="9" * 32, first=0, rows=draw_rows(30, seed=9)))
    other.contract_path.write_bytes(encode_contract(toy))
    return other.path


def test_earlier_rows_are_learned_from_and_counted_apart(
    folder: RunFolder,
    earlier: Path,
    lifeline: FakeLifeline,
    toy: Contract,
    draw_rows: DrawRows,
) -> None:
    """By the run and by its continuation; rows, steps, updates and audit are of its own robots."""
    prior = priors.find([earlier], pytest.fail)
    folder.reopen(msgspec.structs.replace(folder.read_config(), prior=prior))
    for run, count in enumerate((60, 40)):
        ask_for(folder, 60 + 40 * run)
        process = LearnerProcess(options(folder))
        endpoint = lifeline.heard("listening")[-1]["endpoint"]
        robot = threading.Thread(target=make_rows, args=(endpoint, toy, draw_rows(count, seed=run)))
        robot.start()
        process.run()
        robot.join()
    first, second = lifeline.heard("report")
    for report, rows in ((first, 60), (second, 100)):
        assert (report["prior_rows"], report["prior_runs"]) == (30, 1)
        assert (report["rows"], report["env_steps"], report["updates"]) == (rows, rows, rows - 10)
        assert (report["lost"], report["duplicated"], report["resent"]) == (0, 0, 0)
    assert second["resumed_from"]["env_steps"] == 60
    assert all(one["prior_rows"] == 30 for one in lifeline.heard("status"))


def test_robots_that_earlier_rows_do_not_fit_are_refused(
    folder: RunFolder, earlier: Path, lifeline: FakeLifeline, toy: Contract
) -> None:
    """The learner waits for one that they do fit, and has begun nothing."""
    prior = priors.find([earlier], pytest.fail)
    folder.reopen(msgspec.structs.replace(folder.read_config(), prior=prior))
    process = LearnerProcess(options(folder))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = connect_robot(context, lifeline.heard("listening")[0]["endpoint"])
    run = uuid.uuid4().hex
    other = encode_contract(msgspec.structs.replace(toy, env="other"))
    hello = messages.Hello(robot="other-0", run=run, runs={}, contract=other, paced=True)
    learning = threading.Thread(target=process.run)
    learning.start()
    socket.send_multipart(encode(hello))
    assert socket.poll(int(1000 * PATIENCE_S))
    refused, _ = decode_from_learner(socket.recv_multipart())
    lifeline.stop()
    learning.join()
    socket.close()
    context.term()
    assert isinstance(refused, messages.Refused)
    assert refused.reason == (
        f"prior {earlier / 'replay'} does not fit: env: got 'toy', expected 'other'; "
        "name a run of the same robot and task"
    )
    assert not folder.contract_path.exists()
    assert not folder.replay.exists()


def test_without_any_robot_it_stops_when_asked(folder: RunFolder, lifeline: FakeLifeline) -> None:
    """Nothing has been learned and nothing is left behind but an address nobody called."""
    process = LearnerProcess(options(folder))
    threading.Timer(0.1, lifeline.stop).start()
    process.run()
    assert [one["event"] for one in lifeline.told] == ["listening"]
    assert not folder.replay.exists()


def test_a_known_run_without_robots_stops_when_asked(
    known: RunFolder, lifeline: FakeLifeline
) -> None:
    """It is ready before anybody calls, and leaves a whole folder."""
    process = LearnerProcess(options(known))
    lifeline.cut_at = "status"
    process.run()
    assert lifeline.heard("report")[0]["rows"] == 0
    assert known.final_policy.exists()


def test_a_report_tells_what_is_no_number(
    known: RunFolder, lifeline: FakeLifeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Null would say that it was not measured (trap 31).

    Put back by writing figures as they are.
    """
    figures = {"updates": 0, "critic_loss": float("nan"), "speed_mps": None}
    monkeypatch.setattr(process_module, "figures_of", lambda *_, **__: figures)
    process = LearnerProcess(options(known))
    lifeline.cut_at = "status"
    process.run()
    written = msgspec.json.decode(known.report_path.read_bytes())
    for report in (lifeline.heard("report")[0], written):
        assert (report["critic_loss"], report["speed_mps"]) == ("nan", None)


def test_a_parent_that_is_gone_before_the_start_is_the_end(
    known: RunFolder, lifeline: FakeLifeline, toy: Contract
) -> None:
    """Somebody else may already be going on with the folder: it is not even opened."""
    process = LearnerProcess(options(known))
    lifeline.stop()
    with SegmentLog(known.replay, toy.row_layout):
        process.run()
    assert not lifeline.heard("report")


def test_a_replay_in_other_hands_is_told(
    known: RunFolder, lifeline: FakeLifeline, toy: Contract
) -> None:
    """And everything that was begun is ended: no socket is left to wait for."""
    process = LearnerProcess(options(known))
    with SegmentLog(known.replay, toy.row_layout), pytest.raises(LockedError):
        process.run()


def test_a_busy_port_is_told(folder: RunFolder, lifeline: FakeLifeline) -> None:
    """Before anything else is done."""
    process = LearnerProcess(options(folder))
    port = int(lifeline.heard("listening")[0]["endpoint"].rpartition(":")[2])
    with pytest.raises(WireError, match=f"port {port} of 127.0.0.1 cannot be used"):
        LearnerProcess(options(folder, port))
    lifeline.stop()
    process.run()


def test_a_bug_in_the_service_ends_the_process(
    known: RunFolder, lifeline: FakeLifeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than learning on from frozen data."""

    def fail(service: Service) -> None:
        del service
        message = "a bug"
        raise RuntimeError(message)

    monkeypatch.setattr(Service, "_turn", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        LearnerProcess(options(known)).run()
    assert not lifeline.heard("report")


@pytest.mark.parametrize(
    "name", ["checkpoint", "metrics.jsonl", "tensorboard", "policy/latest.onnx", "learner.json"]
)
def test_a_place_that_cannot_be_written_ends_the_process_with_its_name(
    known: RunFolder, lifeline: FakeLifeline, name: str
) -> None:
    """Whichever thread finds out; here something else is where a file or folder should be."""
    target = known.path / name
    if name in ("checkpoint", "tensorboard"):
        target.write_text("in the way")
    else:
        (target / "in the way").mkdir(parents=True)
    process = LearnerProcess(options(known))
    lifeline.cut_at = "status"
    with pytest.raises(StorageError, match=r"got .*expected .*;"):
        process.run()
    assert not lifeline.heard("report")
    assert not [one for one in threading.enumerate() if one.name in ("publisher", "service")]
