"""Throw malformed and hostile messages at both ends of the wire while a good robot goes on working.

    python tools/fuzz_wire.py --messages 200000 --seed 0 [--light] [--json PATH]

First a real learner process (with --light only its service) is attacked by strangers and by robots
that it has let in, while another robot streams rows at 50 Hz.  Then a real uplink process is
attacked by its learner, which otherwise does its work.  Messages are mutations of genuine ones,
genuine ones with some fields replaced by extremes, bombs, and noise.  It has failed when a process
ends, when one grows by more than 50 MB after a warm-up, when a row of the good robot is missing or
there twice, or when the robot's control loop is held up.  Exit code 0 is none of this.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import math
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import zmq

from robosac import __version__
from robosac.algorithms.config import SACConfig
from robosac.errors import WireError
from robosac.learner.inbox import Inbox
from robosac.learner.options import LearnerOptions
from robosac.learner.service import PublishedPolicy, Service
from robosac.policy.contract import Contract, Golden
from robosac.policy.contract import encode as encode_contract
from robosac.recipe import LearnerConfig, Recipe
from robosac.replay import SegmentLog
from robosac.run_folder import RunConfig, RunFolder
from robosac.runner.uplink_link import UplinkLink
from robosac.tasks.observation import Term
from robosac.wire import messages
from robosac.wire.messages import Held, encode
from robosac.wire.sockets import bind_learner, connect_robot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Genuine = Callable[[random.Random], tuple[Any, bytes | None]]

Frames = list[bytes]

CONTRACT = Contract(
    env="fuzz",
    action_lower=(-1.0,),
    action_upper=(1.0,),
    obs=(Term(name="observation", size=3, unit="", clip=None),),
    golden=(Golden(sensors={}, obs=[0.0, 0.5, 1.0]),),
)
DOCUMENT = encode_contract(CONTRACT)
WIDTH = CONTRACT.row_layout.width
HERTZ = 50
GROWTH_MAX_MB = 50.0
WARM_UP = 0.1
"""Share of the messages that come before memory is measured, at most 10,000."""
HELD_UP_S = 0.02
LOG_MAX = 1_000_000
STUCK_S = 5.0
PATIENCE_S = 60.0
ATTACKERS = 12
EXTREMES: list[Any] = [
    *(0, 1, -1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**64 - 1, -(2**63)),
    *(None, True, 1e308, math.nan, math.inf, -math.inf),
    *("", "x" * 1001, "go2\nroot: gone\x1b[2J", "../../etc", "\u202e", "mallory-1"),
    *(b"", b"\xff" * 100, [], {}, [[]], {"": 0}, [0, 2**53], [2**53, 0]),
]
NESTED = [b"\x91" * 3000, b"\x81\xa1x" * 3000, b"\x91" * 100_000]
COUNTS = [bytes([kind]) + b"\xff" * 4 for kind in (0xC6, 0xC9, 0xDB, 0xDD, 0xDF)]


def chance(dice: random.Random, share: float) -> bool:
    """Whether something happens that happens so often."""
    return dice.random() < share


class Fuzzer:
    """Makes messages out of genuine ones, from a seed."""

    def __init__(self, seed: int, genuine: Genuine) -> None:
        """Take what draws one genuine message of the attacking side."""
        self.dice = random.Random(seed)  # noqa: S311 -- to be repeated, not to be secret
        self._genuine = genuine

    def draw(self) -> Frames:
        """Return the frames of the next message."""
        kind = self.dice.choices(
            (self._good, self._replaced, self._mutated, self._parts, self._bomb, self._noise),
            (20, 30, 30, 8, 2, 10),
        )[0]
        return kind()

    def _good(self) -> Frames:
        message, payload = self._genuine(self.dice)
        return encode(message, payload)

    def _replaced(self) -> Frames:
        """A genuine message with a field or two that are extreme, missing or too many."""
        message, payload = self._genuine(self.dice)
        fields: dict[str, Any] = msgspec.to_builtins(message, builtin_types=(bytes,))
        for _ in range(self.dice.randint(1, 2)):
            name = self.dice.choice([*fields, "unknown"])
            if chance(self.dice, 0.1):
                fields.pop(name, None)
            else:
                fields[name] = self.dice.choice(EXTREMES)
        head = msgspec.msgpack.encode(fields)
        return [head] if payload is None else [head, payload]

    def _mutated(self) -> Frames:
        frames = self._good()
        at = self.dice.randrange(len(frames))
        for _ in range(self.dice.choice((1, 1, 2, 5))):
            frames[at] = self._mutate(frames[at])
        return frames

    def _mutate(self, frame: bytes) -> bytes:
        dice, data = self.dice, bytearray(frame or b"\x00")
        at = dice.randrange(len(data))
        match dice.randrange(6):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                data[at] = dice.choice((0x00, 0x7F, 0x80, 0x90, 0xC0, 0xC4, 0xD9, 0xDC, 0xDF, 0xFF))
            case 2:
                del data[at:]
            case 3:
                data[at:at] = dice.randbytes(dice.randint(1, 8))
            case 4:
                del data[at : at + dice.randint(1, 8)]
            case _:
                other = self._good()[0]
                data[at:] = other[dice.randrange(len(other)) :]
        return bytes(data)

    def _parts(self) -> Frames:
        """Too many frames, too few, empty ones."""
        frames = [frame for _ in range(3) for frame in self._good()]
        frames += [b""] * self.dice.randint(0, 3)
        self.dice.shuffle(frames)
        return frames[: self.dice.randint(1, 6)]

    def _bomb(self) -> Frames:
        """Nesting, counts of billions, and a name of a megabyte."""
        big = msgspec.msgpack.encode({"type": "Ping", "n\n" * self.dice.randint(1, 500_000): 1})
        frames = [self.dice.choice([*NESTED, *COUNTS, big])]
        return frames if chance(self.dice, 0.5) else [*self._good()[:1], *frames]

    def _noise(self) -> Frames:
        return [self.dice.randbytes(self.dice.choice((0, 1, 5, 60, 700)))]


# What robots say, and what one that is let in may do with it.

RUNS = [f"{number:032x}" for number in range(100)]
NUMBERS = (0, 0, 0, 1, 7, 100, 4096, 2**31, 2**53 - 5, 2**53)


def from_robot(dice: random.Random) -> tuple[messages.FromRobot, bytes | None]:
    """Draw a message that the learner can read, if not what it likes to hear."""
    run, number = dice.choice(RUNS), dice.choice(NUMBERS)
    message: messages.FromRobot
    payload = None
    match dice.randrange(8):
        case 0:
            message = _hello(dice)
        case 1 | 2:
            rows = np.full((dice.choice((0, 1, 4, 30)), WIDTH), dice.choice((0.0, 1.0, math.nan)))
            payload = rows.astype("<f4").tobytes()
            message = messages.Rows(run=run, first=number, oldest=dice.choice((0, number)))
        case 3:
            names = [f"{dice.choice(('speed', 'odd'))} {dice.randrange(300)}" for _ in range(5)]
            rewards = dict.fromkeys(names, dice.choice((0.0, math.inf, math.nan)))
            message = messages.Episode(
                run=run, end=number, return_=math.nan, length=number, rewards=rewards
            )
        case 4:
            message = messages.Ping(policy=number, pending=number, dropped=number)
        case 5:
            message = messages.Declined(version=number, reason="no\n" * dice.randrange(300))
        case 6:
            message = messages.Bye(run=run, made=number, oldest=dice.choice((0, number)))
        case _:
            message, payload = messages.Probe(), dice.randbytes(dice.choice((0, 10, 10_000)))
    return message, payload


def _hello(dice: random.Random) -> messages.Hello:
    """A greeting: mostly one that is accepted, of a few robots; sometimes with many runs."""
    runs = {run: Held(0, dice.choice(NUMBERS)) for run in RUNS[: dice.choice((0, 1, 100))]}
    return messages.Hello(
        robot=f"mallory-{dice.randrange(dice.choice((3, 3, 3, 3000)))}",
        run=dice.choice(RUNS) if chance(dice, 0.5) else uuid.UUID(int=dice.getrandbits(128)).hex,
        runs=runs,
        contract=dice.choice((DOCUMENT, DOCUMENT, DOCUMENT, *_broken_contracts())),
        paced=chance(dice, 0.5),
    )


def _broken_contracts() -> Iterator[bytes]:
    """Contracts that nobody could learn by."""
    for extra in (
        b'"task_config":{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'"extra":99999999',
        b'"action_upper":[1e39]',
        b'"golden":[]',
        b'"env":"\xff"',
    ):
        yield DOCUMENT[:-1] + b"," + extra + b"}"


def from_learner(dice: random.Random) -> tuple[messages.FromLearner, bytes | None]:
    """Draw a message that a robot can read."""
    run, number = dice.choice(RUNS), dice.choice(NUMBERS)
    file = dice.randbytes(dice.choice((0, 100, 5000)))
    sha256 = hashlib.sha256(file).hexdigest() if chance(dice, 0.5) else "0" * 64
    status = messages.Status(
        robosac="",
        contract=b"",
        rows=number,
        policy=number,
        robots=[],
        wall_ns=-1,
        received=number,
    )
    message = dice.choice(
        (
            messages.Ack(run=run, expected=number),
            messages.Credit(run=dice.choice((*RUNS[:3], GOOD_RUN)), credit=number),
            messages.Policy(version=number, sha256=sha256),
            messages.Pong(learning=chance(dice, 0.5)),
            messages.Farewell(run=run),
            messages.Unknown(),
            messages.Enough(),
            messages.Welcome(expected={run: number}, version=number, sha256=sha256),
            status,
        )
    )
    return message, file if isinstance(message, messages.CARRIES_FRAME) else None


@dataclass(slots=True)
class Outcome:
    """What an attack has come to."""

    side: str
    messages: int = 0
    seconds: float = 0.0
    grown_mb: float = 0.0
    rows: int = 0
    """Rows that the good robot made and that arrived."""
    faults: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def note(self, condition: bool, fault: str) -> None:  # noqa: FBT001 -- reads as an assertion
        """Add a fault unless a condition holds."""
        if not condition:
            self.faults.append(fault)

    def line(self) -> str:
        """Say it in a line."""
        figures = ", ".join(f"{name} {value}" for name, value in self.figures.items())
        verdict = "; ".join(self.faults) or "no fault"
        return (
            f"{self.side}: {self.messages} messages in {self.seconds:.0f} s, memory "
            f"{self.grown_mb:+.1f} MB, {self.rows} good rows, {figures}: {verdict}"
        )


def rss_mb(pid: int) -> float:
    """Memory of a process that is resident, MB; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1000
    return 0.0


