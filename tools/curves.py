"""Learning curves: recipe x environment x seed, beside stable-baselines3 and published figures.

    python tools/curves.py run --envs Hopper-v5 HalfCheetah-v5 Walker2d-v5 --steps 100000
    python tools/curves.py run --systems robosac --recipes sac sac+sac.backup=single --envs ...
    python tools/curves.py run --systems robosac --recipes sac td3 --envs walk/go2 --until 0.5 ...
    python tools/curves.py table
    python tools/curves.py plot
    python tools/curves.py arithmetic --recipes droq crossq --envs HalfCheetah-v5

A run that is in the table is skipped, and a run that did not end left nothing, so the same command
goes on where it was cut off; several processes may run it at once.  Rows go to
tools/results/curves.csv, what they come from to curves.json beside it.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import shlex
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

import msgspec
import torch

from robosac.algorithms.algorithm import Sizes
from robosac.cli import resolve
from robosac.errors import ConfigError, RobosacError
from robosac.recipe import names
from robots.errors import RobotError
from sim.errors import SimError
from tools.learning_curves import variants
from tools.learning_curves.arithmetic import flop_per_step
from tools.learning_curves.plot import plot
from tools.learning_curves.results import Results
from tools.learning_curves.runs import Row, Run
from tools.learning_curves.table import tables
from tools.learning_curves.watch import Watch
from tools.provenance import provenance

if TYPE_CHECKING:
    from robosac.cli.resolve import Workplace

RESULTS = Path(__file__).parent / "results" / "curves.csv"
LIBRARIES = ("robosac", "torch", "numpy", "gymnasium", "mujoco", "onnxruntime", "stable-baselines3")
ENVS = ("Hopper-v5", "HalfCheetah-v5", "Walker2d-v5")
ERRORS = (RobosacError, RobotError, SimError)
ROBOT_TASKS = tuple(f"{task}/" for task in resolve.TASKS)


def place_of(env: str) -> Workplace:
    """Make the environment of a run."""
    if env.startswith(ROBOT_TASKS):
        task, _, robot = env.partition("/")
        return resolve.make(robot=robot, task=task, env=None)
    return resolve.make(robot=None, task=None, env=env)


def make(run: Run, options: argparse.Namespace) -> list[Row]:
    """Learn from nothing and return every evaluation on the way."""
    if run.system == "sb3":
        from tools.learning_curves.theirs import train
    else:
        from tools.learning_curves.ours import train
    with place_of(run.env) as place, place_of(run.env) as judged:
        watch = Watch(
            run,
            judged.env,
            every=options.every,
            last=options.steps,
            episodes=options.episodes,
            tell=show,
            until=options.until,
            minutes=options.minutes,
        )
        train(run, place, steps=options.steps, watch=watch)
    return watch.rows


def show(row: Row) -> None:
    """Tell of an evaluation."""
    bias = "" if row.q is None or row.q_true is None else f", Q {row.q:.1f} true {row.q_true:.1f}"
    speed = "" if row.speed_mps is None else f", {row.speed_mps:.2f} m/s"
    tell(
        f"{row.run.name}: {row.step} steps, return {row.return_mean:.1f} ± {row.return_std:.1f}"
        f"{speed}{bias}, {row.wall_s:.0f} s"
    )


def tell(line: str) -> None:
    """Say how it goes, at once, wherever the output goes."""
    print(line, flush=True)


def wanted(options: argparse.Namespace) -> list[Run]:
    """Every run that was asked for; seeds vary most slowly, so that comparisons come early.

    Recipes that stable-baselines3 does not have are left to robosac.  Raises ConfigError.
    """
    recipes = ["+".join([name, *options.set]) for name in options.recipes]
    known = {"robosac": recipes, "sb3": []}
    if "robosac" in options.systems:
        for name in recipes:
            variants.find(name)
    if "sb3" in options.systems:
        from tools.learning_curves.theirs import ALGORITHMS

        known["sb3"] = [name for name in recipes if name in ALGORITHMS]
    product = itertools.product(options.seeds, options.envs, recipes, options.systems)
    runs = [
        Run(system=system, recipe=recipe, env=env, seed=seed)
        for seed, env, recipe, system in product
        if recipe in known[system]
    ]
    if not runs:
        names = " or ".join(recipes)
        raise ConfigError(f"stable-baselines3 has no recipe {names}; expected sac, td3 or ddpg")
    return runs


def run_all(options: argparse.Namespace) -> int:
    """Make the runs that are missing, one after another; exit code 1 when one of them failed."""
    torch.set_num_threads(options.threads)
    results, started, failed = Results(options.results), time.monotonic(), False
    for run in wanted(options):
        if time.monotonic() - started > 60 * options.budget:
            tell("the budget is spent")
            break
        with results.claimed(run) as mine:
            if not mine:
                tell(f"{run.name}: another process is at it")
            elif results.has(
                run, steps=options.steps, speed_mps=options.until, minutes=options.minutes
            ):
                tell(f"{run.name}: is in the table")
            else:
                failed |= not keep(run, options, results)
    return int(failed)


def keep(run: Run, options: argparse.Namespace, results: Results) -> bool:
    """Make a run and put it into the table; False when it failed, as when learning diverges."""
    loads = [os.getloadavg()[0]]
    try:
        rows = make(run, options)
    except ERRORS as error:
        tell(f"{run.name}: FAILED: {error}")
        return False
    loads.append(os.getloadavg()[0])
    results.add(run, rows, note(run, options, loads))
    return True


def note(run: Run, options: argparse.Namespace, loads: list[float]) -> dict[str, Any]:
    """Where a run comes from."""
    command = f"python tools/curves.py {shlex.join(options.arguments)}"
    found = provenance(command, LIBRARIES) | {
        "steps": options.steps,
        "episodes": options.episodes,
        "threads": options.threads,
        "load": [round(load, 2) for load in loads],
        "ended": datetime.now(UTC).isoformat(timespec="minutes"),
    }
    if run.system == "robosac":
        found["recipe"] = msgspec.to_builtins(variants.find(run.recipe))
    return found


def count(options: argparse.Namespace) -> int:
    """Print what a step costs by every recipe, also as a multiple of plain SAC."""
    recipes = {name: variants.find(name) for name in options.recipes or names()}
    for env in options.envs or ENVS:
        with place_of(env) as place:
            layout = place.contract.row_layout
        sizes = Sizes(layout.obs, layout.extra, layout.action)
        plain = flop_per_step(variants.find("sac"), sizes)
        for name, recipe in recipes.items():
            flop = flop_per_step(recipe, sizes)
            tell(f"{name} on {env}: {flop / 1e9:.2f} GFLOP a step, {flop / plain:.1f} x sac")
    return 0


def print_tables(options: argparse.Namespace) -> int:
    """Print everything there is, in Markdown."""
    for line in tables(chosen(options), speed_mps=options.speed):
        print(line)
    return 0


def draw(options: argparse.Namespace) -> int:
    """Draw everything there is."""
    picture = options.output or options.results.with_suffix(".svg")
    picture.write_text(plot(chosen(options), published=options.published), "utf-8")
    print(picture)
    return 0


def chosen(options: argparse.Namespace) -> list[Row]:
    """The rows to be shown; raises ConfigError where there are none."""
    rows = [
        row
        for row in Results(options.results).rows()
        if row.env in (options.envs or [row.env])
        and row.recipe in (options.recipes or [row.recipe])
    ]
    if not rows:
        raise ConfigError(f"{options.results} has no such rows; make some with `curves.py run`")
    return rows


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="make the runs that are missing")
    run.set_defaults(do=run_all)
    run.add_argument("--systems", nargs="+", default=["robosac", "sb3"], choices=["robosac", "sb3"])
    run.add_argument("--recipes", nargs="+", default=["sac"], help="NAME[+TABLE.KEY=VALUE...]")
    run.add_argument("--set", nargs="+", default=[], help="TABLE.KEY=VALUE in every recipe")
    run.add_argument("--envs", nargs="+", default=list(ENVS), help="ids, or walk/ROBOT")
    run.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    run.add_argument("--steps", type=int, default=100_000)
    run.add_argument("--every", type=int, default=10_000, help="steps between evaluations")
    run.add_argument("--episodes", type=int, default=10, help="episodes of an evaluation")
    run.add_argument(
        "--until", type=float, default=math.inf, help="speed at which a run is over, m/s"
    )
    run.add_argument(
        "--minutes", type=float, default=math.inf, help="minutes of training that end a run"
    )
    run.add_argument("--threads", type=int, default=1, help="threads of torch")
    run.add_argument(
        "--budget", type=float, default=float("inf"), help="minutes after which no run is started"
    )
    table = commands.add_parser("table", help="print what there is")
    table.set_defaults(do=print_tables)
    table.add_argument("--speed", type=float, default=0.5, help="speed that counts as walking, m/s")
    picture = commands.add_parser("plot", help="draw what there is")
    picture.set_defaults(do=draw)
    picture.add_argument("--published", nargs="*", default=["SAC", "DroQ", "FlashSAC"])
    picture.add_argument("--output", type=Path, help="file; the table's with .svg if none is named")
    arithmetic = commands.add_parser("arithmetic", help="count the operations of updates")
    arithmetic.set_defaults(do=count)
    for command in (table, picture, arithmetic):
        command.add_argument("--envs", nargs="+", help="only these")
        command.add_argument("--recipes", nargs="+", help="only these")
    for command in (run, table, picture):
        command.add_argument("--results", type=Path, default=RESULTS, help="the table")
    options = parser.parse_args(arguments)
    options.arguments = arguments
    return options


def main(arguments: list[str]) -> int:
    """Do what the command line says; exit code 2 for what cannot be."""
    options = parse(arguments)
    try:
        code: int = options.do(options)
    except ERRORS as error:
        print(f"curves: {error}", file=sys.stderr)
        return 2
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads, as `| head`, has had enough
    sys.exit(main(sys.argv[1:]))
