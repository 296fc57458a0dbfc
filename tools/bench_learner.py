"""How many updates a second the learner makes, against stable-baselines3 on the same machine.

    python tools/bench_learner.py [--threads 1] [--blocks 30] [--batch 256] [--json]

One update is everything: sampling a batch from replay, the critics' step, the step of policy and
temperature, the targets' step; obs 17, action 6, networks of 2x256, as in HalfCheetah.  All
candidates take turns in one process, a block of updates each, in an order that changes from block
to block, so that whatever else the machine does meets all of them; ratios are medians of ratios
within a block.  stable-baselines3 runs as its SAC does by default: train(gradient_steps=1) on a
filled buffer, with a logger that writes nowhere.

A share of gemm is the rate of an update's matrix products, spread over all of its time, in units of
the rate of bare float32 products in the same block: share_of_gemm_fp32 of the fastest that this
machine reached by any library here, share_of_torch_gemm_fp32 of the fastest of torch's own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.logger import Logger

from robosac.algorithms.config import SACConfig
from robosac.algorithms.dense import Dense
from robosac.learner.learner import Learner
from robosac.learner.process import torch_threads
from robosac.policy.contract import Contract, Golden
from robosac.recipe import LearnerConfig, Recipe
from robosac.tasks.observation import Term

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

OBS, ACTION, HIDDEN = 17, 6, (256, 256)
ROWS = 20_000
UPDATES_PER_BLOCK = 20
TARGET = 1.8
"""Times stable-baselines3."""
PRODUCTS = {1024: 3, 256: 100}
"""Sides of the square matrices multiplied, the second being the update's own, and how often."""


class Still(gymnasium.Env["FloatArray", "FloatArray"]):
    """An environment of the right shape; it is never stepped."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBS,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTION,), np.float32)


def flops_per_update(batch: int, *, critics: int = 2) -> float:
    """Count the floating point operations of the matrix products of one update.

    A layer (in, out) costs in·out multiply-adds a row: once forward, once for the gradient of its
    weights, once for the gradient of its input.  With A and C the sums over the layers of the
    policy and of all critics, and A', C' those sums without the first layers:
    critics' step: A (next action) + C (targets) + C + C (weights) + C' (inputs);
    policy's step: A + C + C (inputs, down to the action) + A (weights) + A' (inputs).
    """

    def products(sizes: Sequence[int]) -> list[int]:
        return [width * following for width, following in pairwise(sizes)]

    policy = products([OBS, *HIDDEN, 2 * ACTION])
    critic = products([OBS + ACTION, *HIDDEN, 1])
    a, a_inner = sum(policy), sum(policy[1:])
    c, c_inner = critics * sum(critic), critics * sum(critic[1:])
    return 2.0 * batch * (3 * a + a_inner + 5 * c + c_inner)


def robosac_update(batch: int, *, layer_norm: bool) -> Callable[[], None]:
    """Fill a learner and return its update."""
    contract = Contract(
        env="benchmark",
        action_lower=(-1.0,) * ACTION,
        action_upper=(1.0,) * ACTION,
        obs=(Term(name="observation", size=OBS, unit="", clip=None),),
        golden=(Golden(sensors={}, obs=[0.0] * OBS),),
    )
    recipe = Recipe(
        name="benchmark",
        learner=LearnerConfig(batch_size=batch),
        sac=SACConfig(hidden=HIDDEN, layer_norm=layer_norm),
    )
    learner = Learner(recipe, contract, seed=0)
    layout, rng = learner.layout, np.random.default_rng(0)
    rows = rng.standard_normal((ROWS, layout.width)).astype(np.float32)
    rows[:, layout.slice("action")] = rng.uniform(-1, 1, (ROWS, ACTION))
    for name in ("terminated", "truncated", "policy_version"):
        rows[:, layout.slice(name)] = 0
    learner.ingest(rows)
    return learner.update


def other_update(batch: int) -> Callable[[], None]:
    """Fill the buffer of stable-baselines3 and return its update."""
    policy = {"net_arch": list(HIDDEN)}
    other = stable_baselines3.SAC(
        "MlpPolicy", Still(), batch_size=batch, buffer_size=ROWS, policy_kwargs=policy, device="cpu"
    )
    other.set_logger(Logger(None, []))
    rng = np.random.default_rng(0)
    assert other.replay_buffer is not None
    for _ in range(ROWS):
        other.replay_buffer.add(
            rng.standard_normal(OBS),
            rng.standard_normal(OBS),
            rng.uniform(-1, 1, ACTION),
            rng.standard_normal(1),
            np.zeros(1),
            [{}],
        )
    return lambda: other.train(gradient_steps=1, batch_size=batch)


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Mean duration of a call."""
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats


