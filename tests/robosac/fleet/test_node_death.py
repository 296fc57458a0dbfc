"""A node of a real Ray cluster dies in the middle of a run; tools/ray_nodes.py does it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytestmark = pytest.mark.timeout(300)
TOOL = Path(__file__).parents[3] / "tools" / "ray_nodes.py"
RECIPE = """
name = "small"

[learner]
utd = 3.0  # slow enough for those that were killed to be back before there are enough steps
batch_size = 16
learning_starts = 50
publish_every = 20

[sac]
hidden = [16, 16]
"""


def kill_a_node(folder: Path, *options: str) -> dict[str, Any]:
    """Run four pendulums on two nodes, and kill one node; returns what the tool found."""
    recipe, found = folder / "small.toml", folder / "found.json"
    recipe.write_text(RECIPE)
    numbers = ["--runners", "4", "--steps", "2000", "--kill-at", "200"]
    what = ["--env", "Pendulum-v1", "--recipe", str(recipe), "--out", str(found), "--quick"]
    command = [sys.executable, str(TOOL), *what, *numbers, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = msgspec.json.decode(found.read_bytes())
    return result


def test_runners_of_a_dead_node_go_on_elsewhere(tmp_path: Path) -> None:
    """The run ends by itself; every row is on disk once, as many as were asked for."""
    found = kill_a_node(tmp_path)
    assert found["killed"]["runner"] == found["killed"]["uplink"] == len(found["runners_hit"]) == 2
    assert (found["lost"], found["duplicated"], found["rows"]) == (0, 0, 2000)
    assert found["runs"] == found["runs_contiguous"] == 4 + 2
    assert (found["spools_left"], found["processes_left"]) == (0, 0)
    for name in found["runners_hit"]:
        assert any(line.startswith(f"{name} is started by Ray again") for line in found["notices"])


@pytest.mark.slow
def test_runners_that_nobody_holds_end_in_order(tmp_path: Path) -> None:
    """Only Ray's own processes die: the runners deliver and end, and others go on."""
    found = kill_a_node(tmp_path, "--only-ray")
    assert "runner" not in found["killed"]
    assert (found["lost"], found["duplicated"], found["rows"]) == (0, 0, 2000)
    assert found["runs"] == found["runs_contiguous"] == 4 + 2
    assert (found["spools_left"], found["processes_left"]) == (0, 0)
