"""How fast the learner is on this machine, against stable-baselines3 and against what was stored.

    python tools/bench_learner.py                       the default: batches of 256
    python tools/bench_learner.py --threads 2 --json    two cores; one last line of JSON
    python tools/bench_learner.py --save                to compare with from now on
    python tools/bench_learner.py --batches 128 256 1024 4096 32768 --blocks 5

One update is everything: sampling a batch from replay, the critics' step, the step of policy and
temperature, the targets' step; obs 17, action 6, networks of 2x256, as in HalfCheetah.  All
candidates take turns in one process, in an order that changes from block to block, so that whatever
else the machine does meets all of them; ratios are medians of ratios within a block.
stable-baselines3 runs as its SAC does by default: train(gradient_steps=1) on a filled buffer, with
a logger that writes nowhere.  So does SBX, whose updates JAX compiles, where it is installed.  With
`utd20` the policy has its turn at every 20th update, as in "A Walk in the Park"; the others have no
such setting and are the same as before.  Where torch finds a GPU, updates on it take turns, too:
those of stable-baselines3 (`sb3_gpu`), ours one operation at a time (`gpu`) and replayed.

A share of gemm is the rate of an update's matrix products, spread over all of its time, in units of
the rate of bare products of the same type in the same block: of the fastest that this machine
reached by any library here, or of torch's own.

The ratios are compared with those stored of such a processor and as many threads; exit code 1 when
one fell by more than the noise of both.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

from robosac.learner.threads import most_threads
from tools.learner_speed import stored
from tools.learner_speed.products import flop_per_update, gemms
from tools.learner_speed.replay import ReplayFigures, measure_replay
from tools.learner_speed.timing import Figure, take_turns
from tools.learner_speed.updates import (
    SHAPE,
    gpu_update,
    other_update,
    robosac_update,
    sbx_update,
)
from tools.provenance import processor, provenance

if TYPE_CHECKING:
    from collections.abc import Callable

    Blocks = list[dict[str, float]]

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("robosac", "torch", "stable_baselines3", "numpy")
TARGETS = {
    "ratio_fp32": 2.5,
    "ratio_bf16": 3.5,
    "ratio_fp32_to_sbx": 1.3,
    "share_of_gemm_fp32": 0.65,
    "share_of_gemm_bf16": 0.65,
}
SAMPLES = 2000
DEFAULT_BATCH = 256
CANDIDATES: dict[str, Callable[[int], Callable[[], object]]] = {
    "sb3": other_update,
    "fp32": robosac_update,
    "fp32_layer_norm": partial(robosac_update, layer_norm=True),
    "fp32_utd20": partial(robosac_update, policy_delay=20),
    "bf16": partial(robosac_update, precision="bfloat16"),
    "bf16_layer_norm": partial(robosac_update, precision="bfloat16", layer_norm=True),
    "bf16_utd20": partial(robosac_update, precision="bfloat16", policy_delay=20),
}
"""What makes an update for a batch size, by name; the other libraries first."""
if importlib.util.find_spec("sbx"):
    CANDIDATES = {"sbx": sbx_update, **CANDIDATES}
if torch.cuda.is_available():
    CANDIDATES |= {
        "sb3_gpu": partial(other_update, device="cuda"),
        "gpu": partial(gpu_update, replayed=False),
        "gpu_replayed": partial(gpu_update, replayed=True),
    }


def measure(batch: int, blocks: int) -> Blocks:
    """Let all candidates and the bare products take turns: seconds per call."""
    calls = {name: make(batch) for name, make in CANDIDATES.items()}
    products = {f"gemm_{name}": call for name, (call, _) in gemms().items()}
    return take_turns(calls | products, blocks)


def ratios(found: Blocks, batch: int) -> dict[str, Figure]:
    """Times stable-baselines3 and shares of gemm; the name tells another batch than the default."""
    flop = flop_per_update(SHAPE, batch)
    gemm = {name: operations for name, (_, operations) in gemms().items()}

    def share(block: dict[str, float], kind: str, library: str = "") -> float:
        wanted = [name for name in gemm if name.startswith(f"{kind}_{library}")]
        fastest = max(gemm[name] / block[f"gemm_{name}"] for name in wanted)
        return flop / block[kind] / fastest

    figures = {
        f"ratio_{name}": Figure.over(block["sb3"] / block[name] for block in found)
        for name in CANDIDATES
        if name != "sb3"
    }
    if "sbx" in CANDIDATES:
        figures["ratio_fp32_to_sbx"] = Figure.over(block["sbx"] / block["fp32"] for block in found)
    figures["share_of_gemm_fp32"] = Figure.over(share(block, "fp32") for block in found)
    figures["share_of_torch_gemm_fp32"] = Figure.over(
        share(block, "fp32", "torch") for block in found
    )
    figures["share_of_gemm_bf16"] = Figure.over(share(block, "bf16") for block in found)
    suffix = "" if batch == DEFAULT_BATCH else f"_batch{batch}"
    return {name + suffix: figure for name, figure in figures.items()}


def rates(found: Blocks, batch: int) -> dict[str, float]:
    """Updates a second of every candidate, and GFLOP a second of bare products."""
    gemm = gemms()
    suffix = "" if batch == DEFAULT_BATCH else f"_batch{batch}"
    per_s = {name: median(1 / block[name] for block in found) for name in found[0]}
    updates = {f"{name}{suffix}": round(per_s[name], 1) for name in CANDIDATES}
    products = {
        f"gemm_{name}{suffix}": round(per_s[f"gemm_{name}"] * operations / 1e9, 1)
        for name, (_, operations) in gemm.items()
    }
    return updates | products


def keep_to(threads: int) -> None:
    """Give this process as many cores as torch gets threads: JAX takes all it finds."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    torch.set_num_threads(threads)


