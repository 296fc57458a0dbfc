"""Train the walk task from several seeds and evaluate what was exported, as a user would.

    python tools/walk_seeds.py --steps 20000 --seeds 0 1 2 3 4

Every seed is one `robosac sim` and one `robosac eval` of the policy file it left.  Prints a row a
seed and writes the raw numbers to tools/results/.
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

from robosac import recipe
from tools.provenance import provenance

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("robosac", "torch", "mujoco", "numpy", "onnxruntime", "gymnasium")
WALL_S = 300.0


def train_and_evaluate(options: argparse.Namespace, seed: int, folder: Path) -> dict[str, Any]:
    """One seed: the summary of the run, its wall time, and the evaluation of the exported file."""
    run = folder / f"seed{seed}"
    command = [sys.executable, "-m", "robosac"]
    names = ["--robot", options.robot, "--task", options.task, "--recipe", options.recipe]
    numbers = ["--steps", str(options.steps), "--seed", str(seed), "--run", str(run)]
    started = time.monotonic()
    subprocess.run([*command, "sim", *names, *numbers], check=True, stdout=subprocess.DEVNULL)
    wall_s = time.monotonic() - started
    policy = run / "policy" / "final.onnx"
    evaluated = subprocess.run(
        [*command, "eval", str(policy), "--json"], check=True, capture_output=True, text=True
    )
    return {
        "seed": seed,
        "wall_s": round(wall_s, 1),
        "evaluation": json.loads(evaluated.stdout),
        "summary": json.loads((run / "summary.json").read_text()),
    }


def walks(row: dict[str, Any], speed_mps: float) -> bool:
    """Whether a seed is fast, upright and in time."""
    found = row["evaluation"]
    return bool(found["speed_mps"] >= speed_mps and found["falls"] == 0 and row["wall_s"] <= WALL_S)


def main() -> int:
    """Run every seed, print, and keep the numbers; exit code 1 when fewer than 4 in 5 walk."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--robot", default="go2")
    parser.add_argument("--task", default="walk")
    parser.add_argument("--recipe", default=recipe.DEFAULT)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--speed", type=float, default=0.5, help="speed that counts as walking, m/s"
    )
    parser.add_argument("--name", help="name of the file in tools/results")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            row = train_and_evaluate(options, seed, Path(folder))
            rows.append(row)
            found, summary = row["evaluation"], row["summary"]
            verdict = "walks" if walks(row, options.speed) else "fails"
            print(
                f"seed {seed}: {verdict}, {found['speed_mps']:.3f} m/s, "
                f"falls {found['falls']}, {row['wall_s']:.0f} s, "
                f"{summary['updates_per_s']:.0f} updates/s, "
                f"lost {summary['lost']}, duplicated {summary['duplicated']}",
                flush=True,
            )
    name = options.name or f"{options.task}-{options.robot}-{options.recipe}-{options.steps}"
    RESULTS.mkdir(exist_ok=True)
    content = {
        **provenance(f"python tools/walk_seeds.py {' '.join(sys.argv[1:])}".strip(), LIBRARIES),
        "rows": rows,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    good = sum(walks(row, options.speed) for row in rows)
    print(
        f"{good} of {len(rows)} walk at {options.speed} m/s or more within {WALL_S:.0f} s, no falls"
    )
    return 0 if good >= 0.8 * len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
