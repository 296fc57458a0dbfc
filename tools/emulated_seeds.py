"""Learn to walk from scratch through an emulated serial bus, in real time, from several seeds.

    python tools/emulated_seeds.py --steps 40000 --seeds 0 1 2

Every seed is one `robosac sim --emulate`, then a deployment of the policy it left on a fresh
emulator (tools/deploy_walk.py).  How fast the robot really went, and when it began to walk, is the
truth of the emulator's physics; the learner itself has only leg odometry.  Seeds that were run
before keep their place in the file, each with the command that made it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

from tools.provenance import provenance
from tools.track import read_track, walked_after

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("robosac", "torch", "mujoco", "numpy", "onnxruntime", "pyserial")
WINDOW_S = 20.0
DEPLOYED_S = 100.0


def learn(options: argparse.Namespace, seed: int, run: Path) -> dict[str, Any]:
    """One seed: what the run says of itself, and what the emulator saw."""
    command = [sys.executable, "-m", "robosac", "sim", "--robot", options.robot, "--emulate"]
    started = time.monotonic()
    subprocess.run(
        [*command, "--steps", str(options.steps), "--seed", str(seed), "--run", str(run)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    notes = read_track(run / "runner-0" / "track-0.jsonl")
    return {
        "seed": seed,
        **provenance(f"python tools/emulated_seeds.py --steps {options.steps}", LIBRARIES),
        "wall_s": round(time.monotonic() - started, 1),
        "walked_after_s": walked_after(notes, options.speed, window_s=WINDOW_S),
        "summary": json.loads((run / "summary.json").read_text()),
    }


def deploy(run: Path, folder: Path) -> dict[str, Any]:
    """Deploy the policy on a fresh emulator, without exploration."""
    result = folder / f"{run.name}.json"
    command = [sys.executable, str(Path(__file__).parent / "deploy_walk.py")]
    command += [str(run / "policy" / "final.onnx"), "--seconds", str(DEPLOYED_S)]
    subprocess.run([*command, "--out", str(result)], check=False, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def main() -> int:
    """Run every seed, print, keep the numbers; exit code 1 when one of them does not walk."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--robot", default="pup")
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--speed", type=float, default=0.15, help="what counts as walking, m/s")
    parser.add_argument("--keep", type=Path, help="keep the run folders here")
    parser.add_argument("--name", default="emulated-walk", help="name in tools/results")
    options = parser.parse_args()
    good = 0
    with tempfile.TemporaryDirectory() as name:
        for seed in options.seeds:
            run = (options.keep or Path(name)) / f"seed{seed}"
            row = learn(options, seed, run)
            row["deployed"] = deploy(run, Path(name))
            store(row, RESULTS / f"{options.name}.json")
            tell(row, options.speed)
            good += row["deployed"]["true_speed_mps"] >= options.speed
    print(f"{good} of {len(options.seeds)} walk at {options.speed} m/s or more")
    return 0 if good == len(options.seeds) else 1


def store(row: dict[str, Any], path: Path) -> None:
    """Put a seed into the file, in the place of an earlier one."""
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [other for other in rows if other["seed"] != row["seed"]] + [row]
    rows.sort(key=lambda one: int(one["seed"]))
    path.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


def tell(row: dict[str, Any], speed_mps: float) -> None:
    """Say what became of a seed."""
    summary, deployed = row["summary"], row["deployed"]
    print(
        f"seed {row['seed']}: {speed_mps} m/s after {row['walked_after_s']} s of robot time, "
        f"{row['wall_s']:.0f} s in all; deployed {deployed['true_speed_mps']:.3f} m/s, "
        f"falls {deployed['summary']['falls']}; falls while learning {summary['falls']}, "
        f"lost {summary['lost']}, duplicated {summary['duplicated']}, "
        f"missed ticks {summary['missed_ticks']}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
