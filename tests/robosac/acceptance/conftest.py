"""Learners that can be stopped, killed and started again, and the robots that stay."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np
import pytest
import zmq

from robosac.errors import RobosacError, WireError
from robosac.learner.inbox import Inbox
from robosac.learner.service import PublishedPolicy, Service
from robosac.policy.contract import encode as encode_contract
from robosac.replay import SegmentLog
from robosac.runner.uplink_link import UplinkLink
from robosac.wire import messages
from robosac.wire.messages import Held
from robosac.wire.sockets import bind_learner, connect_robot
from tests.patience import PATIENCE_S
from tools.hazards import learner_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robosac.policy import Contract
    from tests.robosac.conftest import PolicyMaker

T = TypeVar("T", bound=messages.FromLearner)


class Robot:
    """A real uplink process and the control loop's side of it, for one run of one robot."""

    def __init__(self, place: Place, name: str, run: str, folder: Path) -> None:
        self.place, self.name, self.run = place, name, run
        self.made = 0
        self.link = UplinkLink(
            place.contract,
            endpoint=place.endpoint,
            robot=name,
            run=run,
            folder=folder,
            paced=False,
            stopped=lambda: place.over,
        )

    def make(self, count: int) -> None:
        """Record rows that tell their number, as a control loop does: a row, a poll."""
        for number in range(self.made, self.made + count):
            self.link.record(np.full(self.place.width, number, np.float32))
            self.link.poll()
        self.made += count

    def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop wait for something."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition() and time.monotonic() < deadline:
            self.link.pause()
        assert condition()

    def leave(self) -> None:
        """Deliver everything, say goodbye and end."""
        self.link.finish(self.made)
        self.link.close()

    def uplink(self) -> int:
        """Process id of the uplink."""
        return self.link._process.pid  # noqa: SLF001 -- only a test would kill it