def percentiles(values: list[float]) -> dict[str, float | None]:
    """Median and 99th percentile in ms."""
    if not values:
        return {"p50_ms": None, "p99_ms": None}
    p50, p99 = np.percentile(np.array(values) * 1000, (50, 99))
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


# The learner's side.


class GoodRobot:
    """Streams rows at 50 Hz and measures how long they take to become durable."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        """Connect, on a thread of its own."""
        self.run = uuid.uuid4().hex
        self.name = "good-0"
        self.made = self.durable = 0
        self.latencies: list[float] = []
        self.gone = False
        self._over = threading.Event()
        self._socket = connect_robot(context, endpoint)
        self._sent: list[float] = []
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Make no more rows, and wait for the farewell."""
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _work(self) -> None:
        welcomed, greeted, tick = False, -1.0, time.monotonic()
        deadline = math.inf
        while not self.gone and time.monotonic() < deadline:
            if self._over.is_set():
                deadline = min(deadline, time.monotonic() + PATIENCE_S)
            now = time.monotonic()
            if not welcomed and now - greeted > 1.0:
                self._say(self._hello())
                greeted = now
            if welcomed and now >= tick:
                tick = now + 1 / HERTZ
                self._tick()
            if self._socket.poll(max(1, int(1000 * (tick - time.monotonic())))):
                message, _ = messages.decode_from_learner(self._socket.recv_multipart())
                match message:
                    case messages.Welcome():
                        welcomed = True
                        self._send_rows(self.durable, self.made)
                    case messages.Unknown():
                        welcomed = False
                    case messages.Ack():
                        self._take(message.expected)
                    case messages.Farewell():
                        self.gone = True

    def _tick(self) -> None:
        if not self._over.is_set():
            self.made += 1
            self._sent.append(time.monotonic())
            self._send_rows(self.made - 1, self.made)
        elif self.durable == self.made:
            self._say(messages.Bye(run=self.run, made=self.made))
        self._say(messages.Ping(policy=1, pending=self.made - self.durable))

    def _take(self, expected: int) -> None:
        now = time.monotonic()
        self.latencies += [now - sent for sent in self._sent[self.durable : expected]]
        self.durable = max(self.durable, expected)

    def _send_rows(self, first: int, end: int) -> None:
        for start in range(first, end, 200):
            stop = min(end, start + 200)
            rows = np.zeros((stop - start, WIDTH), "<f4")
            rows[:, 0] = np.arange(start, stop)
            self._say(messages.Rows(run=self.run, first=start, oldest=0), rows.tobytes())

    def _hello(self) -> messages.Hello:
        held = {self.run: Held(self.durable, self.made)}
        return messages.Hello(robot=self.name, run=self.run, runs=held, contract=DOCUMENT)

    def _say(self, message: messages.FromRobot, payload: bytes | None = None) -> None:
        with contextlib.suppress(zmq.Again):
            self._socket.send_multipart(encode(message, payload), zmq.NOBLOCK)


