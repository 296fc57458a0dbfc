"""How often a robot's servos can be read and written in a second: ours, rustypot, dynamixel-sdk.

A cycle is what a control tick does: one fast sync read of the same bytes of all 12 servos of pup,
then one sync write of their goals.  The servos are emulated by another process on a
pseudo-terminal, at 1, 2 and 3 Mbit/s, return delay 0, with an adapter that hands on at once or
once in a millisecond.  Every client has its turn in every round, one after the other on the same
port, so that all see the same machine; figures are medians of all cycles and of the rounds'
ratios.  A turn is stale when bytes come after its last cycle: since some cycle the client has taken
each reply for the one after it, and is as fast as the wire.  The ceiling is what the wire allows:
bytes · 10 / baud + 20 µs of turnaround, rounded up to whole milliseconds where the adapter does so.

    python tools/bench_bus.py --save
"""

from __future__ import annotations

import argparse
import array
import contextlib
import fcntl
import gc
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dynamixel_sdk
import msgspec
import numpy as np
import rustypot

import robots
from robots.dynamixel.bus import Bus
from robots.dynamixel.chain import Chain
from robots.dynamixel.control_table import Register
from robots.dynamixel.port import Port
from robots.dynamixel.setup import BLOCK_SIZE

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

from tools.provenance import provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robots.dynamixel.config import BusSpec

    Cycle = Callable[[int], bool]

ROBOT = "pup"
BAUDS = (1_000_000, 2_000_000, 3_000_000)
USB_LATENCIES_MS = (0.0, 1.0)
RESULTS = Path(__file__).parent / "results" / "bench_bus.json"
LIBRARIES = ("numpy", "pyserial", "fastcrc", "rustypot", "dynamixel-sdk")

READ_BYTES, WRITE_BYTES, PER_GOAL_BYTES = 14, 14, 5
"""Instructions without IDs and goals: 4 of header, ID, 2 of length, instruction, 4, 2 of CRC."""
FAST_BYTES, PER_BLOCK_BYTES = 8, 4
TURNAROUND_S = 20e-6
WARM_UP = 20
PROMPT_S = 250e-6
"""For how long the emulator counts down to a reply, so that none is late, s."""
SETTLE_S = 0.02
CENTRE, SWING = 2048, 100


class Wire(NamedTuple):
    """One set of conditions."""

    baud: int
    usb_latency_ms: float

    def ceiling_hz(self, servos: int) -> float:
        """Cycles per second that the wire allows."""
        size = READ_BYTES + servos + FAST_BYTES + servos * (PER_BLOCK_BYTES + BLOCK_SIZE)
        size += WRITE_BYTES + servos * PER_GOAL_BYTES
        period_s = size * 10 / self.baud + TURNAROUND_S
        if self.usb_latency_ms:
            step_s = self.usb_latency_ms / 1000
            period_s = math.ceil(period_s / step_s) * step_s
        return 1 / period_s


def bus_spec(baud: int = BAUDS[0]) -> BusSpec:
    """The servos of the robot, at this speed."""
    spec = robots.find(ROBOT).spec.bus
    assert spec is not None
    return msgspec.structs.replace(spec, baud=baud)


def hurry() -> bool:
    """Let this process run before ordinary ones, as a deployed robot's does; whether it may."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        return True
    return False


# The servos, in a process of their own.


def emulate(wire: Wire) -> None:
    """Serve the bus until standard input ends; physics that costs next to nothing."""
    from sim.emulator.bus import WireOptions
    from sim.emulator.motion import SimpleJoints
    from sim.emulator.robot import make_bus
    from sim.emulator.terminal import Terminal

    spec = bus_spec(wire.baud)
    bus = make_bus(
        robots.find(ROBOT),
        spec,
        plant=SimpleJoints(len(spec.ids)),
        wire=WireOptions(baud=wire.baud, usb_latency_ms=wire.usb_latency_ms),
    )
    gc.collect()
    gc.freeze()
    with Terminal(bus, prompt_s=PROMPT_S) as terminal:
        print(terminal.path, flush=True)
        sys.stdin.read()


@contextlib.contextmanager
def emulated(wire: Wire) -> Iterator[str]:
    """Path of a port with the servos behind."""
    command = [sys.executable, __file__, "--serve", str(wire.baud), str(wire.usb_latency_ms)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process.stdout.readline().decode().strip()
        process.stdin.close()


# The clients: each gives a function that goes through one cycle and says whether all answered.


@contextlib.contextmanager
def ours(path: str, wire: Wire, address: int) -> Iterator[Cycle]:
    """Our driver's chain: SI units, limits, ages and faults of every servo included."""
    spec = bus_spec(wire.baud)
    with Port(path, wire.baud) as port:
        chain = Chain(Bus(port, usb_latency_s=spec.usb_latency_s), spec, [(-3.0, 3.0)] * 12)
        chain.open()
        assert data_address(chain) == address
        goals = np.zeros(len(spec.ids))

        def cycle(goal: int) -> bool:
            began_ns = port.now_ns()
            state = chain.read()
            goals[:] = 1e-3 * (goal - CENTRE)
            chain.write(goals)
            return bool((state.stamp_ns >= began_ns).all())

        yield cycle


