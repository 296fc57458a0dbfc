"""Small learners, services, and the robots that call them.

The graph of a small learner's policies is exported once per shape, which takes seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec
import numpy as np
import pytest
import zmq

from robosac.algorithms.config import SACConfig
from robosac.errors import RobosacError
from robosac.learner import checkpoint
from robosac.learner.door import Door
from robosac.learner.inbox import Inbox
from robosac.learner.learner import Learner
from robosac.learner.options import LearnerOptions
from robosac.learner.rehearsal import random_rows
from robosac.learner.service import PublishedPolicy, Service
from robosac.policy.contract import Contract, Golden
from robosac.policy.contract import encode as encode_contract
from robosac.policy.export import PolicyTemplate
from robosac.recipe import LearnerConfig, Recipe
from robosac.replay import Chunk, SegmentLog
from robosac.tasks.observation import Term
from robosac.wire import messages
from robosac.wire.keys import RobotKeys
from robosac.wire.messages import Held, decode_from_learner, encode
from robosac.wire.sockets import connect_robot
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray
    from torch import nn

    FloatArray = NDArray[np.float32]

T = TypeVar("T", bound=messages.FromLearner)

SMALL_SAC = SACConfig(hidden=(16, 16))
SMALL = Recipe(
    name="small",
    learner=LearnerConfig(batch_size=32, learning_starts=0, capacity=10_000),
    sac=SMALL_SAC,
)


def followers_of(pid: int) -> list[int]:
    """Process ids of those that share the updates of a learner."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"robosac.learner.follower" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


class MakeLearner(Protocol):
    """Builds a learner from the small recipe, with some of it replaced."""

    def __call__(
        self,
        *,
        seed: int = 0,
        contract: Contract | None = None,
        learner: Mapping[str, object] | None = None,
        sac: Mapping[str, object] | None = None,
    ) -> Learner:
        """Return a new learner."""


@pytest.fixture
def toy() -> Contract:
    """An environment of 3 observations, 2 more for the critics, and 2 actions."""
    return Contract(
        env="toy",
        action_lower=(-1.0, -1.0),
        action_upper=(1.0, 1.0),
        obs=(Term(name="observation", size=3, unit="", clip=None),),
        extra=2,
        golden=(Golden(sensors={}, obs=[0.1, -0.2, 0.3]), Golden(sensors={}, obs=[1.0, 2.0, 3.0])),
    )


@pytest.fixture(scope="session")
def templates() -> dict[object, PolicyTemplate]:
    """Exported graphs by what they depend on."""
    return {}


@pytest.fixture
def make_learner(
    monkeypatch: pytest.MonkeyPatch,
    toy: Contract,
    templates: dict[object, PolicyTemplate],
) -> MakeLearner:
    """Return the builder of learners."""

    def exported(actor: nn.Module, contract: Contract) -> PolicyTemplate:
        shapes = tuple((name, *value.shape) for name, value in actor.named_parameters())
        key = (shapes, contract.action_lower, contract.action_upper)
        if key not in templates:
            templates[key] = PolicyTemplate(actor, contract)
        return templates[key]

    monkeypatch.setattr("robosac.learner.learner.PolicyTemplate", exported)

    def make(
        *,
        seed: int = 0,
        contract: Contract | None = None,
        learner: Mapping[str, object] | None = None,
        sac: Mapping[str, object] | None = None,
    ) -> Learner:
        recipe = msgspec.structs.replace(
            SMALL,
            learner=msgspec.structs.replace(SMALL.learner, **(learner or {})),
            sac=msgspec.structs.replace(SMALL_SAC, **(sac or {})),
        )
        return Learner(recipe, contract or toy, seed=seed)

    return make


class DrawRows(Protocol):
    """Draws transitions of the toy environment, with some of their fields replaced."""

    def __call__(self, count: int, *, seed: int = 0, **fields: object) -> FloatArray:
        """Return packed rows (count, width)."""


@pytest.fixture
def draw_rows(toy: Contract) -> DrawRows:
    """Return the source of transitions."""
    layout = toy.row_layout

    def draw(count: int, *, seed: int = 0, **fields: object) -> FloatArray:
        rows = random_rows(layout, count, seed=seed)
        for name, value in fields.items():
            wide = np.asarray(value, dtype=np.float32)
            rows[:, layout.slice(name)] = wide[:, None] if wide.ndim == 1 else wide
        return rows

    return draw


def policy(version: int, size: int = 100) -> PublishedPolicy:
    """A file that nobody will run."""
    file = b"%d" % version * size
    return PublishedPolicy(version, hashlib.sha256(file).hexdigest(), file)


