"""A robot under attack by its learner."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import zmq

from robosac.errors import WireError
from robosac.runner.uplink_link import UplinkLink
from robosac.wire import messages
from robosac.wire.messages import encode
from robosac.wire.sockets import bind_learner
from tools.hostile.mutations import Fuzzer, from_learner
from tools.hostile.outcome import Outcome, percentiles, rss_mb
from tools.hostile.toy import (
    CONTRACT,
    GOOD_RUN,
    GROWTH_MAX_MB,
    HELD_UP_S,
    HERTZ,
    LATE_ANYWAY,
    LOG_MAX,
    PATIENCE_S,
    WARM_UP,
    WIDTH,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tools.hostile.mutations import Frames


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
    allowed = LATE_ANYWAY + len(loop.held_up) // 100
    outcome.note(late <= allowed, f"{late} ticks were held up")
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
