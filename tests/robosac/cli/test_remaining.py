"""What a resumed run has still to make: no step twice, none forgotten."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robosac.cli import remaining as remaining_module
from robosac.cli.remaining import remaining_steps
from robosac.errors import ConfigError, LockedError
from robosac.recipe import Recipe
from robosac.replay import Chunk, RowLayout, SegmentLog
from robosac.run_folder import RunConfig, RunFolder
from robosac.runner.spool import Spool

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = RowLayout(obs=2, extra=1, action=1)
ROBOT, RUN = "small-0", "a" * 32
CONFIG = RunConfig(
    robosac="0.1.0",
    env="Small-v0",
    recipe=Recipe(name="small"),
    steps=100,
    runners=2,
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that has just been made."""
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    return folder


def rows(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Rows of zeros."""
    return np.zeros((count, LAYOUT.width), np.float32)


def in_replay(folder: RunFolder, count: int, *, run: str = RUN) -> None:
    """Let the learner have rows."""
    with SegmentLog(folder.replay, LAYOUT) as log:
        log.append(Chunk(robot=ROBOT, run=run, first=0, rows=rows(count)))


def in_spool(
    folder: RunFolder, count: int, *, acknowledged: int = 0, index: int = 0, run: str = RUN
) -> None:
    """Let a runner have rows on its disk."""
    with Spool(folder.runner(index) / "spool", LAYOUT, robot=ROBOT, run=run) as spool:
        spool.append(rows(count))
        spool.forget(acknowledged)


def test_a_new_run_has_everything_before_it(folder: RunFolder) -> None:
    """Nothing is made."""
    assert remaining_steps(folder, CONFIG, LAYOUT) == 100


def test_rows_on_either_side_count_once(folder: RunFolder) -> None:
    """30 are durable at the learner; the spool has 20 to 49, not all of them acknowledged."""
    in_replay(folder, 30)
    in_spool(folder, 50, acknowledged=20)
    assert remaining_steps(folder, CONFIG, LAYOUT) == 50


def test_every_run_of_every_runner_counts(folder: RunFolder) -> None:
    """Each by itself."""
    in_replay(folder, 10, run="b" * 32)
    in_spool(folder, 10)
    in_spool(folder, 5, index=1, run="c" * 32)
    assert remaining_steps(folder, CONFIG, LAYOUT) == 75


def test_a_learner_that_is_ahead_of_the_spool_counts(folder: RunFolder) -> None:
    """Its acknowledgement did not arrive before everything was killed."""
    in_replay(folder, 50)
    in_spool(folder, 50)
    assert remaining_steps(folder, CONFIG, LAYOUT) == 50


def test_rows_that_are_only_to_be_delivered_are_a_reason_to_go_on(folder: RunFolder) -> None:
    """No step is missing, and yet the run is not over."""
    in_replay(folder, 60)
    in_spool(folder, 100)
    folder.summary_path.write_text("{}")
    assert remaining_steps(folder, CONFIG, LAYOUT) == 0


def test_a_run_without_a_summary_goes_on(folder: RunFolder) -> None:
    """All rows were there when the learner was killed; updates and figures are missing."""
    in_replay(folder, 100)
    assert remaining_steps(folder, CONFIG, LAYOUT) == 0


def test_a_run_that_is_over_is_over(folder: RunFolder) -> None:
    """Unless more is asked for."""
    in_replay(folder, 100)
    folder.summary_path.write_text("{}")
    with pytest.raises(ConfigError, match="has made 100 of 100 steps; ask for more with --steps"):
        remaining_steps(folder, CONFIG, LAYOUT)
    more = msgspec.structs.replace(CONFIG, steps=130)
    assert remaining_steps(folder, more, LAYOUT) == 30


def test_less_than_there_is_is_nothing(folder: RunFolder) -> None:
    """Never a negative number."""
    in_replay(folder, 120)
    assert remaining_steps(folder, CONFIG, LAYOUT) == 0


def test_processes_that_are_just_ending_are_waited_for(folder: RunFolder) -> None:
    """The uplink of a killed runner still writes; what it writes is counted."""
    path = folder.runner(0) / "spool"
    spool = Spool(path, LAYOUT, robot=ROBOT, run=RUN)

    def end() -> None:
        spool.append(rows(40))
        spool.close()

    timer = threading.Timer(0.3, end)
    timer.start()
    assert remaining_steps(folder, CONFIG, LAYOUT) == 60
    timer.join()


def test_processes_that_do_not_end_are_named(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is going on elsewhere: after a while the folder is told, and what to do."""
    monkeypatch.setattr(remaining_module, "_PATIENCE_S", 0.2)
    started = time.monotonic()
    with (
        SegmentLog(folder.replay, LAYOUT),
        pytest.raises(LockedError, match=r"replay: .*stop the other one first"),
    ):
        remaining_steps(folder, CONFIG, LAYOUT)
    assert time.monotonic() - started >= 0.2
