"""What robosac takes on a robot's computer: room on the disk, and memory while it runs."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from robosac.cli.console import say
from robosac.exit_codes import EXIT_DONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DISK_AIM_MB = 200
MEMORY_AIM_MB = 120
_SHOWN = 10
_PROC = Path("/proc")
_IMPORTED = (
    *("numpy", "msgspec", "tyro", "robots", "robots.serial_robot", "gymnasium", "robosac.env"),
    *("robosac.tasks", "onnxruntime", "robosac.policy", "robosac.operator"),
    *("robosac.flight_log.log", "robosac.runner.loop", "robosac.runner.uplink_link"),
)
"""What the control process of a deployed robot loads, heavy things apart, so that each is seen."""

_STEPS = """
import importlib, re, sys
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
print("python", resident())
for name in sys.argv[1:]:
    importlib.import_module(name)
    print(name, resident())
"""


class Package(NamedTuple):
    """An installed distribution."""

    name: str
    version: str | None
    """None where it is required and not installed."""
    size: int
    """What its files take, bytes."""


class Memory(NamedTuple):
    """A process and the memory it has."""

    pid: int
    command: str
    resident: int
    """What is in memory of it, bytes; what it shares with others counts in full."""
    share: int | None
    """The same with what is shared divided by the number of those who share it; None if unknown."""


def report_footprint() -> int:
    """Print both; returns the exit code."""
    _report_disk(base_packages())
    deployed = families()
    for family in deployed:
        _report_processes(family)
    if not deployed:
        _report_imports()
    return EXIT_DONE


def base_packages(root: str = "robosac") -> list[Package]:
    """A distribution and everything it needs without its extras, the largest first."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    waiting, packages = [(root, "")], dict[str, Package]()
    for name, extra in waiting:
        try:
            installed = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            packages[name] = Package(name, None, 0)
            continue
        packages[name] = Package(name, installed.version, _size(installed))
        for needed in map(Requirement, installed.requires or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                key = canonicalize_name(needed.name)
                wanted = [(key, one) for one in ("", *sorted(needed.extras))]
                waiting += [one for one in wanted if one not in waiting]
    return sorted(packages.values(), key=lambda package: -package.size)


def families(proc: Path = _PROC) -> list[list[Memory]]:
    """Every running `robosac deploy` of this user with the processes that it has started."""
    commands = dict(_commands(proc))
    parents = {pid: _parent(proc / str(pid)) for pid in commands}
    found = []
    for leader in (pid for pid, words in commands.items() if _is_deploy(words)):
        members = [leader]
        for member in members:
            members += [pid for pid, parent in parents.items() if parent == member]
        measured = (_memory(proc / str(pid), commands[pid]) for pid in members)
        found.append([one for one in measured if one is not None])
    return [family for family in found if family]


def _size(installed: metadata.Distribution) -> int:
    """Bytes of all files of a distribution that are there."""
    files = (Path(str(file.locate())) for file in installed.files or ())
    return sum(file.stat().st_size for file in files if file.is_file())


def _report_disk(packages: list[Package]) -> None:
    total = sum(package.size for package in packages) / 1e6
    there = [package for package in packages if package.version is not None]
    say(f"installed: {total:.0f} MB in {len(there)} packages; aim: at most {DISK_AIM_MB} MB")
    for package in there[:_SHOWN]:
        say(f"  {package.size / 1e6:6.1f} MB  {package.name} {package.version}")
    rest = there[_SHOWN:]
    if rest:
        say(f"  {sum(package.size for package in rest) / 1e6:6.1f} MB  {len(rest)} others")
    missing = [package.name for package in packages if package.version is None]
    if missing:
        say(f"  not counted, since it is not installed: {', '.join(missing)}")


def _report_processes(family: list[Memory]) -> None:
    resident = family[0].resident / 1e6
    say(
        f"robosac deploy, process {family[0].pid}: {resident:.0f} MB resident; "
        f"aim: at most {MEMORY_AIM_MB} MB"
    )
    for one in family:
        share = "unknown" if one.share is None else f"{one.share / 1e6:.1f} MB"
        say(f"  {one.resident / 1e6:6.1f} MB  its share {share}  {one.pid} {one.command}")
    shares = [one.share for one in family if one.share is not None]
    if len(shares) == len(family):
        say(f"  {sum(shares) / 1e6:6.1f} MB  all of them together, by their shares")


def _report_imports() -> None:
    """Say what a deployed robot's imports take, one by one, in a process made for it."""
    say("no robosac deploy is running; what its control process imports takes:")
    done = subprocess.run(  # noqa: S603 -- our own program
        [sys.executable, "-c", _STEPS, *_IMPORTED], capture_output=True, text=True, check=False
    )
    before = 0
    for line in done.stdout.splitlines():
        name, kib = line.split()
        now = int(kib) * 1024
        say(f"  {(now - before) / 1e6:6.1f} MB  {name}")
        before = now
    if done.returncode:
        say(f"  then it ended: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    else:
        say(f"  {before / 1e6:6.1f} MB together; aim: at most {MEMORY_AIM_MB} MB while running")


def _commands(proc: Path) -> Iterator[tuple[int, list[str]]]:
    """Command line of every process of this user."""
    for folder in proc.iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            if folder.stat().st_uid == os.getuid():
                words = (folder / "cmdline").read_bytes().split(b"\0")[:-1]
                yield int(folder.name), [os.fsdecode(word) for word in words]
        except OSError:
            continue  # it has ended meanwhile


def _is_deploy(words: list[str]) -> bool:
    """Whether a command line is `robosac deploy`, started by name, by path or as a module."""
    pairs = itertools.pairwise(words)
    return any(Path(one).name == "robosac" and two == "deploy" for one, two in pairs)


def _parent(folder: Path) -> int | None:
    return _figure(folder / "status", "PPid")


def _memory(folder: Path, words: Iterable[str]) -> Memory | None:
    """Measure one process; None when it has ended meanwhile."""
    resident = _figure(folder / "status", "VmRSS")
    if resident is None:
        return None
    share = _figure(folder / "smaps_rollup", "Pss")
    command = " ".join(words)[:60]
    return Memory(
        int(folder.name), command, resident * 1024, None if share is None else share * 1024
    )


def _figure(file: Path, wanted: str) -> int | None:
    """The number behind a name in a file of /proc; None when there is none."""
    try:
        text = file.read_text("utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name == wanted:
            return int(rest.split()[0])
    return None
