"""Hazards between robot and learner, H8 to H12."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np
import zmq

from robosac.learner.inbox import Inbox
from robosac.learner.service import PublishedPolicy, Service
from robosac.policy.contract import encode
from robosac.replay.records import scan
from robosac.runner.frames import FromUplink, UplinkConfig
from robosac.runner.pipe import FramePipe
from robosac.runner.policy_store import PolicyFile
from robosac.runner.uplink import Uplink
from robosac.runner.uplink_link import UplinkLink
from robosac.wire import messages
from robosac.wire.gatekeeper import Gatekeeper
from robosac.wire.keys import LearnerKeys
from robosac.wire.keysmith import make_learner, make_robot
from robosac.wire.messages import Held, decode_from_learner, decode_from_robot
from robosac.wire.sockets import bind_learner, connect_robot
from tools.exactly_once.network import Network, Proxy
from tools.hazards.deployed import MISSED_MAX, ROOT, Deployed, a_policy, deployed, wait
from tools.hazards.learner_process import LearnerConfig
from tools.hazards.policies import contract_of
from tools.hazards.registry import Finding, Hazard, hazard
from tools.hazards.trial import Heard, VirtualTrial

if TYPE_CHECKING:
    from collections.abc import Callable

    from robosac.policy import Contract

T = TypeVar("T", bound=messages.FromLearner)

_STEPS = 300
_AWAY_S, _AROUND_S = 3.0, 1.0
_PATIENCE_S = 40.0
_NAME = "pup-0"
_OLD, _NEW, _NEWER = 3, 5, 6


class Learner:
    """A learner's service in a process of its own, at an address that stays."""

    def __init__(self, folder: Path) -> None:
        """Choose an address; nothing is started."""
        network = Network(runners=1, faults=False)
        self.address = network.learner
        network.close()
        self.replay = folder / "replay"
        policy = folder / "learned.onnx"
        policy.write_bytes(a_policy())
        self._config = LearnerConfig(
            replay=str(self.replay),
            bind=self.address,
            policy=str(policy),
            contract=encode(pup_contract()).decode(),
        )
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Serve."""
        command = [sys.executable, "-m", "tools.hazards.learner_process"]
        self._process = subprocess.Popen(
            [*command, msgspec.json.encode(self._config).decode()],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def kill(self) -> None:
        """Die without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def pup_contract() -> Contract:
    """What the pup writes."""
    with VirtualTrial() as trial:
        return contract_of(trial.env)


