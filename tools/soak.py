"""Whether memory stays flat: a learner and a robot in real time, for an hour.

    python tools/soak.py [--minutes 60] [--json PATH]

Runs `robosac learn` and `robosac sim --learner --pace realtime` (go2 walks) as a user would, with a
replay of 2,000 rows so that filling it is over soon, and looks at the resident memory of every
process twice a minute.  Growth is the median of the last sixth of the time over that of the second
sixth; the first is warm-up.  Ends with exit code 1 when a process has grown by more than 2 %, when
rows are lost or doubled, or when a process has died.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

from tools.provenance import provenance

LIBRARIES = ("robosac", "torch", "pyzmq", "onnxruntime")
GROWTH_MAX = 0.02
LOOK_S = 30.0
ROLES = {
    "robosac.learner": "learner",
    "robosac.cli.runner": "runner",
    "robosac.runner.uplink": "uplink",
}
RECIPE = """
name = "soak"
description = "sac with a replay that is soon full"

[learner]
capacity = 2000
"""


def resident_mib(folder: Path) -> dict[str, float]:
    """Resident memory of every process that works in a folder, by role, MiB."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            status = (entry / "status").read_text()
        except OSError:
            continue
        role = next((ROLES[word] for word in words if word in ROLES), None)
        if role is not None and any(str(folder) in word for word in words):
            (kib,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
            found[role] = int(kib) / 1024
    return found


def start(folder: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a command of robosac; its output goes to a file."""
    command = [sys.executable, "-m", "robosac", *arguments]
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, process_group=0)


def address(folder: Path) -> str:
    """Wait for the learner to say where it listens."""
    while True:
        words = (folder / "learn.log").read_text().replace(";", " ").split()
        endpoints = [word for word in words if word.startswith("tcp://")]
        if endpoints:
            return endpoints[0].removeprefix("tcp://")
        time.sleep(0.1)


def watch(folder: Path, minutes: float) -> dict[str, list[float]]:
    """Resident memory of every process, by role, over time."""
    seen: dict[str, list[float]] = {role: [] for role in ROLES.values()}
    started = time.monotonic()
    looks = max(12, int(60 * minutes / LOOK_S))
    for look in range(1, looks + 1):
        time.sleep(max(0.0, started + 60 * minutes * look / looks - time.monotonic()))
        now = resident_mib(folder)
        if now.keys() != seen.keys():
            print(f"only {sorted(now)} are left; see the logs in {folder}")
            break
        for role, sizes in seen.items():
            sizes.append(now[role])
        print("  ".join(f"{role} {now[role]:.1f} MiB" for role in seen), flush=True)
    return seen


def growth(sizes: list[float]) -> float:
    """Relative growth from the second sixth of the time to the last."""
    sixth = len(sizes) // 6
    return median(sizes[-sixth:]) / median(sizes[sixth : 2 * sixth]) - 1


def soak(folder: Path, minutes: float) -> dict[str, Any]:
    """Run learner and robot for so long, and sum up."""
    (folder / "soak.toml").write_text(RECIPE)
    run = folder / "run"
    recipe = ["--recipe", str(folder / "soak.toml"), "--bind", "127.0.0.1:0"]
    learner = start(folder, "learn", "learn", "--run", str(run), *recipe)
    robots = ["--run", str(folder / "robots"), "--pace", "realtime"]
    robot = start(folder, "sim", "sim", "--learner", address(folder), *robots)
    try:
        seen = watch(folder, minutes)
    finally:
        for process in (robot, learner):
            process.terminate()
            process.wait()
    report = json.loads((run / "learner.json").read_text())
    (runner,) = (
        json.loads(path.read_text()) for path in (folder / "robots").glob("*/report-*.json")
    )
    return {
        "minutes": minutes,
        "growth": {role: round(growth(sizes), 4) for role, sizes in seen.items()},
        "resident_mib": {role: [round(size, 1) for size in sizes] for role, sizes in seen.items()},
        "rows_made": runner["made"],
        "missed_ticks": runner["missed_ticks"],
        "lateness": runner["lateness"],
        **{name: report[name] for name in ("rows", "updates", "lost", "duplicated")},
    }


def main() -> int:
    """Soak and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    found = soak(folder, options.minutes)
    found |= provenance(f"python {shlex.join(sys.argv)}", LIBRARIES)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    grown = max(found["growth"].values())
    print(
        f"growth {grown:+.1%} at most, rows {found['rows']} of {found['rows_made']}, "
        f"lost {found['lost']} duplicated {found['duplicated']}"
    )
    whole = found["lost"] == found["duplicated"] == 0 and found["rows"] == found["rows_made"]
    if not whole or grown > GROWTH_MAX:
        print(f"everything is kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
