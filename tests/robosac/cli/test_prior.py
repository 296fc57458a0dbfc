"""`--prior`: what an earlier run recorded is learned from again, and stays as it is."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from robosac.cli import console, resolve
from robosac.cli.console import Progress
from robosac.cli.lockstep import run_lockstep
from robosac.cli.main import main
from robosac.cli.results import summarise
from robosac.exit_codes import EXIT_DONE, EXIT_USER
from robosac.recipe import find
from robosac.replay.files import intact_chunks
from robosac.run_folder import RunConfig, RunFolder
from tests.patience import eventually

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = """
name = "small"

[learner]
batch_size = 17
learning_starts = 20
publish_every = 20
checkpoint_s = 0.2

[sac]
hidden = [16, 16]
"""
ROWS = 60


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small networks and short times."""
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, recipe: Path) -> Path:
    """A pendulum's run, for this module to copy."""
    folder = RunFolder(tmp_path_factory.mktemp("recorded") / "run")
    config = RunConfig(
        robosac="0.1.0",
        env="Pendulum-v1",
        recipe=find(str(recipe)),
        steps=ROWS,
        seed=3,
        runners=1,
        sync=True,
    )
    folder.create(config)
    with resolve.make(robot=None, task=None, env=config.env) as place:
        report = run_lockstep(folder, config, place, steps=ROWS, show=lambda _: None)
    assert summarise(folder, config, report)["prior_rows"] == 0
    return folder.path


@pytest.fixture
def earlier(recorded: Path, tmp_path: Path) -> Path:
    """The run, for a test to do with as it likes."""
    return shutil.copytree(recorded, tmp_path / "earlier")


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def recorded_rows(run: Path) -> int:
    """Rows on disk of the only run of a robot; they follow one another from 0 on."""
    end = 0
    for path in sorted((run / "replay").iterdir()):
        for chunk, _ in intact_chunks(path, may_be_torn=True):
            assert chunk.first == end, "a row is missing or twice"
            end = chunk.end
    return end


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command answers with."""
    capsys.readouterr()
    assert main(arguments) == EXIT_USER
    (line,) = capsys.readouterr().err.splitlines()
    return line


def killed(arguments: list[str], run: Path) -> None:
    """Start a command and SIGKILL it when it has recorded and learned."""
    process = subprocess.Popen(
        [sys.executable, "-m", "robosac", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    learned = eventually(lambda: any(run.glob("checkpoint/checkpoint-*")))
    process.kill()
    output, _ = process.communicate()
    assert learned, output
    assert process.returncode == -signal.SIGKILL, output


def test_a_run_with_a_prior_that_is_killed_and_goes_on(
    earlier: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The prior stays as it was and with the run, is no step of it, and is missed when gone."""
    run, before = tmp_path / "run", content(earlier)
    names = ["--env", "Pendulum-v1", "--recipe", str(recipe), "--run", str(run)]
    start = ["sim", "--sync", "--no-video", "--steps", "100000", *names]
    killed([*start, "--prior", str(earlier)], run)
    made = recorded_rows(run)
    steps = made + 40
    resume = ["sim", "--run", str(run), "--resume", "--no-video", "--steps", str(steps)]

    earlier.rename(tmp_path / "elsewhere")
    line = complaint(resume, capsys)
    assert f"{earlier / 'replay'}: got nothing there; expected the {ROWS} rows" in line
    assert recorded_rows(run) == made
    (tmp_path / "elsewhere").rename(earlier)

    assert main(resume) == EXIT_DONE
    output = capsys.readouterr().out
    assert f"prior {ROWS} rows from 1 run\n" in output
    assert "resumed: " in output
    summary: dict[str, Any] = msgspec.json.decode((run / "summary.json").read_bytes())
    assert (summary["prior_rows"], summary["prior_runs"]) == (ROWS, 1)
    assert (summary["env_steps"], summary["updates"]) == (steps, steps - 20)
    assert (summary["lost"], summary["duplicated"]) == (0, 0)
    assert content(earlier) == before


@pytest.mark.parametrize("command", ["sim", "learn"])
def test_what_is_no_prior_touches_nothing(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, and no run folder."""
    monkeypatch.chdir(tmp_path)
    line = complaint([command, "--prior", "earlier"], capsys)
    assert f"prior {tmp_path / 'earlier'}: got nothing there; expected the folder of" in line
    assert not list(tmp_path.iterdir())


def test_a_prior_of_another_robot_touches_nothing(
    earlier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the folder of the new run nor that of the earlier one."""
    before, run = content(earlier), tmp_path / "run"
    line = complaint(["sim", "--prior", str(earlier), "--run", str(run)], capsys)
    assert "does not fit: robot: got '', expected 'go2'; env: got 'Pendulum-v1'" in line
    assert not run.exists()
    assert content(earlier) == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["sim", "--resume", "--run", "RUN"], "a run keeps the prior it began with"),
        (["sim", "--learner", "127.0.0.1:5555"], "--prior is the learner's affair"),
    ],
)
def test_a_prior_that_would_be_ignored_is_refused(
    options: list[str], expected: str, earlier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that goes on has had its own from the start; robots have none."""
    arguments = [str(earlier) if option == "RUN" else option for option in options]
    assert expected in complaint([*arguments, "--prior", str(earlier)], capsys)


def test_figures_tell_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the line of every status, where there is one."""
    printed: list[str] = []
    monkeypatch.setattr(console, "say", printed.append)
    figures: dict[str, Any] = {"env_steps": 40, "prior_rows": 90, "prior_runs": 2}
    with Progress(100) as progress:
        progress.show(figures)
    with Progress(100) as progress:
        progress.show({"env_steps": 40})
    assert "steps 40/100  prior 90 rows from 2 runs  " in printed[0]
    assert "prior" not in printed[1]