class Place:
    """A learner's replay, who serves it at the moment, and everybody who has called."""

    def __init__(self, folder: Path, contract: Contract, policy: Path) -> None:
        self.folder, self.contract, self.policy = folder, contract, policy
        self.width = contract.row_layout.width
        self.over = False
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.inbox = Inbox()
        self.service: Service | None = None
        self.process: subprocess.Popen[str] | None = None
        self.endpoint = ""
        self._robots: list[Robot] = []
        self._callers: list[Caller] = []

    @property
    def served(self) -> Service:
        """The service in this process."""
        assert self.service is not None
        return self.service

    def serve(self) -> Service:
        """Serve in this process, where it was served before."""
        socket, self.endpoint = self.bind()
        self.inbox = Inbox()
        self.service = Service(socket, self.folder / "replay", self.inbox)
        self.service.open_log(self.contract)
        self.publish(1)
        self.service.start()
        return self.service

    def serve_apart(self) -> subprocess.Popen[str]:
        """Serve in a process of its own, where it was served before."""
        self.stop_serving()
        config = {
            "replay": str(self.folder / "replay"),
            "bind": self.endpoint.removeprefix("tcp://") or "127.0.0.1:0",
            "policy": str(self.policy),
            "contract": encode_contract(self.contract).decode(),
        }
        argument = msgspec.json.encode(config).decode()
        self.process = subprocess.Popen(
            [sys.executable, "-m", learner_process.__name__, argument],
            cwd=Path(learner_process.__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.endpoint = self.process.stdout.readline().strip()
        assert self.endpoint
        return self.process

    def publish(self, version: int) -> None:
        """Let the robots have another policy."""
        file = self.policy.read_bytes()
        digest = hashlib.sha256(file).hexdigest()
        self.served.publish(PublishedPolicy(version, digest, file))

    def stop_serving(self) -> None:
        """End who serves, as gently as can be."""
        if self.service is not None:
            with contextlib.suppress(RobosacError):
                self.service.close()
        if self.process is not None:
            with self.process as process:
                process.send_signal(signal.SIGCONT)
                process.kill()
        self.service = self.process = None

    def robot(self, name: str = "small-0", *, run: str = "", folder: str = "") -> Robot:
        """Start a robot; its spools lie in the folder of its name."""
        where = self.folder / (folder or name)
        self._robots.append(Robot(self, name, run or uuid.uuid4().hex, where))
        return self._robots[-1]

    def call(self, name: str = "small-0", run: str = "") -> Caller:
        """Connect a robot made by hand."""
        self._callers.append(Caller(self, name, run or uuid.uuid4().hex))
        return self._callers[-1]

    def learned(self) -> dict[tuple[str, str], list[int]]:
        """Numbers of the rows that the learner has got, by robot and run, in order."""
        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        for chunk in self.inbox.take():
            found[chunk.key] += chunk.rows[:, 0].astype(int).tolist()
        return dict(found)

    def on_disk(self) -> dict[tuple[str, str], list[int]]:
        """Numbers of the rows on disk, likewise; nobody may be serving."""
        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        with SegmentLog(self.folder / "replay", self.contract.row_layout) as log:
            for chunk in log.rows():
                found[chunk.key] += chunk.rows[:, 0].astype(int).tolist()
        return dict(found)

    def spooled(self, robot: Robot) -> int:
        """Rows that there is room for in what a robot's spool has on disk."""
        files = (self.folder / robot.name / "spool").glob(f"*{robot.run}/*.rows")
        return sum(path.stat().st_size for path in files) // (4 * self.width)

    def close(self) -> None:
        """End everything, in whatever state it is."""
        self.over = True
        for robot in self._robots:
            with contextlib.suppress(RobosacError):
                robot.link.close()
        self.stop_serving()
        self.context.destroy(linger=0)

    def bind(self) -> tuple[zmq.Socket[bytes], str]:
        """Bind; an address used before as soon as ZeroMQ has let go of it, in its own time."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return bind_learner(
                    self.context, self.endpoint.removeprefix("tcp://") or "127.0.0.1:0"
                )
            except WireError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


class Caller:
    """A robot made by hand, for what no robot of ours would say."""

    def __init__(self, place: Place, name: str, run: str) -> None:
        self.place, self.name, self.run = place, name, run
        self.socket = connect_robot(place.context, place.endpoint)
        assert self.socket.poll(int(1000 * PATIENCE_S), zmq.POLLOUT)

    def say(self, message: messages.FromRobot, payload: bytes | None = None) -> None:
        """Send a message."""
        self.socket.send_multipart(messages.encode(message, payload))

    def join(self) -> messages.Welcome:
        """Say hello until the welcome comes, which waits for a policy and may take long."""
        contract = encode_contract(self.place.contract)
        runs = {self.run: Held(0, 0)}
        hello = messages.Hello(robot=self.name, run=self.run, runs=runs, contract=contract)
        return self.hear(messages.Welcome, saying=hello)

    def send_rows(self, first: int, count: int) -> None:
        """Send a chunk of rows that tell their number."""
        numbers = np.arange(first, first + count, dtype=np.float32)
        payload = np.repeat(numbers[:, None], self.place.width, axis=1).tobytes()
        self.say(messages.Rows(run=self.run, first=first, oldest=0), payload)

    def hear(self, kind: type[T], *, saying: messages.FromRobot | None = None) -> T:
        """Wait for the next message of this kind, and say something every second until then."""
        deadline, say_at = time.monotonic() + PATIENCE_S, 0.0
        while (now := time.monotonic()) < deadline:
            if saying is not None and now >= say_at:
                self.say(saying)
                say_at = now + 1.0
            message = self.receive(timeout_ms=100)
            if isinstance(message, kind):
                return message
        pytest.fail(f"no {kind.__name__} within {PATIENCE_S:g} s")

    def receive(self, *, timeout_ms: int) -> messages.FromLearner | None:
        """Return the next message, None when there is none for so long."""
        if not self.socket.poll(timeout_ms):
            return None
        return messages.decode_from_learner(self.socket.recv_multipart())[0]


@pytest.fixture
def place(tmp_path: Path, contract: Contract, make_policy: PolicyMaker) -> Iterator[Place]:
    """A place where nobody serves yet."""
    policy = tmp_path / "policy.onnx"
    policy.write_bytes(make_policy())
    place = Place(tmp_path, contract, policy)
    yield place
    place.close()