@contextlib.contextmanager
def rusty(path: str, wire: Wire, address: int) -> Iterator[Cycle]:
    """Rustypot: bytes as they are."""
    ids = list(bus_spec().ids)
    controller = rustypot.Xl430PyController(path, wire.baud, 0.5)
    controller.set_fast_sync_read(True)

    def cycle(goal: int) -> bool:
        try:
            controller.sync_read_raw_data(ids, address, BLOCK_SIZE)
        except RuntimeError:
            return False
        controller.sync_write_register(ids, "goal_position", [goal] * len(ids))
        return True

    try:
        yield cycle
    finally:
        controller.close()


@contextlib.contextmanager
def vendor(path: str, wire: Wire, address: int) -> Iterator[Cycle]:
    """The vendor's SDK for Python: one value of every servo."""
    ids = bus_spec().ids
    port = dynamixel_sdk.PortHandler(path)
    port.openPort()
    port.setBaudRate(wire.baud)
    packets = dynamixel_sdk.PacketHandler(2.0)
    reader = dynamixel_sdk.GroupSyncRead(port, packets, address, BLOCK_SIZE)
    goal_position = Register.GOAL_POSITION
    writer = dynamixel_sdk.GroupSyncWrite(port, packets, goal_position.address, goal_position.size)
    for device in ids:
        reader.addParam(device)
        writer.addParam(device, list(CENTRE.to_bytes(4, "little")))

    def cycle(goal: int) -> bool:
        heard = reader.fastSyncRead() == dynamixel_sdk.COMM_SUCCESS
        for device in ids:
            reader.getData(device, address, 4)
            writer.changeParam(device, list(goal.to_bytes(4, "little")))
        return heard and bool(writer.txPacket() == dynamixel_sdk.COMM_SUCCESS)

    try:
        yield cycle
    finally:
        port.closePort()


CLIENTS = {"robosac": ours, "rustypot": rusty, "dynamixel-sdk": vendor}


def data_address(chain: Chain) -> int:
    """Where the chain has mapped the bytes that it reads."""
    assert chain._setup is not None  # noqa: SLF001 -- rivals shall read the same
    return chain._setup.data_address  # noqa: SLF001


def find_address(path: str, wire: Wire) -> int:
    """Set the servos up as ours does, and return where everybody reads."""
    with Port(path, wire.baud) as port:
        chain = Chain(Bus(port), bus_spec(wire.baud), [(-3.0, 3.0)] * 12)
        chain.open()
        return data_address(chain)


# Measuring.


def periods_s(cycle: Cycle, count: int) -> tuple[list[float], int]:
    """Duration of every cycle, s, after a few that do not count, and how many were incomplete."""
    goals = (CENTRE + round(SWING * math.sin(0.05 * step)) for step in itertools.count())
    for _ in range(WARM_UP):
        cycle(next(goals))
    gc.collect()
    gc.freeze()
    gc.disable()
    times = [time.perf_counter()]
    missed = 0
    for _ in range(count):
        missed += not cycle(next(goals))
        times.append(time.perf_counter())
    gc.enable()
    return [after - before for before, after in itertools.pairwise(times)], missed


