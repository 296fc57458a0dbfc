"""Which way imports point, and what stays off the robot computer."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.structure.conftest import SourceFile

NEVER = {
    "robots": ("robosac", "sim", "torch", "mujoco", "dm_control"),
    "sim": ("robosac", "torch"),
    "robosac.lateness": ("robots", "sim", "torch", "mujoco"),
    "robosac.algorithms": ("robots", "sim", "mujoco"),
    "robosac.learner": ("robots", "sim", "mujoco"),
    "robosac.runner": ("sim", "robosac.learner", "robosac.algorithms", "torch", "mujoco"),
    "robosac.deploy": ("sim", "robosac.learner", "robosac.algorithms", "torch", "mujoco"),
    "robosac.operator": ("sim", "robosac.learner", "robosac.algorithms", "torch", "mujoco"),
    "robosac.flight_log": ("sim", "robosac.learner", "robosac.algorithms", "torch", "mujoco"),
    "robosac.fleet": ("robots", "sim", "robosac.learner", "robosac.algorithms", "torch", "mujoco"),
    "robosac.wire": ("sim", "robosac.learner", "robosac.algorithms", "torch", "mujoco"),
    "robosac.replay": ("sim", "robosac.learner", "robosac.algorithms", "torch", "mujoco"),
    "robosac.tasks": ("sim", "robosac.learner", "robosac.algorithms", "torch", "mujoco"),
    "robosac.env": ("sim", "robosac.learner", "robosac.algorithms", "torch", "mujoco"),
}
"""What a package does not know, wherever in the file the import stands."""

HEAVY = ("torch", "mujoco", "dm_control", "gymnasium", "onnxruntime", "ray", "tensorboard", "rich")
LIGHT = (
    *("robosac.__main__", "robosac.cli", "robosac.flight_log", "robosac.operator"),
    *("robosac.replay", "robosac.runner", "robosac.wire", "robots"),
)
"""Modules that import heavy libraries inside functions only."""

ON_THE_ROBOT = (
    *("robots", "robosac.deploy", "robosac.env", "robosac.flight_log", "robosac.operator"),
    *("robosac.runner", "robosac.tasks", "robosac.wire"),
)
NOT_ON_THE_ROBOT = (
    *("torch", "mujoco", "dm_control", "onnx", "onnxscript", "safetensors", "tensorboard"),
    *("rich", "imageio", "ray", "shimmy", "stable_baselines3", "rustypot", "dynamixel_sdk"),
)
"""What the base requirements do not bring."""


@dataclass(frozen=True)
class Import:
    """One imported name and how it is imported."""

    name: str
    line: int
    at_start: bool
    """Whether importing the module executes it."""
    typing_only: bool
    """Whether only type checkers see it."""


def imports_of(source: SourceFile, known: set[str]) -> list[Import]:
    """Every import of a file; `from a import b` counts as a.b where that is a module."""
    found = []
    for node, at_start, typing_only in _walk(source.tree, at_start=True, typing_only=False):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, source)
            full = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in known else base for name in full]
        else:
            continue
        found += [Import(name, node.lineno, at_start, typing_only) for name in names]
    return found


def _walk(
    node: ast.AST, *, at_start: bool, typing_only: bool
) -> Iterator[tuple[ast.AST, bool, bool]]:
    """Every node below this one, with whether it runs at import and whether for typing only."""
    for child in ast.iter_child_nodes(node):
        yield child, at_start, typing_only
        runs = at_start and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for part in child.body:
                yield part, False, True
                yield from _walk(part, at_start=False, typing_only=True)
            for part in child.orelse:
                yield part, runs, typing_only
                yield from _walk(part, at_start=runs, typing_only=typing_only)
        else:
            yield from _walk(child, at_start=runs, typing_only=typing_only)


def _absolute(node: ast.ImportFrom, source: SourceFile) -> str:
    """Dotted name that a from-import starts at."""
    if not node.level:
        return node.module or ""
    parts = source.path.removesuffix(".py").split("/")[: -node.level]
    return ".".join([*parts, node.module] if node.module else parts)


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.fixture(scope="module")
def graph(packages: list[SourceFile]) -> dict[str, list[Import]]:
    """Imports of every module of the packages."""
    known = {source.module for source in packages}
    return {source.module: imports_of(source, known) for source in packages}


@pytest.mark.parametrize("package", sorted(NEVER))
def test_import_direction(package: str, graph: dict[str, list[Import]]) -> None:
    """A package does not know those above it, nor libraries of another machine."""
    modules = [module for module in graph if _within(module, package)]
    assert modules, f"no module {package}; remove it from the table or restore it"
    wrong = [
        f"{module}:{found.line} imports {found.name}"
        for module in modules
        for found in graph[module]
        if any(_within(found.name, forbidden) for forbidden in NEVER[package])
    ]
    assert not wrong


def test_only_the_cli_knows_the_simulators(graph: dict[str, list[Import]]) -> None:
    """Robosac reaches sim through the command line only."""
    wrong = [
        f"{module}:{found.line} imports {found.name}"
        for module, imports in graph.items()
        for found in imports
        if _within(module, "robosac") and not _within(module, "robosac.cli")
        if _within(found.name, "sim")
    ]
    assert not wrong


def test_there_are_no_import_cycles(graph: dict[str, list[Import]]) -> None:
    """No module reaches itself, not even by an import inside a function."""
    edges = {
        module: {found.name for found in imports if not found.typing_only}
        for module, imports in graph.items()
    }
    cycles = [" -> ".join(cycle) for module in edges if (cycle := find_cycle(module, edges))]
    assert not cycles


def find_cycle(start: str, edges: dict[str, set[str]]) -> list[str]:
    """Shortest way from a module back to itself; empty when there is none."""
    ways, seen = [[start]], set[str]()
    for way in ways:
        for target in sorted(edges.get(way[-1], ())):
            if target == start:
                return [*way, start]
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return []


def test_cycles_are_found() -> None:
    """The search sees a way of three modules and is not fooled by a module imported twice."""
    edges = {"a": {"b", "c"}, "b": {"c"}, "c": set[str]()}
    assert find_cycle("a", edges) == []
    assert find_cycle("a", edges | {"c": {"a"}}) == ["a", "c", "a"]
    assert find_cycle("b", edges | {"c": {"a"}}) == ["b", "c", "a", "b"]


@pytest.mark.parametrize("package", LIGHT)
def test_light_modules_start_light(package: str, graph: dict[str, list[Import]]) -> None:
    """What starts quickly or runs on the robot imports heavy libraries inside functions."""
    modules = [module for module in graph if _within(module, package)]
    assert modules, f"no module {package}; remove it from the table or restore it"
    wrong = [
        f"{module}:{found.line} imports {found.name} at its start"
        for module in ["robosac", *modules]
        for found in graph.get(module, [])
        if found.at_start and any(_within(found.name, heavy) for heavy in HEAVY)
    ]
    assert not wrong


@pytest.mark.parametrize("package", ON_THE_ROBOT)
def test_the_robot_computer_needs_the_base_only(
    package: str, graph: dict[str, list[Import]]
) -> None:
    """Importing what runs on the robot brings nothing from another extra, however indirectly."""
    ways = [[module] for module in graph if _within(module, package)]
    assert ways, f"no module {package}; remove it from the table or restore it"
    seen = {way[0] for way in ways}
    wrong = []
    for way in ways:
        for found in (found for found in graph[way[-1]] if found.at_start):
            if any(_within(found.name, heavy) for heavy in NOT_ON_THE_ROBOT):
                wrong.append(" -> ".join([*way, found.name]))
            for target in _executed(found.name, graph):
                if target not in seen:
                    seen.add(target)
                    ways.append([*way, target])
    assert not wrong


def _executed(name: str, graph: dict[str, list[Import]]) -> list[str]:
    """Modules of ours that importing a name executes: itself and the packages around it."""
    parts = name.split(".")
    around = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return [module for module in around if module in graph]


def test_help_loads_nothing_heavy(root: Path) -> None:
    """The help text comes without torch, MuJoCo or ONNX Runtime."""
    program = (
        "import runpy, sys\n"
        "sys.argv = ['robosac', '--help']\n"
        "try:\n"
        "    runpy.run_module('robosac', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    print('loaded', *sorted(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
    loaded = set(done.stdout.rsplit("loaded ", 1)[1].split())
    assert "robosac.cli" in loaded
    assert not loaded & {"torch", "mujoco", "onnxruntime", "dm_control"}
