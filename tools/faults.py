"""Inject every fault of the list into the whole stack on an emulated pup, and judge what it does.

    python tools/faults.py                      all 64, one line each
    python tools/faults.py --only B1,I4-I9,H    some of them
    python tools/faults.py --nominal 600 --policy policy.onnx     no fault: nothing may trip

Each is tried on the real driver, safety wrapper, environment and control loop: those of bus, IMU,
policy and operator in virtual time, those of processes and cables in real time on
pseudo-terminals.  The emulated servos themselves are watched: whatever the fault, no goal may lie
outside the limits or further from the last than a joint can move, no false reading may pass, and
a robot that has latched a stop may not move again although it is commanded and enabled.  The last
line is `safe 64 of 64`; exit code 1 when it says anything else.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

from tools.hazards.catalog import hazards, parse_numbers
from tools.hazards.nominal import walk
from tools.hazards.registry import EXPECTED, Finding, Hazard
from tools.provenance import provenance

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("robosac", "numpy", "mujoco", "onnxruntime", "pyzmq", "pyserial")
_PATH = re.compile(r"/\S*/")
"""Folders of this machine, which are nobody's business."""
Row = tuple[Hazard, Finding]


def try_all(wanted: Iterable[Hazard]) -> Iterator[Row]:
    """Try one hazard after the other."""
    for one in wanted:
        yield one, one.try_out()


def as_line(one: Hazard, finding: Finding) -> str:
    """One line for people."""
    ticks = "" if finding.ticks is None else f"{finding.ticks} of {one.within} ticks"
    verdict = "safe" if finding.safe else "UNSAFE: " + "; ".join(finding.problems)
    parts = (one.id, one.fault, finding.seen, ticks, finding.logged, verdict)
    return " | ".join(" ".join(part.split()) for part in parts)


def as_json(rows: Iterable[Row], command: str) -> dict[str, Any]:
    """Everything that is worth keeping."""
    found = [
        {"id": one.id, "fault": one.fault, "required": one.required, "within": one.within}
        | asdict(finding)
        | {"logged": _PATH.sub("", finding.logged), "safe": finding.safe}
        for one, finding in rows
    ]
    return {
        **provenance(command, LIBRARIES),
        "safe": sum(row["safe"] for row in found),
        "of": len(found),
        "hazards": found,
    }


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=parse_numbers, default=EXPECTED, help="as in B1,I4-I9,H")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.add_argument("--save", action="store_true", help="keep it in tools/results/faults.json")
    parser.add_argument("--nominal", type=float, metavar="S", help="walk for so long without fault")
    parser.add_argument("--policy", type=Path, help="who walks; a scripted trot unless given")
    return parser.parse_args()


def main() -> int:
    """Try, print, keep; exit code 1 when anything was not as it must be."""
    options = parse()
    if options.nominal is not None:
        finding = walk(options.nominal, options.policy)
        print(
            f"{finding.seen}; {finding.logged}; {'; '.join(finding.problems) or 'nothing tripped'}"
        )
        return 0 if finding.safe else 1
    logging.getLogger().addHandler(logging.NullHandler())  # what is logged is part of each finding
    wanted = [one for one in hazards() if one.id in options.only]
    rows: list[Row] = []
    for one, finding in try_all(wanted):
        rows.append((one, finding))
        if not options.json:
            print(as_line(one, finding), flush=True)
    content = as_json(rows, "python tools/faults.py")
    if options.json:
        print(json.dumps(content, indent=1, ensure_ascii=False))
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (RESULTS / "faults.json").write_text(text + "\n", "utf-8")
    print(f"safe {content['safe']} of {len(options.only)}")
    return 0 if content["safe"] == len(options.only) else 1


if __name__ == "__main__":
    sys.exit(main())