def report_updates(found: dict[str, Figure], speeds: dict[str, float]) -> None:
    """Print a table of updates and of products."""
    print(f"{'':28s} {'per second':>10s}   x stable-baselines3")
    for name, speed in speeds.items():
        if name.startswith("gemm"):
            continue
        figure = found.get(f"ratio_{name}")
        times = f"{figure.value:6.2f} ± {figure.noise:.2f}" if figure else ""
        print(f"{name:28s} {speed:10.1f}   {times}")
    products = {name: speed for name, speed in speeds.items() if name.startswith("gemm")}
    for name, speed in products.items():
        print(f"{name:28s} {speed:10.1f} GFLOP/s")
    for name, figure in found.items():
        if name.startswith("share"):
            print(f"{name:28s} {figure.value:10.0%} ± {figure.noise:.0%}")


def report_replay(replay: ReplayFigures) -> None:
    """Print what replay does."""
    print(
        f"sample of 256                {replay.sample_us:10.1f} µs   "
        f"stable-baselines3 {replay.sb3_sample_us:.1f} µs"
    )
    for rows, rate in replay.push_per_s.items():
        print(f"push, chunks of {rows:<12d} {rate / 1e6:10.2f} M transitions/s")
    print(f"push, stable-baselines3      {replay.sb3_push_per_s / 1e6:10.2f} M transitions/s")
    print(f"push, synced to disk         {replay.durable_per_s / 1e6:10.2f} M transitions/s")


def verdicts(found: dict[str, Figure]) -> None:
    """Print which targets are met."""
    for name, target in TARGETS.items():
        if name in found:
            verdict = "met" if found[name].value >= target else "MISSED"
            print(f"target {name} {target}: {verdict} with {found[name].value:.2f}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=most_threads(), help="threads of torch")
    parser.add_argument("--blocks", type=int, default=30, help="turns of every candidate")
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[DEFAULT_BATCH], help="transitions per update"
    )
    parser.add_argument("--save", action="store_true", help="store the ratios in tools/results")
    parser.add_argument("--json", action="store_true", help="print one last line of JSON")
    return parser.parse_args()


def main() -> int:
    """Measure, print, compare; exit code 1 when a stored ratio fell."""
    options = parse()
    keep_to(options.threads)
    where = {"threads": options.threads, "processor": processor()}
    print(f"{where['processor']}, {options.threads} threads, load {os.getloadavg()[0]:.2f}")
    found: dict[str, Figure] = {}
    speeds: dict[str, float] = {}
    for batch in options.batches:
        blocks = measure(batch, options.blocks)
        found |= ratios(blocks, batch)
        speeds |= rates(blocks, batch)
    replay = measure_replay(SAMPLES)
    found["ratio_sample"] = replay.sample_ratio
    report_updates(found, speeds)
    report_replay(replay)
    verdicts(found)
    file = stored.path(RESULTS, where)
    moves = list(stored.moves(found, stored.read(file, like=where)))
    print("\n".join(map(str, moves)) or "no stored ratio moved")
    libraries = [*LIBRARIES, *(("sbx_rl", "jax") if "sbx" in CANDIDATES else ())]
    result: dict[str, Any] = provenance(f"python {shlex.join(sys.argv)}", libraries)
    result |= where | {name: float(f"{one.value:.4g}") for name, one in found.items()}
    result |= {"per_second": speeds, "replay": asdict(replay)}
    result |= {"blocks": options.blocks, "ratios": stored.as_json(found)}
    if options.save:
        file.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if options.json:
        print(json.dumps(result))
    return 1 if any(move.fell for move in moves) else 0


if __name__ == "__main__":
    sys.exit(main())
