"""The source tree, parsed once for the tests that look at its shape."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("robots", "sim", "robosac")


@dataclass(frozen=True)
class SourceFile:
    """A Python file of the repository."""

    path: str
    lines: int
    tree: ast.Module

    @property
    def module(self) -> str:
        """Dotted name; a package goes by the name of its folder."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def read_sources(*folders: str) -> list[SourceFile]:
    """Parse every Python file under these folders of the repository."""
    found = []
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        text = path.read_text("utf-8")
        relative = path.relative_to(ROOT).as_posix()
        found.append(SourceFile(relative, len(text.splitlines()), ast.parse(text, relative)))
    return found


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def packages() -> list[SourceFile]:
    """What the wheel carries."""
    return read_sources(*PACKAGES)


@pytest.fixture(scope="session")
def code(packages: list[SourceFile]) -> list[SourceFile]:
    """What the wheel carries, and the tools."""
    return packages + read_sources("tools")


@pytest.fixture(scope="session")
def test_code() -> list[SourceFile]:
    """The tests themselves."""
    return read_sources("tests")
