"""How much faster updates are when several processes share them, against threads of one.

    python tools/bench_ranks.py                           2 ranks, batches of 256, 1024 and 4096
    python tools/bench_ranks.py --ranks 4 --batches 4096 --json

The update is that of tools/bench_learner.py.  Three ways take turns, each in processes of its own:
one thread, a thread for every core, and ranks that have the cores between them.
Ratios are medians of ratios to one thread within a turn; figures go to tools/results.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

import torch

from robosac.learner.ranks import leading
from tools.learner_speed.timing import seconds
from tools.learner_speed.updates import filled_learner
from tools.provenance import provenance

RESULT = Path(__file__).parent / "results" / "bench-ranks.json"
LIBRARIES = ("robosac", "torch", "numpy")
WARM_UP, TIMED_S = 20, 2.0
WAYS = ("one", "threads", "ranks")


def measure(batches: list[int], way: str, ranks: int) -> dict[str, float]:
    """Updates a second of this process, and of those that share its updates, by batch."""
    found = {}
    with leading(ranks if way == "ranks" else 1) as leader:
        if way != "threads":
            torch.set_num_threads(1 if leader is None else leader.threads)
        for batch in batches:
            learner = filled_learner(batch)
            if leader is not None:
                learner.lead(leader)
            once = seconds(learner.update, WARM_UP)
            found[str(batch)] = 1 / seconds(learner.update, max(1, round(TIMED_S / once)))
    return found


def run(way: str, options: argparse.Namespace) -> dict[str, float]:
    """Measure one way in a process of its own."""
    command = [sys.executable, __file__, "--batches", *map(str, options.batches)]
    command += ["--ranks", str(options.ranks), "--measure", way]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> int:
    """Measure in turns, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one last line of JSON")
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.batches, options.measure, options.ranks)))
        return 0
    turns = [{way: run(way, options) for way in WAYS} for _ in range(options.turns)]
    ratios = {}
    for batch in map(str, options.batches):
        one = median(turn["one"][batch] for turn in turns)
        print(f"batch {batch:>6s}: one thread {one:8.1f} updates/s; times as many", end="")
        for way in ("threads", "ranks"):
            ratio = median(turn[way][batch] / turn["one"][batch] for turn in turns)
            ratios[f"{way}_{batch}"] = round(ratio, 3)
            print(f", {'all' if way == 'threads' else options.ranks} {way} {ratio:.2f}", end="")
        print()
    command = f"python tools/bench_ranks.py --ranks {options.ranks}"
    result: dict[str, Any] = provenance(command, LIBRARIES) | {"ratios": ratios, "turns": turns}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    if options.json:
        print(json.dumps(ratios))
    return 0


if __name__ == "__main__":
    sys.exit(main())
