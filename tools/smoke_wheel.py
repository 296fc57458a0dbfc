"""Builds the distribution as it would be published and tries it where nothing else is installed.

The wheel is built from the sdist, so both are tried.  Prints one line per check; exits with 1 at
the first that fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

ROOT = Path(__file__).parents[1]
PACKAGES = ("robots", "sim", "robosac")
DATA = ("*/py.typed", "robots/*/robot.toml", "robots/*/model.xml", "robosac/recipes/*.toml")
"""Patterns of files that are no modules; each must be there at least once."""

ABSENT = ("torch", "mujoco", "dm_control")
"""What the base requirements must not bring."""

COMMANDS = (
    ("robosac", "--help"),
    ("python", "-m", "robosac", "--help"),
    ("robosac", "doctor"),
    ("robosac", "doctor", "--robot", "go2"),
    ("robosac", "deploy", "--help"),
)
"""What has to work with the base requirements alone."""


class SmokeError(Exception):
    """A check that failed, and why."""


def main() -> int:
    """Run every check; 0 when all hold."""
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="robosac-wheel-") as folder:
            check_all(Path(folder))
    except SmokeError as error:
        print(f"FAILED  {error}", file=sys.stderr)
        return 1
    print(f"the wheel is fine, {time.monotonic() - start:.0f} s")
    return 0


def check_all(folder: Path) -> None:
    """Build, inspect, install and run, in this folder only; raises SmokeError."""
    wheel = build(folder / "dist")
    print(f"ok  built {wheel.name} from the sdist")
    names = zipfile.ZipFile(wheel).namelist()
    check_top_level(names)
    print(f"ok  top-level names are {', '.join(PACKAGES)}")
    check_content(names)
    print(f"ok  {len(names)} files, nothing missing")
    programs = install(wheel, folder / "env")
    print("ok  installs with the base requirements")
    check_absent(programs)
    print(f"ok  brings none of {', '.join(ABSENT)}")
    for command in COMMANDS:
        program, *arguments = command
        run([str(programs / program), *arguments], cwd=folder)
        print(f"ok  {' '.join(command)}")
    deploy(programs, folder)
    print("ok  robosac deploy stands an emulated robot up, and it sits down again")


def build(folder: Path) -> Path:
    """Build the sdist and, from it, the wheel; returns the path of the wheel."""
    run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def check_top_level(names: list[str]) -> None:
    """Refuse any top-level name besides ours and the metadata."""
    found = {name.split("/")[0] for name in names}
    metadata = {name for name in found if name.endswith(".dist-info")}
    if found - metadata != set(PACKAGES) or len(metadata) != 1:
        got = ", ".join(sorted(found))
        message = f"top-level names are {got}; expected {', '.join(PACKAGES)} and one .dist-info"
        raise SmokeError(message)


def check_content(names: list[str]) -> None:
    """Compare with the checkout: every module is there, and data of every kind."""
    modules = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*.py")
    }
    data = {
        pattern: {path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)}
        for pattern in DATA
    }
    for pattern, paths in data.items():
        if not paths:
            message = f"the checkout has no {pattern}; correct DATA in tools/smoke_wheel.py"
            raise SmokeError(message)
    missing = modules.union(*data.values()) - set(names)
    if missing:
        message = f"the wheel lacks {', '.join(sorted(missing))}"
        raise SmokeError(message)


def install(wheel: Path, folder: Path) -> Path:
    """Install into a new environment with the pinned versions; returns the folder of programs."""
    run([sys.executable, "-m", "venv", str(folder)], cwd=folder.parent)
    programs = folder / "bin"
    pip = [str(programs / "python"), "-m", "pip", "install", "-qq"]
    run([*pip, "-c", str(ROOT / "constraints.txt"), str(wheel)], cwd=folder.parent)
    return programs


def check_absent(programs: Path) -> None:
    """Refuse what belongs to another extra."""
    code = "import importlib.util as u, sys; print(*(n for n in sys.argv[1:] if u.find_spec(n)))"
    found = run([str(programs / "python"), "-c", code, *ABSENT], cwd=programs.parent)
    if found.strip():
        message = f"the base requirements bring {found.strip()}; expected none of it"
        raise SmokeError(message)


def deploy(programs: Path, folder: Path) -> None:
    """Drive an emulated robot for a second of control steps with the base requirements alone."""
    from robosac.cli import resolve
    from tools.hazards.policies import holding_policy
    from tools.patient_pup import patient_pup

    policy, pup = folder / "holding.onnx", str(patient_pup(folder / "pup"))
    with resolve.make(robot=pup, task="walk", env=None) as place:
        policy.write_bytes(holding_policy(place.contract))
    emulate = [sys.executable, "-m", "robosac", "emulate", "--robot", pup, "--json"]
    with subprocess.Popen(
        emulate, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as emulator:
        try:
            assert emulator.stdout is not None
            ports = json.loads(emulator.stdout.readline())
            command = [str(programs / "robosac"), "deploy", "--robot", pup, "--steps", "50"]
            command += ["--port", ports["servos"], "--imu", ports["imu"], "--policy", str(policy)]
            walk = [*command, "--run", str(folder / "deployed")]
            with subprocess.Popen(
                walk, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as robot:
                output = _say_go(robot)
            if robot.returncode or "50 steps" not in output:
                message = f"robosac deploy ended with {robot.returncode}:\n{output}"
                raise SmokeError(message)
        finally:
            emulator.terminate()


def _say_go(robot: subprocess.Popen[str]) -> str:
    """Be the operator: say go when the robot is ready for it; returns what it said."""
    assert robot.stdin is not None
    assert robot.stdout is not None
    lines = []
    for line in robot.stdout:
        lines.append(line)
        if line.startswith("standby") and not robot.stdin.closed:
            robot.stdin.write("go\n")
            robot.stdin.flush()
    return "".join(lines)


def run(command: list[str], *, cwd: Path) -> str:
    """Run a program and return what it printed; raises SmokeError when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        output = (done.stdout + done.stderr).strip()
        message = f"{' '.join(command)} ended with {done.returncode}:\n{output}"
        raise SmokeError(message)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
