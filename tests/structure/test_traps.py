"""Every known way to learn something wrong in silence is named by the tests that notice it."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.structure.conftest import SourceFile

TRAPS = range(1, 32)
"""Their numbers; the docstring of a test that says "trap 7" says how putting it back is noticed."""


def test_every_trap_has_its_test(test_code: list[SourceFile]) -> None:
    """A number that no test names has lost its guard."""
    named = {
        int(number)
        for source in test_code
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        for number in re.findall(r"\btrap (\d+)", ast.get_docstring(node) or "")
    }
    assert sorted(set(TRAPS) - named) == []
