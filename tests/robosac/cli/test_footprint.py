"""What robosac takes, told by real installations and real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from robosac.cli import footprint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 2**20
CHILD = "held = bytearray(b'x' * (20 * 2**20)); print(flush=True); input()"
LEADER = f"""
import subprocess, sys
held = bytearray(b"x" * (40 * 2**20))
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdin=0, stdout=subprocess.PIPE)
child.stdout.read(1)
print(flush=True)
child.wait()
"""


@pytest.fixture
def deployed() -> Iterator[subprocess.Popen[str]]:
    """A process whose command line is that of a deployed robot, and a child of it."""
    command = [sys.executable, "-c", LEADER, "/anywhere/bin/robosac", "deploy", "--robot", "pup"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        assert process.stdin is not None
        process.stdin.write("\n")


def test_a_deployed_robot_is_found_with_its_children(deployed: subprocess.Popen[str]) -> None:
    """Their memory is what they hold; what is shared is counted once, in the shares."""
    (family,) = [one for one in footprint.families() if one[0].pid == deployed.pid]
    leader, child = family
    assert 40 * MIB < leader.resident < 80 * MIB
    assert 20 * MIB < child.resident < 40 * MIB
    for one in family:
        assert one.share is not None
        assert one.resident // 2 < one.share <= one.resident


def test_the_report_names_process_and_aim(
    deployed: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Disk first, then the memory of what runs."""
    assert footprint.report_footprint() == 0
    told = capsys.readouterr().out
    assert told.startswith("installed: ")
    assert f"robosac deploy, process {deployed.pid}: " in told
    assert "aim: at most 120 MB" in told
    assert "all of them together" in told


def test_without_a_deployed_robot_the_imports_are_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one, in a process of their own."""
    monkeypatch.setattr(footprint, "families", list)
    monkeypatch.setattr(footprint, "_IMPORTED", ("json", "msgspec"))
    assert footprint.report_footprint() == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("no robosac deploy"))
    assert [line.split()[-1] for line in lines[start + 1 : start + 4]] == [
        "python",
        "json",
        "msgspec",
    ]
    assert "MB together; aim: at most 120 MB" in lines[start + 4]


def test_an_import_that_fails_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its error, behind what was measured."""
    monkeypatch.setattr(footprint, "families", list)
    monkeypatch.setattr(footprint, "_IMPORTED", ("json", "no_such_module"))
    footprint.report_footprint()
    assert "then it ended: ModuleNotFoundError" in capsys.readouterr().out


def test_what_a_deployed_robot_imports_exists() -> None:
    """The list of imports follows the code."""
    program = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    subprocess.run([sys.executable, "-c", program, *footprint._IMPORTED], check=True)  # noqa: SLF001


def install(site: Path, name: str, *, requires: tuple[str, ...], size: int) -> None:
    """Put a distribution with one file into a folder, as pip leaves it."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}")
    (site / f"{name}.py").write_bytes(bytes(size))
    (info / "RECORD").write_text(f"{name}.py,,\ngone.pyc,,\n")


def test_requirements_count_with_theirs_and_without_extras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Markers and extras that a requirement names are followed; circles end; each counts once."""
    install(
        tmp_path,
        "walker",
        requires=(
            "Leg-Kit[fast] >= 1",
            "torch ; extra == 'learn'",
            "old ; python_version < '3'",
        ),
        size=1000,
    )
    install(tmp_path, "leg_kit", requires=("bolt ; extra == 'fast'", "walker"), size=500)
    install(tmp_path, "bolt", requires=("leg-kit", "nut"), size=2000)
    monkeypatch.syspath_prepend(tmp_path)
    assert footprint.base_packages("walker") == [
        ("bolt", "1.0", 2000),
        ("walker", "1.0", 1000),
        ("leg-kit", "1.0", 500),
        ("nut", None, 0),
    ]


def test_what_is_not_installed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A total without it would be too good."""
    install(tmp_path, "robosac", requires=("nut",), size=3_000_000)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(footprint, "_report_imports", lambda: None)
    footprint.report_footprint()
    told = capsys.readouterr().out
    assert "installed: 3 MB in 1 packages" in told
    assert "None" not in told
    assert "not installed: nut" in told


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("python -m robosac deploy --robot pup", True),
        ("/opt/venv/bin/python /opt/venv/bin/robosac deploy", True),
        ("python -m robosac sim", False),
        ("grep robosac", False),
        ("robosac", False),
    ],
)
def test_command_lines_are_told_apart(words: str, *, found: bool, tmp_path: Path) -> None:
    """Only what drives a robot counts, and only where the kernel tells its memory."""
    folder = tmp_path / "17"
    folder.mkdir()
    (folder / "cmdline").write_bytes(b"".join(os.fsencode(word) + b"\0" for word in words.split()))
    (folder / "status").write_text("Name:\tpython\nPPid:\t1\nVmRSS:\t  100 kB\n")
    (tmp_path / "18").mkdir()
    families = footprint.families(tmp_path)
    assert [[one.pid for one in family] for family in families] == ([[17]] if found else [])
    if found:
        assert families[0][0] == (17, words, 102400, None)
