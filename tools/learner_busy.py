"""Let a robot learn in real time, and see what the busy learner beside it costs its control loop.

    python tools/learner_busy.py --recipe droq --seconds 180 --turns 2

A simulated robot runs on the wall clock, twice in turn: beside a learner that makes all updates of
the recipe, and beside one that only takes rows in.  Printed are the ticks of each, how late they
began, and how many updates a second there were; with 20 updates a step at 20 Hz, "A Walk in the
Park" (arXiv 2208.07860) asks for 400.  Exit code 1 when a tick was missed while the machine did not
stand still as a whole (tools/stalls.py), or when the loop was slower by a twentieth.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

from robosac import recipe as recipes
from tools.provenance import provenance
from tools.stalls import Stalls

RESULT = Path(__file__).parent / "results" / "learner-busy.json"
LIBRARIES = ("robosac", "torch", "numpy", "onnxruntime", "mujoco")
NEVER = 10**9
SLOWER = 0.95


def idle(recipe: Path, folder: Path) -> Path:
    """Write the same recipe with updates that never begin."""
    text, count = re.subn(
        r"^learning_starts = \d+",
        f"learning_starts = {NEVER}",
        recipe.read_text(),
        flags=re.MULTILINE,
    )
    assert count == 1, f"{recipe} has no learning_starts"
    path = folder / "idle.toml"
    path.write_text(text)
    return path


def run(recipe: Path, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One run, and what its control loop and its learner say of it."""
    command = [sys.executable, "-m", "robosac", "sim", "--pace", "realtime", "--no-video"]
    command += ["--robot", options.robot, "--recipe", str(recipe), "--run", str(folder)]
    steps = round(options.seconds * options.rate)
    with Stalls() as stalls:
        subprocess.run([*command, "--steps", str(steps)], check=True, stdout=subprocess.DEVNULL)
    summary = json.loads((folder / "summary.json").read_text())
    learner = json.loads((folder / "learner.json").read_text())
    (path,) = (folder / "runner-0").glob("report-*.json")
    report = json.loads(path.read_text())
    wake, act = report["lateness"]["wake"], report["lateness"]["act"]
    return {
        "ticks": wake["count"],
        "missed": report["missed_ticks"],
        "late_ms": [round(wake[name] / 1e3, 3) for name in ("p50_us", "p99_us", "max_us")],
        "act_ms": [round(act[name] / 1e3, 3) for name in ("p50_us", "p99_us", "max_us")],
        "stood_still": None if stalls.found is None else len(stalls.found),
        "updates": summary["updates"],
        "updates_per_s": summary["updates_per_s"],
        "utd": summary["utd"],
        "lag_steps": [summary["policy_lag_steps_p50"], summary["policy_lag_steps_p99"]],
        "threads": learner["threads"],
        "speed_mps": summary["speed_mps"],
    }


def file_of(recipe: str) -> Path:
    """The file of a recipe that is named or pointed to."""
    built_in = recipes.BUILT_IN / f"{recipe}.toml"
    return built_in if built_in.exists() else Path(recipe)


def kept(turns: list[dict[str, Any]], name: str) -> float:
    """Share of the ticks that were not missed, median over the turns."""
    shares: list[float] = [
        one["ticks"] / (one["ticks"] + one["missed"]) for one in (turn[name] for turn in turns)
    ]
    return median(shares)


def tell(name: str, one: dict[str, Any]) -> None:
    """Print a run in a line."""
    updates = "no updates"
    if one["updates"]:
        updates = f"{one['updates_per_s']:.0f} updates/s while updating, {one['utd']:.1f} a step"
    p50, p99, worst = one["late_ms"]
    print(
        f"{name}: missed {one['missed']} of {one['ticks']} ticks, late p50 {p50}, p99 {p99}, "
        f"max {worst} ms, machine stood still {one['stood_still']} times; {updates}, "
        f"{one['threads']} threads",
        flush=True,
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recipe", default="droq", help="name, or a TOML file")
    parser.add_argument("--robot", default="go2")
    parser.add_argument("--rate", type=float, default=20.0, help="the robot's control rate, Hz")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long each run is")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--save", action="store_true", help="keep the figures in tools/results")
    return parser.parse_args()


def main() -> int:
    """Take turns, print and keep the figures."""
    options = parse()
    recipe, turns = file_of(options.recipe), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        both = {"busy": recipe, "idle": idle(recipe, folder)}
        for number in range(options.turns):
            turn = {}
            for kind, path in both.items():
                turn[kind] = run(path, options, folder / f"{kind}-{number}")
                tell(kind, turn[kind])
            turns.append(turn)
    ratio = kept(turns, "busy") / kept(turns, "idle")
    excusable = all(turn["busy"]["missed"] == 0 or turn["busy"]["stood_still"] for turn in turns)
    print(f"the loop keeps {ratio:.1%} of the ticks that it keeps beside an idle learner")
    if options.save:
        command = f"python {shlex.join(sys.argv)}"
        content = provenance(command, LIBRARIES) | {"ratio": ratio, "turns": turns}
        RESULT.write_text(json.dumps(content, indent=1) + "\n")
    return 0 if excusable and ratio >= SLOWER else 1


if __name__ == "__main__":
    sys.exit(main())
