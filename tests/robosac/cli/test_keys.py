"""`robosac keys`: what it prints can be followed word by word."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from robosac.cli.main import main
from robosac.exit_codes import EXIT_DONE, EXIT_USER
from robosac.wire.keys import LearnerKeys, RobotKeys

if TYPE_CHECKING:
    from pathlib import Path


def keys(folder: Path, *names: str) -> int:
    """Run the command."""
    return main(["keys", *names, "--folder", str(folder)])


def test_keys_are_made_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second call makes the new robot's key only, and says which is which."""
    assert keys(tmp_path, "pup-1", "pup-2") == EXIT_DONE
    first = capsys.readouterr().out.splitlines()
    assert first[:3] == [f"{tmp_path / name}: new key" for name in ("learner", "pup-1", "pup-2")]
    learner = LearnerKeys.load(tmp_path / "learner")
    assert keys(tmp_path, "pup-1", "pup-3") == EXIT_DONE
    second = capsys.readouterr().out.splitlines()
    assert second[:3] == [
        f"{tmp_path / 'learner'}: kept",
        f"{tmp_path / 'pup-1'}: kept",
        f"{tmp_path / 'pup-3'}: new key",
    ]
    for name in ("pup-1", "pup-2", "pup-3"):
        robot = RobotKeys.load(tmp_path / name)
        assert (robot.name, robot.learner) == (name, learner.public)
        assert (learner.allowed / f"{name}.key").is_file()


def test_the_next_steps_name_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Folders that exist, and commands that read their options."""
    keys(tmp_path, "pup-1")
    said = capsys.readouterr().out
    learn = next(line for line in said.splitlines() if "robosac learn" in line)
    options = shlex.split(learn.partition("robosac ")[2])
    assert options == ["learn", "--bind", "*:5555", "--keys", str(tmp_path / "learner")]
    assert f"copy {tmp_path / 'pup-1'} there and remove it here" in said
    assert "robosac doctor --learner THIS-MACHINE:5555 --keys pup-1" in said
    assert str(tmp_path / "learner" / "allowed" / "pup-1.key") in said


def test_a_key_that_has_moved_is_not_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder was copied to the robot and removed here, as it was told."""
    keys(tmp_path, "pup-1")
    (tmp_path / "pup-1").rename(tmp_path / "on-the-robot")
    assert keys(tmp_path, "pup-1") == EXIT_DONE
    assert (
        f"{tmp_path / 'pup-1'}: kept; the key itself is no longer here" in capsys.readouterr().out
    )
    assert not (tmp_path / "pup-1").exists()


def test_names_that_share_rights_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key pup may speak for pup-1 too: perhaps that is meant, perhaps not."""
    keys(tmp_path, "pup", "pup-1", "pup10")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mind")]
    assert len(lines) == 1
    assert "the key pup may speak for pup-1 as well" in lines[0]


@pytest.mark.parametrize("name", ["learner", "../pup", "pup 1", ""])
def test_a_name_that_cannot_be_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Also when another name of the same command could be."""
    assert keys(tmp_path / "keys", "pup-1", name) == EXIT_USER
    assert "expected the name of a robot" in capsys.readouterr().err
    assert not (tmp_path / "keys").exists()


def test_a_place_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, without a traceback."""
    (tmp_path / "file").touch()
    assert keys(tmp_path / "file", "pup-1") == EXIT_USER
    assert len(capsys.readouterr().err.splitlines()) == 1
