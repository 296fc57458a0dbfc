"""A run is a folder: what lies where, and the resolved configuration it starts from."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from robosac.errors import ConfigError, StorageError
from robosac.recipe import Recipe
from robosac.replay.prior import PriorSource

Pace = Literal["learner", "realtime", "free"]


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """config.json: everything a run was started with, resolved."""

    robosac: str
    """Version of the package that started the run."""
    robot: str | None = None
    """Name or folder of the robot; None when the environment is no robot."""
    task: str | None = None
    env: str | None = None
    """Id of the environment; None when it is a robot."""
    recipe: Recipe
    steps: int | None = None
    """Environment steps in all; None is until somebody stops it."""
    seed: int = 0
    pace: Pace = "learner"
    runners: int = 0
    """Simulated robots that the run brings along; 0 when robots come from elsewhere."""
    sync: bool = False
    emulate: bool = False
    """Whether its robots are emulated devices on serial ports."""
    prior: tuple[PriorSource, ...] = ()
    """Earlier runs, whose rows are half of every batch."""


class RunFolder:
    """Paths of a run; creating and opening check what a user may have got wrong."""

    def __init__(self, path: Path) -> None:
        """Name a folder; nothing is touched."""
        self.path = path
        self.config_path = path / "config.json"
        self.replay = path / "replay"
        self.checkpoint = path / "checkpoint"
        self.policy = path / "policy"
        self.video = path / "video"
        self.final_policy = self.policy / "final.onnx"
        self.latest_policy = self.policy / "latest.onnx"
        self.summary_path = path / "summary.json"
        self.report_path = path / "learner.json"
        self.contract_path = path / "contract.json"
        """What the robots of this run are like; written by the learner before their first row."""

    def runner(self, index: int) -> Path:
        """Folder of one runner: its spool, its policies and its report."""
        return self.path / f"runner-{index}"

    def newest_policy(self) -> Path | None:
        """The final policy or the one of the newest checkpoint, whichever is newer, or None."""
        found = [path for path in (self.final_policy, self.latest_policy) if path.exists()]
        return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)

    def create(self, config: RunConfig) -> None:
        """Make a new run folder.

        Raises ConfigError when there is one already, StorageError when it cannot be written.
        """
        try:
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise ConfigError(
                    f"run folder {self.path} exists; "
                    "continue it with --resume or choose another --run"
                )
            self.policy.mkdir(parents=True)
        except OSError as error:
            raise StorageError.from_os(self.path, error) from None
        self.write_json(self.config_path, config)

    def reopen(self, config: RunConfig) -> None:
        """Go on with a run: from now on it has this configuration, and no summary.

        Raises StorageError when the folder cannot be written.
        """
        try:
            self.summary_path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError.from_os(self.path, error) from None
        self.write_json(self.config_path, config)

    def read_config(self) -> RunConfig:
        """Return the configuration of an existing run; raises ConfigError."""
        try:
            return msgspec.json.decode(self.config_path.read_bytes(), type=RunConfig)
        except OSError:
            raise ConfigError(
                f"no run in {self.path}; expected a folder made by `robosac sim` or `learn`"
            ) from None
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{self.config_path}: {error}") from None

    @staticmethod
    def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 -- whatever msgspec encodes
        """Replace a JSON file in one step; raises StorageError."""
        write_atomically(path, msgspec.json.format(msgspec.json.encode(content), indent=2))


def new_name(what: str) -> Path:
    """Return the path of a new run under runs/, named after this moment and what it is."""
    stamp = datetime.now(UTC).astimezone().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{stamp}-{what}"


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step: readers see the old one or the new one, whole.

    Raises StorageError.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        try:
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError.from_os(path, error) from None