class Attackers:
    """Connections that are opened, used and dropped; some of them never read an answer."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, fuzzer: Fuzzer
    ) -> None:
        """Open them."""
        self._context, self._endpoint, self._fuzzer = context, endpoint, fuzzer
        self._sockets = [self._open() for _ in range(ATTACKERS)]
        self.stuck = 0
        """Messages that the learner did not take for seconds."""

    def send(self) -> bool:
        """Send one message from one of them; whether the learner has taken it, or does so soon.

        Those who never read are not heard for ever: what they cannot send at once is dropped.
        """
        dice, frames = self._fuzzer.dice, self._fuzzer.draw()
        at = dice.randrange(len(self._sockets))
        if chance(dice, 0.0005):
            self._sockets[at].close()
            self._sockets[at] = self._open()
        deaf = at >= ATTACKERS - 2
        socket = self._sockets[at]
        deadline = time.monotonic() + STUCK_S
        while time.monotonic() < deadline:
            if not deaf:
                self._drain(socket)
            try:
                socket.send_multipart(frames, zmq.NOBLOCK)
            except zmq.Again:
                socket.poll(5, zmq.POLLOUT if deaf else zmq.POLLIN | zmq.POLLOUT)
                if deaf:
                    return False
            else:
                return True
        self.stuck += 1
        return False

    def close(self) -> None:
        """Drop them all."""
        for socket in self._sockets:
            socket.close()

    def _open(self) -> zmq.Socket[bytes]:
        socket = connect_robot(self._context, self._endpoint)
        if chance(self._fuzzer.dice, 0.8):
            socket.poll(1000, zmq.POLLOUT)
            with contextlib.suppress(zmq.Again):
                socket.send_multipart(encode(_hello(self._fuzzer.dice)), zmq.NOBLOCK)
        return socket

    @staticmethod
    def _drain(socket: zmq.Socket[bytes]) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                socket.recv_multipart(zmq.NOBLOCK, copy=False)


def serve(folder: Path) -> None:
    """Be a learner that only takes rows in, until standard input ends."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket, endpoint = bind_learner(context)
    inbox = Inbox()
    service = Service(socket, RunFolder(folder).replay, inbox)
    file = b"policy" * 1000
    service.publish(PublishedPolicy(1, hashlib.sha256(file).hexdigest(), file))
    service.start()
    print(json.dumps({"event": "listening", "endpoint": endpoint}), flush=True)
    reader = threading.Thread(target=sys.stdin.read, daemon=True)
    reader.start()
    while reader.is_alive() and service.error is None:
        inbox.take(timeout_s=0.2)
        service.turned_at = time.monotonic()
    service.close()
    context.term()