def gemm_rates() -> dict[str, float]:
    """GFLOP/s of float32 products, of torch's own and of those that robosac's layers use."""
    rates = {}
    with torch.no_grad():
        for side, repeats in PRODUCTS.items():
            matrix = torch.randn(side, side)
            for library, product in (
                ("torch", partial(torch.mm, matrix, matrix)),
                ("robosac", partial(Dense(side, side), matrix)),
            ):
                product()
                rates[f"{library}_{side}"] = 2e-9 * side**3 / seconds(product, repeats)
    return rates


def measure(candidates: dict[str, Callable[[], None]], blocks: int) -> list[dict[str, float]]:
    """Time every candidate and the products once a block; seconds, and GFLOP/s for products."""
    for update in candidates.values():
        seconds(update, UPDATES_PER_BLOCK)
    found = []
    for number in range(blocks):
        names = list(candidates)
        order = names[number % len(names) :] + names[: number % len(names)]
        times = {name: seconds(candidates[name], UPDATES_PER_BLOCK) for name in order}
        found.append(times | gemm_rates())
    return found


def summarise(found: list[dict[str, float]], options: argparse.Namespace) -> dict[str, Any]:
    """Medians over the blocks."""

    def over(function: Callable[[dict[str, float]], float]) -> float:
        return float(f"{median(function(block) for block in found):.4g}")

    gflop = flops_per_update(options.batch) / 1e9
    torch_rates = [f"torch_{side}" for side in PRODUCTS]
    rates = [*torch_rates, *(f"robosac_{side}" for side in PRODUCTS)]

    def share(names: Sequence[str]) -> float:
        return over(lambda block: gflop / block["plain"] / max(block[name] for name in names))

    return {
        "ratio_fp32": over(lambda block: block["sb3"] / block["plain"]),
        "ratio_fp32_layer_norm": over(lambda block: block["sb3"] / block["layer_norm"]),
        "share_of_gemm_fp32": share(rates),
        "share_of_torch_gemm_fp32": share(torch_rates),
        "updates_per_s": over(lambda block: 1 / block["plain"]),
        "updates_per_s_layer_norm": over(lambda block: 1 / block["layer_norm"]),
        "sb3_updates_per_s": over(lambda block: 1 / block["sb3"]),
        "gflop_per_update": round(gflop, 4),
        "gemm_gflop_per_s": {name: over(itemgetter(name)) for name in rates},
        "threads": torch.get_num_threads(),
        "batch": options.batch,
        "blocks": options.blocks,
        "processor": processor(),
        "load": round(os.getloadavg()[0], 2),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("robosac", "torch", "stable_baselines3", "numpy")},
    }


def processor() -> str:
    """Name of the processor, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def report(result: dict[str, Any]) -> None:
    """Print the result for a person."""
    print(f"{result['processor']}, {result['threads']} threads, load {result['load']}")
    for label, speed, ratio in (
        ("stable-baselines3", result["sb3_updates_per_s"], 1.0),
        ("robosac", result["updates_per_s"], result["ratio_fp32"]),
        ("robosac, LayerNorm", result["updates_per_s_layer_norm"], result["ratio_fp32_layer_norm"]),
    ):
        print(f"{label:20s} {speed:8.1f} updates/s   {ratio:.2f} x")
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in result["gemm_gflop_per_s"].items())
    print(f"float32 products     {rates} GFLOP/s")
    share, of_torch = result["share_of_gemm_fp32"], result["share_of_torch_gemm_fp32"]
    print(
        f"share of gemm        {share:.0%} of the fastest, {of_torch:.0%} of torch's own, "
        f"at {result['gflop_per_update']:.2f} GFLOP an update"
    )
    verdict = "met" if result["ratio_fp32"] >= TARGET else "MISSED"
    print(f"target {TARGET} x stable-baselines3: {verdict}")


def main() -> int:
    """Measure and print; exit code 1 when the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=torch_threads(), help="threads of torch")
    parser.add_argument("--blocks", type=int, default=30, help="blocks of every candidate")
    parser.add_argument("--batch", type=int, default=256, help="transitions per update")
    parser.add_argument("--json", action="store_true", help="print one last line of JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    candidates = {
        "sb3": other_update(options.batch),
        "plain": robosac_update(options.batch, layer_norm=False),
        "layer_norm": robosac_update(options.batch, layer_norm=True),
    }
    result = summarise(measure(candidates, options.blocks), options)
    report(result)
    if options.json:
        print(json.dumps(result))
    return 0 if result["ratio_fp32"] >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
