"""What the repository as a whole promises: its commands, its pins, its change log."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from pathlib import Path

TARGETS = {"help", "sim", "test", "lint", "format", "types", "tests", "wheel", "clean"}
LOCAL_PATH = re.compile(r"(?<![\w.~])/(?:home|root|work|tmp|Users)/\w")
CHANGE_KINDS = ["Added", "Changed", "Fixed", "Removed"]


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    """The project table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return table


@pytest.fixture(scope="module")
def requirements(project: dict[str, Any]) -> list[Requirement]:
    """Every requirement of the project, whatever the extra."""
    extras = project["optional-dependencies"].values()
    return [Requirement(line) for group in [project["dependencies"], *extras] for line in group]


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, str]:
    """Pinned version of every distribution in constraints.txt."""
    lines = (root / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_requirement_is_pinned_to_a_version_it_allows(
    requirements: list[Requirement], pins: dict[str, str]
) -> None:
    """The pins are what the requirements ask for, so that both hold in one environment."""
    missing = [one.name for one in requirements if canonicalize_name(one.name) not in pins]
    assert not missing
    refused = [
        str(one)
        for one in requirements
        if not one.specifier.contains(pins[canonicalize_name(one.name)])
    ]
    assert not refused


def test_pins_name_no_local_build(pins: dict[str, str]) -> None:
    """A pin such as torch==2.13.0+cpu would lock out every other build of that version."""
    assert not {name: version for name, version in pins.items() if "+" in version}


def test_no_extra_repeats_another(project: dict[str, Any]) -> None:
    """A distribution is required in one place."""
    names = [
        Requirement(line).name
        for group in [project["dependencies"], *project["optional-dependencies"].values()]
        for line in group
    ]
    assert len(names) == len(set(names))


def test_makefile_has_the_promised_targets(root: Path) -> None:
    """One command per job, each with its line of help; plain make prints the help."""
    text = (root / "Makefile").read_text("utf-8")
    explained = set(re.findall(r"^([a-z]+):.*  ## \w", text, flags=re.MULTILINE))
    assert explained >= TARGETS
    assert ".DEFAULT_GOAL := help" in text


def test_ci_can_be_started(root: Path) -> None:
    """CI runs the same command as people do, through an executable script."""
    script = root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text("utf-8")


def test_changelog_knows_the_version(root: Path, project: dict[str, Any]) -> None:
    """The newest entry is of this version or of what comes after it."""
    text = (root / "CHANGELOG.md").read_text("utf-8")
    newest = re.findall(r"^## \[?([\w.]+)", text, flags=re.MULTILINE)[0]
    assert newest in {"Unreleased", project["version"]}


def test_changelog_entries_keep_their_order(root: Path) -> None:
    """Every version lists Added, Changed, Fixed, Removed in this order, each at most once."""
    text = (root / "CHANGELOG.md").read_text("utf-8")
    for version in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.+)$", version, flags=re.MULTILINE)
        assert kinds == [kind for kind in CHANGE_KINDS if kind in kinds]


def test_no_file_names_a_path_of_one_machine(root: Path) -> None:
    """What is in the repository works wherever it is cloned."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True
    )
    found = [
        f"{name}: {match.group()}"
        for name in listed.stdout.split("\0")[:-1]
        if (match := LOCAL_PATH.search(_text(root / name)))
    ]
    assert not found


def _text(path: Path) -> str:
    """Content of a text file; nothing for a binary one or one that has just been deleted."""
    try:
        return path.read_text("utf-8")
    except (UnicodeDecodeError, FileNotFoundError):
        return ""
