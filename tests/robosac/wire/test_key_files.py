"""Key files: made once, with the right modes, and refused when anything is odd."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
import zmq.auth

from robosac.errors import StorageError, WireError
from robosac.wire.keys import LearnerKeys, RobotKeys, may_speak_for
from robosac.wire.keysmith import check_key_name, make_learner, make_robot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.robosac.wire.conftest import KeyFolders


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_keys_are_made_where_they_belong(key_folders: KeyFolders) -> None:
    """The learner's folder knows the public keys of robots, a robot's that of the learner."""
    assert set(files(key_folders.folder)) == {
        "learner/learner.key_secret",
        "learner/learner.key",
        "learner/allowed/pup-1.key",
        "learner/allowed/pup-2.key",
        "pup-1/robot.key_secret",
        "pup-1/learner.key",
        "pup-2/robot.key_secret",
        "pup-2/learner.key",
    }
    robot = RobotKeys.load(key_folders.folder / "pup-1")
    assert robot.name == "pup-1"
    assert robot.learner == key_folders.learner.public
    allowed, secret = zmq.auth.load_certificate(key_folders.allowed / "pup-1.key")
    assert (allowed, secret) == (robot.public, None)


def test_secrets_are_for_their_owner_only(key_folders: KeyFolders) -> None:
    """Files and the folders around them."""
    modes = {
        path.relative_to(key_folders.folder).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in key_folders.folder.rglob("*")
    }
    secrets = {name: mode for name, mode in modes.items() if name.endswith("secret")}
    assert set(secrets.values()) == {0o600}
    assert (modes["learner"], modes["pup-1"]) == (0o700, 0o700)


def test_secrets_are_never_shown(key_folders: KeyFolders) -> None:
    """A key in a log is no secret any more."""
    robot = RobotKeys.load(key_folders.folder / "pup-1")
    for keys in (robot, key_folders.learner):
        assert keys.secret.decode() not in repr(keys)
        assert str(keys.secret) not in repr(keys)


def test_nothing_is_made_twice(key_folders: KeyFolders) -> None:
    """Another run of the same command, or one for another robot, changes no byte."""
    before = files(key_folders.folder)
    assert not make_learner(key_folders.learner_folder)
    assert not make_robot(key_folders.folder / "pup-1", key_folders.learner_folder)
    assert files(key_folders.folder) == before
    assert make_robot(key_folders.folder / "pup-3", key_folders.learner_folder)
    assert before.items() < files(key_folders.folder).items()


def test_what_is_missing_is_made_from_the_secrets(key_folders: KeyFolders) -> None:
    """Public files that were lost come back as they were; a robot locked out is let in again."""
    before = files(key_folders.folder)
    for name in ("learner/learner.key", "learner/allowed/pup-1.key", "pup-1/learner.key"):
        (key_folders.folder / name).unlink()
    make_learner(key_folders.learner_folder)
    make_robot(key_folders.folder / "pup-1", key_folders.learner_folder)
    assert files(key_folders.folder) == before


def test_a_key_that_has_moved_to_its_robot_stays_valid(key_folders: KeyFolders) -> None:
    """The folder is gone here; a new key would lock the robot out."""
    for path in (key_folders.folder / "pup-1").iterdir():
        path.unlink()
    (key_folders.folder / "pup-1").rmdir()
    before = files(key_folders.folder)
    assert not make_robot(key_folders.folder / "pup-1", key_folders.learner_folder)
    assert files(key_folders.folder) == before


def test_a_public_key_of_another_pair_is_not_overwritten(key_folders: KeyFolders) -> None:
    """Which of the two is right is for the user to say."""
    allowed = key_folders.allowed / "pup-1.key"
    allowed.write_bytes((key_folders.allowed / "pup-2.key").read_bytes())
    with pytest.raises(WireError, match=r"pup-1\.key is another key.*expected a pair; remove"):
        make_robot(key_folders.folder / "pup-1", key_folders.learner_folder)
    assert allowed.read_bytes() == (key_folders.allowed / "pup-2.key").read_bytes()


def test_no_half_written_file_is_left(
    key_folders: KeyFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full ends in a message and in no file that looks like a key."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = files(key_folders.folder)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="disk full"):
        make_robot(key_folders.folder / "pup-3", key_folders.learner_folder)
    assert files(key_folders.folder) == before


@pytest.mark.parametrize("name", ["", "learner", "../pup", "pup 1", "-pup", "p" * 49, "pup\n"])
def test_names_of_keys_are_names_of_robots(name: str) -> None:
    """They become names of files, and of the robots they speak for."""
    with pytest.raises(WireError, match="expected the name of a robot"):
        check_key_name(name)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_secret_that_others_can_read_is_refused(key_folders: KeyFolders, mode: int) -> None:
    """With the command that mends it."""
    secret = key_folders.folder / "pup-1" / "robot.key_secret"
    secret.chmod(mode)
    with pytest.raises(WireError, match=f"mode {mode:04o}.*expected 0600; run chmod 600 {secret}"):
        RobotKeys.load(secret.parent)
    (key_folders.learner_folder / "learner.key_secret").chmod(mode)
    with pytest.raises(WireError, match="expected 0600"):
        LearnerKeys.load(key_folders.learner_folder)


def test_each_side_refuses_the_folder_of_the_other(key_folders: KeyFolders) -> None:
    """And the folder around both, with the name of a right one."""
    with pytest.raises(WireError, match="has the keys of a learner; expected those of a robot"):
        RobotKeys.load(key_folders.learner_folder)
    with pytest.raises(WireError, match="has the keys of a robot; expected those of a learner"):
        LearnerKeys.load(key_folders.folder / "pup-1")
    with pytest.raises(WireError, match=r"as in .*/keys/pup-1"):
        RobotKeys.load(key_folders.folder)
    with pytest.raises(WireError, match=r"as in .*/keys/learner"):
        LearnerKeys.load(key_folders.folder)


def test_missing_files_are_named(key_folders: KeyFolders, tmp_path: Path) -> None:
    """With the command that makes them."""
    for keys in (RobotKeys, LearnerKeys):
        with pytest.raises(WireError, match="make them with `robosac keys NAME`"):
            keys.load(tmp_path / "nothing")
    (key_folders.folder / "pup-1" / "learner.key").unlink()
    with pytest.raises(WireError, match=r"learner\.key cannot be read .*`robosac keys NAME`"):
        RobotKeys.load(key_folders.folder / "pup-1")


DAMAGE: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "cut": lambda text: text[: text.index("public-key") + 20],
    "secret cut": lambda text: text[:-10],
    "no secret": lambda text: text[: text.index("    secret-key")],
    "other characters": lambda text: text.replace('secret-key = "', 'secret-key = "~~~')[:-5],
    "two halves of different pairs": lambda text: text.replace(
        text.split('"')[1], zmq.curve_keypair()[0].decode()
    ),
    "no equals sign": lambda text: text.replace("=", ":"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_secret_is_refused(key_folders: KeyFolders, damage: Callable[[str], str]) -> None:
    """Before ZeroMQ sees it, which would only say that an argument is invalid."""
    secret = key_folders.folder / "pup-1" / "robot.key_secret"
    secret.write_text(damage(secret.read_text()))
    with pytest.raises(WireError, match=r"robot\.key_secret is damaged; .*restore it"):
        RobotKeys.load(secret.parent)


def test_a_damaged_public_key_is_refused(key_folders: KeyFolders) -> None:
    """Bytes that are no text, and a key that is too short."""
    for content in (b"\xff\xfe\x00", b'public-key = "short"\n'):
        (key_folders.folder / "pup-1" / "learner.key").write_bytes(content)
        with pytest.raises(WireError, match=r"learner\.key is damaged"):
            RobotKeys.load(key_folders.folder / "pup-1")


@pytest.mark.parametrize(
    ("key", "robot", "allowed"),
    [
        ("pup-1", "pup-1", True),
        ("pup-1", "pup-1-0", True),
        ("pup-1", "pup-1-lab-7", True),
        ("pup-1", "pup-10", False),
        ("pup-1", "pup-2", False),
        ("pup-1", "pup", False),
        ("pup-1", "", False),
        ("pup", "pup-1", True),
    ],
)
def test_a_key_speaks_for_its_robot_and_its_copies(key: str, robot: str, *, allowed: bool) -> None:
    """A stolen key ruins the data of one robot, not of all."""
    assert may_speak_for(key, robot) is allowed
