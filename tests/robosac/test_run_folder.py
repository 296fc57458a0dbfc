"""A run folder: made once, read back, continued, and never half written."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import msgspec
import pytest

from robosac.errors import ConfigError, StorageError
from robosac.recipe import Recipe
from robosac.run_folder import RunConfig, RunFolder, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = RunConfig(
    robosac="0.1.0",
    env="Pendulum-v1",
    recipe=Recipe(name="small"),
    steps=400,
    seed=3,
    runners=2,
)


def test_a_configuration_is_read_back(tmp_path: Path) -> None:
    """With every number of the recipe, resolved."""
    folder = RunFolder(tmp_path / "runs" / "one")
    folder.create(CONFIG)
    assert folder.read_config() == CONFIG
    assert msgspec.json.decode(folder.config_path.read_bytes())["recipe"]["sac"]["gamma"] == 0.99


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    """As mktemp -d makes it."""
    RunFolder(tmp_path).create(CONFIG)


@pytest.mark.parametrize("content", ["file", "folder"])
def test_a_run_is_not_overwritten(tmp_path: Path, content: str) -> None:
    """Whatever is there stays, and the message says how to continue it."""
    path = tmp_path / "run"
    if content == "file":
        path.write_text("mine")
    else:
        RunFolder(path).create(CONFIG)
    with pytest.raises(ConfigError, match="continue it with --resume or choose another --run"):
        RunFolder(path).create(CONFIG)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """In one line, with the place."""
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="file/run"):
        RunFolder(tmp_path / "file" / "run").create(CONFIG)


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    """With what was expected there."""
    with pytest.raises(ConfigError, match=r"no run in .*expected a folder made by"):
        RunFolder(tmp_path).read_config()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"{", "config.json: Input data was truncated"),
        (b'{"robosac": "0.1.0", "surprise": 1}', "unknown field `surprise`"),
        (msgspec.json.encode(CONFIG).replace(b'"steps":400', b'"steps":"many"'), r"\$\.steps"),
    ],
)
def test_a_damaged_configuration_is_told(tmp_path: Path, document: bytes, reason: str) -> None:
    """With the file and the field."""
    folder = RunFolder(tmp_path)
    folder.config_path.write_bytes(document)
    with pytest.raises(ConfigError, match=reason):
        folder.read_config()


def test_a_run_that_goes_on_is_not_summed_up_yet(tmp_path: Path) -> None:
    """Its summary goes, and what it is to do now counts for whoever resumes it next."""
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    folder.write_json(folder.summary_path, {"env_steps": 400})
    more = msgspec.structs.replace(CONFIG, steps=800)
    folder.reopen(more)
    assert not folder.summary_path.exists()
    assert folder.read_config() == more
    folder.reopen(more)


def test_the_newest_policy_is_the_one_written_last(tmp_path: Path) -> None:
    """A run that was continued and killed has a final policy older than its checkpoints'."""
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    assert folder.newest_policy() is None
    for age, path in ((20, folder.final_policy), (10, folder.latest_policy)):
        path.write_bytes(b"onnx")
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    assert folder.newest_policy() == folder.latest_policy
    os.utime(folder.final_policy, (1_000_000, 1_000_000))
    assert folder.newest_policy() == folder.final_policy


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """Readers who have the old one keep it; no draft is left."""
    path = tmp_path / "figures.json"
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new content")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new content"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """And nothing else; the disk is as full as it was."""
    path = tmp_path / "figures.json"
    write_atomically(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(StorageError, match=r"figures\.json.*file size limit"):
            write_atomically(path, b"new content that does not fit")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
