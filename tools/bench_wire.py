"""What the wire carries, and how long it takes: rows to durable replay, policies to the robot.

    python tools/bench_wire.py [--rows 400000] [--seconds 30] [--json]

Everything runs over TCP loopback between processes, with the real uplink and the real service, and
with fsync on; observations of 48 numbers, actions of 12.

Throughput: rows in chunks of 64 straight at the service; rows from a full spool; rows from a
control loop that hands over one after another as fast as it can.  Each ends when every row is
durable at the learner and the robot knows it.  Beside them the same rows pickled over REQ/REP into
memory: a dictionary of arrays per transition, as is usual, and one packed array per chunk.

Latency: a control loop of 50 Hz and a real learner that makes an update per row and five policies a
second.  From record() to the moment the rows are durable and the update loop has them; from
publish() to the first tick that acts on the new policy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import shlex
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

import msgspec
import numpy as np
import zmq

from robosac import __version__
from robosac.learner.inbox import Inbox
from robosac.learner.options import LearnerOptions
from robosac.learner.service import PublishedPolicy, Service
from robosac.policy.contract import Contract, Golden, encode
from robosac.replay import SegmentLog
from robosac.runner.spool import Spool
from robosac.runner.uplink_link import UplinkLink
from robosac.tasks.observation import Term
from robosac.wire import messages
from robosac.wire.sockets import bind_learner, connect_robot
from tools.provenance import provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from robosac.replay import Chunk

    FloatArray = NDArray[np.float32]

OBS, ACTION, CHUNK = 48, 12, 64
HERTZ = 50.0
AHEAD = 10_000
"""Rows that the loop may be ahead of its spool while throughput is measured."""
CONTRACT = Contract(
    env="bench",
    action_lower=(-1.0,) * ACTION,
    action_upper=(1.0,) * ACTION,
    obs=(Term(name="observation", size=OBS, unit="", clip=None),),
    golden=(Golden(sensors={}, obs=[0.0] * OBS), Golden(sensors={}, obs=[0.5] * OBS)),
)
LAYOUT = CONTRACT.row_layout
ROBOT = "bench-0"


def make_rows(count: int) -> FloatArray:
    """Rows (count, width) that could be a robot's: whole numbers where there must be some."""
    rows = np.random.default_rng(0).uniform(-1, 1, (count, LAYOUT.width)).astype(np.float32)
    for name in ("terminated", "truncated", "guards", "policy_version"):
        rows[:, LAYOUT.slice(name)] = 0.0
    return rows


# The learner's side, in a process of its own.


def serve(folder: Path) -> None:
    """Serve rows without learning; the end of standard input is the end."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket, endpoint = bind_learner(context)
    inbox = Inbox()
    service = Service(socket, folder / "replay", inbox)
    service.policy = PublishedPolicy(1, hashlib.sha256(b"none").hexdigest(), b"none")
    service.start()
    print(endpoint, flush=True)
    sys.stdin.read()
    service.close()
    context.term()


def learn(folder: Path) -> None:
    """Be a real learner, and note when rows and policies pass by."""
    from robosac.learner import process

    rows: list[tuple[int, int, int]] = []
    policies: list[tuple[int, int]] = []

    class NotedInbox(Inbox):
        def put(self, chunk: Chunk) -> None:
            super().put(chunk)
            rows.append((chunk.first, chunk.end, time.monotonic_ns()))

    class NotedService(Service):
        def publish(self, policy: PublishedPolicy) -> None:
            policies.append((policy.version, time.monotonic_ns()))
            super().publish(policy)

    vars(process).update(Inbox=NotedInbox, Service=NotedService)
    process.main(LearnerOptions(folder=str(folder)))
    (folder / "noted.json").write_text(json.dumps({"rows": rows, "policies": policies}))


def pickle_server(folder: Path) -> None:
    """Unpickle what comes into a list, as other systems do; nothing goes to disk."""
    del folder
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.REP)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    print(f"tcp://127.0.0.1:{port}", flush=True)
    kept = []
    while (chunk := pickle.loads(socket.recv())) is not None:  # noqa: S301 -- the rival's way
        kept.append(chunk)
        socket.send(b"ok")
    socket.close()
    context.term()


@contextmanager
def child(role: str, folder: Path) -> Iterator[str]:
    """Start this script as another process; yields its endpoint, and waits for its end."""
    command = [sys.executable, __file__, "--as", role, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        line = process.stdout.readline().decode().strip()
        yield json.loads(line)["endpoint"] if line.startswith("{") else line
        process.stdin.close()
        process.stdout.read()


# Throughput.


def straight_at_the_service(rows: FloatArray, folder: Path) -> float:
    """Rows/s of a socket that sends chunks and waits for the last acknowledgement."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    run = uuid.uuid4().hex
    with child("service", folder) as endpoint:
        socket = connect_robot(context, endpoint)
        socket.poll(5000, zmq.POLLOUT)
        hello = messages.Hello(
            robot=ROBOT, run=run, runs={run: messages.Held(0, 0)}, contract=encode(CONTRACT)
        )
        socket.send_multipart(messages.encode(hello))
        _hear(socket, lambda message: isinstance(message, messages.Welcome))
        started = time.perf_counter()
        for first in range(0, len(rows), CHUNK):
            head = messages.Rows(run=run, first=first, oldest=0)
            socket.send_multipart(messages.encode(head, rows[first : first + CHUNK].tobytes()))
            while socket.poll(0):
                socket.recv_multipart()
        _hear(socket, lambda one: isinstance(one, messages.Ack) and one.expected == len(rows))
        seconds = time.perf_counter() - started
        socket.close()
    context.term()
    return len(rows) / seconds


