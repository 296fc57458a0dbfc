"""Policy files on the robot: the newest few, whole, and no others."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from robosac.errors import PolicyError, StorageError
from robosac.runner.policy_store import KEPT, PolicyStore

RUN, OTHER = "a" * 32, "b" * 32


def keep(store: PolicyStore, version: int, file: bytes = b"onnx") -> Path:
    """Store a policy with its right digest."""
    sha256 = hashlib.sha256(file).hexdigest()
    return Path(store.keep(file, version=version, sha256=sha256).path)


def names(folder: Path) -> list[int]:
    """Versions of the files in the folder."""
    return sorted(int(path.stem.rpartition("-")[2]) for path in folder.iterdir())


def test_a_policy_is_stored_whole(tmp_path: Path) -> None:
    """Under its version, in a folder that is made when needed."""
    path = keep(PolicyStore(tmp_path / "policy", RUN), 7, b"content")
    assert path.read_bytes() == b"content"
    assert names(tmp_path / "policy") == [7]


def test_a_wrong_digest_is_refused(tmp_path: Path) -> None:
    """With both digests in the message; nothing is written."""
    store = PolicyStore(tmp_path, RUN)
    with pytest.raises(PolicyError, match=r"version 3: SHA-256 is [0-9a-f]{64}, expected 0000"):
        store.keep(b"onnx", version=3, sha256="0" * 64)
    assert names(tmp_path) == []


def test_the_number_of_files_is_bounded(tmp_path: Path) -> None:
    """Days of policies take the room of three."""
    store = PolicyStore(tmp_path, RUN)
    for version in range(20):
        keep(store, version)
        assert len(names(tmp_path)) <= KEPT
    assert names(tmp_path) == [17, 18, 19]


def test_newest_is_what_came_last_not_the_highest_version(tmp_path: Path) -> None:
    """A learner that is resumed from an older checkpoint counts on from a lower version."""
    store = PolicyStore(tmp_path, RUN)
    for version in (50, 51, 52, 11, 12):
        path = keep(store, version)
        assert path.exists()
    assert names(tmp_path) == [11, 12, 52]


def test_a_killed_process_leaves_no_draft_behind(tmp_path: Path) -> None:
    """A robot restarts for years, and half a policy is of no use to it."""
    drafts = [tmp_path / f".{run}-000000003.onnx.draft" for run in (RUN, OTHER)]
    for draft in drafts:
        draft.write_bytes(b"half a pol")
    PolicyStore(tmp_path, RUN)
    assert not any(draft.exists() for draft in drafts)


def test_earlier_runs_leave_nothing_in_the_way(tmp_path: Path) -> None:
    """Also when their versions were higher."""
    earlier = PolicyStore(tmp_path, OTHER)
    for version in (98, 99):
        keep(earlier, version)
    store = PolicyStore(tmp_path, RUN)
    assert names(tmp_path) == []
    assert keep(store, 1).exists()


def test_a_restarted_uplink_keeps_what_the_loop_may_be_loading(tmp_path: Path) -> None:
    """Files of the same run stay, and count towards the bound."""
    for version in (1, 2):
        path = keep(PolicyStore(tmp_path, RUN), version)
    store = PolicyStore(tmp_path, RUN)
    assert path.exists()
    for version in (3, 4):
        keep(store, version)
    assert names(tmp_path) == [2, 3, 4]


def test_a_version_that_comes_again_replaces_its_file(tmp_path: Path) -> None:
    """And is not deleted as its own predecessor."""
    store = PolicyStore(tmp_path, RUN)
    for version in (1, 2, 1, 3):
        path = keep(store, version, b"%d" % version)
    assert path.exists()
    assert names(tmp_path) == [1, 2, 3]


def test_a_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    """One line, not a traceback."""
    (tmp_path / "policy").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="policy"):
        PolicyStore(tmp_path / "policy", RUN)