def unread(path: str) -> int:
    """Bytes that nobody has fetched; 0 where only root may look because the port is taken."""
    time.sleep(SETTLE_S)
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            waiting = array.array("i", [0])
            fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
            return waiting[0]
        finally:
            os.close(descriptor)
    return 0


class Turn(NamedTuple):
    """What came of one client's turn."""

    periods_s: list[float]
    missed: int
    unread: int
    """Bytes that came after the last cycle: the client had read an earlier cycle's reply."""


def measure(wire: Wire, *, rounds: int, cycles: int) -> dict[str, Any]:
    """Every client in every round; returns a row of the table."""
    turns: dict[str, list[Turn]] = {name: [] for name in CLIENTS}
    with emulated(wire) as path:
        address = find_address(path, wire)
        for number in range(rounds):
            names = list(CLIENTS)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                with CLIENTS[name](path, wire, address) as cycle:
                    turns[name].append(Turn(*periods_s(cycle, cycles), unread(path)))
    ceiling_hz = wire.ceiling_hz(len(bus_spec().ids))
    own = [statistics.median(turn.periods_s) for turn in turns["robosac"]]
    clients = {name: figures(all_, ceiling_hz, own) for name, all_ in turns.items()}
    return wire._asdict() | {"ceiling_hz": round(ceiling_hz, 1), "clients": clients}


def figures(turns: list[Turn], ceiling_hz: float, own: list[float]) -> dict[str, float]:
    """Figures of one client; `own` is our median period of every round, s."""
    every = sorted(itertools.chain.from_iterable(turn.periods_s for turn in turns))
    hz = 1 / statistics.median(every)
    ratios = [
        statistics.median(turn.periods_s) / ours for turn, ours in zip(turns, own, strict=True)
    ]
    return {
        "hz": round(hz, 1),
        "of_ceiling": round(hz / ceiling_hz, 3),
        "mean_hz": round(len(every) / sum(every), 1),
        "p99_ms": round(1000 * every[int(0.99 * len(every))], 3),
        "incomplete": sum(turn.missed for turn in turns),
        "stale_turns": sum(turn.unread > 0 for turn in turns),
        "ours_faster_by": round(statistics.median(ratios), 3),
    }


def as_lines(row: dict[str, Any]) -> str:
    """A row for people."""
    head = f"{row['baud'] / 1e6:g} Mbit/s, USB {row['usb_latency_ms']:g} ms"
    lines = [f"{head:22} {'ceiling':14} {row['ceiling_hz']:7.1f} Hz"]
    lines += [
        f"{'':22} {name:14} {one['hz']:7.1f} Hz  {one['of_ceiling']:5.0%} of the ceiling"
        f"  mean {one['mean_hz']:7.1f} Hz  p99 {one['p99_ms']:6.2f} ms"
        f"  incomplete {one['incomplete']}"
        f"  stale in {one['stale_turns']} turns  ours faster by {one['ours_faster_by']:.2f}"
        for name, one in row["clients"].items()
    ]
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="turns of every client")
    parser.add_argument("--cycles", type=int, default=400, help="cycles of a turn")
    parser.add_argument("--baud", type=int, nargs="+", default=BAUDS, help="speeds, bit/s")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--save", action="store_true", help=f"keep it in {RESULTS.name}")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Measure, print, keep."""
    options = parse()
    if options.serve is not None:
        emulate(Wire(int(options.serve[0]), float(options.serve[1])))
        return 0
    urgent = hurry()
    rows = []
    for baud, usb_latency_ms in itertools.product(options.baud, USB_LATENCIES_MS):
        wire = Wire(baud, usb_latency_ms)
        rows.append(measure(wire, rounds=options.rounds, cycles=options.cycles))
        if not options.json:
            print(as_lines(rows[-1]), flush=True)
    content = {
        **provenance(" ".join(["python", "tools/bench_bus.py", *sys.argv[1:]]), LIBRARIES),
        "rounds": options.rounds,
        "cycles": options.cycles,
        "bytes_per_servo": BLOCK_SIZE,
        "fifo": urgent,
        "rows": rows,
        "load_1min": os.getloadavg()[0],
    }
    text = json.dumps(content, indent=1)
    if options.json:
        print(text)
    if options.save:
        RESULTS.write_text(text + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
