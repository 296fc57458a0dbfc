"""What `robosac sim --learner` says at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robosac.cli import supervisor as supervisor_module
from robosac.cli.join import join
from robosac.cli.runner_config import RunnerConfig
from robosac.errors import LockedError
from robosac.exit_codes import EXIT_DONE, EXIT_INCOMPLETE

if TYPE_CHECKING:
    from pathlib import Path

    from robosac.cli.supervisor import Supervisor


def robots_in(folder: Path) -> RunnerConfig:
    """What robots are like that keep their rows in this folder."""
    return RunnerConfig(
        name="lab", robot="go2", task="walk", env=None, endpoint="", folder=str(folder), seed=(0, 0)
    )


@pytest.mark.parametrize(
    ("incomplete", "code", "words"),
    [
        (False, EXIT_DONE, "the learner has all of the 7 steps made here"),
        (True, EXIT_INCOMPLETE, "stopped before the learner had enough, after 7 steps made here"),
    ],
)
def test_nothing_is_said_to_be_delivered_that_is_not(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    incomplete: bool,
    code: int,
    words: str,
) -> None:
    """A robot that was asked to stop, or whose machine is lost, keeps rows where it was."""

    def end(supervisor: Supervisor, endpoint: str) -> None:
        assert endpoint == "tcp://127.0.0.1:5555"
        supervisor.made, supervisor.incomplete = 7, incomplete

    monkeypatch.setattr(supervisor_module.Supervisor, "run", end)
    folder = tmp_path / "robots"
    assert join("127.0.0.1:5555", robots_in(folder), runners=1, fleet=None) == code
    said = capsys.readouterr().out
    assert words in said
    assert (f"wait in {folder}, and the same command" in said) is incomplete


def test_the_same_robots_are_not_started_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the same command in another terminal; when the first has ended they may be again."""
    folder, served = tmp_path / "robots", []

    def serve_twice(_: Supervisor, endpoint: str) -> None:
        served.append(endpoint)
        with pytest.raises(LockedError, match="stop the other one first"):
            join("127.0.0.1:5556", robots_in(folder), runners=1, fleet=None)

    monkeypatch.setattr(supervisor_module.Supervisor, "run", serve_twice)
    for _ in range(2):
        join("127.0.0.1:5555", robots_in(folder), runners=1, fleet=None)
    assert served == 2 * ["tcp://127.0.0.1:5555"]
