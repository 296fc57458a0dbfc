"""What a run leaves behind: the evaluated policy, the video and summary.json."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from robosac.cli.console import complain, say
from robosac.errors import StorageError
from robosac.evaluation import evaluate, play
from robosac.exit_codes import EXIT_DONE, EXIT_INCOMPLETE
from robosac.policy import OnnxPolicy
from robosac.policy.contract import decode, with_training
from robosac.policy.file import assemble
from robosac.run_folder import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from robosac.cli.resolve import Workplace
    from robosac.policy.contract import Evaluation
    from robosac.run_folder import RunConfig, RunFolder

EPISODES = 10
EVALUATION_SEED = 10_000
VIDEO_S = 10.0
_SUMMED_UP = (
    "env_steps",
    "updates",
    "updates_per_s",
    "utd",
    "episodes",
    "falls",
    "lost",
    "duplicated",
    "policy_versions",
    "policy_lag_steps_p50",
    "policy_lag_steps_p99",
)


def summarise(folder: RunFolder, config: RunConfig, report: dict[str, Any]) -> dict[str, Any]:
    """Return summary.json without the evaluation; a figure that was not measured is null."""
    summary: dict[str, Any] = {name: report.get(name) for name in _SUMMED_UP}
    return summary | {
        "prior_rows": report.get("prior_rows", 0),
        "prior_runs": report.get("prior_runs", 0),
        "missed_ticks": _missed_ticks(folder),
        "training_return_mean": report.get("return_mean"),
        "training_speed_mps": report.get("speed_mps"),
        "policy_digest": report.get("policy_digest"),
        "seed": config.seed,
        "recipe": config.recipe.name,
        "robot": config.robot,
        "task": config.task,
        "env": config.env,
        "robosac": config.robosac,
    }


def identify(folder: RunFolder) -> dict[str, str | None]:
    """What the robots of a run were, when only they knew: from the contract they have brought."""
    if not folder.contract_path.exists():
        return {"robot": None, "task": None, "env": None}
    contract = decode(folder.contract_path.read_bytes())
    found = {"robot": contract.robot, "task": contract.task, "env": contract.env}
    return {name: text or None for name, text in found.items()}


def conclude(
    folder: RunFolder, summary: dict[str, Any], place: Workplace, *, started: float, video: bool
) -> int:
    """Evaluate the final policy, record its video, write summary.json; returns the exit code."""
    if not folder.final_policy.exists():
        say("no policy was made; the run ended before the learner was ready")
        return EXIT_INCOMPLETE
    evaluation = export(folder.final_policy, folder.final_policy, place)
    policy = OnnxPolicy.load(folder.final_policy, here=place.contract)
    path = film(policy, folder.video / "final.mp4", place) if video else None
    summary |= {
        "return_mean": evaluation.return_mean,
        "return_std": evaluation.return_std,
        "speed_mps": evaluation.speed_mps,
        "evaluation_falls": evaluation.falls,
        "evaluation_episodes": evaluation.episodes,
        "evaluation_seed": evaluation.seed,
        "wall_s": time.monotonic() - started,
    }
    folder.write_json(folder.summary_path, summary)
    say(describe(evaluation))
    say(f"policy   {folder.final_policy}")
    if path is not None:
        say(f"video    {path}")
    say(f"summary  {folder.summary_path}  ({summary['wall_s']:.0f} s in all)")
    return EXIT_DONE


def describe(evaluation: Evaluation) -> str:
    """One line about how a policy did."""
    returned = "not finite"
    if evaluation.return_mean is not None:
        returned = f"{evaluation.return_mean:.6g} ± {evaluation.return_std:.3g}"
    speed = "" if evaluation.speed_mps is None else f", speed {evaluation.speed_mps:.3f} m/s"
    falls = "" if evaluation.speed_mps is None else f", falls {evaluation.falls}"
    measured = f"{evaluation.episodes} episodes, seed {evaluation.seed}"
    return f"evaluation: return {returned}{speed}{falls} ({measured})"


def export(source: Path, target: Path, place: Workplace) -> Evaluation:
    """Evaluate a policy and write it with the result in its contract."""
    policy = OnnxPolicy.load(source, here=place.contract)
    evaluation = evaluate(place.env, policy, episodes=EPISODES, seed=EVALUATION_SEED)
    contract = with_training(policy.contract, evaluation=evaluation)
    file = assemble(policy.graph, contract)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, file)
    except OSError as error:
        raise StorageError.from_os(target, error) from None
    return evaluation


def film(policy: OnnxPolicy, target: Path, place: Workplace) -> Path | None:
    """Film the start of an episode; says in one line why when that is impossible here."""
    from sim.errors import SimError
    from sim.render import record

    steps = islice(play(place.env, policy, seed=EVALUATION_SEED), round(VIDEO_S * place.frame_hz))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with place.camera() as camera:
            record((camera.frame() for _ in steps), target, fps=place.frame_hz)
    except SimError as error:
        complain(f"no video: {error}")
        return None
    except OSError as error:
        raise StorageError.from_os(target, error) from None
    return target


def _missed_ticks(folder: RunFolder) -> int | None:
    """Ticks that all runners missed; None when the environment has no clock."""
    reports = folder.path.glob("runner-*/report-*.json")
    missed = [msgspec.json.decode(path.read_bytes())["missed_ticks"] for path in reports]
    known = [number for number in missed if number is not None]
    return sum(known) if known else None
