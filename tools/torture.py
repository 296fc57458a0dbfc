"""Kill learner, uplinks and runners at random moments, and count what is lost or comes twice.

    python tools/torture.py --kills 200 --seed 1
    python tools/torture.py --kills 60 --faults       through proxies that hurt the link
    sudo python tools/torture.py --kills 60 --faults --namespaces    a network for every machine

Runners stream rows whose contents follow from robot, run and sequence number; a counter that
survives SIGKILL tells how many were recorded.  At the end every recorded row must be in the
learner's replay once, in order and unaltered.  The last line is `lost 0 duplicated 0 kills 200`.
Exit code 1 when anything is missing, doubled or otherwise wrong; then the folder is kept, with
every blow in its events.jsonl.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

from robosac.exit_codes import EXIT_INTERRUPTED
from tools.exactly_once.counter import read_counters
from tools.exactly_once.crew import Crew
from tools.exactly_once.network import Namespaces, Network, why_no_namespaces
from tools.exactly_once.storm import Blow, Storm, draw
from tools.exactly_once.verdict import Verdict, judge
from tools.provenance import provenance

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("robosac", "torch", "numpy", "onnxruntime", "pyzmq", "msgspec")
PATIENCE_S = 180.0


@dataclass(frozen=True)
class Setup:
    """Who streams to whom, and how."""

    runners: int = 3
    rate_hz: float = 200.0
    faults: bool = False
    namespaces: bool = False


@dataclass
class Outcome:
    """What came of a run."""

    verdict: Verdict
    strange: list[str]
    """What was not as it should be, besides the rows."""
    runs: int
    """Runs that recorded anything or might have."""
    dealt: dict[str, int]
    """How often each kind of blow was dealt."""
    duration_s: float

    @property
    def good(self) -> bool:
        """Whether nothing at all was wrong; no rows at all prove nothing."""
        return self.verdict.good and not self.strange and self.verdict.rows > 0

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return sum(count for blow, count in self.dealt.items() if blow.startswith("kill "))


def torture(folder: Path, setup: Setup, blows: list[Blow]) -> Outcome:
    """Start everybody, deal the blows, end in order, and compare."""
    started = time.monotonic()
    kind = Namespaces if setup.namespaces else Network
    network = kind(runners=setup.runners, faults=setup.faults)
    try:
        crew = Crew(folder, network, runners=setup.runners, rate_hz=setup.rate_hz)
        try:
            crew.start()
            storm = Storm(crew, network)
            storm.begin()
            storm.play(blows)
            storm.end()
            strange = storm.strange + crew.finish(PATIENCE_S)
        finally:
            crew.close()
    finally:
        network.close()
    recorded = read_counters(crew.counters)
    verdict = judge(crew.run.replay, recorded)
    return Outcome(
        verdict=verdict,
        strange=strange + check_report(crew, verdict),
        runs=len(recorded),
        dealt=dict(sorted(storm.dealt.items())),
        duration_s=round(time.monotonic() - started, 1),
    )


def check_report(crew: Crew, verdict: Verdict) -> list[str]:
    """Whether the learner says of itself what is found on disk."""
    try:
        report = json.loads(crew.run.report_path.read_bytes())
    except FileNotFoundError:
        return [f"no {crew.run.report_path.name}; expected the learner's last word"]
    expected = {"lost": verdict.lost, "duplicated": verdict.duplicated, "rows": verdict.rows}
    return [
        f"the learner reports {name} {report[name]}; on disk it is {value}"
        for name, value in expected.items()
        if report[name] != value
    ]


def command_line(options: argparse.Namespace) -> str:
    """Return what to type for the same blows."""
    flags = [f"--{name}" for name in ("faults", "namespaces") if getattr(options, name)]
    numbers = f"--kills {options.kills} --seed {options.seed}"
    size = f"--runners {options.runners} --rate {options.rate:g}"
    return " ".join(["python tools/torture.py", numbers, size, *flags])


def as_json(options: argparse.Namespace, outcome: Outcome) -> dict[str, Any]:
    """Everything that is worth keeping."""
    return {
        **provenance(command_line(options), LIBRARIES),
        "seed": options.seed,
        "kills": outcome.kills,
        **asdict(outcome),
    }


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="processes to kill")
    parser.add_argument("--seed", type=int, default=0, help="what is killed when")
    parser.add_argument("--runners", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200.0, help="rows of each runner a second")
    parser.add_argument("--faults", action="store_true", help="hurt the link as well")
    parser.add_argument("--namespaces", action="store_true", help="separate networks; needs root")
    parser.add_argument("--folder", type=Path, help="where to work; kept then")
    parser.add_argument("--name", help="keep the numbers in tools/results/NAME.json")
    return parser.parse_args()


def main() -> int:
    """Run, print, and keep the numbers; exit code 1 when anything was wrong."""
    options = parse()
    if options.namespaces and (reason := why_no_namespaces()) is not None:
        print(f"skipped: {reason}")
        return 0
    folder = options.folder or Path(tempfile.mkdtemp(prefix="torture-"))
    setup = Setup(options.runners, options.rate, options.faults, options.namespaces)
    rng = random.Random(options.seed)  # noqa: S311 -- blows, not secrets
    blows = draw(rng, kills=options.kills, faults=options.faults, cables=options.namespaces)
    try:
        outcome = torture(folder, setup, list(blows))
    except KeyboardInterrupt:
        print(f"interrupted; everything is in {folder}")
        return EXIT_INTERRUPTED
    for problem in outcome.verdict.problems + outcome.strange:
        print(problem)
    print(f"{outcome.verdict.rows} rows of {outcome.runs} runs in {outcome.duration_s:.0f} s")
    print(", ".join(f"{blow} {count}" for blow, count in outcome.dealt.items()))
    if options.name:
        RESULTS.mkdir(exist_ok=True)
        content = json.dumps(as_json(options, outcome), indent=1)
        (RESULTS / f"{options.name}.json").write_text(content + "\n")
    if not outcome.good:
        print(f"everything is kept in {folder}")
    elif options.folder is None:
        shutil.rmtree(folder)
    verdict = outcome.verdict
    print(f"lost {verdict.lost} duplicated {verdict.duplicated} kills {outcome.kills}")
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main())