def _away(leave: Callable[[Learner, Proxy], None]) -> Finding:
    """Let a deployed robot walk on without its learner for a while, and count rows and ticks."""
    with ExitStack() as stack:
        learner = Learner(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.callback(learner.kill)
        learner.start()
        proxy = Proxy(listen="127.0.0.1:0", target=learner.address)
        stack.callback(proxy.close)
        given = ["--learner", proxy.address, "--steps", str(_STEPS)]
        robot = stack.enter_context(deployed(*given))
        time.sleep(_AROUND_S)
        leave(learner, proxy)
        code = robot.process.wait(_PATIENCE_S)
        robot.wait_for("moved for")
        problems = [*robot.witness.problems, *_miscounted(learner.replay)]
        if code:
            problems.append(f"exit code {code}; expected 0")
        missed = _missed(robot)
        if missed > MISSED_MAX:
            problems.append(f"{missed} ticks missed; expected at most {MISSED_MAX}")
        trouble = next(
            (line for _, line in robot.lines if "silent" in line or "refused" in line), ""
        )
        logged = "; ".join(filter(None, (trouble, robot.said("moved for"))))
        return Finding("walks on; every row once", logged, None, tuple(problems))


def _missed(robot: Deployed) -> int:
    """Ticks that the process says it has missed."""
    said = [line for _, line in robot.lines if "missed ticks" in line]
    return int(said[-1].partition("missed ticks ")[2].split()[0])


def _miscounted(replay: Path) -> list[str]:
    """Whether the replay holds every row once and in order."""
    numbers: list[int] = []
    for path in sorted(replay.glob("*.rows")):
        with path.open("rb") as file:
            for chunk, _ in scan(file):
                numbers += range(chunk.first, chunk.end)
    if numbers == list(range(_STEPS)):
        return []
    lost, twice = _STEPS - len(set(numbers)), len(numbers) - len(set(numbers))
    return [f"of {_STEPS} rows {lost} are lost and {twice} there twice, or in disorder"]


@hazard("H8", "the learner dies for 3 s", must="no tick missed; every row once", live=True)
def learner_dies(one: Hazard) -> Finding:
    """Killed without a word, and started again."""
    del one

    def leave(learner: Learner, proxy: Proxy) -> None:
        del proxy
        learner.kill()
        time.sleep(_AWAY_S)
        learner.start()

    return _away(leave)


@hazard(
    "H9", "the network is partitioned for 3 s", must="no tick missed; every row once", live=True
)
def partition(one: Hazard) -> Finding:
    """Connections fall silent, and no new ones are made."""
    del one
    return _away(lambda _, proxy: proxy.order(f"partition {_AWAY_S:g}"))


@hazard("H10", "rows come out of order, and again", must="sorted out by sequence number", live=True)
def reordered(one: Hazard) -> Finding:
    """A row that comes too early is not taken, one that comes again is known."""
    del one
    contract, run = pup_contract(), uuid.uuid4().hex
    width = contract.row_layout.width
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(context.destroy, linger=0)
        service = _service(context, folder, contract)
        stack.callback(service.close)
        caller = connect_robot(context, service.endpoint)
        held = {run: Held(0, 0)}
        _say(caller, messages.Hello(robot=_NAME, run=run, runs=held, contract=encode(contract)))
        _hear(caller, messages.Welcome)
        expected = 0
        for first, count, durable in (
            (10, 10, 0),
            (0, 10, 10),
            (5, 10, 15),
            (0, 5, 15),
            (15, 5, 20),
        ):
            rows = np.repeat(np.arange(first, first + count, dtype="<f4")[:, None], width, axis=1)
            _say(caller, messages.Rows(run=run, first=first, oldest=0), rows.tobytes())
            while expected < durable:
                expected = _hear(caller, messages.Ack).expected
        got = [row for chunk in service.inbox.take() for row in chunk.rows[:, 0].astype(int)]
        problems = [] if got == list(range(20)) else [f"rows {got}; expected 0 to 19, each once"]
        return Finding("each once, in order", f"{len(got)} rows of 40 sent", None, tuple(problems))


class LocalService(Service):
    """A service in this process that knows where it is."""

    endpoint = ""
    inbox: Inbox


def _service(
    context: zmq.Context[zmq.Socket[bytes]],
    folder: Path,
    contract: Contract,
    keys: LearnerKeys | None = None,
) -> LocalService:
    """A learner's service in this process."""
    socket, endpoint = bind_learner(context, keys=keys)
    inbox = Inbox()
    service = LocalService(socket, folder / "replay", inbox)
    service.endpoint, service.inbox = endpoint, inbox
    service.open_log(contract)
    file = a_policy()
    service.publish(PublishedPolicy(1, hashlib.sha256(file).hexdigest(), file))
    service.start()
    return service


def _say(
    caller: zmq.Socket[bytes], message: messages.FromRobot, payload: bytes | None = None
) -> None:
    caller.send_multipart(messages.encode(message, payload))


def _hear(caller: zmq.Socket[bytes], kind: type[T]) -> T:
    """Wait for the next message of this kind."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if caller.poll(100):
            message, _ = decode_from_learner(caller.recv_multipart())
            if isinstance(message, kind):
                return message
    raise TimeoutError(f"no {kind.__name__} within {_PATIENCE_S:g} s")


class RecordedUplink:
    """A robot's uplink on a thread of this process, between a learner and nobody."""

    def __init__(self, folder: Path, endpoint: str, contract: Contract) -> None:
        """Start it."""
        self._pipe, theirs = FramePipe.pair()
        self._far = FramePipe(theirs)
        config = UplinkConfig(
            pipe=-1,
            endpoint=endpoint,
            robot=_NAME,
            run=uuid.uuid4().hex,
            folder=str(folder),
            contract=encode(contract).decode(),
            layout=contract.row_layout,
            paced=False,
        )
        self.versions: list[int] = []
        """Policies that the control loop was offered."""
        self._thread = threading.Thread(target=self._work, args=(config,), daemon=True)
        self._thread.start()

    def offered(self, version: int) -> bool:
        """Whether the control loop has been offered this policy."""
        for kind, payload in self._pipe.receive():
            if kind == FromUplink.POLICY:
                self.versions.append(msgspec.msgpack.decode(payload, type=PolicyFile).version)
        return version in self.versions

    def close(self) -> None:
        """Let it end."""
        self._pipe.close()
        self._thread.join(_PATIENCE_S)

    def _work(self, config: UplinkConfig) -> None:
        try:
            Uplink(config, self._far).run()
        finally:
            self._far.close()


@hazard(
    "H11", "an old policy comes once more", must="the old version is refused, counted", live=True
)
def replayed(one: Hazard) -> Finding:
    """Only a learner that has begun anew, and says so by a welcome, may go back."""
    del one
    contract, file = pup_contract(), a_policy()
    digest = hashlib.sha256(file).hexdigest()
    heard = Heard(lambda: 0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        logging.getLogger("robosac").addHandler(heard)
        stack.callback(logging.getLogger("robosac").removeHandler, heard)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(context.destroy, linger=0)
        socket, endpoint = bind_learner(context)
        uplink = RecordedUplink(folder, endpoint, contract)
        stack.callback(uplink.close)
        robot = _greeted(socket)
        welcome = messages.Welcome(expected={}, version=_NEW, sha256=digest)
        later = [messages.Policy(version=number, sha256=digest) for number in (_OLD, _NEW, _NEWER)]
        sent: list[messages.FromLearner] = [welcome, *later]
        for message in sent:
            socket.send_multipart([robot, *messages.encode(message, file)])
        wait(lambda: uplink.offered(_NEWER), "newer policy")
    logged = heard.first("message dropped")
    problems = [] if logged else ["nothing was counted"]
    if uplink.versions != [_NEW, _NEWER]:
        problems.append(f"policies {uplink.versions} offered; expected {[_NEW, _NEWER]}")
    return Finding("keeps the newest", logged, None, tuple(problems))


def _greeted(socket: zmq.Socket[bytes]) -> bytes:
    """Wait for a hello, and return who has said it."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if socket.poll(100):
            identity, *frames = socket.recv_multipart()
            if isinstance(decode_from_robot(frames)[0], messages.Hello):
                return identity
    raise TimeoutError(f"no hello within {_PATIENCE_S:g} s")


@hazard(
    "H12", "a robot comes with a wrong key", must="rejected, counted; rows stay here", live=True
)
def wrong_key(one: Hazard) -> Finding:
    """Its key was known once and is not any more."""
    del one
    contract = pup_contract()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make_learner(folder / "learner")
        make_robot(folder / _NAME, folder / "learner")
        keys = LearnerKeys.load(folder / "learner")
        (keys.allowed / f"{_NAME}.key").unlink()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(context.destroy, linger=0)
        keeper = Gatekeeper(context, keys)
        stack.callback(keeper.close)
        service = _service(context, folder, contract, keys)
        stack.callback(service.close)
        link = UplinkLink(
            contract,
            endpoint=service.endpoint,
            robot=_NAME,
            run=uuid.uuid4().hex,
            folder=folder / "robot",
            paced=False,
            keys=folder / _NAME,
            stopped=lambda: True,
        )
        stack.callback(link.close)
        link.record(np.zeros(contract.row_layout.width, np.float32))
        wait(lambda: _polled(link).unspooled == 0 and keeper.refused > 0, "refusal")
        taken = sum(len(chunk.rows) for chunk in service.inbox.take())
        problems = [f"{taken} rows were taken"] if taken else []
        return Finding("rejected", f"{keeper.refused} refused", None, tuple(problems))


def _polled(link: UplinkLink) -> UplinkLink:
    link.poll()
    return link