def _hear(socket: zmq.Socket[bytes], wanted: Callable[[messages.FromLearner], bool]) -> None:
    while not wanted(messages.decode_from_learner(socket.recv_multipart())[0]):
        pass


def from_a_spool(rows: FloatArray, folder: Path) -> float:
    """Rows/s of an uplink that finds a full spool, until it has been emptied."""
    run = uuid.uuid4().hex
    with Spool(folder / "robot" / "spool", LAYOUT, robot=ROBOT, run=run) as spool:
        for first in range(0, len(rows), CHUNK):
            spool.append(rows[first : first + CHUNK])
    with child("service", folder) as endpoint:
        started = time.perf_counter()
        link = _link(endpoint, folder)
        link.finish(0)  # the present run ends last
        seconds = time.perf_counter() - started
        link.close()
    return len(rows) / seconds


def from_the_loop(rows: FloatArray, folder: Path) -> tuple[float, float]:
    """Rows/s of a loop that records as fast as it can, and µs that record() takes, median."""
    with child("service", folder) as endpoint:
        link = _link(endpoint, folder)
        costs = np.empty(len(rows))
        started = time.perf_counter()
        for index, row in enumerate(rows):
            before = time.perf_counter()
            link.record(row)
            costs[index] = time.perf_counter() - before
            if index % CHUNK == 0:
                link.poll()
                while link.unspooled > AHEAD:  # a loop gives rows up rather than wait
                    link.pause()
        link.finish(len(rows))
        seconds = time.perf_counter() - started
        link.close()
    _check(folder, len(rows))
    return len(rows) / seconds, 1e6 * float(np.median(costs))


def _link(endpoint: str, folder: Path) -> UplinkLink:
    return UplinkLink(
        CONTRACT,
        endpoint=endpoint,
        robot=ROBOT,
        run=uuid.uuid4().hex,
        folder=folder / "robot",
        paced=False,
        stopped=lambda: False,
    )


def _check(folder: Path, count: int) -> None:
    """What was timed must have arrived."""
    with SegmentLog(folder / "replay", LAYOUT) as log:
        assert sum(one.count for one in log.sequences().values()) == count
        assert all(one.contiguous for one in log.sequences().values())


