"""Both ends of the wire withstand hostile messages; `tools/fuzz_wire.py` sends many more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
MESSAGES = 3000


def attack(side: str, folder: Path) -> dict[str, Any]:
    """Run the tool against one side; its service alone stands for the learner."""
    result = folder / "fuzz.json"
    tool = ROOT / "tools" / "fuzz_wire.py"
    command = [sys.executable, str(tool), "--light", "--side", side, "--messages", str(MESSAGES)]
    done = subprocess.run(
        [*command, "--json", str(result)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (outcome,) = json.loads(result.read_text())["outcomes"]
    found: dict[str, Any] = outcome
    return found


@pytest.mark.parametrize("side", ["learner", "robot"])
def test_a_side_under_attack_goes_on_working(side: str, tmp_path: Path) -> None:
    """It lives, stays small, keeps its log short, and every row of the good robot is there once."""
    outcome = attack(side, tmp_path)
    assert outcome["faults"] == []
    assert outcome["messages"] == MESSAGES
    assert outcome["rows"] > 0
