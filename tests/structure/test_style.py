"""The figures that keep the code readable; each is a property of the tree, not of one change."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.structure.conftest import SourceFile

FILE_LINES_P95 = 450
FUNCTION_LINES_P95 = 45
FUNCTION_LINES_MAX = 90
ARGUMENTS_P95 = 5

EXCEPTIONS: dict[str, str] = {}
"""Functions allowed to be longer than the maximum ("file.py::name"), each with its reason."""


@dataclass(frozen=True)
class Function:
    """A function or method and where it stands."""

    name: str
    lines: int
    arguments: int
    public: bool
    documented: bool
    annotated: bool


def functions_of(source: SourceFile) -> list[Function]:
    """Every function of a file, nested ones included."""
    return [
        Function(
            name=f"{source.path}::{'.'.join(scope)}",
            lines=(node.end_lineno or node.lineno) - node.lineno + 1,
            arguments=_arguments(node.args),
            public=not nested and all(_is_public(part) for part in scope),
            documented=ast.get_docstring(node) is not None,
            annotated=node.returns is not None,
        )
        for scope, node, nested in _functions(source.tree, (), nested=False)
    ]


def _functions(
    node: ast.AST, scope: tuple[str, ...], *, nested: bool
) -> Iterator[tuple[tuple[str, ...], ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Every function below a node with the names around it, and whether a function is around."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = (*scope, child.name)
            yield inner, child, nested
            yield from _functions(child, inner, nested=True)
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, (*scope, child.name), nested=nested)
        else:
            yield from _functions(child, scope, nested=nested)


def _is_public(name: str) -> bool:
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def _arguments(arguments: ast.arguments) -> int:
    """Count what a caller passes: all but self and cls."""
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len([argument for argument in named if argument.arg not in {"self", "cls"}])


def p95(values: Sequence[int]) -> int:
    """Smallest value that 95 % of the values do not exceed."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


@pytest.fixture(scope="module")
def functions(code: list[SourceFile]) -> list[Function]:
    """Every function of the packages and the tools."""
    return [function for source in code for function in functions_of(source)]


def test_p95_is_the_nearest_rank() -> None:
    """Of twenty values the nineteenth counts, of three the last."""
    assert p95(range(1, 21)) == 19
    assert p95([3, 1, 2]) == 3


def test_files_are_short(code: list[SourceFile]) -> None:
    """A module is one idea: 95 % of the files stay within 450 lines."""
    longest = sorted((source.lines, source.path) for source in code)[-5:]
    assert p95([source.lines for source in code]) <= FILE_LINES_P95, longest


def test_functions_are_short(functions: list[Function]) -> None:
    """95 % of the functions stay within 45 lines."""
    longest = sorted((function.lines, function.name) for function in functions)[-10:]
    assert p95([function.lines for function in functions]) <= FUNCTION_LINES_P95, longest


def test_no_function_is_very_long(functions: list[Function], test_code: list[SourceFile]) -> None:
    """A function is split before it reaches 90 lines, a test too, unless it is excepted here."""
    tests = [function for source in test_code for function in functions_of(source)]
    long = {one.name for one in [*functions, *tests] if one.lines > FUNCTION_LINES_MAX}
    assert long == set(EXCEPTIONS)


def test_arguments_are_few(functions: list[Function]) -> None:
    """95 % of the functions take at most five arguments."""
    most = sorted((function.arguments, function.name) for function in functions)[-10:]
    assert p95([function.arguments for function in functions]) <= ARGUMENTS_P95, most


def test_public_functions_are_documented_and_annotated(functions: list[Function]) -> None:
    """Every public function says what it does and what it returns."""
    public = [function for function in functions if function.public]
    assert not [one.name for one in public if not one.documented]
    assert not [one.name for one in public if not one.annotated]


def test_packages_list_what_they_export(packages: list[SourceFile]) -> None:
    """`__all__` of a package names exactly what its __init__ binds in public; ruff sorts it."""
    problems = []
    for source in packages:
        bound, listed = exports(source.tree)
        if source.path.endswith("/__init__.py") and sorted(bound) != sorted(listed):
            problems.append(f"{source.path}: differs in {sorted(set(bound) ^ set(listed))}")
    assert not problems


def exports(tree: ast.Module) -> tuple[list[str], list[str]]:
    """Public names that a module binds, and the names in its `__all__`."""
    bound: list[str] = []
    listed: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            bound += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.append(node.name)
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if names == ["__all__"]:
                listed = ast.literal_eval(node.value)
            bound += names
    return [name for name in bound if not name.startswith("_")], listed


def test_exports_see_imports_definitions_and_constants() -> None:
    """Names come from all three; private ones do not count."""
    text = "from a import b as c, _d\nE = 1\ndef f(): ...\nclass G: ...\n__all__ = ['G', 'c']\n"
    assert exports(ast.parse(text)) == (["c", "E", "f", "G"], ["G", "c"])


def test_packages_do_not_print(packages: list[SourceFile]) -> None:
    """Output goes through the console of the command line and through logging."""
    prints = [
        f"{source.path}:{node.lineno}"
        for source in packages
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        if isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not prints