class Robot:
    """A DEALER that speaks for one run of one robot."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        contract: Contract,
        name: str,
        keys: RobotKeys | None = None,
    ) -> None:
        self.socket = connect_robot(context, endpoint, keys)
        assert self.socket.poll(int(1000 * PATIENCE_S), zmq.POLLOUT)
        self.run = uuid.uuid4().hex
        self.name = name
        self.paced = True
        self.contract = contract
        self.width = contract.row_layout.width
        self.heard: list[tuple[messages.FromLearner, bytes]] = []

    def say(self, message: messages.FromRobot, payload: bytes | None = None) -> None:
        """Send a message."""
        self.socket.send_multipart(encode(message, payload))

    def hello(self, runs: dict[str, Held] | None = None, *, over: bool = False) -> None:
        """Introduce itself, with earlier runs if any, and its own unless that is over."""
        self.say(
            messages.Hello(
                robot=self.name,
                run=self.run,
                runs=({} if over else {self.run: Held(0, 0)}) | (runs or {}),
                contract=encode_contract(self.contract),
                paced=self.paced,
            )
        )

    def join(self, runs: dict[str, Held] | None = None) -> messages.Welcome:
        """Introduce itself and wait to be welcomed."""
        self.hello(runs)
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

    def part(self, made: int, *, run: str = "", oldest: int = 0) -> None:
        """Say goodbye for a run and wait for the answer."""
        self.say(messages.Bye(run=run or self.run, made=made, oldest=oldest))
        self.hear(messages.Farewell)

    def synchronise(self) -> None:
        """Wait until everything said so far has been read, and what it brought has been said.

        The answers of one turn are sent before those of the next.
        """
        for _ in range(2):
            self.say(messages.Ping())
            self.hear(messages.Pong)

    def told(self, kind: type[T]) -> list[T]:
        """Return everything of a kind that it has heard."""
        return [one for one, _ in self.heard if isinstance(one, kind)]


class Place:
    """A service with a policy, and the robots that a test connects."""

    def __init__(
        self,
        folder: Path,
        contract: Contract,
        *,
        keys: Path | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        self.folder, self.contract, self.keys = folder, contract, keys
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.door = Door(
            LearnerOptions(folder="", keys=None if keys is None else f"{keys}/learner")
        )
        self.endpoint = self.door.endpoint
        self.inbox = Inbox()
        rule = {"objection_to_name": self.door.objection_to_name}
        self.service = Service(self.door.socket, folder, self.inbox, **(rule | options))
        self.publish(1)
        self.robots: list[Robot] = []

    def robot(
        self, name: str = "small-0", *, contract: Contract | None = None, key: str | None = None
    ) -> Robot:
        """Connect another robot, with the key of a name."""
        keys = None if key is None or self.keys is None else RobotKeys.load(self.keys / key)
        robot = Robot(self.context, self.endpoint, contract or self.contract, name, keys)
        self.robots.append(robot)
        return robot

    def publish(self, version: int) -> None:
        """Let the robots have another policy."""
        self.service.publish(policy(version))

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the service's thread."""
        until(condition)

    def taken(self) -> NDArray[np.float32]:
        """First column of what the learner has got."""
        return np.concatenate([np.empty(0), *(chunk.rows[:, 0] for chunk in self.inbox.take())])

    def on_disk(self) -> dict[tuple[str, str], int]:
        """Rows of every run after the service has closed its log; they must be contiguous."""
        with SegmentLog(self.folder, self.contract.row_layout) as log:
            sequences = log.sequences()
        assert all(one.contiguous for one in sequences.values())
        return {key: one.count for key, one in sequences.items()}

    def close(self) -> None:
        """End everything, in whatever state it is."""
        with contextlib.suppress(RobosacError):  # some tests provoke it
            self.service.close()
        self.context.destroy(linger=0)
        self.door.close()


class MakePlace(Protocol):
    """Makes services that end with the test; those of one folder must not be open together."""

    def __call__(self, *, contract: Contract | None = None, **options: Any) -> Place:  # noqa: ANN401
        """Return a service that has not been started."""


@pytest.fixture
def make_place(tmp_path: Path, contract: Contract) -> Iterator[MakePlace]:
    """Return the maker of services, all with the same replay."""
    places: list[Place] = []
    here = contract

    def make(*, contract: Contract | None = None, **options: Any) -> Place:  # noqa: ANN401
        places.append(Place(tmp_path / "replay", contract or here, **options))
        return places[-1]

    yield make
    for place in places:
        place.close()


@pytest.fixture
def place(make_place: MakePlace) -> Place:
    """A running service with an empty replay."""
    place = make_place()
    place.service.start()
    return place


@pytest.fixture
def lived(make_learner: MakeLearner, draw_rows: DrawRows) -> Learner:
    """A learner after three updates."""
    learner = make_learner()
    learner.take(Chunk(robot="go2", run="a" * 32, first=0, rows=draw_rows(100)))
    learner.snapshot()
    for _ in range(3):
        learner.update()
    return learner


@pytest.fixture
def fresh(make_learner: MakeLearner, draw_rows: DrawRows) -> Learner:
    """A new learner whose replay has been refilled."""
    learner = make_learner()
    learner.take(Chunk(robot="go2", run="a" * 32, first=0, rows=draw_rows(100)))
    return learner


@pytest.fixture
def saved(lived: Learner, tmp_path: Path) -> Path:
    """A checkpoint of the learner that has lived."""
    return checkpoint.write(tmp_path / "checkpoint", checkpoint.freeze(lived))
