"""Kill the learner for a minute while a robot walks in real time, and count the ticks it misses.

    python tools/learner_away.py --seconds 60 --rate 50

The robot is simulated on the wall clock, by the control loop that drives a real one.  Learner and
robot keep to cores of their own, as if they were two machines.  No tick may be missed while the
learner is away, and every row must be in replay once afterwards.  The last line is
`missed 0 lost 0 duplicated 0 away 60 s`; exit code 1 when it says anything else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

from robosac.replay.records import scan
from robosac.run_folder import RunFolder
from tools.exactly_once.network import PYTHON, Network
from tools.exactly_once.walker import WalkerConfig
from tools.exactly_once.worker import Worker, make_learner
from tools.provenance import provenance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("robosac", "torch", "numpy", "onnxruntime", "pyzmq", "mujoco")
PATIENCE_S = 120.0
OTHERS = f"1-{max(1, (os.cpu_count() or 1) - 1)}"
MOMENTS = ("before", "away", "starting", "back")


def wait_for(condition: Callable[[], bool], what: str) -> float:
    """Return the time, s since 1970, when something has come about; raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            message = f"no {what} after {PATIENCE_S:g} s; see the logs"
            raise TimeoutError(message)
        time.sleep(0.05)
    return time.time()


def on_cores(cores: str) -> list[str]:
    """What a command line begins with that shall keep to these cores; nothing with only one."""
    return ["taskset", "-c", cores] if (os.cpu_count() or 1) > 1 else []


def walk(folder: Path, options: argparse.Namespace) -> list[float]:
    """Start both, take the learner away and bring it back, and end in order.

    Returns when it was killed, started again, and at work again, s since 1970.
    """
    network = Network(runners=1, faults=False)
    network.learner_prefix, apart = on_cores("0"), on_cores(OTHERS)
    learner = make_learner(RunFolder(folder / "run"), network)
    config = WalkerConfig(
        name=f"{options.robot}-0",
        robot=options.robot,
        endpoint=network.endpoint(0),
        folder=str(folder / "robot"),
        notes=str(folder / "notes.npz"),
        rate_hz=options.rate,
    )
    command = [*PYTHON, "-m", "tools.exactly_once.walker", msgspec.json.encode(config).decode()]
    walker = Worker("walker", [*apart, *command], folder / "walker.log")
    try:
        learner.start()
        walker.start()
        wait_for(lambda: learner.has_said(b'"status"'), "learner at work")
        time.sleep(options.around)
        learner.kill()
        killed = time.time()
        time.sleep(options.seconds)
        learner.start()
        started = time.time()
        back = wait_for(lambda: learner.has_said(b'"status"'), "learner back at work")
        time.sleep(options.around)
        walker.ask_to_leave()
        if code := walker.wait(PATIENCE_S):
            message = f"walker has ended with exit code {code}; see {folder}/walker.log"
            raise RuntimeError(message)
        learner.ask_to_leave()
        learner.wait(PATIENCE_S)
    finally:
        for worker in (learner, walker):
            if worker.started:
                worker.kill()
        network.close()
    return [killed, started, back]


def time_kept(ticks: NDArray[np.float64], edges: list[float]) -> dict[str, Any]:
    """How every part of the time went: ticks, missed ones, lateness in ms."""
    ends = [*edges, float("inf")]
    part = np.searchsorted(ends, ticks[:, 0], side="right")
    skipped = np.diff(ticks[:, 2], prepend=0)
    found: dict[str, Any] = {}
    for number, moment in enumerate(MOMENTS):
        mine = part == number
        late_ms = 1e3 * ticks[mine, 1]
        p50, p99, worst = (
            np.percentile(late_ms, [50, 99, 100]).round(3) if mine.any() else [None] * 3
        )
        found[moment] = {
            "ticks": int(mine.sum()),
            "missed": int(skipped[mine].sum()),
            "late_ms_p50": p50,
            "late_ms_p99": p99,
            "late_ms_max": worst,
        }
    return found


def arrived(replay: Path, rows: NDArray[np.float32], run: str) -> dict[str, int]:
    """Compare the replay with what the robot has recorded, row by row."""
    counts = np.zeros(len(rows), dtype=int)
    altered = 0
    for path in sorted(replay.glob("*.rows")):
        with path.open("rb") as file:
            for chunk, _ in scan(file):
                assert (chunk.run, chunk.end <= len(rows)) == (run, True)
                counts[chunk.first : chunk.end] += 1
                altered += int((chunk.rows != rows[chunk.first : chunk.end]).any(axis=1).sum())
    lost, duplicated = int((counts == 0).sum()), int(np.maximum(counts - 1, 0).sum())
    return {"rows": len(rows), "lost": lost, "duplicated": duplicated, "altered": altered}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it is away")
    parser.add_argument("--around", type=float, default=15.0, help="seconds before and after")
    parser.add_argument("--rate", type=float, default=50.0, help="control rate, Hz")
    parser.add_argument("--robot", default="go2")
    parser.add_argument("--folder", type=Path, help="where to work; kept then")
    parser.add_argument("--name", help="keep the numbers in tools/results/NAME.json")
    return parser.parse_args()


def main() -> int:
    """Run, print, and keep the numbers; exit code 1 when a tick or a row is missing."""
    options = parse()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="learner-away-"))
    folder.mkdir(parents=True, exist_ok=True)
    edges = walk(folder, options)
    notes = np.load(folder / "notes.npz")
    moments = time_kept(notes["ticks"], edges)
    rows = arrived(folder / "run" / "replay", notes["rows"], str(notes["run"]))
    for moment, found in moments.items():
        print(f"{moment}: " + ", ".join(f"{name} {value}" for name, value in found.items()))
    command = (
        f"python tools/learner_away.py --seconds {options.seconds:g} --rate {options.rate:g} "
        f"--around {options.around:g} --robot {options.robot}"
    )
    content = {
        **provenance(command, LIBRARIES),
        "priority": str(notes["priority"]),
        "moments": moments,
        "refusals_to_stand": int(notes["refusals"]),
        **rows,
    }
    if options.name:
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(content, indent=1)
        (RESULTS / f"{options.name}.json").write_text(text + "\n")
    missed = moments["away"]["missed"]
    print(f"{rows['rows']} rows, {rows['altered']} altered; everything is in {folder}")
    print(
        f"missed {missed} lost {rows['lost']} duplicated {rows['duplicated']} "
        f"away {options.seconds:g} s"
    )
    return 1 if missed or rows["lost"] or rows["duplicated"] or rows["altered"] else 0


if __name__ == "__main__":
    sys.exit(main())