def pickled(rows: FloatArray, folder: Path, *, packed: bool) -> float:
    """Rows/s of pickles over REQ/REP in chunks, into the memory of the other process."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with child("pickle", folder) as endpoint:
        socket = context.socket(zmq.REQ)
        socket.connect(endpoint)
        started = time.perf_counter()
        for first in range(0, len(rows), CHUNK):
            chunk = rows[first : first + CHUNK]
            socket.send(pickle.dumps(chunk if packed else [_fields(row) for row in chunk]))
            socket.recv()
        seconds = time.perf_counter() - started
        socket.send(pickle.dumps(None))
        socket.close()
    context.term()
    return len(rows) / seconds


def _fields(row: FloatArray) -> dict[str, Any]:
    fields = LAYOUT.view(row)
    return {
        "observations": fields.obs,
        "actions": fields.action,
        "next_observations": fields.next_obs,
        "rewards": fields.reward,
        "dones": fields.terminated,
    }


# Latency.


def latencies(seconds: float, folder: Path) -> dict[str, Any]:
    """Run a loop of 50 Hz against a real learner; returns percentiles in ms."""
    from robosac import recipe
    from robosac.run_folder import RunConfig, RunFolder

    usual = recipe.find(recipe.DEFAULT)
    config = RunConfig(
        robosac=__version__,
        env="bench",
        recipe=msgspec.structs.replace(
            usual,
            learner=msgspec.structs.replace(usual.learner, learning_starts=0, publish_every=10),
        ),
    )
    RunFolder(folder / "run").create(config)
    with child("learner", folder / "run") as endpoint:
        link = _link(endpoint, folder)
        link.wait_until_ready()
        born, acted, late = _tick(link, seconds)
        link.finish(len(born))
        link.close()
    noted = json.loads((folder / "run" / "noted.json").read_text())
    waited = [
        (at - born[sequence]) / 1e6
        for first, end, at in noted["rows"]
        for sequence in range(first, end)
    ]
    assert len(waited) == len(born)
    swapped = [(acted[number] - at) / 1e6 for number, at in noted["policies"] if number in acted]
    return {
        "birth_to_replay_ms": _percentiles(waited),
        "publish_to_acting_ms": _percentiles(swapped),
        "tick_late_ms": _percentiles(late),
        "rows": len(born),
        "policies": len(swapped),
    }


def _tick(link: UplinkLink, seconds: float) -> tuple[list[int], dict[int, int], list[float]]:
    """When every row was born and every policy first acted, ns; how late ticks were, ms."""
    rows = make_rows(int(seconds * HERTZ))
    born, late = [], []
    acted: dict[int, int] = {}
    first_version = link.acting.version
    deadline = time.monotonic_ns()
    for row in rows:
        deadline += int(1e9 / HERTZ)
        time.sleep(max(0, deadline - time.monotonic_ns()) / 1e9)
        now = time.monotonic_ns()
        late.append((now - deadline) / 1e6)
        link.poll()
        acting = link.acting
        acting.policy.act(row[:OBS])
        if acting.version != first_version:
            acted.setdefault(acting.version, now)
        row[LAYOUT.slice("policy_version")] = acting.version
        born.append(time.monotonic_ns())
        link.record(row)
    return born, acted, late


def _percentiles(values: list[float]) -> dict[str, float]:
    p50, p99, p100 = np.percentile(values, [50, 99, 100]).tolist()
    return {"p50": round(p50, 2), "p99": round(p99, 2), "max": round(p100, 2)}


def measure(rows: int, seconds: float) -> dict[str, Any]:
    """Every figure once; the throughputs three times, interleaved, as medians."""
    candidates: dict[str, Callable[[FloatArray, Path], float]] = {
        "service_rows_per_s": straight_at_the_service,
        "spool_rows_per_s": from_a_spool,
        "loop_rows_per_s": lambda many, folder: from_the_loop(many, folder)[0],
        "pickle_dicts_rows_per_s": lambda many, folder: pickled(many, folder, packed=False),
        "pickle_packed_rows_per_s": lambda many, folder: pickled(many, folder, packed=True),
    }
    many = make_rows(rows)
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(3):
        for name, candidate in candidates.items():
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(candidate(many, Path(folder)))
    figures: dict[str, Any] = {name: round(float(np.median(all_))) for name, all_ in found.items()}
    with tempfile.TemporaryDirectory() as folder:
        figures["record_us"] = round(from_the_loop(many[: rows // 4], Path(folder))[1], 2)
    with tempfile.TemporaryDirectory() as folder:
        figures |= latencies(seconds, Path(folder))
    return figures


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=400_000, help="rows of every throughput")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the latency run")
    parser.add_argument("--json", action="store_true", help="print one last line of JSON")
    parser.add_argument("--as", dest="role", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role is not None:
        role, folder = options.role[0], Path(options.role[1])
        {"service": serve, "learner": learn, "pickle": pickle_server}[role](folder)
        return 0
    figures = measure(options.rows, options.seconds)
    for name, figure in figures.items():
        print(f"{name:28} {figure}")
    if options.json:
        command = shlex.join(["python", "tools/bench_wire.py", *sys.argv[1:]])
        print(json.dumps(figures | provenance(command, ("pyzmq", "msgspec", "numpy", "torch"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