class LearnerUnderAttack:
    """A learner process, what it says, and its memory."""

    def __init__(self, folder: Path, *, light: bool) -> None:
        """Start it."""
        self.said: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._log = (folder / "learner.log").open("wb")
        self.run = RunFolder(folder / "run")
        self.run.create(_run_config())
        options = LearnerOptions(folder=str(self.run.path))
        command = ["-m", "robosac.learner", options.argument()]
        if light:
            command = [__file__, "--serve", str(self.run.path)]
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=Path(__file__).parents[1],
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def endpoint(self) -> str:
        """Wait until it listens and say where."""
        with self._news:
            if not self._news.wait_for(lambda: bool(self.said), PATIENCE_S):
                raise SystemExit("learner does not start")
        return str(self.said[0]["endpoint"])

    def close(self) -> int:
        """Let it end, and return its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self._log.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._news:
                    self.said.append(json.loads(line))
                    del self.said[1:-1]
                    self._news.notify()


def _run_config() -> RunConfig:
    """A run that learns nothing in all this time."""
    return RunConfig(
        robosac=__version__,
        env="fuzz",
        recipe=Recipe(
            name="fuzz",
            learner=LearnerConfig(learning_starts=10**9, capacity=1000),
            sac=SACConfig(hidden=(8, 8)),
        ),
        pace="free",
    )


def attack_learner(count: int, seed: int, *, light: bool) -> Outcome:
    """Attack a learner; returns what has come of it."""
    outcome = Outcome("learner")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with tempfile.TemporaryDirectory() as folder:
        learner = LearnerUnderAttack(Path(folder), light=light)
        endpoint = learner.endpoint()
        good = GoodRobot(context, endpoint)
        while not good.durable and learner.process.poll() is None:
            time.sleep(0.05)
        attackers = Attackers(context, endpoint, Fuzzer(seed, from_robot))
        warm, begun, before = min(int(WARM_UP * count), 10_000), time.monotonic(), 0.0
        while (sent := outcome.messages) < count and not attackers.stuck:
            if sent >= warm and not before:
                before = rss_mb(learner.process.pid)
            if sent % 1000 == 0 and learner.process.poll() is not None:
                break
            outcome.messages += attackers.send()
        good.leave()
        outcome.seconds = time.monotonic() - begun
        outcome.grown_mb = rss_mb(learner.process.pid) - before
        attackers.close()
        code = learner.close()
        log = Path(folder, "learner.log").read_bytes()
        outcome.note(code == 0, f"learner ended with {code}: {log[-500:]!r}")
        outcome.note(not attackers.stuck, "the learner did not take a message for seconds")
        outcome.note(good.gone, "the good robot got no farewell")
        outcome.note(len(log) < LOG_MAX, f"its log has {len(log)} bytes")
        outcome.rows = _rows_of(good, learner.run.replay, outcome)
        outcome.figures |= {
            f"durable_{key}": one for key, one in percentiles(good.latencies).items()
        }
        outcome.figures["log_bytes"] = len(log)
    outcome.note(outcome.grown_mb < GROWTH_MAX_MB, f"it has grown by {outcome.grown_mb:.0f} MB")
    context.destroy(linger=0)
    return outcome


def _rows_of(good: GoodRobot, replay: Path, outcome: Outcome) -> int:
    """Count the good robot's rows on disk, and note what is wrong with them."""
    with SegmentLog(replay, CONTRACT.row_layout) as log:
        numbers = [
            int(number)
            for chunk in log.rows()
            if chunk.key == (good.name, good.run)
            for number in chunk.rows[:, 0]
        ]
    outcome.note(numbers == list(range(good.made)), f"{good.made} rows made, on disk {numbers[:9]}")
    return len(numbers)


