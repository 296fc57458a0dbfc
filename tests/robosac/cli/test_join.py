"""What `robosac sim --learner` says at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robosac.cli import supervisor as supervisor_module
from robosac.cli.join import join
from robosac.cli.runner_config import RunnerConfig
from robosac.exit_codes import EXIT_DONE, EXIT_INCOMPLETE

if TYPE_CHECKING:
    from pathlib import Path

    from robosac.cli.supervisor import Supervisor


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
    like = RunnerConfig(
        name="lab", robot="go2", task="walk", env=None, endpoint="", folder=str(folder), seed=(0, 0)
    )
    assert join("127.0.0.1:5555", like, runners=1, fleet=None) == code
    said = capsys.readouterr().out
    assert words in said
    assert (f"wait in {folder}, and the same command" in said) is incomplete
