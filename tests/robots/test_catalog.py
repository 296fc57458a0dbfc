from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import robots
from robots import RobotSpecError, UnknownRobotError


def test_names_are_the_folders_that_come_along() -> None:
    """Sorted, and every one of them can be found."""
    assert robots.names() == sorted(robots.names())
    assert {"go2", "quadruped"} <= set(robots.names())
    assert [robots.find(name).spec.name for name in robots.names()] == robots.names()


@pytest.mark.parametrize(
    ("asked", "offered"), [("go3", "go2"), ("GO2", "go2"), ("quadrupd", "quadruped")]
)
def test_an_unknown_name_offers_the_nearest(asked: str, offered: str) -> None:
    """Got, and what it may have meant."""
    with pytest.raises(UnknownRobotError, match=f"unknown robot {asked!r}.* {offered}") as caught:
        robots.find(asked)
    assert caught.value.name == asked


def test_a_name_near_nothing_offers_all() -> None:
    """Nobody is left without a next step."""
    with pytest.raises(UnknownRobotError, match=", ".join(robots.names())):
        robots.find("zzzzzzzz")


def test_a_path_is_a_robot_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute, relative, and from the home folder."""
    own = shutil.copytree(robots.find("go2").path, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (str(own), "./mine", "mine", "~/mine"):
        folder = robots.find(path)
        assert folder.path == own.resolve()
        assert folder.model_path.is_file()


def test_a_built_in_name_beats_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What "go2" means does not depend on where the command runs."""
    (tmp_path / "go2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert robots.find("go2").path == Path(robots.__file__).parent / "go2"


def test_a_folder_without_a_robot_is_refused(tmp_path: Path) -> None:
    """An existing folder is taken at its word: the error is about its content."""
    with pytest.raises(RobotSpecError, match=r"no robot\.toml here"):
        robots.find(str(tmp_path))