# The robot's side.

GOOD_RUN = "f" * 32


class HostileLearner:
    """Does a learner's work for one robot, and says anything else on top of it."""

    def __init__(self, fuzzer: Fuzzer) -> None:
        """Listen."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket, self.endpoint = bind_learner(self._context)
        self._fuzzer = fuzzer
        self._identity = b""
        self.numbers: list[int] = []
        self.sent = 0

    def work(self) -> None:
        """Answer what the robot has said."""
        while self._socket.poll(0):
            self._identity, *frames = self._socket.recv_multipart()
            message, payload = messages.decode_from_robot(frames)
            match message:
                case messages.Hello():
                    welcome = messages.Welcome(
                        expected={GOOD_RUN: len(self.numbers)}, version=1, sha256="0" * 64
                    )
                    self._say(encode(welcome, b""))
                case messages.Rows():
                    rows = np.frombuffer(payload, "<f4").reshape(-1, WIDTH)
                    if message.first <= len(self.numbers):
                        self.numbers += (
                            rows[len(self.numbers) - message.first :, 0].astype(int).tolist()
                        )
                    self._say(encode(messages.Ack(run=GOOD_RUN, expected=len(self.numbers))))
                case messages.Bye() if message.made == len(self.numbers):
                    self._say(encode(messages.Farewell(run=GOOD_RUN)))
                case messages.Ping():
                    self._say(encode(messages.Pong()))

    def attack(self) -> None:
        """Say one thing more."""
        frames = self._fuzzer.draw()
        if self._identity and not _is_power(frames) and self._say(frames):
            self.sent += 1

    def close(self) -> None:
        """Hang up."""
        self._context.destroy(linger=0)

    def _say(self, frames: Frames) -> bool:
        try:
            self._socket.send_multipart([self._identity, *frames], zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError:  # it has another connection by now
            self._identity = b""
            return False
        return True


def _is_power(frames: Frames) -> bool:
    """Whether a robot has to believe it: a learner may let it forget rows, and send it away."""
    try:
        message, _ = messages.decode_from_learner(frames)
    except WireError:
        return False
    match message:
        case messages.Ack() | messages.Farewell():
            return message.run == GOOD_RUN
        case messages.Welcome():
            return GOOD_RUN in message.expected
        case messages.Refused():
            return True
    return False


class ControlLoop:
    """A robot at 50 Hz, on a thread, with a real uplink process."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        """Start both; what the uplink has to complain of goes into a file."""
        self.made = 0
        self.held_up: list[float] = []
        """How long the link took of every tick, s."""
        self.log = folder / "uplink.log"
        self._over = threading.Event()
        with _stderr_to(self.log):
            self.link = UplinkLink(
                CONTRACT,
                endpoint=endpoint,
                robot="good-0",
                run=GOOD_RUN,
                folder=folder,
                paced=False,
                stopped=self._over.is_set,
            )
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Make no more rows."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        row = np.zeros(WIDTH, np.float32)
        while not self._over.is_set():
            begun = time.monotonic()
            row[0] = self.made
            self.link.record(row)
            self.link.poll()
            self.made += 1
            self.held_up.append(time.monotonic() - begun)
            time.sleep(max(0.0, begun + 1 / HERTZ - time.monotonic()))


def attack_robot(count: int, seed: int) -> Outcome:
    """Attack an uplink process from its learner; returns what has come of it."""
    outcome = Outcome("robot")
    learner = HostileLearner(Fuzzer(seed, from_learner))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 20)  # the attack runs beside the control loop, not under it
    with tempfile.TemporaryDirectory() as folder:
        loop = ControlLoop(Path(folder), learner.endpoint)
        pid = _uplink_of(os.getpid())
        warm, begun, before = min(int(WARM_UP * count), 10_000), time.monotonic(), 0.0
        while learner.sent < count and time.monotonic() - begun < 10 * PATIENCE_S:
            if not before and learner.sent >= warm:
                before = rss_mb(pid)
            learner.work()
            learner.attack()
        outcome.messages, outcome.seconds = learner.sent, time.monotonic() - begun
        outcome.grown_mb = rss_mb(pid) - before
        outcome.note(rss_mb(pid) > 0, "the uplink has died")
        loop.stop()
        _settle(learner, lambda: len(learner.numbers) >= loop.made)
        whole = learner.numbers == list(range(loop.made))
        outcome.note(whole, f"{loop.made} rows made, {len(learner.numbers)} came")
        outcome.rows = len(learner.numbers)
        loop.link.close()
        size = loop.log.stat().st_size
    sys.setswitchinterval(interval)
    late = sum(one > HELD_UP_S for one in loop.held_up)
    outcome.figures |= {f"tick_{key}": one for key, one in percentiles(loop.held_up).items()}
    outcome.figures |= {"tick_max_ms": round(1000 * max(loop.held_up), 2), "log_bytes": size}
    outcome.note(late <= len(loop.held_up) // 100, f"{late} ticks were held up")
    outcome.note(size < LOG_MAX, f"its log has {size} bytes")
    outcome.note(outcome.messages == count, "it took too few messages")
    outcome.note(outcome.grown_mb < GROWTH_MAX_MB, f"it has grown by {outcome.grown_mb:.0f} MB")
    learner.close()
    return outcome


@contextlib.contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    """Let processes that are started meanwhile write their errors to a file."""
    kept = os.dup(2)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _settle(learner: HostileLearner, arrived: Callable[[], bool]) -> None:
    """Let the learner do its work in peace until everything has come, or for a while."""
    deadline = time.monotonic() + PATIENCE_S
    while not arrived() and time.monotonic() < deadline:
        learner.work()
        time.sleep(0.001)


def _uplink_of(parent: int) -> int:
    """Process id of the child that is an uplink."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for entry in Path(f"/proc/{parent}/task").glob("*/children"):
            for child in entry.read_text().split():
                if b"robosac.runner.uplink" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        time.sleep(0.01)
    raise SystemExit("uplink does not start")


def main() -> int:
    """Attack both sides and say what has come of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=200_000, help="for each side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--light", action="store_true", help="only the learner's service, no torch")
    parser.add_argument("--side", choices=("learner", "robot", "both"), default="both")
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return 0
    logging.getLogger("robosac").setLevel(logging.CRITICAL)  # what the good robot thinks of it
    outcomes = []
    if options.side != "robot":
        outcomes.append(attack_learner(options.messages, options.seed, light=options.light))
        print(outcomes[-1].line(), flush=True)
    if options.side != "learner":
        outcomes.append(attack_robot(options.messages, options.seed))
        print(outcomes[-1].line(), flush=True)
    if options.json is not None:
        content = {
            "seed": options.seed,
            "robosac": __version__,
            "python": platform.python_version(),
            "pyzmq": version("pyzmq"),
            "msgspec": version("msgspec"),
            "light": options.light,
            "outcomes": [msgspec.to_builtins(outcome) for outcome in outcomes],
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 1 if any(outcome.faults for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
