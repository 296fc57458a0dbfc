"""A learner under attack by strangers and by robots that it has let in."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from robosac import __version__
from robosac.algorithms.config import SACConfig
from robosac.learner.inbox import Inbox
from robosac.learner.options import LearnerOptions
from robosac.learner.service import PublishedPolicy, Service
from robosac.recipe import LearnerConfig, Recipe
from robosac.replay import SegmentLog
from robosac.run_folder import RunConfig, RunFolder
from robosac.wire import messages
from robosac.wire.messages import Held, encode
from robosac.wire.sockets import bind_learner, connect_robot
from tools.hostile.mutations import Fuzzer, chance, from_robot, hello
from tools.hostile.outcome import Outcome, percentiles, rss_mb
from tools.hostile.toy import (
    ATTACKERS,
    CONTRACT,
    DOCUMENT,
    GROWTH_MAX_MB,
    HERTZ,
    LOG_MAX,
    PATIENCE_S,
    STUCK_S,
    WARM_UP,
    WIDTH,
)

TOOLS = Path(__file__).parents[1]


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
                socket.send_multipart(encode(hello(self._fuzzer.dice)), zmq.NOBLOCK)
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
            command = [str(TOOLS / "fuzz_wire.py"), "--serve", str(self.run.path)]
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=TOOLS.parent,
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
