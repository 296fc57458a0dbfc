"""Deploy a policy on an emulated robot, in real time, and measure how punctual it is and how far.

    python tools/deploy_walk.py runs/pup/policy/final.onnx --seconds 600
    python tools/deploy_walk.py runs/pup/policy/final.onnx --seconds 600 --ordinary

`robosac emulate` and `robosac deploy` are processes as a user starts them; the operator's words
come through a pipe.  `--ordinary` takes the right to real-time priority away from the robot's
process.  Speed is the truth of the emulator's physics, beside what leg odometry said and what the
policy did in simulation, by its contract.  Exit code 1 when the robot fell, or missed a tick while
the machine did not stand still as a whole (tools/stalls.py).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

from robosac.flight_log.record import read
from robosac.policy import OnnxPolicy
from tools.provenance import provenance
from tools.stalls import Stalls
from tools.track import forward_m, read_track

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARIES = ("robosac", "mujoco", "numpy", "onnxruntime", "pyserial", "mcap")
PATIENCE_S = 60.0
PERIOD_S = 0.02
_PR_CAPBSET_DROP, _CAP_SYS_NICE = 24, 23


@contextlib.contextmanager
def emulator(robot: str, folder: Path) -> Iterator[dict[str, str]]:
    """Run the emulator; yields its ports."""
    track = ["--track", str(folder / "track.jsonl")]
    command = [sys.executable, "-m", "robosac", "emulate", "--robot", robot, "--json", *track]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.communicate(timeout=PATIENCE_S)


def deploy(options: argparse.Namespace, ports: dict[str, str], folder: Path) -> dict[str, Any]:
    """Let it stand up and walk, and return its summary."""
    command = [sys.executable, "-m", "robosac", "deploy", "--robot", options.robot]
    command += ["--port", ports["servos"], "--imu", ports["imu"], "--policy", str(options.policy)]
    process = subprocess.Popen(
        [*command, "--run", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        preexec_fn=_be_ordinary if options.ordinary else None,  # noqa: PLW1509 -- no threads here
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if line.startswith("standby"):
            process.stdin.write("go\n")
        walked = line.startswith("running") and float(line.split()[1]) >= options.seconds
        if walked or line.startswith("stopped ("):
            process.stdin.write("quit\n")
    code = process.wait(PATIENCE_S)
    (path,) = folder.glob("2*.json")
    summary: dict[str, Any] = json.loads(path.read_text()) | {"exit_code": code}
    return summary


def excused(log: Path, stalls: Stalls) -> tuple[int, int]:
    """How many ticks began late, and how many of them while or after the machine stood still.

    A tick that is late by a little waits for the next period, and its reading is of that one: what
    held it up lies up to three periods back.
    """
    ticks = read(log).ticks
    late = [
        (stamp / 1e9 - late_s, stamp / 1e9)
        for stamp, late_s in zip(ticks["stamp_ns"], ticks["late_s"], strict=True)
        if late_s > 0
    ]
    return len(late), sum(stalls.explains(due - 3 * PERIOD_S, began) for due, began in late)


def _be_ordinary() -> None:
    """Give up the right to real-time priority, before the program starts."""
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_SYS_NICE, 0, 0, 0)


def main() -> int:
    """Deploy once, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--robot", default="pup")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long it walks, s")
    parser.add_argument("--ordinary", action="store_true", help="without real-time priority")
    parser.add_argument("--out", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with emulator(options.robot, folder) as ports, Stalls() as stalls:
            summary = deploy(options, ports, folder / "deployed")
        speed_mps = forward_m(read_track(folder / "track.jsonl"))[-1] / summary["moving_s"]
        (log,) = (folder / "deployed").glob("2*.mcap")
        late, explained = excused(log, stalls)
    evaluation = OnnxPolicy.load(options.policy).contract.training.evaluation
    in_sim = None if evaluation is None else evaluation.speed_mps
    wake = summary["lateness"]["wake"]
    print(
        f"{'ordinary' if options.ordinary else 'real-time'} priority: "
        f"{summary['moving_s']:.0f} s, missed {summary['missed_ticks']} of {wake['count']} ticks; "
        f"late p50 {wake['p50_us']:.0f}, p99 {wake['p99_us']:.0f}, max {wake['max_us']:.0f} us"
    )
    print(
        "the machine "
        + ("was not watched" if stalls.found is None else f"stood still {len(stalls.found)} times")
        + f": {explained} of {late} ticks that began after the next one was due"
    )
    print(
        f"true speed {speed_mps:.3f} m/s, odometry {summary['speed_mps']:.3f} m/s, "
        f"in simulation {in_sim if in_sim is None else round(in_sim, 3)} m/s, "
        f"falls {summary['falls']}, guards {summary['guards']}"
    )
    if options.out:
        command = f"python tools/deploy_walk.py POLICY --seconds {options.seconds:g}"
        command += " --ordinary" if options.ordinary else ""
        content = {
            **provenance(command, LIBRARIES),
            "took_s": round(time.monotonic() - started, 1),
            "true_speed_mps": speed_mps,
            "simulated_speed_mps": in_sim,
            "stalls_ms": [round(1000 * (one.end_s - one.begin_s), 1) for one in stalls.found or ()],
            "late_ticks": late,
            "late_ticks_in_stalls": explained,
            "summary": summary,
        }
        options.out.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if late > explained or summary["falls"] or summary["exit_code"] else 0


if __name__ == "__main__":
    sys.exit(main())
